// Every pointer of every call, one after the other, at addresses that are no memory: EFAULT, and nothing else
// happens. The other arguments are good, so that the pointer is all there is to complain about.
#include <linux/aio_abi.h>
#include <mqueue.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/statfs.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/times.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <sys/xattr.h>
#include <time.h>

#include "tests/syscalls/test_util.h"

namespace run9::guest {
namespace {

// A call whose argument `kHere` is the bad pointer.
constexpr long kHere = 0x5eed'5eed;
struct Call {
  const char* name;
  long number;
  std::vector<long> arguments;
};

template <typename... A>
Call call(const char* name, long number, const A&... arguments) {
  return {name, number, {widen(arguments)...}};
}
#define CALL(name, ...) call(#name, SYS_##name, __VA_ARGS__)

void expect_efault(const std::vector<Call>& calls) {
  for (const Call& c : calls) {
    for (const uintptr_t address : kBadAddresses) {
      long a[6] = {};
      for (size_t i = 0; i < c.arguments.size(); ++i) {
        a[i] = c.arguments[i] == kHere ? static_cast<long>(address) : c.arguments[i];
      }
      EXPECT_ERR(EFAULT, syscall(c.number, a[0], a[1], a[2], a[3], a[4], a[5]))
          << c.name << " with " << std::hex << address;
    }
  }
}

class BadPointersTest : public DirTest {
 protected:
  BadPointersTest() {
    dirfd_ = Fd(open(dir_.path().c_str(), O_PATH | O_DIRECTORY));
    file_ = open_file("file", "some text in it");
    directory_ = Fd(open(dir_.path().c_str(), O_RDONLY | O_DIRECTORY));
    path_ = at("file");
  }
  Fd dirfd_, file_, directory_;
  std::string path_;
  char buffer_[4096] = {};
};

TEST_F(BadPointersTest, Paths) {
  const long cwd = AT_FDCWD;
  const char* const other = buffer_;
  strcpy(buffer_, (at("other")).c_str());
  expect_efault({
      CALL(open, kHere, O_RDONLY), CALL(openat, cwd, kHere, O_RDONLY), CALL(creat, kHere, 0600),
      CALL(stat, kHere, buffer_), CALL(lstat, kHere, buffer_), CALL(newfstatat, cwd, kHere, buffer_, 0),
      CALL(statx, cwd, kHere, 0, STATX_ALL, buffer_), CALL(statfs, kHere, buffer_), CALL(access, kHere, F_OK),
      CALL(faccessat, cwd, kHere, F_OK), CALL(chmod, kHere, 0600), CALL(fchmodat, cwd, kHere, 0600),
      CALL(chown, kHere, -1, -1), CALL(lchown, kHere, -1, -1), CALL(fchownat, cwd, kHere, -1, -1, 0),
      CALL(truncate, kHere, 0), CALL(utime, kHere, nullptr), CALL(utimes, kHere, nullptr),
      CALL(futimesat, cwd, kHere, nullptr), CALL(utimensat, cwd, kHere, nullptr, 0),
      CALL(mkdir, kHere, 0700), CALL(mkdirat, cwd, kHere, 0700), CALL(rmdir, kHere), CALL(unlink, kHere),
      CALL(unlinkat, cwd, kHere, 0), CALL(mknod, kHere, S_IFIFO | 0600, 0),
      CALL(mknodat, cwd, kHere, S_IFIFO | 0600, 0), CALL(chdir, kHere), CALL(chroot, kHere),
      CALL(link, kHere, other), CALL(link, path_.c_str(), kHere), CALL(linkat, cwd, kHere, cwd, other, 0),
      CALL(linkat, cwd, path_.c_str(), cwd, kHere, 0), CALL(symlink, kHere, other), CALL(symlink, "x", kHere),
      CALL(symlinkat, kHere, cwd, other), CALL(symlinkat, "x", cwd, kHere), CALL(readlink, kHere, buffer_, 100),
      CALL(readlinkat, cwd, kHere, buffer_, 100), CALL(rename, kHere, other), CALL(rename, path_.c_str(), kHere),
      CALL(renameat, cwd, kHere, cwd, other), CALL(renameat, cwd, path_.c_str(), cwd, kHere),
      CALL(renameat2, cwd, kHere, cwd, other, 0), CALL(renameat2, cwd, path_.c_str(), cwd, kHere, 0),
      CALL(execve, kHere, nullptr, nullptr), CALL(execveat, cwd, kHere, nullptr, nullptr, 0),
      CALL(memfd_create, kHere, 0),
  });
  EXPECT_FALSE(exists(at("other")));
}

TEST_F(BadPointersTest, Mounts) {
  SKIP_UNLESS_ROOT();
  const char* const nowhere = "/run9-no-such-directory";
  expect_efault({
      CALL(umount2, kHere, 0), CALL(mount, kHere, nowhere, "tmpfs", 0, nullptr), CALL(mount, "none", kHere, "tmpfs", 0, nullptr),
      CALL(mount, "none", nowhere, kHere, 0, nullptr), CALL(pivot_root, kHere, "/"), CALL(pivot_root, "/", kHere),
  });
}

TEST_F(BadPointersTest, ExecVectors) {
  const std::string& self = self_path();
  expect_efault({CALL(execve, self.c_str(), kHere, nullptr), CALL(execve, self.c_str(), nullptr, kHere),
                 CALL(execveat, AT_FDCWD, self.c_str(), kHere, nullptr, 0),
                 CALL(execveat, AT_FDCWD, self.c_str(), nullptr, kHere, 0)});
  char* vector[] = {bad<char>(), nullptr};
  expect_efault({CALL(execve, self.c_str(), kHere, vector)});
  EXPECT_ERR(EFAULT, sys(SYS_execve, self.c_str(), vector, nullptr));
}

TEST_F(BadPointersTest, AttributesOut) {
  ASSERT_EQ(0, symlink("target", at("link").c_str()));
  const std::string link_path = at("link");
  expect_efault({
      CALL(stat, path_.c_str(), kHere), CALL(lstat, path_.c_str(), kHere), CALL(fstat, file_, kHere),
      CALL(newfstatat, AT_FDCWD, path_.c_str(), kHere, 0), CALL(statx, AT_FDCWD, path_.c_str(), 0, STATX_ALL, kHere),
      CALL(statfs, path_.c_str(), kHere), CALL(fstatfs, file_, kHere), CALL(readlink, link_path.c_str(), kHere, 100),
      CALL(readlinkat, AT_FDCWD, link_path.c_str(), kHere, 100), CALL(getdents64, directory_, kHere, 4096),
      CALL(getdents, directory_, kHere, 4096), CALL(getcwd, kHere, 4096), CALL(utime, path_.c_str(), kHere),
      CALL(utimes, path_.c_str(), kHere), CALL(futimesat, AT_FDCWD, path_.c_str(), kHere),
      CALL(utimensat, AT_FDCWD, path_.c_str(), kHere, 0), CALL(utimensat, file_, nullptr, kHere, 0),
  });
  // openat2 reads its structure first.
  EXPECT_ERR(EFAULT, sys(SYS_openat2, AT_FDCWD, path_.c_str(), bad(), 24));
}

TEST_F(BadPointersTest, ExtendedAttributes) {
  const char* const path = path_.c_str();
  expect_efault({
      CALL(setxattr, kHere, "user.a", "v", 1, 0), CALL(setxattr, path, kHere, "v", 1, 0),
      CALL(setxattr, path, "user.a", kHere, 1, 0), CALL(lsetxattr, kHere, "user.a", "v", 1, 0),
      CALL(lsetxattr, path, kHere, "v", 1, 0), CALL(lsetxattr, path, "user.a", kHere, 1, 0),
      CALL(fsetxattr, file_, kHere, "v", 1, 0), CALL(fsetxattr, file_, "user.a", kHere, 1, 0),
      CALL(getxattr, kHere, "user.a", buffer_, 10), CALL(getxattr, path, kHere, buffer_, 10),
      CALL(lgetxattr, kHere, "user.a", buffer_, 10), CALL(lgetxattr, path, kHere, buffer_, 10),
      CALL(fgetxattr, file_, kHere, buffer_, 10), CALL(listxattr, kHere, buffer_, 10),
      CALL(llistxattr, kHere, buffer_, 10), CALL(removexattr, kHere, "user.a"), CALL(removexattr, path, kHere),
      CALL(lremovexattr, kHere, "user.a"), CALL(lremovexattr, path, kHere), CALL(fremovexattr, file_, kHere),
  });
  if (sys(SYS_setxattr, path, "user.a", "value", 5, 0) != 0) GTEST_SKIP() << "no user attributes here";
  expect_efault({CALL(getxattr, path, "user.a", kHere, 10), CALL(lgetxattr, path, "user.a", kHere, 10),
                 CALL(fgetxattr, file_, "user.a", kHere, 10), CALL(listxattr, path, kHere, 100),
                 CALL(llistxattr, path, kHere, 100), CALL(flistxattr, file_, kHere, 100)});
}

TEST_F(BadPointersTest, Data) {
  const iovec good{buffer_, 8};
  iovec wrong{bad(), 8};
  Pipe pipe;
  pipe.notify();
  expect_efault({
      CALL(read, file_, kHere, 8), CALL(write, file_, kHere, 8), CALL(pread64, file_, kHere, 8, 0),
      CALL(pwrite64, file_, kHere, 8, 0), CALL(readv, file_, kHere, 1), CALL(writev, file_, kHere, 1),
      CALL(preadv, file_, kHere, 1, 0, 0), CALL(pwritev, file_, kHere, 1, 0, 0),
      CALL(preadv2, file_, kHere, 1, 0, 0, 0), CALL(pwritev2, file_, kHere, 1, 0, 0, 0),
      CALL(read, pipe.r, kHere, 1), CALL(write, pipe.w, kHere, 1), CALL(vmsplice, pipe.w, kHere, 1, 0),
      CALL(sendfile, pipe.w, file_, kHere, 4), CALL(copy_file_range, file_, kHere, file_, nullptr, 4, 0),
      CALL(copy_file_range, file_, nullptr, file_, kHere, 4, 0), CALL(splice, file_, kHere, pipe.w, nullptr, 4, 0),
      CALL(splice, pipe.r, nullptr, file_, kHere, 4, 0), CALL(process_vm_readv, getpid(), kHere, 1, &good, 1, 0),
      CALL(process_vm_readv, getpid(), &good, 1, kHere, 1, 0),
      CALL(process_vm_writev, getpid(), kHere, 1, &good, 1, 0),
      CALL(process_vm_writev, getpid(), &good, 1, kHere, 1, 0), CALL(getrandom, kHere, 8, 0),
  });
  EXPECT_ERR(EFAULT, sys(SYS_readv, file_, &wrong, 1));
  EXPECT_ERR(EFAULT, sys(SYS_writev, file_, &wrong, 1));
  EXPECT_EQ("some text in it", read_file(path_));
  EXPECT_EQ('n', pipe.await()) << "what could not be delivered was lost";
}

TEST_F(BadPointersTest, Descriptors) {
  Fd epoll(epoll_create1(0)), timer(timerfd_create(CLOCK_MONOTONIC, 0)), inotify(inotify_init1(IN_NONBLOCK));
  Pipe pipe;
  pipe.notify();
  epoll_event event{.events = EPOLLIN, .data = {}};
  ASSERT_OK(sys(SYS_epoll_ctl, epoll, EPOLL_CTL_ADD, pipe.r, &event));
  expect_efault({
      CALL(pipe, kHere), CALL(pipe2, kHere, 0), CALL(poll, kHere, 1, 0), CALL(ppoll, kHere, 1, nullptr, nullptr, 0),
      CALL(ppoll, nullptr, 0, kHere, nullptr, 0), CALL(ppoll, nullptr, 0, nullptr, kHere, 8),
      CALL(select, 1, kHere, nullptr, nullptr, nullptr), CALL(select, 1, nullptr, kHere, nullptr, nullptr),
      CALL(select, 1, nullptr, nullptr, kHere, nullptr), CALL(select, 0, nullptr, nullptr, nullptr, kHere),
      CALL(pselect6, 1, kHere, nullptr, nullptr, nullptr, nullptr),
      CALL(pselect6, 0, nullptr, nullptr, nullptr, kHere, nullptr),
      CALL(pselect6, 0, nullptr, nullptr, nullptr, nullptr, kHere), CALL(epoll_wait, epoll, kHere, 1, 0),
      CALL(epoll_pwait, epoll, kHere, 1, 0, nullptr, 8), CALL(epoll_pwait, epoll, &event, 1, 0, kHere, 8),
      CALL(epoll_pwait2, epoll, kHere, 1, nullptr, nullptr, 8),
      CALL(epoll_pwait2, epoll, &event, 1, kHere, nullptr, 8), CALL(epoll_ctl, epoll, EPOLL_CTL_MOD, pipe.r, kHere),
      CALL(timerfd_settime, timer, 0, kHere, nullptr), CALL(timerfd_gettime, timer, kHere),
      CALL(signalfd, -1, kHere, 8), CALL(signalfd4, -1, kHere, 8, 0), CALL(inotify_add_watch, inotify, kHere, IN_OPEN),
      CALL(fcntl, file_, F_SETLK, kHere), CALL(fcntl, file_, F_GETLK, kHere), CALL(fcntl, file_, F_OFD_SETLK, kHere),
      CALL(fcntl, file_, F_SETOWN_EX, kHere), CALL(fcntl, file_, F_GETOWN_EX, kHere), CALL(ioctl, pipe.r, 0x541b, kHere),
  });
  itimerspec spec{};
  expect_efault({CALL(timerfd_settime, timer, 0, &spec, kHere)});
}

TEST_F(BadPointersTest, Sockets) {
  int ends[2];
  ASSERT_OK(sys(SYS_socketpair, AF_UNIX, SOCK_STREAM, 0, ends));
  const Fd a(ends[0]), b(ends[1]);
  const Fd fresh(socket(AF_UNIX, SOCK_STREAM, 0));
  int length = sizeof(sockaddr_un), value = 1;
  char name[sizeof(sockaddr_un)];
  ASSERT_EQ(1, write(b, "x", 1));
  expect_efault({
      CALL(socketpair, AF_UNIX, SOCK_STREAM, 0, kHere), CALL(bind, fresh, kHere, 10), CALL(connect, fresh, kHere, 10),
      CALL(getsockname, a, name, kHere), CALL(getsockname, a, kHere, &length), CALL(getpeername, a, name, kHere),
      CALL(getpeername, a, kHere, &length), CALL(getsockopt, a, SOL_SOCKET, SO_TYPE, &value, kHere),
      CALL(getsockopt, a, SOL_SOCKET, SO_TYPE, kHere, &length), CALL(setsockopt, a, SOL_SOCKET, SO_PASSCRED, kHere, 4),
      CALL(sendto, a, kHere, 4, 0, nullptr, 0), CALL(recvfrom, a, kHere, 1, MSG_PEEK, nullptr, nullptr),
      CALL(sendmsg, a, kHere, 0), CALL(recvmsg, a, kHere, 0), CALL(sendmmsg, a, kHere, 1, 0),
      CALL(recvmmsg, a, kHere, 1, 0, nullptr), CALL(recvmmsg, a, name, 1, 0, kHere),
  });
  char got = 0;
  EXPECT_EQ(1, read(a, &got, 1)) << "the byte was lost";
  // A listener with somebody waiting.
  sockaddr_un at{};
  at.sun_family = AF_UNIX;
  strncpy(at.sun_path, this->at("s").c_str(), sizeof at.sun_path - 1);
  ASSERT_OK(bind(fresh, reinterpret_cast<sockaddr*>(&at), sizeof at));
  ASSERT_OK(listen(fresh, 5));
  for (const bool newer : {false, true}) {
    const Fd client(socket(AF_UNIX, SOCK_STREAM, 0));
    ASSERT_OK(connect(client, reinterpret_cast<sockaddr*>(&at), sizeof at));
    if (newer) EXPECT_ERR(EFAULT, sys(SYS_accept4, fresh, name, bad(), 0));
    if (!newer) EXPECT_ERR(EFAULT, sys(SYS_accept, fresh, name, bad()));
  }
}

TEST_F(BadPointersTest, Time) {
  timespec none{};
  int id = 0, timer = 0;
  ASSERT_OK(sys(SYS_timer_create, CLOCK_MONOTONIC, nullptr, &id));
  expect_efault({
      CALL(clock_gettime, CLOCK_MONOTONIC_RAW, kHere), CALL(clock_getres, CLOCK_MONOTONIC, kHere),
      CALL(clock_settime, CLOCK_REALTIME, kHere), CALL(clock_nanosleep, CLOCK_MONOTONIC, 0, kHere, nullptr),
      CALL(nanosleep, kHere, nullptr), CALL(gettimeofday, kHere, nullptr), CALL(gettimeofday, nullptr, kHere),
      CALL(settimeofday, kHere, nullptr), CALL(settimeofday, nullptr, kHere), CALL(time, kHere), CALL(times, kHere),
      CALL(getitimer, ITIMER_REAL, kHere), CALL(setitimer, ITIMER_REAL, kHere, nullptr),
      CALL(setitimer, ITIMER_REAL, nullptr, kHere), CALL(timer_create, CLOCK_MONOTONIC, kHere, &timer),
      CALL(timer_create, CLOCK_MONOTONIC, nullptr, kHere), CALL(timer_settime, id, 0, kHere, nullptr),
      CALL(timer_gettime, id, kHere), CALL(adjtimex, kHere), CALL(clock_adjtime, CLOCK_REALTIME, kHere),
      CALL(getrusage, RUSAGE_SELF, kHere), CALL(sched_rr_get_interval, 0, kHere),
  });
  EXPECT_OK(sys(SYS_nanosleep, &none, bad())) << "nothing is left to be told";
  EXPECT_OK(sys(SYS_timer_delete, id));
}

TEST_F(BadPointersTest, Signals) {
  const uint64_t set = 0;
  expect_efault({
      CALL(rt_sigaction, SIGUSR1, kHere, nullptr, 8), CALL(rt_sigaction, SIGUSR1, nullptr, kHere, 8),
      CALL(rt_sigprocmask, SIG_BLOCK, kHere, nullptr, 8), CALL(rt_sigprocmask, SIG_BLOCK, nullptr, kHere, 8),
      CALL(rt_sigpending, kHere, 8), CALL(rt_sigsuspend, kHere, 8), CALL(rt_sigtimedwait, kHere, nullptr, nullptr, 8),
      CALL(rt_sigtimedwait, &set, nullptr, kHere, 8), CALL(rt_sigqueueinfo, getpid(), SIGUSR1, kHere),
      CALL(rt_tgsigqueueinfo, getpid(), getpid(), SIGUSR1, kHere), CALL(sigaltstack, kHere, nullptr),
      CALL(sigaltstack, nullptr, kHere),
  });
}

// The status is told last: the child is gone then.
TEST_F(BadPointersTest, Waiting) {
  for (const uintptr_t address : kBadAddresses) {
    pid_t child = spawn([] {});
    EXPECT_ERR(EFAULT, sys(SYS_wait4, child, bad(address), 0, nullptr));
    EXPECT_ERR(ECHILD, sys(SYS_wait4, child, nullptr, 0, nullptr));
    child = spawn([] {});
    EXPECT_ERR(EFAULT, sys(SYS_wait4, child, nullptr, 0, bad(address)));
    child = spawn([] {});
    EXPECT_ERR(EFAULT, sys(SYS_waitid, P_PID, child, bad(address), WEXITED, nullptr));
    EXPECT_ERR(ECHILD, sys(SYS_waitid, P_PID, child, nullptr, WEXITED, nullptr));
  }
}

TEST_F(BadPointersTest, TheProcessItself) {
  int pid_header[2] = {0x20080522, 0};
  char data[64] = {};
  void* const page = reinterpret_cast<void*>(reinterpret_cast<uintptr_t>(data) & ~(kPage - 1));
  expect_efault({
      CALL(uname, kHere), CALL(sysinfo, kHere), CALL(getrlimit, RLIMIT_NOFILE, kHere),
      CALL(setrlimit, RLIMIT_NOFILE, kHere), CALL(prlimit64, 0, RLIMIT_NOFILE, kHere, nullptr),
      CALL(prlimit64, 0, RLIMIT_NOFILE, nullptr, kHere), CALL(getresuid, kHere, &data, &data),
      CALL(getresuid, &data, kHere, &data), CALL(getresuid, &data, &data, kHere),
      CALL(getresgid, kHere, &data, &data), CALL(getresgid, &data, kHere, &data),
      CALL(getresgid, &data, &data, kHere), CALL(capget, kHere, data), CALL(capget, pid_header, kHere),
      CALL(capset, kHere, data), CALL(capset, pid_header, kHere), CALL(prctl, PR_SET_NAME, kHere),
      CALL(prctl, PR_GET_NAME, kHere), CALL(prctl, PR_GET_PDEATHSIG, kHere), CALL(arch_prctl, 0x1003, kHere),
      CALL(sched_getaffinity, 0, 128, kHere), CALL(sched_setaffinity, 0, 128, kHere), CALL(sched_setparam, 0, kHere),
      CALL(sched_getparam, 0, kHere), CALL(sched_setscheduler, 0, SCHED_OTHER, kHere),
      CALL(sched_setattr, 0, kHere, 0), CALL(sched_getattr, 0, kHere, 48, 0), CALL(get_robust_list, 0, kHere, &data),
      CALL(get_robust_list, 0, &data, kHere), CALL(getcpu, kHere, nullptr, nullptr),
      CALL(getcpu, nullptr, kHere, nullptr), CALL(mincore, page, kPage, kHere),
      CALL(sethostname, kHere, 3), CALL(setdomainname, kHere, 3), CALL(clone3, kHere, 88),
  });
  SKIP_UNLESS_ROOT();
  expect_efault({CALL(setgroups, 1, kHere)});
}

TEST_F(BadPointersTest, Futexes) {
  uint32_t word = 0;
  expect_efault({
      CALL(futex, kHere, 0, 0, nullptr, nullptr, 0), CALL(futex, &word, 0, 0, kHere, nullptr, 0),
      CALL(futex, &word, 4, 1, 1, kHere, 0), CALL(futex, kHere, 5, 1, 1, &word, 0),
  });
}

TEST_F(BadPointersTest, SystemV) {
  const long queue = sys(SYS_msgget, IPC_PRIVATE, 0600), set = sys(SYS_semget, IPC_PRIVATE, 1, 0600),
             segment = sys(SYS_shmget, IPC_PRIVATE, kPage, 0600);
  ASSERT_GE(queue, 0);
  ASSERT_GE(set, 0);
  ASSERT_GE(segment, 0);
  struct {
    long type;
    char text[8];
  } message = {1, "hello"};
  sembuf op{0, 1, 0};
  ASSERT_OK(sys(SYS_msgsnd, queue, &message, 5, 0));
  expect_efault({
      CALL(msgsnd, queue, kHere, 5, 0), CALL(msgctl, queue, IPC_STAT, kHere), CALL(msgctl, queue, IPC_SET, kHere),
      CALL(semop, set, kHere, 1), CALL(semtimedop, set, kHere, 1, nullptr), CALL(semtimedop, set, &op, 1, kHere),
      CALL(semctl, set, 0, IPC_STAT, kHere), CALL(semctl, set, 0, IPC_SET, kHere), CALL(semctl, set, 0, GETALL, kHere),
      CALL(semctl, set, 0, SETALL, kHere), CALL(shmctl, segment, IPC_STAT, kHere),
      CALL(shmctl, segment, IPC_SET, kHere),
  });
  EXPECT_ERR(EFAULT, sys(SYS_msgrcv, queue, bad(), 8, 0, IPC_NOWAIT));
  EXPECT_OK(sys(SYS_msgctl, queue, IPC_RMID, nullptr));
  EXPECT_OK(sys(SYS_semctl, set, 0, IPC_RMID, nullptr));
  EXPECT_OK(sys(SYS_shmctl, segment, IPC_RMID, nullptr));
}

TEST_F(BadPointersTest, NativeAio) {
  aio_context_t context = 0;
  if (sys(SYS_io_setup, 4, &context) == -1) GTEST_SKIP() << "no native AIO: " << errno_name(errno);
  iocb operation = {};
  io_event event = {};
  struct {
    const void* mask;
    size_t size;
  } set = {nullptr, 8};
  expect_efault({
      CALL(io_setup, 4, kHere), CALL(io_submit, context, 1, kHere), CALL(io_cancel, context, kHere, &event),
      CALL(io_getevents, context, 0, 1, &event, kHere),
      CALL(io_pgetevents, context, 0, 1, &event, kHere, nullptr),
      CALL(io_pgetevents, context, 0, 1, &event, nullptr, kHere),
  });
  for (void* address : bad_pointers()) {
    iocb* list[] = {static_cast<iocb*>(address)};
    EXPECT_ERR(EFAULT, sys(SYS_io_submit, context, 1, list));
    set.mask = address;
    EXPECT_ERR(EFAULT, sys(SYS_io_pgetevents, context, 0, 1, &event, nullptr, &set));
    EXPECT_ERR(EINVAL, sys(SYS_io_destroy, address));
  }
  operation.aio_lio_opcode = IOCB_CMD_PREAD;
  operation.aio_fildes = static_cast<uint32_t>(static_cast<int>(file_));
  iocb* list[] = {&operation};
  ASSERT_EQ(1, sys(SYS_io_submit, context, 1, list));
  expect_efault({CALL(io_getevents, context, 1, 1, kHere, nullptr)});
  EXPECT_OK(sys(SYS_io_destroy, context));
}

TEST_F(BadPointersTest, MessageQueues) {
  const std::string name = "run9-bad-" + std::to_string(getpid());
  const long opened = sys(SYS_mq_open, name.c_str(), O_RDWR | O_CREAT | O_NONBLOCK, 0600, nullptr);
  if (opened == -1) GTEST_SKIP() << "no message queues: " << errno_name(errno);
  const Fd queue(static_cast<int>(opened));
  ASSERT_OK(sys(SYS_mq_timedsend, queue, "text", 4, 0, nullptr));
  expect_efault({
      CALL(mq_open, kHere, O_RDWR, 0, nullptr), CALL(mq_open, "run9-other", O_RDWR | O_CREAT, 0600, kHere),
      CALL(mq_unlink, kHere), CALL(mq_timedsend, queue, kHere, 4, 0, nullptr),
      CALL(mq_timedsend, queue, "text", 4, 0, kHere), CALL(mq_timedreceive, queue, buffer_, 4096 * 2, nullptr, kHere),
      CALL(mq_notify, queue, kHere), CALL(mq_getsetattr, queue, kHere, nullptr),
      CALL(mq_getsetattr, queue, nullptr, kHere),
  });
  EXPECT_ERR(EFAULT, sys(SYS_mq_timedreceive, queue, bad(), 8192, nullptr, nullptr));
  EXPECT_OK(sys(SYS_mq_unlink, name.c_str()));
}

}  // namespace
}  // namespace run9::guest
