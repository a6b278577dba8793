// POSIX message queues: order, limits, waiting, notification. Names here are without the slash libc takes off.
#include <mqueue.h>
#include <poll.h>

#include "tests/syscalls/test_util.h"

namespace run9::guest {
namespace {

class MqueueTest : public testing::Test {
 protected:
  void SetUp() override {
    if (sys(SYS_mq_open, "run9-none", O_RDONLY, 0, nullptr) == -1 && errno == ENOSYS) GTEST_SKIP() << "no queues";
    sys(SYS_mq_unlink, name());
  }
  void TearDown() override { sys(SYS_mq_unlink, name()); }
  const char* name() {
    name_ = "run9-test-" + std::to_string(getpid());
    return name_.c_str();
  }
  long open(int flags, long max = 4, long size = 16) {
    mq_attr a = {};
    a.mq_maxmsg = max;
    a.mq_msgsize = size;
    return sys(SYS_mq_open, name(), flags, 0600, &a);
  }
  static long send(int fd, const char* text, unsigned priority) {
    return sys(SYS_mq_timedsend, fd, text, strlen(text), priority, nullptr);
  }
  static std::string receive(int fd) {
    char buffer[16];
    unsigned priority = 0;
    const long n = sys(SYS_mq_timedreceive, fd, buffer, sizeof(buffer), &priority, nullptr);
    if (n < 0) return errno_name(errno);
    return std::string(buffer, static_cast<size_t>(n)) + std::to_string(priority);
  }

 private:
  std::string name_;
};

TEST_F(MqueueTest, PriorityFirstThenAge) {
  Fd q(open(O_CREAT | O_RDWR | O_NONBLOCK));
  ASSERT_OK(+q);
  EXPECT_EQ("EAGAIN", receive(q));
  EXPECT_OK(send(q, "a", 1));
  EXPECT_OK(send(q, "b", 5));
  EXPECT_OK(send(q, "c", 5));
  EXPECT_OK(send(q, "", 0));
  EXPECT_ERR(EAGAIN, send(q, "full", 0));
  mq_attr a = {};
  EXPECT_OK(sys(SYS_mq_getsetattr, +q, nullptr, &a));
  EXPECT_EQ(4, a.mq_curmsgs);
  EXPECT_EQ(16, a.mq_msgsize);
  EXPECT_EQ(O_NONBLOCK, a.mq_flags);
  for (const char* want : {"b5", "c5", "a1", "0"}) EXPECT_EQ(want, receive(q));
  pollfd p = {q, POLLIN | POLLOUT, 0};
  EXPECT_EQ(1, poll(&p, 1, 0));
  EXPECT_EQ(POLLOUT, p.revents);
}

TEST_F(MqueueTest, NamesAndErrors) {
  EXPECT_ERR(ENOENT, open(O_RDWR));
  Fd q(open(O_CREAT | O_EXCL | O_WRONLY));
  ASSERT_OK(+q);
  EXPECT_ERR(EEXIST, open(O_CREAT | O_EXCL | O_RDWR));
  EXPECT_EQ(FD_CLOEXEC, fcntl(q, F_GETFD));
  EXPECT_EQ("EBADF", receive(q));  // not open for reading
  EXPECT_ERR(EMSGSIZE, send(q, "seventeen letters", 0));
  EXPECT_ERR(EINVAL, send(q, "x", 32768));
  EXPECT_ERR(EFAULT, sys(SYS_mq_timedsend, +q, bad(), 4, 0, nullptr));
  EXPECT_ERR(EBADF, sys(SYS_mq_timedsend, dead_fd(), "x", 1, 0, nullptr));
  const timespec wrong = {0, 2'000'000'000};
  EXPECT_ERR(EINVAL, sys(SYS_mq_timedsend, +q, "x", 1, 0, &wrong));
  EXPECT_OK(sys(SYS_mq_unlink, name()));
  EXPECT_ERR(EINVAL, open(O_CREAT | O_RDWR, 0, 16));
  EXPECT_ERR(EINVAL, open(O_CREAT | O_RDWR, 4, -1));
  EXPECT_ERR(EFAULT, sys(SYS_mq_open, bad(), O_RDWR, 0, nullptr));
  EXPECT_ERR(EACCES, sys(SYS_mq_open, "a/b", O_CREAT | O_RDWR, 0600, nullptr));
}

TEST_F(MqueueTest, SmallBuffersTimeoutsAndUnlink) {
  Fd q(open(O_CREAT | O_RDWR));
  ASSERT_OK(+q);
  char small[4];
  EXPECT_ERR(EMSGSIZE, sys(SYS_mq_timedreceive, +q, small, sizeof(small), nullptr, nullptr));
  char buffer[16];
  const timespec past = {1, 0};
  EXPECT_ERR(ETIMEDOUT, sys(SYS_mq_timedreceive, +q, buffer, sizeof(buffer), nullptr, &past));
  EXPECT_OK(sys(SYS_mq_unlink, name()));
  EXPECT_ERR(ENOENT, sys(SYS_mq_unlink, name()));
  EXPECT_OK(send(q, "still", 3));  // without a name
  EXPECT_EQ("still3", receive(q));
  in_child([&] { EXPECT_OK(send(q, "child", 1)); });
  EXPECT_EQ("child1", receive(q));
}

TEST_F(MqueueTest, NotifiesOnce) {
  ScopedBlock block({SIGUSR1});
  Fd q(open(O_CREAT | O_RDWR));
  ASSERT_OK(+q);
  sigevent e = {};
  e.sigev_notify = SIGEV_SIGNAL;
  e.sigev_signo = SIGUSR1;
  e.sigev_value.sival_int = 77;
  EXPECT_OK(sys(SYS_mq_notify, +q, &e));
  EXPECT_ERR(EBUSY, sys(SYS_mq_notify, +q, &e));
  EXPECT_OK(send(q, "x", 0));
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  siginfo_t info = {};
  EXPECT_EQ(SIGUSR1, sigwaitinfo(&set, &info));
  EXPECT_EQ(SI_MESGQ, info.si_code);
  EXPECT_EQ(77, info.si_value.sival_int);
  EXPECT_EQ(getpid(), info.si_pid);
  EXPECT_OK(sys(SYS_mq_notify, +q, &e));  // it may ask again
  EXPECT_OK(sys(SYS_mq_notify, +q, nullptr));
  e.sigev_notify = 99;
  EXPECT_ERR(EINVAL, sys(SYS_mq_notify, +q, &e));
  EXPECT_ERR(EFAULT, sys(SYS_mq_notify, +q, bad()));
}

// The signal that waits, and who sent it; 0: none.
int take(int signo, siginfo_t* info) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, signo);
  const timespec now = {0, 0};
  const int got = sigtimedwait(&set, info, &now);
  return got == -1 ? 0 : got;
}

TEST_F(MqueueTest, NotifiesOfOthersMessages) {
  ScopedBlock block({SIGUSR1});
  Fd q(open(O_CREAT | O_RDWR));
  ASSERT_OK(+q);
  sigevent e = {};
  e.sigev_notify = SIGEV_SIGNAL;
  e.sigev_signo = SIGUSR1;
  siginfo_t info = {};
  EXPECT_OK(send(q, "first", 0));
  EXPECT_OK(sys(SYS_mq_notify, +q, &e));
  EXPECT_OK(send(q, "second", 0));
  EXPECT_EQ(0, take(SIGUSR1, &info)) << "the queue was not empty";
  EXPECT_EQ("first0", receive(q));
  EXPECT_EQ("second0", receive(q));
  const pid_t pid = spawn([&] {
    EXPECT_ERR(EBUSY, sys(SYS_mq_notify, +q, &e));
    EXPECT_OK(sys(SYS_mq_notify, +q, nullptr)) << "of no effect: another's";
    EXPECT_OK(send(q, "child", 0));
  });
  EXPECT_EQ(0, reap(pid));
  EXPECT_EQ(SIGUSR1, take(SIGUSR1, &info));
  EXPECT_EQ(pid, info.si_pid);
  EXPECT_EQ(getuid(), info.si_uid);
  EXPECT_EQ("child0", receive(q));
  EXPECT_OK(send(q, "again", 0));
  EXPECT_EQ(0, take(SIGUSR1, &info)) << "it is told once";
}

TEST_F(MqueueTest, AReceiverIsServedFirst) {
  ScopedBlock block({SIGUSR1});
  Fd q(open(O_CREAT | O_RDWR));
  ASSERT_OK(+q);
  sigevent e = {};
  e.sigev_notify = SIGEV_SIGNAL;
  e.sigev_signo = SIGUSR1;
  EXPECT_OK(sys(SYS_mq_notify, +q, &e));
  const pid_t pid = spawn([&] { EXPECT_EQ("x0", receive(q)); });
  await_sleep(pid, pid);
  EXPECT_OK(send(q, "x", 0));
  EXPECT_EQ(0, reap(pid));
  // Unless it was not asleep yet: then the signal came, and that is all there is.
  siginfo_t info = {};
  if (take(SIGUSR1, &info) == 0) {
    EXPECT_OK(send(q, "y", 0));
    EXPECT_EQ(SIGUSR1, take(SIGUSR1, &info));
  }
}

TEST_F(MqueueTest, CloseAndExitWithdraw) {
  Fd q(open(O_CREAT | O_RDWR));
  ASSERT_OK(+q);
  sigevent none = {};
  none.sigev_notify = SIGEV_NONE;
  in_child([&] { EXPECT_OK(sys(SYS_mq_notify, +q, &none)); });
  EXPECT_OK(sys(SYS_mq_notify, +q, &none)) << "the child's went with it";
  EXPECT_ERR(EBUSY, sys(SYS_mq_notify, +q, &none));
  in_child([&] { close(q); });
  EXPECT_ERR(EBUSY, sys(SYS_mq_notify, +q, &none)) << "another's close";
  Fd again(open(O_RDWR));
  ASSERT_OK(+again);
  again.reset();
  EXPECT_OK(sys(SYS_mq_notify, +q, &none)) << "any close of the queue by its owner";
  EXPECT_ERR(EBADF, sys(SYS_mq_notify, dead_fd(), &none));
  const Pipe p;
  EXPECT_ERR(EBADF, sys(SYS_mq_notify, +p.r, &none));
  sigevent wrong = {};
  wrong.sigev_notify = SIGEV_SIGNAL;
  wrong.sigev_signo = 65;
  EXPECT_ERR(EINVAL, sys(SYS_mq_notify, +q, &wrong));
}

}  // namespace
}  // namespace run9::guest
