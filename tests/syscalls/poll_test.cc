// poll, ppoll, select, pselect6, epoll, eventfd, timerfd, inotify.
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/timerfd.h>

#include <algorithm>
#include <thread>

#include "tests/syscalls/test_util.h"

namespace run9::guest {
namespace {

// --- poll and select
// -------------------------------------------------------------------------------------------------

TEST(PollTest, Basics) {
  Pipe p;
  pollfd fds[4] = {{p.r, POLLIN, 0}, {-1, POLLIN, 77}, {dead_fd(), POLLIN, 0}, {p.w, POLLOUT, 0}};
  EXPECT_EQ(2, sys(SYS_poll, fds, 4, -1));
  EXPECT_EQ(0, fds[0].revents);
  EXPECT_EQ(0, fds[1].revents);
  EXPECT_EQ(POLLNVAL, fds[2].revents);
  EXPECT_EQ(POLLOUT, fds[3].revents);
  EXPECT_EQ(0, sys(SYS_poll, fds, 1, 0));
  EXPECT_EQ(0, sys(SYS_poll, fds, 1, 2));
  p.notify();
  EXPECT_EQ(1, sys(SYS_poll, fds, 1, -1));
  EXPECT_EQ(0, sys(SYS_poll, nullptr, 0, 0));
}

TEST(PollTest, Errors) {
  pollfd fd = {0, POLLIN, 0};
  for (void* p : bad_pointers()) {
    EXPECT_ERR(EFAULT, sys(SYS_poll, p, 1, 0));
    EXPECT_ERR(EFAULT, sys(SYS_ppoll, p, 1, nullptr, nullptr, 8));
  }
  Straddle page;
  EXPECT_ERR(EFAULT, sys(SYS_poll, page.last<pollfd>(sizeof(pollfd)), 2, 0));
  const timespec wrong = {0, 1'000'000'000}, negative = {-1, 0};
  EXPECT_ERR(EINVAL, sys(SYS_ppoll, &fd, 1, &wrong, nullptr, 8));
  EXPECT_ERR(EINVAL, sys(SYS_ppoll, &fd, 1, &negative, nullptr, 8));
  EXPECT_ERR(EFAULT, sys(SYS_ppoll, &fd, 1, bad(), nullptr, 8));
  EXPECT_ERR(EFAULT, sys(SYS_ppoll, &fd, 1, nullptr, bad(), 8));
  uint64_t set = 0;
  EXPECT_ERR(EINVAL, sys(SYS_ppoll, &fd, 1, nullptr, &set, 4));
  in_child([&] {
    const rlimit limit = {10, 10};
    setrlimit(RLIMIT_NOFILE, &limit);
    std::vector<pollfd> many(11, fd);
    EXPECT_ERR(EINVAL, sys(SYS_poll, many.data(), 11, 0));
  });
}

TEST(PollTest, WakesWhenAnotherProcessWrites) {
  Pipe p;
  const pid_t me = getpid();
  const pid_t pid = spawn([&] {
    await_sleep(me, me);
    p.notify();
  });
  pollfd fd = {p.r, POLLIN, 0};
  EXPECT_EQ(1, poll(&fd, 1, -1));
  EXPECT_EQ(0, reap(pid));
}

TEST(PollTest, RegularFileIsAlwaysReady) {
  Fd fd(memfd_create("x", 0));
  pollfd p = {fd, POLLIN | POLLOUT, 0};
  EXPECT_EQ(1, poll(&p, 1, -1));
  EXPECT_EQ(POLLIN | POLLOUT, p.revents);
}

volatile sig_atomic_t handled;

TEST(PollTest, PpollSwapsTheMask) {
  ScopedHandler handler(
      SIGUSR1, +[](int) { handled = handled + 1; });
  ScopedBlock block({SIGUSR1});
  handled = 0;
  raise(SIGUSR1);
  uint64_t none = 0;
  EXPECT_ERR(EINTR, sys(SYS_ppoll, nullptr, 0, nullptr, &none, 8));
  EXPECT_EQ(1, handled);
  raise(SIGUSR1);
  struct {
    const uint64_t* set;
    size_t size;
  } six = {&none, 8};
  EXPECT_ERR(EINTR, sys(SYS_pselect6, 0, nullptr, nullptr, nullptr, nullptr, &six));
  EXPECT_EQ(2, handled);
  Fd ep(epoll_create1(0));
  epoll_event event;
  raise(SIGUSR1);
  EXPECT_ERR(EINTR, sys(SYS_epoll_pwait, ep, &event, 1, -1, &none, 8));
  EXPECT_EQ(3, handled);
}

TEST(PollTest, TimeoutIsWrittenBack) {
  timespec t = {0, 1'000'000};
  EXPECT_EQ(0, sys(SYS_ppoll, nullptr, 0, &t, nullptr, 8));
  EXPECT_EQ(0, t.tv_sec);
  EXPECT_EQ(0, t.tv_nsec);
  Pipe p;
  fd_set set;
  FD_ZERO(&set);
  FD_SET(p.w, &set);
  timeval tv = {1000, 0};
  EXPECT_EQ(1, sys(SYS_select, p.w + 1, nullptr, &set, nullptr, &tv));
  EXPECT_GT(tv.tv_sec, 900);
}

TEST(PollTest, Select) {
  Pipe p;
  fd_set r, w;
  FD_ZERO(&r);
  FD_ZERO(&w);
  FD_SET(p.r, &r);
  FD_SET(p.w, &w);
  timeval zero = {0, 0};
  const int n = std::max(+p.r, +p.w) + 1;
  EXPECT_EQ(1, sys(SYS_select, n, &r, &w, nullptr, &zero));
  EXPECT_FALSE(FD_ISSET(p.r, &r));
  EXPECT_TRUE(FD_ISSET(p.w, &w));
  p.notify();
  FD_SET(p.r, &r);
  EXPECT_EQ(2, sys(SYS_select, n, &r, &w, nullptr, nullptr));
  p.await();
  p.w.reset();
  EXPECT_EQ(1, sys(SYS_select, p.r + 1, &r, nullptr, nullptr,
                   nullptr));  // the end of the file is readable
  timeval soon = {0, 1000};
  EXPECT_EQ(0, sys(SYS_select, 0, nullptr, nullptr, nullptr, &soon));
  EXPECT_ERR(EINVAL, sys(SYS_select, -1, nullptr, nullptr, nullptr, &zero));
  timeval negative = {-1, 0};
  EXPECT_ERR(EINVAL, sys(SYS_select, 0, nullptr, nullptr, nullptr, &negative));
  EXPECT_ERR(EFAULT, sys(SYS_select, 1, bad(), nullptr, nullptr, &zero));
  EXPECT_ERR(EFAULT, sys(SYS_select, 0, nullptr, nullptr, nullptr, bad()));
  Fd high(fcntl(0, F_DUPFD, 500));
  const int closed = high;
  FD_ZERO(&r);
  FD_SET(closed, &r);
  high.reset();
  Fd keep(fcntl(0, F_DUPFD, closed + 1));  // the table reaches beyond it
  EXPECT_ERR(EBADF, sys(SYS_select, closed + 1, &r, nullptr, nullptr, &zero));
}

TEST(PollTest, Pselect6Errors) {
  timespec zero = {0, 0}, wrong = {0, -1};
  EXPECT_EQ(0, sys(SYS_pselect6, 0, nullptr, nullptr, nullptr, &zero, nullptr));
  EXPECT_ERR(EINVAL, sys(SYS_pselect6, 0, nullptr, nullptr, nullptr, &wrong, nullptr));
  EXPECT_ERR(EINVAL, sys(SYS_pselect6, -1, nullptr, nullptr, nullptr, &zero, nullptr));
  EXPECT_ERR(EFAULT, sys(SYS_pselect6, 0, nullptr, nullptr, nullptr, bad(), nullptr));
  EXPECT_ERR(EFAULT, sys(SYS_pselect6, 0, nullptr, nullptr, nullptr, &zero, bad()));
  EXPECT_ERR(EFAULT, sys(SYS_pselect6, 1, bad(), nullptr, nullptr, &zero, nullptr));
}

// --- epoll
// -------------------------------------------------------------------------------------------------

epoll_event watch(uint32_t events, uint64_t data) {
  epoll_event e = {};
  e.events = events;
  e.data.u64 = data;
  return e;
}

TEST(EpollTest, LevelTriggered) {
  Fd ep(sys(SYS_epoll_create1, EPOLL_CLOEXEC));
  ASSERT_OK(+ep);
  Pipe p;
  epoll_event e = watch(EPOLLIN, 0x1122334455667788), got[4];
  EXPECT_OK(sys(SYS_epoll_ctl, ep, EPOLL_CTL_ADD, p.r, &e));
  EXPECT_EQ(0, sys(SYS_epoll_wait, ep, got, 4, 0));
  p.notify();
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(1, sys(SYS_epoll_wait, ep, got, 4, -1));
    EXPECT_EQ(0x1122334455667788u, got[0].data.u64);
    EXPECT_EQ(static_cast<uint32_t>(EPOLLIN), got[0].events);
  }
  p.await();
  EXPECT_EQ(0, sys(SYS_epoll_wait, ep, got, 4, 1));
}

TEST(EpollTest, EdgeTriggeredAndOneShot) {
  Fd ep(sys(SYS_epoll_create, 1));
  Pipe p;
  epoll_event e = watch(EPOLLIN | EPOLLET, 1), got[4];
  ASSERT_OK(epoll_ctl(ep, EPOLL_CTL_ADD, p.r, &e));
  p.notify();
  EXPECT_EQ(1, epoll_wait(ep, got, 4, -1));
  EXPECT_EQ(0, epoll_wait(ep, got, 4, 0));  // not again without something new
  p.notify();
  EXPECT_EQ(1, epoll_wait(ep, got, 4, -1));
  e = watch(EPOLLIN | EPOLLONESHOT, 2);
  EXPECT_OK(epoll_ctl(ep, EPOLL_CTL_MOD, p.r, &e));
  EXPECT_EQ(1, epoll_wait(ep, got, 4, -1));
  EXPECT_EQ(0, epoll_wait(ep, got, 4, 0));
  EXPECT_OK(epoll_ctl(ep, EPOLL_CTL_MOD, p.r, &e));
  EXPECT_EQ(1, epoll_wait(ep, got, 4, -1));
}

TEST(EpollTest, Errors) {
  Fd ep(epoll_create1(0)), other(epoll_create1(0));
  Pipe p;
  epoll_event e = watch(EPOLLIN, 1);
  ASSERT_OK(epoll_ctl(ep, EPOLL_CTL_ADD, p.r, &e));
  EXPECT_ERR(EEXIST, sys(SYS_epoll_ctl, ep, EPOLL_CTL_ADD, p.r, &e));
  EXPECT_ERR(ENOENT, sys(SYS_epoll_ctl, ep, EPOLL_CTL_MOD, p.w, &e));
  EXPECT_ERR(ENOENT, sys(SYS_epoll_ctl, ep, EPOLL_CTL_DEL, p.w, nullptr));
  EXPECT_ERR(EBADF, sys(SYS_epoll_ctl, ep, EPOLL_CTL_ADD, dead_fd(), &e));
  EXPECT_ERR(EBADF, sys(SYS_epoll_ctl, dead_fd(), EPOLL_CTL_ADD, p.w, &e));
  EXPECT_ERR(EINVAL, sys(SYS_epoll_ctl, p.r, EPOLL_CTL_ADD, p.w, &e));
  EXPECT_ERR(EINVAL, sys(SYS_epoll_ctl, ep, EPOLL_CTL_ADD, ep, &e));
  EXPECT_ERR(EINVAL, sys(SYS_epoll_ctl, ep, 99, p.w, &e));
  EXPECT_ERR(EFAULT, sys(SYS_epoll_ctl, ep, EPOLL_CTL_ADD, p.w, bad()));
  Fd file(open("/proc/self/exe", O_RDONLY));
  EXPECT_ERR(EPERM, sys(SYS_epoll_ctl, ep, EPOLL_CTL_ADD, file, &e));
  ASSERT_OK(epoll_ctl(ep, EPOLL_CTL_ADD, other, &e));
  EXPECT_ERR(ELOOP, sys(SYS_epoll_ctl, other, EPOLL_CTL_ADD, ep, &e));
  EXPECT_ERR(EINVAL, sys(SYS_epoll_create, 0));
  EXPECT_ERR(EINVAL, sys(SYS_epoll_create1, 1));
  p.notify();
  EXPECT_ERR(EFAULT, sys(SYS_epoll_wait, ep, bad(), 4, 0));
  EXPECT_ERR(EINVAL, sys(SYS_epoll_wait, ep, &e, 0, 0));
  EXPECT_ERR(EINVAL, sys(SYS_epoll_wait, ep, &e, -1, 0));
  EXPECT_ERR(EBADF, sys(SYS_epoll_wait, dead_fd(), &e, 1, 0));
  EXPECT_ERR(EINVAL, sys(SYS_epoll_wait, p.r, &e, 1, 0));
  const timespec zero = {0, 0}, wrong = {0, -1};
  EXPECT_EQ(1, sys(SYS_epoll_pwait2, ep, &e, 1, &zero, nullptr, 0));
  EXPECT_ERR(EINVAL, sys(SYS_epoll_pwait2, ep, &e, 1, &wrong, nullptr, 0));
  EXPECT_ERR(EFAULT, sys(SYS_epoll_pwait2, ep, &e, 1, bad(), nullptr, 0));
  EXPECT_ERR(EBADF, sys(SYS_epoll_pwait2, dead_fd(), &e, 1, &zero, nullptr, 0));
  EXPECT_ERR(EBADF, sys(SYS_epoll_pwait, dead_fd(), &e, 1, 0, nullptr, 8));
  uint64_t set = 0;
  EXPECT_ERR(EINVAL, sys(SYS_epoll_pwait, ep, &e, 1, 0, &set, 4));
  EXPECT_ERR(EFAULT, sys(SYS_epoll_pwait, ep, &e, 1, 0, bad(), 8));
}

TEST(EpollTest, ClosingRemovesUnlessAnotherCopyIsOpen) {
  Fd ep(epoll_create1(0));
  epoll_event e = watch(EPOLLIN, 1), got[2];
  Pipe p;
  Fd copy(dup(p.r));
  ASSERT_OK(epoll_ctl(ep, EPOLL_CTL_ADD, p.r, &e));
  p.notify();
  p.r.reset();
  EXPECT_EQ(1, epoll_wait(ep, got, 2, 0));
  copy.reset();
  EXPECT_EQ(0, epoll_wait(ep, got, 2, 0));
}

TEST(EpollTest, NestedAndPolled) {
  Fd outer(epoll_create1(0)), inner(epoll_create1(0));
  Pipe p;
  epoll_event e = watch(EPOLLIN, 1), got[2];
  ASSERT_OK(epoll_ctl(inner, EPOLL_CTL_ADD, p.r, &e));
  ASSERT_OK(epoll_ctl(outer, EPOLL_CTL_ADD, inner, &e));
  EXPECT_EQ(0, epoll_wait(outer, got, 2, 0));
  p.notify();
  EXPECT_EQ(1, epoll_wait(outer, got, 2, -1));
  pollfd fd = {outer, POLLIN, 0};
  EXPECT_EQ(1, poll(&fd, 1, -1));
}

TEST(EpollTest, DeepestNesting) {
  Pipe p;
  std::vector<Fd> all;
  epoll_event e = watch(EPOLLIN, 1);
  for (int i = 0; i < 5; ++i) {
    Fd next(epoll_create1(0));
    ASSERT_OK(epoll_ctl(next, EPOLL_CTL_ADD, all.empty() ? p.r : all.back(), &e));
    all.push_back(std::move(next));
  }
  Fd sixth(epoll_create1(0));
  EXPECT_EQ(-1, epoll_ctl(sixth, EPOLL_CTL_ADD, all.back(), &e));
  EXPECT_TRUE(errno == EINVAL || errno == ELOOP) << errno;  // as old and as new kernels say
}

TEST(EpollTest, HangUpIsAlwaysTold) {
  Fd ep(epoll_create1(0));
  Pipe p;
  epoll_event e = watch(0, 1), got[2];
  ASSERT_OK(epoll_ctl(ep, EPOLL_CTL_ADD, p.r, &e));
  p.w.reset();
  EXPECT_EQ(1, epoll_wait(ep, got, 2, -1));
  EXPECT_EQ(static_cast<uint32_t>(EPOLLHUP), got[0].events);
}

TEST(EpollTest, WaitIsWokenByAnotherThread) {
  Fd ep(epoll_create1(0));
  Pipe p;
  epoll_event e = watch(EPOLLIN, 7), got[2];
  const pid_t tid = get_tid();
  std::thread t([&] {
    await_sleep(getpid(), tid);
    epoll_ctl(ep, EPOLL_CTL_ADD, p.r, &e);
    p.notify();
  });
  EXPECT_EQ(1, epoll_wait(ep, got, 2, -1));
  t.join();
}

TEST(EpollTest, ManyReadyAreHandedOutFairly) {
  Fd ep(epoll_create1(0));
  std::vector<Pipe> pipes(10);
  for (size_t i = 0; i < pipes.size(); ++i) {
    epoll_event e = watch(EPOLLIN, i);
    ASSERT_OK(epoll_ctl(ep, EPOLL_CTL_ADD, pipes[i].r, &e));
    pipes[i].notify();
  }
  uint64_t seen = 0;
  for (int i = 0; i < 5; ++i) {
    epoll_event got[2];
    ASSERT_EQ(2, epoll_wait(ep, got, 2, 0));
    seen |= 1u << got[0].data.u64 | 1u << got[1].data.u64;
  }
  EXPECT_EQ(0x3ffu, seen);
}

// --- eventfd
// -------------------------------------------------------------------------------------------------

TEST(EventfdTest, CountsAndBlocks) {
  Fd fd(sys(SYS_eventfd2, 3, EFD_NONBLOCK | EFD_CLOEXEC));
  ASSERT_OK(+fd);
  uint64_t value = 4;
  EXPECT_EQ(8, write(fd, &value, 8));
  EXPECT_EQ(8, read(fd, &value, 8));
  EXPECT_EQ(7u, value);
  EXPECT_ERR(EAGAIN, read(fd, &value, 8));
  EXPECT_ERR(EINVAL, read(fd, &value, 7));
  EXPECT_ERR(EINVAL, write(fd, &value, 4));
  value = ~0ull;
  EXPECT_ERR(EINVAL, write(fd, &value, 8));
  value = ~0ull - 1;
  EXPECT_EQ(8, write(fd, &value, 8));
  value = 1;
  EXPECT_ERR(EAGAIN, write(fd, &value, 8));
  pollfd p = {fd, POLLIN | POLLOUT, 0};
  EXPECT_EQ(1, poll(&p, 1, 0));
  EXPECT_EQ(POLLIN, p.revents);
  EXPECT_ERR(EFAULT, read(fd, bad(), 8));
  EXPECT_ERR(EFAULT, write(fd, bad(), 8));
  EXPECT_ERR(EINVAL, sys(SYS_eventfd2, 0, 2));
  EXPECT_ERR(ESPIPE, pread(fd, &value, 8, 0));
}

TEST(EventfdTest, SemaphoreAndOldCall) {
  Fd fd(sys(SYS_eventfd2, 2, EFD_SEMAPHORE | EFD_NONBLOCK));
  uint64_t value = 0;
  EXPECT_EQ(8, read(fd, &value, 8));
  EXPECT_EQ(1u, value);
  EXPECT_EQ(8, read(fd, &value, 8));
  EXPECT_ERR(EAGAIN, read(fd, &value, 8));
  Fd old(sys(SYS_eventfd, 9));
  EXPECT_EQ(8, read(old, &value, 8));
  EXPECT_EQ(9u, value);
}

TEST(EventfdTest, WakesAReaderInAnotherProcess) {
  Fd fd(eventfd(0, 0));
  const pid_t pid = spawn([&] {
    uint64_t value = 0;
    EXPECT_EQ(8, read(fd, &value, 8));
    EXPECT_EQ(5u, value);
  });
  await_sleep(pid, pid);
  const uint64_t five = 5;
  EXPECT_EQ(8, write(fd, &five, 8));
  EXPECT_EQ(0, reap(pid));
}

// --- timerfd
// -------------------------------------------------------------------------------------------------

TEST(TimerfdTest, FiresOnceAndRepeats) {
  Fd fd(sys(SYS_timerfd_create, CLOCK_MONOTONIC, TFD_CLOEXEC));
  ASSERT_OK(+fd);
  itimerspec t = {{0, 0}, {0, 1'000'000}}, old = {};
  EXPECT_OK(sys(SYS_timerfd_settime, fd, 0, &t, nullptr));
  uint64_t expirations = 0;
  EXPECT_EQ(8, read(fd, &expirations, 8));
  EXPECT_EQ(1u, expirations);
  EXPECT_OK(sys(SYS_timerfd_gettime, fd, &old));
  EXPECT_EQ(0, old.it_value.tv_sec + old.it_value.tv_nsec);
  t = {{0, 1'000'000}, {0, 1'000'000}};
  EXPECT_OK(sys(SYS_timerfd_settime, fd, 0, &t, &old));
  uint64_t total = 0;
  while (total < 5) {
    EXPECT_EQ(8, read(fd, &expirations, 8));
    total += expirations;
  }
  t = {};
  EXPECT_OK(sys(SYS_timerfd_settime, fd, 0, &t, &old));
  EXPECT_EQ(1'000'000, old.it_interval.tv_nsec);
  pollfd p = {fd, POLLIN, 0};
  EXPECT_EQ(0, poll(&p, 1, 0));
}

TEST(TimerfdTest, AbsoluteTimeInThePast) {
  Fd fd(timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK));
  itimerspec t = {{0, 0}, {1, 0}};
  EXPECT_OK(timerfd_settime(fd, TFD_TIMER_ABSTIME, &t, nullptr));
  pollfd p = {fd, POLLIN, 0};
  EXPECT_EQ(1, poll(&p, 1, -1));
  uint64_t n;
  EXPECT_EQ(8, read(fd, &n, 8));
  EXPECT_EQ(1u, n);
  EXPECT_ERR(EAGAIN, read(fd, &n, 8));
}

TEST(TimerfdTest, Errors) {
  Fd fd(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK));
  itimerspec t = {};
  EXPECT_ERR(EINVAL, sys(SYS_timerfd_create, 77, 0));
  EXPECT_ERR(EINVAL, sys(SYS_timerfd_create, CLOCK_MONOTONIC, 1));
  EXPECT_ERR(EINVAL, sys(SYS_timerfd_settime, fd, 64, &t, nullptr));
  EXPECT_ERR(EBADF, sys(SYS_timerfd_settime, dead_fd(), 0, &t, nullptr));
  EXPECT_ERR(EBADF, sys(SYS_timerfd_gettime, dead_fd(), &t));
  EXPECT_ERR(EFAULT, sys(SYS_timerfd_settime, fd, 0, bad(), nullptr));
  EXPECT_ERR(EFAULT, sys(SYS_timerfd_settime, fd, 0, &t, bad()));
  EXPECT_ERR(EFAULT, sys(SYS_timerfd_gettime, fd, bad()));
  Pipe p;
  EXPECT_ERR(EINVAL, sys(SYS_timerfd_settime, p.r, 0, &t, nullptr));
  EXPECT_ERR(EINVAL, sys(SYS_timerfd_gettime, p.r, &t));
  t.it_value.tv_nsec = 1'000'000'000;
  EXPECT_ERR(EINVAL, sys(SYS_timerfd_settime, fd, 0, &t, nullptr));
  uint64_t n;
  EXPECT_ERR(EINVAL, read(fd, &n, 4));
}

// --- inotify
// -------------------------------------------------------------------------------------------------

TEST(InotifyTest, TellsOfChanges) {
  TempDir dir;
  Fd fd(sys(SYS_inotify_init1, IN_NONBLOCK | IN_CLOEXEC));
  ASSERT_OK(+fd);
  const int wd = static_cast<int>(sys(SYS_inotify_add_watch, fd, dir.path().c_str(),
                                      IN_CREATE | IN_DELETE | IN_MODIFY | IN_MOVE));
  ASSERT_OK(wd);
  alignas(8) char buffer[4096];
  EXPECT_ERR(EAGAIN, read(fd, buffer, sizeof(buffer)));
  write_file(dir / "a", "x");
  rename((dir / "a").c_str(), (dir / "b").c_str());
  unlink((dir / "b").c_str());
  std::vector<uint32_t> masks;
  const ssize_t n = read(fd, buffer, sizeof(buffer));
  for (ssize_t at = 0; at < n;) {
    const auto* e = reinterpret_cast<const inotify_event*>(buffer + at);
    EXPECT_EQ(wd, e->wd);
    masks.push_back(e->mask);
    at += static_cast<ssize_t>(sizeof(*e) + e->len);
  }
  EXPECT_EQ((std::vector<uint32_t>{IN_CREATE, IN_MODIFY, IN_MOVED_FROM, IN_MOVED_TO, IN_DELETE}),
            masks);
  EXPECT_OK(sys(SYS_inotify_rm_watch, fd, wd));
  EXPECT_ERR(EINVAL, sys(SYS_inotify_rm_watch, fd, wd));
}

// What a queue holds now: "create:a", one word an event.
std::string drain(int fd) {
  static constexpr std::pair<uint32_t, const char*> kNames[] = {
      {IN_ACCESS, "access"}, {IN_MODIFY, "modify"}, {IN_ATTRIB, "attrib"}, {IN_CLOSE_WRITE, "closew"},
      {IN_CLOSE_NOWRITE, "closer"}, {IN_OPEN, "open"}, {IN_MOVED_FROM, "from"}, {IN_MOVED_TO, "to"},
      {IN_CREATE, "create"}, {IN_DELETE, "delete"}, {IN_DELETE_SELF, "deleteself"},
      {IN_MOVE_SELF, "moveself"}, {IN_IGNORED, "ignored"}, {IN_ISDIR, "dir"}, {IN_Q_OVERFLOW, "overflow"}};
  alignas(8) char buffer[65536];
  const ssize_t n = read(fd, buffer, sizeof(buffer));
  std::string text;
  for (ssize_t at = 0; at < n;) {
    const auto* e = reinterpret_cast<const inotify_event*>(buffer + at);
    EXPECT_EQ(0u, e->len % sizeof(*e));
    if (!text.empty()) text += ' ';
    for (const auto& [bit, name] : kNames) {
      if ((e->mask & bit) != 0) text += (text.empty() || text.back() == ' ' ? "" : "+") + std::string(name);
    }
    if (e->len != 0) text += ":" + std::string(e->name);
    at += static_cast<ssize_t>(sizeof(*e) + e->len);
  }
  return text;
}

TEST(InotifyTest, EachEvent) {
  TempDir dir;
  Fd fd(inotify_init1(IN_NONBLOCK));
  ASSERT_OK(sys(SYS_inotify_add_watch, fd, dir.path().c_str(), IN_ALL_EVENTS));
  const std::string a = dir / "a", b = dir / "b", d = dir / "d";
  int f = open(a.c_str(), O_CREAT | O_RDWR, 0600);
  EXPECT_EQ("create:a open:a", drain(fd));
  EXPECT_EQ(2, write(f, "xy", 2));
  char c;
  EXPECT_EQ(1, pread(f, &c, 1, 0));
  EXPECT_EQ("modify:a access:a", drain(fd));
  EXPECT_OK(ftruncate(f, 0));
  EXPECT_OK(fchmod(f, 0644));
  close(f);
  EXPECT_EQ("modify:a attrib:a closew:a", drain(fd));
  f = open(a.c_str(), O_WRONLY | O_TRUNC);
  close(f);
  f = open(a.c_str(), O_RDONLY);
  close(f);
  EXPECT_EQ("open:a modify:a closew:a open:a closer:a", drain(fd));
  EXPECT_OK(utimensat(AT_FDCWD, a.c_str(), nullptr, 0));
  EXPECT_OK(link(a.c_str(), b.c_str()));
  EXPECT_OK(symlink("x", (dir / "s").c_str()));
  EXPECT_OK(mkdir(d.c_str(), 0700));
  EXPECT_OK(mkfifo((dir / "p").c_str(), 0600));
  EXPECT_EQ("attrib:a create:b create:s create+dir:d create:p", drain(fd));
  EXPECT_OK(rename(d.c_str(), (dir / "e").c_str()));
  EXPECT_OK(rename(a.c_str(), (dir / "e/a").c_str()));
  EXPECT_EQ("from+dir:d to+dir:e from:a", drain(fd));
  EXPECT_OK(unlink(b.c_str()));
  EXPECT_OK(unlink((dir / "e/a").c_str()));
  EXPECT_OK(rmdir((dir / "e").c_str()));
  EXPECT_EQ("delete:b delete+dir:e", drain(fd));
}

TEST(InotifyTest, WatchOfAFileAndItsEnd) {
  TempDir dir;
  Fd fd(inotify_init1(IN_NONBLOCK));
  const std::string a = dir / "a", d = dir / "d";
  write_file(a, "x");
  mkdir(d.c_str(), 0700);
  const long file = sys(SYS_inotify_add_watch, fd, a.c_str(), IN_ALL_EVENTS);
  ASSERT_OK(file);
  EXPECT_EQ(file, sys(SYS_inotify_add_watch, fd, a.c_str(), IN_ALL_EVENTS));  // the same inode
  EXPECT_ERR(EEXIST, sys(SYS_inotify_add_watch, fd, a.c_str(), IN_ALL_EVENTS | IN_MASK_CREATE));
  EXPECT_OK(chmod(a.c_str(), 0600));
  EXPECT_OK(rename(a.c_str(), (dir / "b").c_str()));
  EXPECT_EQ("attrib moveself", drain(fd));
  EXPECT_OK(unlink((dir / "b").c_str()));
  EXPECT_EQ("attrib deleteself ignored", drain(fd));
  EXPECT_ERR(EINVAL, sys(SYS_inotify_rm_watch, fd, file));
  const long wd = sys(SYS_inotify_add_watch, fd, d.c_str(), IN_ALL_EVENTS | IN_ONLYDIR);
  ASSERT_OK(wd);
  EXPECT_GT(wd, file);
  Fd open_dir(open(d.c_str(), O_RDONLY | O_DIRECTORY));
  EXPECT_EQ("open+dir", drain(fd));
  open_dir = Fd(-1);
  EXPECT_OK(rmdir(d.c_str()));
  EXPECT_EQ("closer+dir deleteself ignored", drain(fd));
}

TEST(InotifyTest, OnceAndMasksAndFullReads) {
  TempDir dir;
  Fd fd(inotify_init1(IN_NONBLOCK));
  ASSERT_OK(sys(SYS_inotify_add_watch, fd, dir.path().c_str(), IN_CREATE | IN_ONESHOT));
  Fd info(open(("/proc/self/fdinfo/" + std::to_string(fd)).c_str(), O_RDONLY));
  char text[1024] = {};
  EXPECT_GT(read(info, text, sizeof text - 1), 0);
  EXPECT_NE(nullptr, strstr(text, " mask:80000100 ")) << text;
  EXPECT_OK(mkdir((dir / "one").c_str(), 0700));
  EXPECT_OK(mkdir((dir / "two").c_str(), 0700));
  EXPECT_EQ("create+dir:one ignored", drain(fd));
  ASSERT_OK(sys(SYS_inotify_add_watch, fd, dir.path().c_str(), IN_CREATE));
  ASSERT_OK(sys(SYS_inotify_add_watch, fd, dir.path().c_str(), IN_DELETE | IN_MASK_ADD));
  EXPECT_OK(rmdir((dir / "one").c_str()));
  EXPECT_OK(mkdir((dir / "one").c_str(), 0700));
  int queued = 0;
  EXPECT_OK(ioctl(fd, FIONREAD, &queued));
  EXPECT_EQ(64, queued);
  pollfd p = {fd, POLLIN | POLLOUT, 0};
  EXPECT_EQ(1, poll(&p, 1, 0));
  EXPECT_EQ(POLLIN, p.revents);
  char small[16];
  EXPECT_ERR(EINVAL, read(fd, small, sizeof(small)));
  EXPECT_ERR(EFAULT, read(fd, bad(), 4096));
  drain(fd);
  EXPECT_ERR(EAGAIN, read(fd, small, sizeof(small)));
  EXPECT_ERR(EBADF, write(fd, "x", 1));
  EXPECT_ERR(ENOTDIR, sys(SYS_inotify_add_watch, fd, self_path().c_str(), IN_OPEN | IN_ONLYDIR));
  EXPECT_ERR(EINVAL, sys(SYS_inotify_add_watch, fd, dir.path().c_str(),
                         IN_OPEN | IN_MASK_ADD | IN_MASK_CREATE));
}

TEST(InotifyTest, Errors) {
  TempDir dir;
  Fd fd(inotify_init1(IN_NONBLOCK));
  EXPECT_ERR(EINVAL, sys(SYS_inotify_init1, 1));
  EXPECT_ERR(EBADF, sys(SYS_inotify_add_watch, dead_fd(), dir.path().c_str(), IN_CREATE));
  EXPECT_ERR(ENOENT, sys(SYS_inotify_add_watch, fd, (dir / "x").c_str(), IN_CREATE));
  EXPECT_ERR(EFAULT, sys(SYS_inotify_add_watch, fd, bad(), IN_CREATE));
  EXPECT_ERR(EINVAL, sys(SYS_inotify_add_watch, fd, dir.path().c_str(), 0));
  Pipe p;
  EXPECT_ERR(EINVAL, sys(SYS_inotify_add_watch, p.r, dir.path().c_str(), IN_CREATE));
  EXPECT_ERR(EBADF, sys(SYS_inotify_rm_watch, dead_fd(), 1));
  Fd old(sys(SYS_inotify_init));
  EXPECT_OK(+old);
}

}  // namespace
}  // namespace run9::guest
