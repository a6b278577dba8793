// Files that a thread reads again and again. A kernel may let it read the pages by itself, and keep the position (sentry/task/own_files.h), but nobody may
// notice: not the thread, whatever it does in between, and not another process that gets the file, looks at it or changes it.
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <thread>

#include "tests/syscalls/partner.h"

namespace run9::guest {
namespace {

constexpr int kOften = 40;
constexpr int kSize = 300'000;

char byte_at(int64_t position) { return static_cast<char>(position * 7 + position / 251); }

std::string contents(int size = kSize) {
  std::string s(static_cast<size_t>(size), 0);
  for (int i = 0; i < size; ++i) s[static_cast<size_t>(i)] = byte_at(i);
  return s;
}

void expect_next(int fd, int64_t position) {
  char byte = 0;
  ASSERT_EQ(1, read(fd, &byte, 1));
  EXPECT_EQ(byte_at(position), byte) << position;
}

// The file is the thread's to read by now, if it will ever be, and stands at kOften.
void read_often(int fd) {
  for (int i = 0; i < kOften; ++i) expect_next(fd, i);
}

void pread_often(int fd) {
  char byte = 0;
  for (int i = 0; i < kOften; ++i) {
    ASSERT_EQ(1, pread(fd, &byte, 1, i));
    EXPECT_EQ(byte_at(i), byte);
  }
}

struct OwnReadTest : DirTest, testing::WithParamInterface<int> {
  void SetUp() override { path_ = make_file("file", contents()); }
  int opened() const { return open(path_.c_str(), GetParam()); }
  Fd hot() const {
    Fd fd(opened());
    read_often(fd);
    return fd;
  }
  std::string path_;
};

TEST_P(OwnReadTest, BytesAndPositions) {
  Fd fd(opened());
  char text[3000];
  int64_t at = 0;
  for (int i = 0; i < 2 * kOften; ++i) {
    const int n = 1 + i * 37 % 2999;
    ASSERT_EQ(n, read(fd, text, static_cast<size_t>(n)));
    for (int k = 0; k < n; ++k) ASSERT_EQ(byte_at(at + k), text[k]);
    at += n;
    EXPECT_EQ(at, where(fd));
    ASSERT_EQ(5, pread(fd, text, 5, at + 100));
    EXPECT_EQ(byte_at(at + 100), text[0]);
    char a[10], b[20];
    iovec parts[3] = {{a, sizeof a}, {nullptr, 0}, {b, sizeof b}};
    ASSERT_EQ(30, readv(fd, parts, 3));
    EXPECT_EQ(byte_at(at + 9), a[9]);
    EXPECT_EQ(byte_at(at + 29), b[19]);
    at += 30;
    ASSERT_EQ(30, preadv(fd, parts, 3, 7));
    EXPECT_EQ(byte_at(7), a[0]);
    EXPECT_EQ(byte_at(36), b[19]);
    if (i % 10 == 9) {
      at -= 100;
      EXPECT_EQ(at, lseek(fd, -100, SEEK_CUR));
    }
  }
}

TEST_P(OwnReadTest, LargeReads) {
  Fd fd(opened());
  std::string text(kSize + 1, 0);
  for (int i = 0; i < kOften; ++i) {
    ASSERT_EQ(0, lseek(fd, 0, SEEK_SET));
    ASSERT_EQ(kSize, read(fd, text.data(), text.size()));
    ASSERT_EQ(0, memcmp(text.data(), contents().data(), kSize));
    EXPECT_EQ(0, read(fd, text.data(), text.size()));
    EXPECT_EQ(kSize, where(fd));
    EXPECT_EQ(kSize - 5, pread(fd, text.data(), text.size(), 5));
    EXPECT_EQ(0, pread(fd, text.data(), text.size(), kSize + 5));
  }
}

TEST_P(OwnReadTest, Seeks) {
  Fd fd = hot();
  EXPECT_EQ(kOften, where(fd));
  EXPECT_EQ(10, lseek(fd, 10, SEEK_SET));
  expect_next(fd, 10);
  EXPECT_EQ(21, lseek(fd, 10, SEEK_CUR));
  expect_next(fd, 21);
  EXPECT_ERR(EINVAL, lseek(fd, -1, SEEK_SET));
  EXPECT_ERR(EINVAL, lseek(fd, -100, SEEK_CUR));
  EXPECT_ERR(EINVAL, lseek(fd, 0, 99));
  EXPECT_ERR(EINVAL, sys(SYS_lseek, static_cast<int>(fd), INT64_MAX, SEEK_CUR));
  expect_next(fd, 22);
  char byte;
  EXPECT_EQ(kSize, lseek(fd, 0, SEEK_END));
  EXPECT_EQ(0, read(fd, &byte, 1));
  EXPECT_EQ(kSize - 1, lseek(fd, -1, SEEK_CUR));
  expect_next(fd, kSize - 1);
  EXPECT_EQ(0, read(fd, &byte, 1));
  EXPECT_EQ(0, lseek(fd, 0, SEEK_SET));
  read_often(fd);
  const off_t far = off_t{1} << 42;
  EXPECT_EQ(far, lseek(fd, far, SEEK_SET));
  EXPECT_EQ(0, read(fd, &byte, 1));
  EXPECT_EQ(far, where(fd));
  EXPECT_EQ(kSize, lseek(fd, 5, SEEK_HOLE));
  EXPECT_EQ(5, lseek(fd, 5, SEEK_DATA));
  expect_next(fd, 5);
}

TEST_P(OwnReadTest, WrongArguments) {
  Fd fd = hot();
  char byte;
  for (void* p : bad_pointers()) {
    EXPECT_ERR(EFAULT, read(fd, p, 1));
    EXPECT_ERR(EFAULT, pread(fd, p, 1, 0));
    iovec one = {p, 1};
    EXPECT_ERR(EFAULT, readv(fd, &one, 1));
    EXPECT_ERR(EFAULT, sys(SYS_readv, static_cast<int>(fd), p, 1));
  }
  Straddle page;
  EXPECT_EQ(7, read(fd, page.last(7), 20));
  EXPECT_EQ(kOften + 7, where(fd));
  EXPECT_EQ(7, pread(fd, page.last(7), 20, 3));
  EXPECT_EQ(byte_at(3), *page.last(7));
  EXPECT_ERR(EINVAL, pread(fd, &byte, 1, -1));
  EXPECT_ERR(EINVAL, sys(SYS_pread64, static_cast<int>(fd), &byte, 1, INT64_MIN));
  iovec one = {&byte, 1};
  EXPECT_ERR(EINVAL, preadv(fd, &one, 1, -1));
  EXPECT_ERR(EINVAL, readv(fd, &one, -1));
  EXPECT_ERR(EINVAL, readv(fd, &one, 1025));
  EXPECT_EQ(0, readv(fd, &one, 0));
  EXPECT_EQ(0, read(fd, &byte, 0));
  EXPECT_EQ(0, read(fd, nullptr, 0));
  one.iov_len = static_cast<size_t>(-1);
  EXPECT_ERR(EINVAL, readv(fd, &one, 1));
  expect_next(fd, kOften + 7);
  mmap(nullptr, kPage, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  void* const unwritable = mmap(nullptr, kPage, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  EXPECT_ERR(EFAULT, read(fd, unwritable, 1));
  munmap(unwritable, kPage);
  expect_next(fd, kOften + 8);
}

TEST_P(OwnReadTest, Closed) {
  char byte;
  const std::string other = make_file("other", std::string(kSize, 'o'));
  for (int i = 0; i < 4; ++i) {
    const int fd = opened();
    read_often(fd);
    EXPECT_EQ(0, close(fd));
    EXPECT_ERR(EBADF, read(fd, &byte, 1));
    EXPECT_ERR(EBADF, pread(fd, &byte, 1, 0));
    EXPECT_ERR(EBADF, lseek(fd, 0, SEEK_SET));
    ASSERT_EQ(fd, open(other.c_str(), GetParam()));
    ASSERT_EQ(1, read(fd, &byte, 1));
    EXPECT_EQ('o', byte);
    EXPECT_EQ(0, close(fd));
    ASSERT_EQ(fd, opened());
    read_often(fd);
    Fd over(open(other.c_str(), GetParam()));
    ASSERT_EQ(fd, i % 2 == 0 ? dup2(over, fd) : dup3(over, fd, O_CLOEXEC));
    ASSERT_EQ(1, read(fd, &byte, 1));
    EXPECT_EQ('o', byte);
    EXPECT_EQ(1, where(over));
    EXPECT_EQ(0, close(fd));
    ASSERT_EQ(fd, opened());
    read_often(fd);
    ASSERT_OK(sys(SYS_close_range, fd, fd, 0));
    EXPECT_ERR(EBADF, read(fd, &byte, 1));
  }
}

TEST_P(OwnReadTest, MoreFilesThanFit) {
  std::vector<Fd> fds;
  for (int i = 0; i < 70; ++i) fds.push_back(hot());
  for (int round = 0; round < kOften; ++round) {
    for (Fd& fd : fds) expect_next(fd, kOften + round);
  }
  for (Fd& fd : fds) EXPECT_EQ(2 * kOften, where(fd));
}

TEST_P(OwnReadTest, DuplicatesShareThePosition) {
  Fd fd = hot();
  Fd second(dup(fd));
  expect_next(second, kOften);
  expect_next(fd, kOften + 1);
  EXPECT_EQ(kOften + 2, where(second));
  for (int i = 0; i < kOften; ++i) {
    expect_next(fd, kOften + 2 + 2 * i);
    expect_next(second, kOften + 3 + 2 * i);
  }
  EXPECT_EQ(0, lseek(second, 0, SEEK_SET));
  read_often(fd);
  second.reset();
  for (int i = 0; i < kOften; ++i) expect_next(fd, kOften + i);
  Fd third(fcntl(fd, F_DUPFD_CLOEXEC, 100));
  expect_next(third, 2 * kOften);
  expect_next(fd, 2 * kOften + 1);
}

TEST_P(OwnReadTest, ForkSharesThePosition) {
  Fd fd = hot();
  in_child([&] {
    expect_next(fd, kOften);
    for (int i = 1; i < kOften; ++i) expect_next(fd, kOften + i);
  });
  EXPECT_EQ(2 * kOften, where(fd));
  for (int i = 0; i < kOften; ++i) expect_next(fd, 2 * kOften + i);
  const pid_t pid = vfork();
  char byte;
  if (pid == 0) _exit(read(fd, &byte, 1) == 1 && byte == byte_at(3 * kOften) ? 0 : 1);
  int status;
  ASSERT_EQ(pid, waitpid(pid, &status, 0));
  EXPECT_EQ(0, status);
  expect_next(fd, 3 * kOften + 1);
}

TEST_P(OwnReadTest, SentToAnotherProcess) {
  Fd fd = hot();
  int ends[2];
  ASSERT_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
  Fd ours(ends[0]), theirs(ends[1]);
  const pid_t pid = fork();
  if (pid == 0) {
    close(fd);
    char data;
    iovec one = {&data, 1};
    char control[CMSG_SPACE(sizeof(int))];
    msghdr m = {};
    m.msg_iov = &one, m.msg_iovlen = 1;
    m.msg_control = control, m.msg_controllen = sizeof control;
    int got = -1;
    if (recvmsg(theirs, &m, 0) == 1 && CMSG_FIRSTHDR(&m) != nullptr) memcpy(&got, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof got);
    expect_next(got, kOften + 7);
    _exit(testing::Test::HasFailure() ? 1 : 0);
  }
  for (int i = 0; i < 7; ++i) expect_next(fd, kOften + i);
  char data = 'x';
  iovec one = {&data, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr m = {};
  m.msg_iov = &one, m.msg_iovlen = 1;
  m.msg_control = control, m.msg_controllen = sizeof control;
  cmsghdr* c = CMSG_FIRSTHDR(&m);
  c->cmsg_level = SOL_SOCKET, c->cmsg_type = SCM_RIGHTS, c->cmsg_len = CMSG_LEN(sizeof(int));
  const int number = fd;
  memcpy(CMSG_DATA(c), &number, sizeof number);
  ASSERT_EQ(1, sendmsg(ours, &m, 0));
  int status;
  ASSERT_EQ(pid, waitpid(pid, &status, 0));
  EXPECT_EQ(0, status);
  expect_next(fd, kOften + 8);
}

TEST_P(OwnReadTest, TakenByAnotherProcess) {
  Fd fd(opened());
  const int number = fd;
  const pid_t self = getpid();
  const Partner takes([&] {
    Fd us(static_cast<int>(sys(SYS_pidfd_open, self, 0)));
    Fd got(static_cast<int>(sys(SYS_pidfd_getfd, static_cast<int>(us), number, 0)));
    EXPECT_LE(0, got);
    expect_next(got, kOften);
  });
  Fd own = hot();  // the other's position is that of when it was made
  fd = Fd();
  ASSERT_EQ(number, fcntl(own, F_DUPFD, number));
  Fd again(number);
  own.reset();
  for (int i = 0; i < kOften; ++i) expect_next(again, kOften + i);
  EXPECT_EQ(kOften, lseek(again, kOften, SEEK_SET));
  takes.act();
  expect_next(again, kOften + 1);
}

TEST_P(OwnReadTest, SeenInProc) {
  Fd fd(opened());
  const pid_t self = getpid();
  const int number = fd;
  const Partner looks([&] { EXPECT_EQ(kOften + 3, position_in_proc(self, number)); });
  // What is open in the other too has a position of both.
  fd.reset();
  ASSERT_EQ(number, opened());
  fd = Fd(number);
  read_often(fd);
  for (int i = 0; i < 3; ++i) expect_next(fd, kOften + i);
  looks.act();
  expect_next(fd, kOften + 3);
  EXPECT_EQ(kOften + 4, position_in_proc(self, number));
}

TEST_P(OwnReadTest, OtherCallsUseThePosition) {
  Fd fd = hot();
  Pipe pipe;
  char text[10];
  ASSERT_EQ(10, sendfile(pipe.w, fd, nullptr, 10));
  ASSERT_EQ(10, read(pipe.r, text, 10));
  EXPECT_EQ(byte_at(kOften), text[0]);
  expect_next(fd, kOften + 10);
  for (int i = 0; i < kOften; ++i) expect_next(fd, kOften + 11 + i);
  ASSERT_EQ(10, splice(fd, nullptr, pipe.w, nullptr, 10, 0));
  ASSERT_EQ(10, read(pipe.r, text, 10));
  EXPECT_EQ(byte_at(2 * kOften + 11), text[0]);
  expect_next(fd, 2 * kOften + 21);
  Fd to(open((dir_ / "copy").c_str(), O_RDWR | O_CREAT, 0600));
  ASSERT_EQ(10, copy_file_range(fd, nullptr, to, nullptr, 10, 0));
  expect_next(fd, 2 * kOften + 32);
  void* const map = mmap(nullptr, kPage, PROT_READ, MAP_SHARED, fd, 0);
  ASSERT_NE(MAP_FAILED, map);
  expect_next(fd, 2 * kOften + 33);
  munmap(map, kPage);
}

TEST_P(OwnReadTest, ChangedByAnotherProcess) {
  const Partner grows([&] {
    Fd fd(open(path_.c_str(), O_WRONLY | O_APPEND));
    EXPECT_EQ(4, write(fd, "more", 4));
  });
  const Partner writes([&] {
    Fd fd(open(path_.c_str(), O_WRONLY));
    EXPECT_EQ(3, pwrite(fd, "new", 3, 50));
  });
  const Partner cuts([&] { EXPECT_EQ(0, truncate(path_.c_str(), 60)); });
  const Partner goes([&] { EXPECT_EQ(0, unlink(path_.c_str())); });
  Fd fd = hot();
  char text[8];
  writes.act();
  ASSERT_EQ(3, pread(fd, text, 3, 50));
  EXPECT_EQ("new", std::string(text, 3));
  EXPECT_EQ(kSize, lseek(fd, kSize, SEEK_SET));
  EXPECT_EQ(0, read(fd, text, 8));
  grows.act();
  EXPECT_EQ(4, read(fd, text, 8));
  EXPECT_EQ("more", std::string(text, 4));
  EXPECT_EQ(55, lseek(fd, 55, SEEK_SET));
  cuts.act();
  EXPECT_EQ(5, read(fd, text, 8));
  EXPECT_EQ(0, read(fd, text, 8));
  goes.act();
  EXPECT_EQ(8, pread(fd, text, 8, 10));
  EXPECT_EQ(byte_at(10), text[0]);
}

TEST_P(OwnReadTest, ThreadsShareThePosition) {
  constexpr int kThreads = 3, kEach = 20'000;
  Fd fd = hot();
  std::vector<int> seen(256, 0);
  std::atomic<long> sum = 0, count = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < kEach; ++i) {
        char byte;
        if (read(fd, &byte, 1) != 1) break;
        sum += static_cast<unsigned char>(byte);
        ++count;
      }
    });
  }
  for (auto& t : threads) t.join();
  ASSERT_EQ(kThreads * kEach, count);
  EXPECT_EQ(kOften + kThreads * kEach, where(fd));
  long want = 0;
  for (int i = 0; i < kThreads * kEach; ++i) want += static_cast<unsigned char>(byte_at(kOften + i));
  EXPECT_EQ(want, sum);  // each byte once
  for (int i = 0; i < kOften; ++i) expect_next(fd, kOften + kThreads * kEach + i);
}

TEST_P(OwnReadTest, ClosedByAnotherThread) {
  const std::string other = make_file("other", std::string(kSize, 'o'));
  const int fd = opened();
  PartnerThread closes({[&] { close(fd); }, [&] { EXPECT_EQ(fd, open(other.c_str(), GetParam())); }});
  pread_often(fd);
  char byte;
  closes.act();
  EXPECT_ERR(EBADF, pread(fd, &byte, 1, 0));
  closes.act();
  ASSERT_EQ(1, pread(fd, &byte, 1, 0));
  EXPECT_EQ('o', byte);
  close(fd);
}

TEST_P(OwnReadTest, ReplacedByAnotherThread) {
  const std::string other = make_file("other", std::string(kSize, 'o'));
  Fd fd(opened()), second(open(other.c_str(), GetParam()));
  const Fd first(dup(fd));
  std::atomic<int> round = 0, done = 0;
  constexpr int kRounds = 200;
  std::thread replaces([&] {
    for (int i = 1; i <= kRounds; ++i) {
      while (round != i) sched_yield();
      dup2(i % 2 == 1 ? second : first, fd);
      done = i;
    }
  });
  char byte;
  for (int i = 1; i <= kRounds; ++i) {
    for (int k = 0; k < 20; ++k) {
      ASSERT_EQ(1, pread(fd, &byte, 1, 100));
      ASSERT_EQ(i % 2 == 1 ? byte_at(100) : 'o', byte);
    }
    round = i;
    while (done != i) sched_yield();
  }
  replaces.join();
}

bool is_newer(const timespec& a, const timespec& b) { return a.tv_sec != b.tv_sec ? a.tv_sec > b.tv_sec : a.tv_nsec > b.tv_nsec; }

// An access time that is older than the last change is moved by a read, but where nothing moves it.
TEST_P(OwnReadTest, AccessTimes) {
  const timespec old[2] = {{1000, 0}, {2000, 0}};
  char byte;
  struct stat st;
  bool moves = false;
  {
    ASSERT_OK(utimensat(AT_FDCWD, path_.c_str(), old, 0));
    Fd fd(opened());
    ASSERT_EQ(1, read(fd, &byte, 1));
    ASSERT_OK(stat(path_.c_str(), &st));
    moves = st.st_atim.tv_sec != 1000;
  }
  Fd fd = hot();
  for (int i = 0; i < 3; ++i) {
    ASSERT_OK(utimensat(AT_FDCWD, path_.c_str(), old, 0));
    ASSERT_OK(stat(path_.c_str(), &st));
    EXPECT_EQ(1000, st.st_atim.tv_sec);
    usleep(20'000);  // a kernel may not tell two reads of one tick apart
    expect_next(fd, kOften + i);
    ASSERT_OK(stat(path_.c_str(), &st));
    EXPECT_EQ(moves, st.st_atim.tv_sec != 1000);
  }
  {
    Fd writer(open(path_.c_str(), O_WRONLY));
    usleep(20'000);
    ASSERT_EQ(1, pwrite(writer, "x", 1, 0));
  }
  usleep(20'000);
  expect_next(fd, kOften + 3);
  ASSERT_OK(fstat(fd, &st));
  if (moves) EXPECT_FALSE(is_newer(st.st_mtim, st.st_atim));
}

TEST_P(OwnReadTest, AccessTimesThatRest) {
  const timespec old[2] = {{1000, 0}, {2000, 0}};
  Fd fd = hot();
  for (int i = 0; i < 3; ++i) {
    Fd quiet(open(path_.c_str(), GetParam() | O_NOATIME));
    ASSERT_OK(utimensat(AT_FDCWD, path_.c_str(), old, 0));
    pread_often(quiet);
    read_often(quiet);
    struct stat st;
    ASSERT_OK(stat(path_.c_str(), &st));
    EXPECT_EQ(1000, st.st_atim.tv_sec);
    expect_next(fd, kOften + i);
  }
}

TEST_P(OwnReadTest, ReadsAreWatched) {
  Fd fd = hot();
  Fd watch(inotify_init1(IN_NONBLOCK));
  ASSERT_OK(inotify_add_watch(watch, path_.c_str(), IN_ACCESS));
  char event[512];
  for (int i = 0; i < 3; ++i) {
    expect_next(fd, kOften + i);
    EXPECT_LT(0, read(watch, event, sizeof event));
    char byte;
    EXPECT_EQ(1, pread(fd, &byte, 1, 0));
    EXPECT_LT(0, read(watch, event, sizeof event));
  }
}

TEST_P(OwnReadTest, FiltersHaveTheirSay) {
  Fd fd = hot();
  in_child([&] {
    for (int i = 0; i < kOften; ++i) expect_next(fd, kOften + i);
    sock_filter rules[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_read, 1, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_pread64, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EXDEV),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const sock_fprog program = {5, rules};
    ASSERT_OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    ASSERT_OK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program));
    char byte;
    EXPECT_ERR(EXDEV, read(fd, &byte, 1));
    EXPECT_ERR(EXDEV, pread(fd, &byte, 1, 0));
    EXPECT_EQ(2 * kOften, where(fd));
    iovec one = {&byte, 1};
    EXPECT_EQ(1, readv(fd, &one, 1));
    EXPECT_EQ(byte_at(2 * kOften), byte);
  });
}

TEST_P(OwnReadTest, RightsThatWereGivenUp) {
  SKIP_UNLESS_ROOT();
  ASSERT_OK(chmod(path_.c_str(), 0600));
  Fd fd = hot();
  in_child([&] {
    for (int i = 0; i < kOften; ++i) expect_next(fd, kOften + i);
    ASSERT_OK(setuid(kNobody));
    EXPECT_ERR(EACCES, open(path_.c_str(), O_RDONLY));
    for (int i = 0; i < kOften; ++i) expect_next(fd, 2 * kOften + i);
  });
  EXPECT_EQ(3 * kOften, where(fd));
}

TEST_P(OwnReadTest, StaysOpenAcrossExec) {
  Fd kept(opened());
  Pipe out(0);
  const pid_t pid = fork();
  if (pid == 0) {
    const int closed = open(path_.c_str(), O_RDONLY | O_CLOEXEC);
    lseek(kept, 0, SEEK_SET);
    read_often(kept);
    read_often(closed);
    const std::string text = std::to_string(static_cast<int>(kept)) + "," + std::to_string(closed) + "," + std::to_string(static_cast<int>(out.w));
    setenv("RUN9_OWN_READ", text.c_str(), 1);
    char* const args[] = {const_cast<char*>("own_read_test"), nullptr};
    execv("/proc/self/exe", args);
    _exit(9);
  }
  out.w.reset();
  char said[64] = {};
  EXPECT_LT(0, read(out.r, said, sizeof said - 1));
  EXPECT_EQ("position " + std::to_string(kOften) + " byte 1 closed 1", std::string(said));
  int status;
  ASSERT_EQ(pid, waitpid(pid, &status, 0));
  EXPECT_EQ(0, status);
  EXPECT_EQ(kOften + kOften, where(kept));
}

// The program that StaysOpenAcrossExec executes.
void say_what_is_open(const char* text) {
  int kept, closed, out;
  if (sscanf(text, "%d,%d,%d", &kept, &closed, &out) != 3) _exit(2);
  char byte;
  const off_t position = where(kept);
  bool right = true;
  for (int i = 0; i < kOften; ++i) right = read(kept, &byte, 1) == 1 && byte == byte_at(kOften + i) && right;
  const bool gone = read(closed, &byte, 1) == -1 && errno == EBADF;
  dprintf(out, "position %ld byte %d closed %d", static_cast<long>(position), right ? 1 : 0, gone ? 1 : 0);
  _exit(0);
}
const bool executed = [] {
  if (const char* text = getenv("RUN9_OWN_READ")) say_what_is_open(text);
  return true;
}();

std::atomic<int> ticks = 0;

TEST_P(OwnReadTest, SignalsBetweenReads) {
  Fd fd(opened());
  struct sigaction action = {};
  action.sa_handler = [](int) {
    ++ticks;
    char byte;
    const int other = open("/proc/self/exe", O_RDONLY);
    for (int i = 0; i < 10; ++i) [[maybe_unused]] const auto n = pread(other, &byte, 1, i);
    close(other);
  };
  struct sigaction before;
  ASSERT_OK(sigaction(SIGALRM, &action, &before));
  const itimerval often = {{0, 1000}, {0, 1000}}, never = {};
  setitimer(ITIMER_REAL, &often, nullptr);
  int64_t at = 0;
  while (ticks < 30) {
    char text[100];
    if (at + 100 > kSize) {
      ASSERT_EQ(0, lseek(fd, 0, SEEK_SET));
      at = 0;
    }
    ASSERT_EQ(100, read(fd, text, 100));
    ASSERT_EQ(byte_at(at), text[0]);
    at += 100;
  }
  setitimer(ITIMER_REAL, &never, nullptr);
  sigaction(SIGALRM, &before, nullptr);
  EXPECT_EQ(at, where(fd));
}

INSTANTIATE_TEST_SUITE_P(Modes, OwnReadTest, testing::Values(O_RDONLY, O_RDWR));

struct OwnReadWriteTest : DirTest {};

TEST_F(OwnReadWriteTest, WritesMoveThePosition) {
  const std::string path = make_file("file", contents());
  Fd fd(open(path.c_str(), O_RDWR));
  read_often(fd);
  int64_t at = kOften;
  for (int i = 0; i < kOften; ++i) {
    ASSERT_EQ(1, write(fd, "w", 1));
    ++at;
    expect_next(fd, at);
    ++at;
    char byte;
    ASSERT_EQ(1, pread(fd, &byte, 1, at - 2));
    EXPECT_EQ('w', byte);
  }
  EXPECT_EQ(at, where(fd));
  ASSERT_OK(ftruncate(fd, at));
  char byte;
  EXPECT_EQ(0, read(fd, &byte, 1));
  EXPECT_OK(fcntl(fd, F_SETFL, O_APPEND));
  lseek(fd, 0, SEEK_SET);
  read_often(fd);
  ASSERT_EQ(1, write(fd, "a", 1));
  EXPECT_EQ(at + 1, where(fd));
}

TEST_F(OwnReadWriteTest, WritesToNowhere) {
  const std::string path = make_file("file", contents());
  const std::string text = contents();
  for (int i = 0; i < 4; ++i) {
    const int fd = open("/dev/null", i % 2 == 0 ? O_WRONLY : O_RDWR);
    for (int k = 0; k < kOften; ++k) ASSERT_EQ(k, write(fd, text.data(), static_cast<size_t>(k)));
    EXPECT_EQ(kSize, write(fd, text.data(), kSize));
    EXPECT_EQ(0x7ffff000, sys(SYS_write, fd, 0x10000, 0x7fffffff));
    EXPECT_EQ(3, sys(SYS_write, fd, bad<char>(), 3));
    EXPECT_ERR(EFAULT, sys(SYS_write, fd, kBadAddresses[4], 3));
    EXPECT_ERR(EFAULT, sys(SYS_write, fd, 0x10000, -1));
    iovec parts[2] = {{const_cast<char*>(text.data()), 3}, {const_cast<char*>(text.data()), 4}};
    EXPECT_EQ(7, writev(fd, parts, 2));
    EXPECT_EQ(5, pwrite(fd, text.data(), 5, 100));
    EXPECT_EQ(0, where(fd));
    char byte;
    if (i % 2 == 0) {
      EXPECT_ERR(EBADF, read(fd, &byte, 1));
    } else {
      EXPECT_EQ(0, read(fd, &byte, 1));
    }
    in_child([&] { EXPECT_EQ(2, write(fd, "ab", 2)); });
    if (i < 2) {
      Fd file(open(path.c_str(), O_RDWR));
      ASSERT_EQ(fd, dup2(file, fd));
      EXPECT_EQ(2, write(fd, "ab", 2));
      EXPECT_EQ(2, where(fd));
    }
    EXPECT_EQ(0, close(fd));
    EXPECT_ERR(EBADF, write(fd, "ab", 2));
  }
  Fd reads(open("/dev/null", O_RDONLY));
  for (int k = 0; k < kOften; ++k) EXPECT_ERR(EBADF, write(reads, "a", 1));
}

TEST_F(OwnReadWriteTest, OnlyForWriting) {
  const std::string path = make_file("file", contents());
  Fd fd(open(path.c_str(), O_WRONLY));
  char byte;
  for (int i = 0; i < kOften; ++i) {
    EXPECT_ERR(EBADF, read(fd, &byte, 1));
    EXPECT_ERR(EBADF, pread(fd, &byte, 1, 0));
  }
}

TEST_F(OwnReadWriteTest, MemoryFiles) {
  Fd fd(static_cast<int>(sys(SYS_memfd_create, "test", MFD_ALLOW_SEALING)));
  ASSERT_LE(0, fd);
  const std::string text = contents();
  ASSERT_EQ(kSize, write(fd, text.data(), text.size()));
  lseek(fd, 0, SEEK_SET);
  read_often(fd);
  EXPECT_OK(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK));
  EXPECT_ERR(EPERM, write(fd, "x", 1));
  expect_next(fd, kOften);
}

}  // namespace
}  // namespace run9::guest
