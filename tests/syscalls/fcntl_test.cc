// dup, fcntl, flock and record locks, ioctl of descriptors.
#include <sys/file.h>
#include <sys/ioctl.h>

#include "tests/syscalls/test_util.h"

namespace run9::guest {
namespace {

using FcntlTest = DirTest;

TEST_F(FcntlTest, Dup) {
  Fd fd = open_file("f", "0123");
  Fd a(sys(SYS_dup, fd));
  ASSERT_OK(+a);
  EXPECT_EQ(2, lseek(a, 2, SEEK_SET));
  EXPECT_EQ(2, lseek(fd, 0, SEEK_CUR));
  EXPECT_EQ(0, fcntl(a, F_GETFD));  // close-on-exec is not copied
  EXPECT_EQ(200, sys(SYS_dup2, fd, 200));
  EXPECT_EQ(200, sys(SYS_dup2, 200, 200));
  EXPECT_EQ(200, sys(SYS_dup2, a, 200));  // closes what was there
  EXPECT_EQ(201, sys(SYS_dup3, fd, 201, O_CLOEXEC));
  EXPECT_EQ(FD_CLOEXEC, fcntl(201, F_GETFD));
  close(200);
  close(201);
  EXPECT_ERR(EBADF, sys(SYS_dup, dead_fd()));
  EXPECT_ERR(EBADF, sys(SYS_dup2, dead_fd(), 5));
  EXPECT_ERR(EBADF, sys(SYS_dup2, dead_fd(), dead_fd()));
  EXPECT_ERR(EBADF, sys(SYS_dup2, fd, -1));
  EXPECT_ERR(EINVAL, sys(SYS_dup3, fd, fd, 0));
  EXPECT_ERR(EINVAL, sys(SYS_dup3, fd, 202, 1));
  EXPECT_ERR(EBADF, sys(SYS_dup3, dead_fd(), 202, 0));
  EXPECT_ERR(EBADF, sys(SYS_dup2, fd, 1 << 30));
}

TEST_F(FcntlTest, DupFd) {
  Fd fd = open_file("f");
  Fd a(sys(SYS_fcntl, fd, F_DUPFD, 300)), b(sys(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 300));
  EXPECT_EQ(300, a);
  EXPECT_EQ(301, b);
  EXPECT_EQ(0, fcntl(a, F_GETFD));
  EXPECT_EQ(FD_CLOEXEC, fcntl(b, F_GETFD));
  EXPECT_ERR(EINVAL, sys(SYS_fcntl, fd, F_DUPFD, -1));
  EXPECT_ERR(EINVAL, sys(SYS_fcntl, fd, F_DUPFD, 1 << 30));
  EXPECT_ERR(EBADF, sys(SYS_fcntl, dead_fd(), F_DUPFD, 0));
  EXPECT_ERR(EINVAL, sys(SYS_fcntl, fd, 9999, 0));
}

TEST_F(FcntlTest, Flags) {
  Fd fd(open(make_file("f").c_str(), O_RDWR | O_APPEND));
  EXPECT_EQ(O_RDWR | O_APPEND, fcntl(fd, F_GETFL) & (O_ACCMODE | O_APPEND | O_NONBLOCK));
  EXPECT_OK(fcntl(fd, F_SETFL,
                  O_NONBLOCK | O_WRONLY | O_CREAT));  // access and creation flags are left alone
  EXPECT_EQ(O_RDWR | O_NONBLOCK, fcntl(fd, F_GETFL) & (O_ACCMODE | O_APPEND | O_NONBLOCK));
  Fd copy(dup(fd));
  EXPECT_NE(0, fcntl(copy, F_GETFL) & O_NONBLOCK);  // shared by copies
  EXPECT_OK(fcntl(fd, F_SETFD, FD_CLOEXEC));
  EXPECT_EQ(FD_CLOEXEC, fcntl(fd, F_GETFD));
  EXPECT_EQ(0, fcntl(copy, F_GETFD));  // not shared
  EXPECT_ERR(EBADF, fcntl(dead_fd(), F_GETFL));
  EXPECT_ERR(EBADF, fcntl(dead_fd(), F_SETFD, 0));
}

TEST_F(FcntlTest, IoctlOfDescriptors) {
  Pipe p;
  int on = 1, n = -1;
  EXPECT_OK(sys(SYS_ioctl, p.r, FIONBIO, &on));
  EXPECT_NE(0, fcntl(p.r, F_GETFL) & O_NONBLOCK);
  EXPECT_OK(sys(SYS_ioctl, p.r, FIOCLEX, 0));
  EXPECT_EQ(FD_CLOEXEC, fcntl(p.r, F_GETFD));
  EXPECT_OK(sys(SYS_ioctl, p.r, FIONCLEX, 0));
  EXPECT_EQ(0, fcntl(p.r, F_GETFD));
  EXPECT_ERR(EFAULT, sys(SYS_ioctl, p.r, FIONREAD, bad()));
  EXPECT_ERR(EFAULT, sys(SYS_ioctl, p.r, FIONBIO, bad()));
  Fd fd = open_file("f", "12345");
  EXPECT_OK(sys(SYS_ioctl, fd, FIONREAD, &n));
  EXPECT_EQ(5, n);
  EXPECT_ERR(ENOTTY, sys(SYS_ioctl, fd, 0x12345678, &n));
}

TEST_F(FcntlTest, Flock) {
  make_file("f");
  auto again = [&] { return Fd(open(at("f").c_str(), O_RDWR)); };
  Fd a = again(), b = again();
  EXPECT_OK(sys(SYS_flock, a, LOCK_SH));
  EXPECT_OK(sys(SYS_flock, b, LOCK_SH | LOCK_NB));
  EXPECT_ERR(EAGAIN, sys(SYS_flock, a, LOCK_EX | LOCK_NB));
  EXPECT_OK(sys(SYS_flock, b, LOCK_UN));
  EXPECT_OK(sys(SYS_flock, a, LOCK_EX | LOCK_NB));
  in_child([&] {
    Fd c = again();
    EXPECT_ERR(EAGAIN, flock(c, LOCK_SH | LOCK_NB));
    EXPECT_OK(flock(a, LOCK_EX | LOCK_NB));  // inherited: the same open file
  });
  Fd copy(dup(a));
  a.reset();
  EXPECT_ERR(EAGAIN, flock(b, LOCK_SH | LOCK_NB));
  copy.reset();  // the last copy frees it
  EXPECT_OK(flock(b, LOCK_EX | LOCK_NB));
  EXPECT_ERR(EBADF, sys(SYS_flock, dead_fd(), LOCK_SH));
  EXPECT_ERR(EINVAL, sys(SYS_flock, b, 0));
}

TEST_F(FcntlTest, FlockWaitsAndIsInterrupted) {
  make_file("f");
  Fd a(open(at("f").c_str(), O_RDWR)), b(open(at("f").c_str(), O_RDWR));
  ASSERT_OK(flock(a, LOCK_EX));
  {
    AlarmStorm storm;
    EXPECT_ERR(EINTR, flock(b, LOCK_EX));
  }
  const pid_t pid = spawn([&] {
    a.reset();
    EXPECT_OK(flock(b, LOCK_EX));
  });
  await_sleep(pid, pid);
  ASSERT_OK(flock(a, LOCK_UN));
  EXPECT_EQ(0, reap(pid));
}

struct flock region(int type, off_t start, off_t length) {
  struct flock l = {};
  l.l_type = static_cast<short>(type);
  l.l_whence = SEEK_SET;
  l.l_start = start;
  l.l_len = length;
  return l;
}

TEST_F(FcntlTest, RecordLocks) {
  Fd fd = open_file("f", "0123456789");
  struct flock l = region(F_WRLCK, 2, 3);
  ASSERT_OK(fcntl(fd, F_SETLK, &l));
  l = region(F_RDLCK, 7, 0);
  ASSERT_OK(fcntl(fd, F_SETLK, &l));
  const pid_t parent = getpid();
  in_child([&] {
    struct flock q = region(F_RDLCK, 0, 0);
    EXPECT_OK(fcntl(fd, F_GETLK, &q));
    EXPECT_EQ(F_WRLCK, q.l_type);
    EXPECT_EQ(2, q.l_start);
    EXPECT_EQ(3, q.l_len);
    EXPECT_EQ(parent, q.l_pid);
    q = region(F_WRLCK, 4, 1);
    EXPECT_ERR(EAGAIN, fcntl(fd, F_SETLK, &q));
    q = region(F_WRLCK, 5, 2);
    EXPECT_OK(fcntl(fd, F_SETLK, &q));
    q = region(F_RDLCK, 8, 1);
    EXPECT_OK(fcntl(fd, F_SETLK, &q));
    q = region(F_WRLCK, 100, 1);
    EXPECT_ERR(EAGAIN, fcntl(fd, F_SETLK, &q));  // to the end means beyond it too
  });
  l = region(F_WRLCK, 0, 0);
  EXPECT_OK(fcntl(fd, F_SETLK, &l));  // the child's went with it
  l = region(F_UNLCK, 0, 0);
  EXPECT_OK(fcntl(fd, F_SETLK, &l));
  l = region(9, 0, 1);
  EXPECT_ERR(EINVAL, fcntl(fd, F_SETLK, &l));
  l = region(F_RDLCK, -1, 1);
  EXPECT_ERR(EINVAL, fcntl(fd, F_SETLK, &l));
  EXPECT_ERR(EFAULT, sys(SYS_fcntl, fd, F_SETLK, bad()));
  EXPECT_ERR(EFAULT, sys(SYS_fcntl, fd, F_GETLK, bad()));
  Fd read_only(open(at("f").c_str(), O_RDONLY));
  l = region(F_WRLCK, 0, 1);
  EXPECT_ERR(EBADF, fcntl(read_only, F_SETLK, &l));
}

TEST_F(FcntlTest, RecordLocksGoWithAnyCloseOfTheFile) {
  Fd fd = open_file("f", "0123456789");
  struct flock l = region(F_WRLCK, 0, 1);
  ASSERT_OK(fcntl(fd, F_SETLK, &l));
  close(open(at("f").c_str(), O_RDONLY));
  in_child([&] {
    struct flock q = region(F_WRLCK, 0, 1);
    EXPECT_OK(fcntl(fd, F_SETLK, &q));
  });
}

TEST_F(FcntlTest, WhoMadeTheFile) {
  constexpr int kCreatedQuery = 1028;  // F_CREATED_QUERY, since Linux 6.12
  Fd made(open(at("new").c_str(), O_CREAT | O_RDONLY | O_CLOEXEC, 0600));
  const long r = sys(SYS_fcntl, made, kCreatedQuery, 0);
  if (r == -1 && errno == EINVAL) GTEST_SKIP() << "this kernel does not tell";
  EXPECT_EQ(1, r);
  Fd again(open(at("new").c_str(), O_CREAT | O_RDONLY | O_CLOEXEC, 0600));
  EXPECT_EQ(0, sys(SYS_fcntl, again, kCreatedQuery, 0));
}

TEST_F(FcntlTest, RecordLockWaits) {
  Fd fd = open_file("f", "0123456789");
  struct flock l = region(F_WRLCK, 0, 1);
  ASSERT_OK(fcntl(fd, F_SETLK, &l));
  const pid_t pid = spawn([&] {
    struct flock q = region(F_WRLCK, 0, 1);
    EXPECT_OK(fcntl(fd, F_SETLKW, &q));
  });
  await_sleep(pid, pid);
  l = region(F_UNLCK, 0, 1);
  ASSERT_OK(fcntl(fd, F_SETLK, &l));
  EXPECT_EQ(0, reap(pid));
}

TEST_F(FcntlTest, RecordLockDeadlockIsSeen) {
  Fd fd = open_file("f", "0123456789");
  struct flock l = region(F_WRLCK, 0, 1);
  ASSERT_OK(fcntl(fd, F_SETLK, &l));
  Pipe ready;
  const pid_t pid = spawn([&] {
    struct flock q = region(F_WRLCK, 1, 1);
    EXPECT_OK(fcntl(fd, F_SETLK, &q));
    ready.notify();
    q = region(F_WRLCK, 0, 1);
    EXPECT_OK(fcntl(fd, F_SETLKW, &q));
  });
  ready.await();
  await_sleep(pid, pid);
  // Whoever asks second is told; the child may not be asleep yet, then it is the one: so only try,
  // bounded by the wait.
  l = region(F_WRLCK, 1, 1);
  const int got = fcntl(fd, F_SETLK, &l);
  EXPECT_ERR(EAGAIN, got);
  l = region(F_UNLCK, 0, 1);
  ASSERT_OK(fcntl(fd, F_SETLK, &l));
  EXPECT_EQ(0, reap(pid));
}

TEST_F(FcntlTest, OpenFileDescriptionLocks) {
  make_file("f", "0123456789");
  Fd a(open(at("f").c_str(), O_RDWR)), b(open(at("f").c_str(), O_RDWR));
  struct flock l = region(F_WRLCK, 0, 5);
  EXPECT_OK(fcntl(a, F_OFD_SETLK, &l));
  l = region(F_WRLCK, 4, 1);
  EXPECT_ERR(EAGAIN, fcntl(b, F_OFD_SETLK, &l));
  EXPECT_OK(fcntl(b, F_OFD_GETLK, &l));
  EXPECT_EQ(-1, l.l_pid);
  l = region(F_WRLCK, 4, 1);
  l.l_pid = 1;
  EXPECT_ERR(EINVAL, fcntl(b, F_OFD_SETLK, &l));
  a.reset();
  l = region(F_WRLCK, 4, 1);
  EXPECT_OK(fcntl(b, F_OFD_SETLK, &l));
}

TEST_F(FcntlTest, OwnerAndSignal) {
  Pipe p;
  EXPECT_OK(fcntl(p.r, F_SETOWN, getpid()));
  EXPECT_EQ(getpid(), fcntl(p.r, F_GETOWN));
  EXPECT_OK(fcntl(p.r, F_SETSIG, SIGUSR1));
  EXPECT_EQ(SIGUSR1, fcntl(p.r, F_GETSIG));
  EXPECT_ERR(EINVAL, fcntl(p.r, F_SETSIG, 99));
}

}  // namespace
}  // namespace run9::guest
