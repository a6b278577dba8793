// Two things wrong at once: which errno tells. Programs that probe a kernel for a feature look at it. And the
// odd arguments that are no error: empty ranges, vectors of nothing, lengths that run over.
#include <sched.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/xattr.h>
#include <time.h>

#include <climits>

#include "tests/syscalls/test_util.h"

namespace run9::guest {
namespace {

class ErrorOrderTest : public DirTest {
 protected:
  ErrorOrderTest() : file_(open_file("file", "text")), path_(at("file")) {
    read_only_ = Fd(open(path_.c_str(), O_RDONLY));
    directory_ = Fd(open(dir_.path().c_str(), O_RDONLY | O_DIRECTORY));
  }
  Fd file_, read_only_, directory_;
  std::string path_;
  char buffer_[64] = {};
};

TEST_F(ErrorOrderTest, ModeOfTheFileBeforeTheMemory) {
  EXPECT_ERR(EBADF, sys(SYS_write, read_only_, bad(), 4));
  EXPECT_ERR(EBADF, sys(SYS_writev, read_only_, bad(), 1));
  EXPECT_ERR(EBADF, sys(SYS_writev, read_only_, buffer_, -1));
  EXPECT_ERR(EBADF, sys(SYS_pwrite64, read_only_, bad(), 4, 0));
  EXPECT_ERR(EBADF, sys(SYS_pwritev2, read_only_, buffer_, 1, 0, 0, 0x4000));
  const Pipe pipe;
  EXPECT_ERR(EBADF, sys(SYS_read, pipe.w, bad(), 4));
  EXPECT_ERR(EBADF, sys(SYS_readv, pipe.w, bad(), 1));
}

TEST_F(ErrorOrderTest, VectorsOfNothing) {
  const iovec nothing{buffer_, 0};
  EXPECT_EQ(0, sys(SYS_readv, directory_, &nothing, 1));
  EXPECT_EQ(0, sys(SYS_readv, directory_, nullptr, 0));
  EXPECT_ERR(EISDIR, sys(SYS_read, directory_, buffer_, 0));
  EXPECT_EQ(0, sys(SYS_preadv2, file_, &nothing, 1, 0, 0, 0x4000)) << "not even the flags are looked at";
  EXPECT_EQ(0, sys(SYS_writev, file_, &nothing, 1));
}

TEST_F(ErrorOrderTest, Offsets) {
  EXPECT_ERR(EFAULT, sys(SYS_sendfile, dead_fd(), dead_fd(), bad(), 4));
  EXPECT_ERR(EBADF, sys(SYS_sendfile, dead_fd(), Pipe().r, nullptr, 4));
  EXPECT_ERR(EFAULT, sys(SYS_copy_file_range, file_, nullptr, file_, bad(), 4, 99));
  EXPECT_ERR(EINVAL, sys(SYS_readahead, file_, 0, -1));
  EXPECT_ERR(EINVAL, sys(SYS_mmap, nullptr, kPage, PROT_READ, MAP_PRIVATE, dead_fd(), 1));
  EXPECT_ERR(EINVAL, sys(SYS_mmap, nullptr, kPage, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 1));
}

TEST_F(ErrorOrderTest, Locks) {
  EXPECT_OK(sys(SYS_flock, file_, 32)) << "LOCK_MAND is no more, and no error";
  EXPECT_ERR(EINVAL, sys(SYS_flock, file_, 16));
}

TEST_F(ErrorOrderTest, Attributes) {
  // What the caller says about the attribute comes before the file.
  EXPECT_ERR(EINVAL, sys(SYS_setxattr, bad(), bad(), bad(), 1, 99));
  EXPECT_ERR(ERANGE, sys(SYS_setxattr, at("missing").c_str(), "", "v", 1, 0));
  EXPECT_ERR(E2BIG, sys(SYS_lsetxattr, at("missing").c_str(), "user.a", "v", XATTR_SIZE_MAX + 1, 0));
  EXPECT_ERR(EFAULT, sys(SYS_setxattr, at("missing").c_str(), "user.a", bad(), 1, 0));
  EXPECT_ERR(EINVAL, sys(SYS_fsetxattr, file_, "user.a", bad(), 1, 99));
  EXPECT_ERR(EOPNOTSUPP, sys(SYS_setxattr, path_.c_str(), "nospace.a", "v", 1, 0));
  in_user_child([this] {
    EXPECT_ERR(EACCES, sys(SYS_setxattr, path_.c_str(), "nospace.a", "v", 1, 0));
    EXPECT_ERR(EACCES, sys(SYS_removexattr, path_.c_str(), "nospace.a"));
  });
  const Pipe pipe;
  EXPECT_EQ(0, sys(SYS_flistxattr, pipe.r, nullptr, 0)) << "has none, and can say so";
}

TEST_F(ErrorOrderTest, Devices) {
  in_user_child([this] {
    EXPECT_ERR(EEXIST, sys(SYS_mknod, path_.c_str(), S_IFBLK | 0600, 0x700));
    EXPECT_ERR(ENOENT, sys(SYS_mknod, at("missing/x").c_str(), S_IFBLK | 0600, 0x700));
    EXPECT_ERR(EACCES, sys(SYS_mknod, at("new").c_str(), S_IFBLK | 0600, 0x700));
    EXPECT_ERR(EFAULT, sys(SYS_mknod, bad(), S_IFBLK | 0600, 0x700));
    EXPECT_ERR(EPERM, sys(SYS_mknod, bad(), S_IFDIR | 0600, 0));
  });
}

TEST_F(ErrorOrderTest, Times) {
  const timespec wrong[2] = {{0, -5}, {0, 0}};
  EXPECT_ERR(ENOENT, sys(SYS_utimensat, AT_FDCWD, at("missing").c_str(), wrong, 0));
  EXPECT_ERR(EINVAL, sys(SYS_utimensat, AT_FDCWD, path_.c_str(), wrong, 0));
  EXPECT_ERR(EFAULT, sys(SYS_timer_create, 99, bad(), nullptr));
  for (const int clock : {CLOCK_THREAD_CPUTIME_ID, CLOCK_MONOTONIC_RAW, CLOCK_MONOTONIC_COARSE}) {
    EXPECT_ERR(EOPNOTSUPP, sys(SYS_clock_nanosleep, clock, 0, bad(), nullptr)) << clock;
  }
  in_user_child([] {
    EXPECT_ERR(EFAULT, sys(SYS_settimeofday, bad(), nullptr));
    EXPECT_ERR(EFAULT, sys(SYS_settimeofday, nullptr, bad()));
  });
}

TEST_F(ErrorOrderTest, Memory) {
  char* const page = static_cast<char*>(map_anonymous(kPage));
  // Lengths that run over to nothing.
  EXPECT_OK(sys(SYS_mlock, page, -1));
  EXPECT_OK(sys(SYS_munlock, page, -1));
  EXPECT_ERR(EINVAL, sys(SYS_madvise, page, -1, MADV_NORMAL));
  EXPECT_ERR(ENOMEM, sys(SYS_mprotect, page, -1, PROT_READ));
  // Of nothing, whatever else is wrong.
  EXPECT_OK(sys(SYS_mprotect, page, 0, 0x1000));
  EXPECT_OK(sys(SYS_pkey_mprotect, page, 0, PROT_READ, 77));
  EXPECT_ERR(EINVAL, sys(SYS_mprotect, page + 1, 0, PROT_READ));
  EXPECT_ERR(EINVAL, sys(SYS_mprotect, page, kPage, PROT_READ | PROT_GROWSDOWN | PROT_GROWSUP));
  EXPECT_ERR(EINVAL, sys(SYS_pkey_mprotect, page, kPage, PROT_READ, 77));
  EXPECT_ERR(EFAULT, sys(SYS_mincore, page, 0, kBadAddresses[4]));
  munmap(page, kPage);
}

TEST_F(ErrorOrderTest, Signals) {
  EXPECT_ERR(EFAULT, sys(SYS_rt_sigaction, 99, bad(), nullptr, 8));
  EXPECT_ERR(EINVAL, sys(SYS_rt_sigaction, 99, nullptr, bad(), 8));
  EXPECT_ERR(ESRCH, sys(SYS_tkill, 0x3fffffff, 99));
  EXPECT_ERR(ESRCH, sys(SYS_tgkill, getpid(), 0x3fffffff, 99));
  EXPECT_ERR(EINVAL, sys(SYS_tgkill, getpid(), getpid(), 99));
  EXPECT_ERR(ESRCH, sys(SYS_kill, 0x3fffffff, 99));
  EXPECT_ERR(EINVAL, sys(SYS_kill, getpid(), 99));
  siginfo_t info{};
  info.si_code = SI_USER;  // which only the kernel may say to others
  EXPECT_ERR(EPERM, sys(SYS_rt_sigqueueinfo, 0x3fffffff, SIGUSR1, &info));
  info.si_code = SI_QUEUE;
  EXPECT_ERR(ESRCH, sys(SYS_rt_sigqueueinfo, 0x3fffffff, 99, &info));
  EXPECT_ERR(EFAULT, sys(SYS_rt_tgsigqueueinfo, 0, 0, SIGUSR1, bad()));
  EXPECT_ERR(EFAULT, sys(SYS_signalfd4, -1, bad(), 8, 99));
  const uint64_t set = 0;
  EXPECT_ERR(EINVAL, sys(SYS_signalfd4, -1, &set, 8, 99));
  // A stack that is the one there is: its size is not looked at.
  in_child([] {
    stack_t none{};
    ASSERT_OK(sys(SYS_sigaltstack, nullptr, &none));
    stack_t same{.ss_sp = nullptr, .ss_flags = 0, .ss_size = 0};
    if (none.ss_flags != SS_DISABLE) return;
    same.ss_flags = SS_DISABLE;
    EXPECT_OK(sys(SYS_sigaltstack, &same, nullptr));
    static char memory[8192];
    const stack_t set{.ss_sp = memory, .ss_flags = 0, .ss_size = sizeof memory};
    EXPECT_OK(sys(SYS_sigaltstack, &set, nullptr));
    EXPECT_OK(sys(SYS_sigaltstack, &set, nullptr));
    same = {.ss_sp = memory, .ss_flags = 0, .ss_size = 100};
    EXPECT_ERR(ENOMEM, sys(SYS_sigaltstack, &same, nullptr));
  });
}

TEST_F(ErrorOrderTest, Scheduling) {
  EXPECT_ERR(EFAULT, sys(SYS_sched_setparam, 0x3fffffff, bad()));
  EXPECT_ERR(EFAULT, sys(SYS_sched_setscheduler, 0x3fffffff, SCHED_OTHER, bad()));
  int priority = 0;
  EXPECT_ERR(ESRCH, sys(SYS_sched_setparam, 0x3fffffff, &priority));
  EXPECT_ERR(EINVAL, sys(SYS_sched_setparam, -1, &priority));
  EXPECT_ERR(ESRCH, sys(SYS_prlimit64, 0x3fffffff, 99, nullptr, nullptr));
  EXPECT_ERR(EINVAL, sys(SYS_prlimit64, 0, 99, nullptr, nullptr));
  EXPECT_ERR(EFAULT, sys(SYS_prlimit64, 0, 99, bad(), nullptr));
  uint32_t header[2] = {0x20080522, 0};
  Straddle edge;
  memset(edge.last<char>(4), 0, 4);  // an unknown version, and no more
  EXPECT_ERR(EINVAL, sys(SYS_capget, edge.last<char>(4), bad()));
  EXPECT_EQ(0x20080522u, *edge.last<uint32_t>(4));
  EXPECT_ERR(EFAULT, sys(SYS_capget, edge.last<char>(4), header)) << "now it is known, and goes on";
}

TEST_F(ErrorOrderTest, Sockets) {
  EXPECT_ERR(EINVAL, sys(SYS_connect, file_, buffer_, 4096));
  EXPECT_ERR(EFAULT, sys(SYS_connect, file_, bad(), 10));
  EXPECT_ERR(ENOTSOCK, sys(SYS_connect, file_, buffer_, 10));
  EXPECT_ERR(EBADF, sys(SYS_connect, dead_fd(), bad(), 10));
  EXPECT_ERR(EBADF, sys(SYS_accept4, dead_fd(), nullptr, nullptr, 1));
  EXPECT_ERR(EINVAL, sys(SYS_accept4, file_, nullptr, nullptr, 1));
  EXPECT_ERR(ENOTSOCK, sys(SYS_setsockopt, file_, SOL_SOCKET, SO_PASSCRED, nullptr, -1));
  EXPECT_ERR(EFAULT, sys(SYS_sendto, file_, kBadAddresses[4], 8, 0, nullptr, 0));
  EXPECT_ERR(EFAULT, sys(SYS_recvfrom, file_, kBadAddresses[4], 8, 0, nullptr, nullptr));
  EXPECT_ERR(EINVAL, sys(SYS_sendmsg, file_, bad(), INT_MIN));
  EXPECT_ERR(EINVAL, sys(SYS_recvmsg, dead_fd(), bad(), INT_MIN));
  EXPECT_ERR(EFAULT, sys(SYS_recvmmsg, dead_fd(), bad(), 1, 0, bad()));
  EXPECT_ERR(ESOCKTNOSUPPORT, sys(SYS_socket, AF_UNIX, 0, 0));
  const Fd socket(::socket(AF_UNIX, SOCK_STREAM, 0));
  int length = 4;
  EXPECT_ERR(EOPNOTSUPP, sys(SYS_setsockopt, socket, 6, 1, bad(), 4));
  EXPECT_ERR(EOPNOTSUPP, sys(SYS_getsockopt, socket, 6, 1, buffer_, bad()));
  EXPECT_ERR(ENOPROTOOPT, sys(SYS_getsockopt, socket, SOL_SOCKET, 999, buffer_, &length));
}

TEST_F(ErrorOrderTest, NothingFromAStreamSocket) {
  int ends[2];
  ASSERT_OK(sys(SYS_socketpair, AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends));
  const Fd a(ends[0]), b(ends[1]);
  EXPECT_ERR(EAGAIN, sys(SYS_recvfrom, a, buffer_, 0, 0, nullptr, nullptr)) << "it waits for a byte, and leaves it";
  EXPECT_EQ(0, sys(SYS_read, a, buffer_, 0));
  ASSERT_EQ(1, write(b, "x", 1));
  EXPECT_EQ(0, sys(SYS_recvfrom, a, buffer_, 0, 0, nullptr, nullptr));
  EXPECT_EQ(1, read(a, buffer_, 4));
}

TEST_F(ErrorOrderTest, Descriptors) {
  epoll_event event{};
  const Fd epoll(epoll_create1(0));
  EXPECT_ERR(EBADF, sys(SYS_epoll_wait, dead_fd(), &event, 0, 0));
  EXPECT_ERR(EINVAL, sys(SYS_epoll_wait, epoll, &event, 0, 0));
  EXPECT_ERR(EFAULT, sys(SYS_epoll_wait, file_, kBadAddresses[4], 1, 0));
  EXPECT_ERR(EINVAL, sys(SYS_epoll_wait, file_, &event, 1, 0));
  EXPECT_ERR(EINVAL, sys(SYS_memfd_create, bad(), 0x1000));
  EXPECT_ERR(EINVAL, sys(SYS_inotify_add_watch, dead_fd(), bad(), 0));
  EXPECT_ERR(EINVAL, sys(SYS_inotify_add_watch, dead_fd(), bad(), IN_OPEN | 0x80000)) << "a bit without a meaning";
  EXPECT_ERR(EBADF, sys(SYS_inotify_add_watch, dead_fd(), bad(), IN_MASK_ADD | IN_MASK_CREATE | IN_OPEN));
}

TEST_F(ErrorOrderTest, SystemV) {
  EXPECT_ERR(EFAULT, sys(SYS_semtimedop, -1, nullptr, 0, bad()));
  sembuf op{};
  const timespec wrong{-1, 0};
  EXPECT_ERR(E2BIG, sys(SYS_semtimedop, 0, &op, 100'000, &wrong));
  EXPECT_ERR(EFAULT, sys(SYS_semctl, 0x3fffffff, 0, IPC_SET, bad()));
  EXPECT_ERR(EFAULT, sys(SYS_shmctl, 0x3fffffff, IPC_SET, bad()));
  EXPECT_ERR(EINVAL, sys(SYS_shmctl, -1, IPC_SET, bad()));
}

TEST_F(ErrorOrderTest, Waiting) {
  siginfo_t info;
  memset(&info, 1, sizeof info);
  EXPECT_ERR(ECHILD, sys(SYS_waitid, P_ALL, 0, &info, WEXITED, nullptr));
  EXPECT_EQ(0, info.si_signo) << "told although there is nothing to tell";
  EXPECT_EQ(0, info.si_pid);
  EXPECT_ERR(EFAULT, sys(SYS_waitid, P_ALL, 0, bad(), WEXITED, nullptr));
  EXPECT_ERR(EFAULT, sys(SYS_waitid, 99, 0, bad(), 0x10, nullptr));
}

TEST_F(ErrorOrderTest, RandomBytesUpToTheHole) {
  Straddle edge;
  EXPECT_EQ(4, sys(SYS_getrandom, edge.last<char>(4), 100, 0));
  EXPECT_ERR(EFAULT, sys(SYS_getrandom, edge.last<char>(0), 100, 0));
}

}  // namespace
}  // namespace run9::guest
