// Signals: actions, masks, siginfo, restarts, queues, threads.
#include <pthread.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <ucontext.h>

#include <atomic>

#include "tests/syscalls/signal_util.h"

namespace run9::guest {
namespace {

constexpr size_t kSetSize = 8;
uint64_t set_of(std::initializer_list<int> sigs) {
  uint64_t set = 0;
  for (int sig : sigs) set |= sig_bit(sig);
  return set;
}

// The kernel's struct sigaction.
struct KernelAction {
  void* handler;
  unsigned long flags;
  void* restorer;
  uint64_t mask;
};

class SignalTest : public NotingTest {};

TEST_F(SignalTest, ActionErrors) {
  KernelAction action = {};
  EXPECT_OK(sys(SYS_rt_sigaction, SIGUSR1, nullptr, &action, kSetSize));
  EXPECT_OK(sys(SYS_rt_sigaction, SIGKILL, nullptr, &action, kSetSize));
  EXPECT_ERR(EINVAL, sys(SYS_rt_sigaction, SIGKILL, &action, nullptr, kSetSize));
  EXPECT_ERR(EINVAL, sys(SYS_rt_sigaction, SIGSTOP, &action, nullptr, kSetSize));
  EXPECT_ERR(EINVAL, sys(SYS_rt_sigaction, 0, nullptr, &action, kSetSize));
  EXPECT_ERR(EINVAL, sys(SYS_rt_sigaction, 65, nullptr, &action, kSetSize));
  EXPECT_ERR(EINVAL, sys(SYS_rt_sigaction, SIGUSR1, nullptr, &action, 4));
  for (void* p : bad_pointers()) {
    EXPECT_ERR(EFAULT, sys(SYS_rt_sigaction, SIGUSR1, p, nullptr, kSetSize));
    EXPECT_ERR(EFAULT, sys(SYS_rt_sigaction, SIGUSR1, nullptr, p, kSetSize));
  }
  Straddle page;
  EXPECT_ERR(EFAULT,
             sys(SYS_rt_sigaction, SIGUSR1, page.last(sizeof(action) - 1), nullptr, kSetSize));
}

TEST_F(SignalTest, ActionIsRemembered) {
  ScopedHandler handler(SIGUSR1, note, SA_RESTART | SA_NODEFER);
  KernelAction action = {};
  ASSERT_OK(sys(SYS_rt_sigaction, SIGUSR1, nullptr, &action, kSetSize));
  EXPECT_EQ(reinterpret_cast<void*>(note), action.handler);
  EXPECT_EQ(static_cast<unsigned long>(SA_RESTART | SA_NODEFER | SA_SIGINFO),
            action.flags & 0x50000007ul);
}

TEST_F(SignalTest, Mask) {
  uint64_t old = 1, set = set_of({SIGUSR1, SIGKILL, SIGSTOP});
  EXPECT_OK(sys(SYS_rt_sigprocmask, SIG_SETMASK, &set, &old, kSetSize));
  EXPECT_EQ(0u, old);
  set = set_of({SIGUSR2});
  EXPECT_OK(sys(SYS_rt_sigprocmask, SIG_BLOCK, &set, &old, kSetSize));
  EXPECT_EQ(set_of({SIGUSR1}), old);  // KILL and STOP cannot be blocked
  EXPECT_OK(sys(SYS_rt_sigprocmask, SIG_UNBLOCK, &set, &old, kSetSize));
  EXPECT_EQ(set_of({SIGUSR1, SIGUSR2}), old);
  EXPECT_ERR(EINVAL, sys(SYS_rt_sigprocmask, 77, &set, nullptr, kSetSize));
  EXPECT_ERR(EINVAL, sys(SYS_rt_sigprocmask, SIG_BLOCK, &set, nullptr, 4));
  EXPECT_ERR(EFAULT, sys(SYS_rt_sigprocmask, SIG_BLOCK, bad(), nullptr, kSetSize));
  EXPECT_ERR(EFAULT, sys(SYS_rt_sigprocmask, SIG_BLOCK, nullptr, bad(), kSetSize));
  set = 0;
  EXPECT_OK(sys(SYS_rt_sigprocmask, SIG_SETMASK, &set, nullptr, kSetSize));
}

TEST_F(SignalTest, BlockedSignalWaits) {
  ScopedHandler handler(SIGUSR1, note);
  {
    ScopedBlock block({SIGUSR1});
    ASSERT_OK(raise(SIGUSR1));
    ASSERT_OK(raise(SIGUSR1));  // an ordinary signal is kept once
    EXPECT_EQ(0, count);
    uint64_t pending = 0;
    EXPECT_OK(sys(SYS_rt_sigpending, &pending, kSetSize));
    EXPECT_EQ(set_of({SIGUSR1}), pending);
    EXPECT_ERR(EINVAL, sys(SYS_rt_sigpending, &pending, 16));
    EXPECT_ERR(EFAULT, sys(SYS_rt_sigpending, bad(), kSetSize));
  }
  EXPECT_EQ(1, count);
}

TEST_F(SignalTest, IgnoringDropsWhatIsPending) {
  ScopedBlock block({SIGUSR1});
  ASSERT_OK(raise(SIGUSR1));
  signal(SIGUSR1, SIG_IGN);
  signal(SIGUSR1, SIG_DFL);
  uint64_t pending = 1;
  EXPECT_OK(sys(SYS_rt_sigpending, &pending, kSetSize));
  EXPECT_EQ(0u, pending);
}

TEST_F(SignalTest, KillErrorsAndInfo) {
  ScopedHandler handler(SIGUSR1, note);
  EXPECT_OK(sys(SYS_kill, getpid(), SIGUSR1));
  EXPECT_EQ(1, count);
  EXPECT_EQ(SI_USER, last_info.si_code);
  EXPECT_EQ(getpid(), last_info.si_pid);
  EXPECT_EQ(getuid(), last_info.si_uid);
  EXPECT_OK(sys(SYS_tkill, get_tid(), SIGUSR1));
  EXPECT_EQ(SI_TKILL, last_info.si_code);
  EXPECT_OK(sys(SYS_tgkill, getpid(), get_tid(), SIGUSR1));
  EXPECT_EQ(3, count);
  EXPECT_OK(sys(SYS_kill, getpid(), 0));
  EXPECT_ERR(EINVAL, sys(SYS_kill, getpid(), 65));
  EXPECT_ERR(EINVAL, sys(SYS_kill, getpid(), -1));
  EXPECT_ERR(ESRCH, sys(SYS_kill, 999999, 0));
  EXPECT_ERR(EINVAL, sys(SYS_tkill, 0, 0));
  EXPECT_ERR(ESRCH, sys(SYS_tkill, 999999, 0));
  EXPECT_ERR(EINVAL, sys(SYS_tkill, get_tid(), 65));
  EXPECT_ERR(EINVAL, sys(SYS_tgkill, getpid(), 0, 0));
  EXPECT_ERR(EINVAL, sys(SYS_tgkill, 0, get_tid(), 0));
  const pid_t other = spawn([] { for (;;) pause(); });
  EXPECT_ERR(ESRCH, sys(SYS_tgkill, other, get_tid(), 0));
  EXPECT_OK(kill(other, SIGKILL));
  reap(other);
}

TEST_F(SignalTest, KillNeedsTheSameUser) {
  SKIP_UNLESS_ROOT();
  Pipe go;
  const pid_t pid = spawn([&] { go.await(); });
  in_user_child([&] {
    EXPECT_ERR(EPERM, kill(pid, SIGKILL));
    EXPECT_ERR(EPERM, kill(pid, 0));
  });
  go.notify();
  EXPECT_EQ(0, reap(pid));
}

TEST_F(SignalTest, DefaultActions) {
  for (int sig : {SIGHUP, SIGINT, SIGQUIT, SIGILL, SIGABRT, SIGFPE, SIGUSR1, SIGSEGV, SIGPIPE,
                  SIGALRM, SIGTERM, SIGSYS, SIGXCPU, SIGRTMIN, SIGRTMAX}) {
    const int status = child_status([&] { kill(getpid(), sig); });
    EXPECT_TRUE(WIFSIGNALED(status)) << sig;
    EXPECT_EQ(sig, WTERMSIG(status));
  }
  for (int sig : {SIGCHLD, SIGURG, SIGWINCH, SIGCONT}) {
    EXPECT_EQ(0, child_status([&] { kill(getpid(), sig); })) << sig;
  }
}

TEST_F(SignalTest, SelfSignalArrivesBeforeKillReturns) {
  ScopedHandler handler(SIGUSR1, note);
  for (int i = 1; i <= 100; ++i) {
    kill(getpid(), SIGUSR1);
    ASSERT_EQ(i, count);
  }
}

// --- flags
// -------------------------------------------------------------------------------------------------

volatile sig_atomic_t depth, deepest;
void nest(int sig) {
  depth = depth + 1;
  if (depth > deepest) deepest = depth;
  if (depth < 5) raise(sig);
  depth = depth - 1;
}

TEST_F(SignalTest, NoDeferNestsAndDefaultDefers) {
  deepest = 0;
  {
    ScopedHandler handler(SIGUSR1, nest, SA_NODEFER);
    raise(SIGUSR1);
    EXPECT_EQ(5, deepest);
  }
  static volatile int left;
  static volatile int nested, most;
  left = 3;
  nested = 0;
  most = 0;
  ScopedHandler handler(
      SIGUSR1, +[](int sig) {
        nested = nested + 1;
        if (nested > most) most = nested;
        if (left > 0) {
          left = left - 1;
          raise(sig);
        }
        nested = nested - 1;
      });
  raise(SIGUSR1);
  EXPECT_EQ(1, most);
  EXPECT_EQ(0, left);
}

TEST_F(SignalTest, ResetHand) {
  ScopedHandler handler(SIGUSR1, note, SA_RESETHAND);
  raise(SIGUSR1);
  EXPECT_EQ(1, count);
  struct sigaction now;
  sigaction(SIGUSR1, nullptr, &now);
  EXPECT_EQ(SIG_DFL, now.sa_handler);
}

TEST_F(SignalTest, MaskOfTheAction) {
  static uint64_t seen;
  struct sigaction action = {};
  action.sa_handler = [](int) { sys(SYS_rt_sigprocmask, SIG_BLOCK, nullptr, &seen, kSetSize); };
  sigaddset(&action.sa_mask, SIGUSR2);
  sigaddset(&action.sa_mask, SIGTERM);
  sigaction(SIGUSR1, &action, nullptr);
  raise(SIGUSR1);
  EXPECT_EQ(set_of({SIGUSR1, SIGUSR2, SIGTERM}), seen);
  uint64_t after = 1;
  sys(SYS_rt_sigprocmask, SIG_BLOCK, nullptr, &after, kSetSize);
  EXPECT_EQ(0u, after);
  signal(SIGUSR1, SIG_DFL);
}

TEST_F(SignalTest, HandlerMayChangeTheSavedMask) {
  ScopedHandler handler(
      SIGUSR1, +[](int, siginfo_t*, void* context) {
        sigaddset(&static_cast<ucontext_t*>(context)->uc_sigmask, SIGUSR2);
      });
  raise(SIGUSR1);
  uint64_t mask = 0;
  sys(SYS_rt_sigprocmask, SIG_BLOCK, nullptr, &mask, kSetSize);
  EXPECT_EQ(set_of({SIGUSR2}), mask);
  mask = 0;
  sys(SYS_rt_sigprocmask, SIG_SETMASK, &mask, nullptr, kSetSize);
}

TEST_F(SignalTest, SeveralPendingSignalsAreAllDelivered) {
  static volatile int seen[65];
  memset(const_cast<int*>(seen), 0, sizeof(seen));
  auto mark = +[](int sig) { seen[sig] = seen[sig] + 1; };
  ScopedHandler a(SIGUSR1, mark), b(SIGUSR2, mark), c(SIGTERM, mark), d(SIGRTMIN, mark);
  {
    ScopedBlock block({SIGUSR1, SIGUSR2, SIGTERM, SIGRTMIN});
    for (int sig : {SIGRTMIN, SIGTERM, SIGUSR2, SIGUSR1}) kill(getpid(), sig);
  }
  for (int sig : {SIGUSR1, SIGUSR2, SIGTERM, SIGRTMIN}) EXPECT_EQ(1, seen[sig]) << sig;
}

// --- interruption
// -------------------------------------------------------------------------------------------------

TEST_F(SignalTest, ReadIsInterrupted) {
  Pipe p;
  char c;
  AlarmStorm storm;
  EXPECT_ERR(EINTR, sys(SYS_read, p.r, &c, 1));
}

TEST_F(SignalTest, ReadIsRestarted) {
  Pipe p, ready;
  const pid_t me = getpid(), tid = get_tid();
  static std::atomic<int> handled;
  handled = 0;
  ScopedHandler handler(
      SIGUSR1, +[](int) { ++handled; }, SA_RESTART);
  struct Arg {
    Pipe* p;
    pid_t pid, tid;
  } arg = {&p, me, tid};
  pthread_t thread;
  pthread_create(
      &thread, nullptr,
      [](void* raw) -> void* {
        auto* a = static_cast<Arg*>(raw);
        for (int i = 1; i <= 10; ++i) {
          await_sleep(a->pid, a->tid);
          sys(SYS_tgkill, a->pid, a->tid, SIGUSR1);
          while (handled < i) sched_yield();
        }
        a->p->notify('z');
        return nullptr;
      },
      &arg);
  char c = 0;
  EXPECT_EQ(1, sys(SYS_read, p.r, &c, 1));
  EXPECT_EQ('z', c);
  EXPECT_EQ(10, handled);
  pthread_join(thread, nullptr);
}

TEST_F(SignalTest, CallsThatNeverRestart) {
  AlarmStorm storm(SA_RESTART);
  EXPECT_ERR(EINTR, sys(SYS_pause));
  uint64_t none = 0;
  EXPECT_ERR(EINTR, sys(SYS_rt_sigsuspend, &none, kSetSize));
  EXPECT_ERR(EINTR, sys(SYS_poll, nullptr, 0, -1));
  EXPECT_ERR(EINTR, sys(SYS_select, 0, nullptr, nullptr, nullptr, nullptr));
  const timespec day = {86400, 0};
  timespec left = {};
  EXPECT_ERR(EINTR, sys(SYS_nanosleep, &day, &left));
  EXPECT_GT(left.tv_sec, 86000);
  left = {};
  EXPECT_ERR(EINTR, sys(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &day, &left));
  EXPECT_GT(left.tv_sec, 86000);
  const uint64_t wanted = set_of({SIGUSR1});
  EXPECT_ERR(EINTR, sys(SYS_rt_sigtimedwait, &wanted, nullptr, nullptr, kSetSize));
}

TEST_F(SignalTest, Sigsuspend) {
  ScopedHandler handler(SIGUSR1, note);
  ScopedBlock block({SIGUSR1});
  raise(SIGUSR1);
  uint64_t none = 0;
  EXPECT_ERR(EINTR, sys(SYS_rt_sigsuspend, &none, kSetSize));
  EXPECT_EQ(1, count);
  uint64_t mask = 0;
  sys(SYS_rt_sigprocmask, SIG_BLOCK, nullptr, &mask, kSetSize);
  EXPECT_EQ(set_of({SIGUSR1}), mask);  // the old mask is back
  EXPECT_ERR(EINVAL, sys(SYS_rt_sigsuspend, &none, 4));
  EXPECT_ERR(EFAULT, sys(SYS_rt_sigsuspend, bad(), kSetSize));
}

TEST_F(SignalTest, IgnoredSignalDoesNotInterrupt) {
  Pipe p;
  const pid_t child = spawn([&] {
    for (int i = 0; i < 20; ++i) kill(getppid(), SIGWINCH);
    p.notify('x');
  });
  char c;
  EXPECT_EQ(1, sys(SYS_read, p.r, &c, 1));
  EXPECT_EQ(0, reap(child));
}

TEST_F(SignalTest, PartialWriteBeforeTheSignalIsReported) {
  Pipe p;
  std::vector<char> big(1 << 20);
  AlarmStorm storm;
  const long n = sys(SYS_write, p.w, big.data(), big.size());
  EXPECT_EQ(65536, n);
}

// --- queues
// -------------------------------------------------------------------------------------------------

TEST_F(SignalTest, RealTimeSignalsQueueInOrder) {
  static int values[8];
  static volatile int n;
  n = 0;
  ScopedHandler handler(
      SIGRTMIN, +[](int, siginfo_t* info, void*) {
        values[n] = info->si_value.sival_int;
        n = n + 1;
        EXPECT_EQ(SI_QUEUE, info->si_code);
        EXPECT_EQ(getpid(), info->si_pid);
      });
  {
    ScopedBlock block({SIGRTMIN});
    for (int i = 0; i < 5; ++i) ASSERT_OK(sigqueue(getpid(), SIGRTMIN, {.sival_int = i * 10}));
  }
  EXPECT_EQ(5, n);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(i * 10, values[i]);
}

TEST_F(SignalTest, Sigqueueinfo) {
  ScopedHandler handler(SIGUSR1, note);
  siginfo_t info = {};
  info.si_code = -7;
  info.si_value.sival_int = 99;
  EXPECT_OK(sys(SYS_rt_sigqueueinfo, getpid(), SIGUSR1, &info));
  EXPECT_EQ(-7, last_info.si_code);
  EXPECT_EQ(99, last_info.si_value.sival_int);
  EXPECT_OK(sys(SYS_rt_tgsigqueueinfo, getpid(), get_tid(), SIGUSR1, &info));
  EXPECT_EQ(2, count);
  info.si_code = SI_USER;
  const pid_t child = spawn([] {
    for (;;) pause();
  });
  EXPECT_ERR(EPERM,
             sys(SYS_rt_sigqueueinfo, child, SIGUSR1, &info));  // nobody may pretend to be kill()
  kill(child, SIGKILL);
  reap(child);
  info.si_code = SI_QUEUE;
  EXPECT_ERR(ESRCH, sys(SYS_rt_sigqueueinfo, 999999, SIGUSR1, &info));
  EXPECT_ERR(EINVAL, sys(SYS_rt_sigqueueinfo, getpid(), 65, &info));
  EXPECT_ERR(EFAULT, sys(SYS_rt_sigqueueinfo, getpid(), SIGUSR1, bad()));
  EXPECT_ERR(EINVAL, sys(SYS_rt_tgsigqueueinfo, 0, get_tid(), SIGUSR1, &info));
  EXPECT_ERR(EFAULT, sys(SYS_rt_tgsigqueueinfo, getpid(), get_tid(), SIGUSR1, bad()));
}

TEST_F(SignalTest, QueueLimit) {
  ScopedBlock block({SIGRTMIN});
  in_child([] {
    const rlimit limit = {3, 3};
    ASSERT_OK(setrlimit(RLIMIT_SIGPENDING, &limit));
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN);
    int sent = 0;
    while (sent < 50 && sigqueue(getpid(), SIGRTMIN, {}) == 0) ++sent;
    EXPECT_LE(sent, 3);
    EXPECT_EQ(EAGAIN, errno);
  });
}

TEST_F(SignalTest, Sigtimedwait) {
  ScopedBlock block({SIGUSR1, SIGUSR2});
  const uint64_t set = set_of({SIGUSR1, SIGUSR2});
  const timespec zero = {0, 0};
  siginfo_t info = {};
  EXPECT_ERR(EAGAIN, sys(SYS_rt_sigtimedwait, &set, &info, &zero, kSetSize));
  const timespec soon = {0, 1000000};
  EXPECT_ERR(EAGAIN, sys(SYS_rt_sigtimedwait, &set, &info, &soon, kSetSize));
  kill(getpid(), SIGUSR2);
  raise(SIGUSR1);
  EXPECT_EQ(SIGUSR1, sys(SYS_rt_sigtimedwait, &set, &info, nullptr, kSetSize));
  EXPECT_EQ(SI_TKILL, info.si_code);
  EXPECT_EQ(SIGUSR2, sys(SYS_rt_sigtimedwait, &set, &info, nullptr, kSetSize));
  EXPECT_EQ(SI_USER, info.si_code);
  const timespec wrong = {0, 1'000'000'000};
  EXPECT_ERR(EINVAL, sys(SYS_rt_sigtimedwait, &set, &info, &wrong, kSetSize));
  EXPECT_ERR(EINVAL, sys(SYS_rt_sigtimedwait, &set, &info, &zero, 4));
  EXPECT_ERR(EFAULT, sys(SYS_rt_sigtimedwait, bad(), &info, &zero, kSetSize));
  EXPECT_ERR(EFAULT, sys(SYS_rt_sigtimedwait, &set, &info, bad(), kSetSize));
  raise(SIGUSR1);
  EXPECT_ERR(EFAULT, sys(SYS_rt_sigtimedwait, &set, bad(), &zero, kSetSize));
}

TEST_F(SignalTest, SigtimedwaitWakesOnASignalFromAnotherProcess) {
  ScopedBlock block({SIGUSR1});
  const pid_t child = spawn([] {
    await_sleep(getppid(), getppid());
    kill(getppid(), SIGUSR1);
  });
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  siginfo_t info;
  EXPECT_EQ(SIGUSR1, sigwaitinfo(&set, &info));
  EXPECT_EQ(child, info.si_pid);
  EXPECT_EQ(0, reap(child));
}

TEST_F(SignalTest, Chld) {
  ScopedHandler handler(SIGCHLD, note);
  const pid_t exited = spawn([] { _exit(6); });
  while (count == 0) sched_yield();
  EXPECT_EQ(CLD_EXITED, last_info.si_code);
  EXPECT_EQ(exited, last_info.si_pid);
  EXPECT_EQ(6, last_info.si_status);
  reap(exited);
  const pid_t killed = spawn([] { raise(SIGKILL); });
  while (count == 1) sched_yield();
  EXPECT_EQ(CLD_KILLED, last_info.si_code);
  EXPECT_EQ(killed, last_info.si_pid);
  EXPECT_EQ(SIGKILL, last_info.si_status);
  reap(killed);
}

TEST_F(SignalTest, BrokenPipe) {
  Pipe p;
  p.r.reset();
  ScopedHandler handler(SIGPIPE, note);
  EXPECT_ERR(EPIPE, write(p.w, "x", 1));
  EXPECT_EQ(1, count);
}

// --- threads
// -------------------------------------------------------------------------------------------------

TEST_F(SignalTest, SignalToOneThread) {
  static std::atomic<pid_t> ran_in;
  static std::atomic<pid_t> tid;
  static Pipe* go;
  Pipe pipe;
  go = &pipe;
  ran_in = tid = 0;
  ScopedHandler handler(
      SIGUSR1, +[](int) { ran_in = get_tid(); }, SA_RESTART);
  pthread_t thread;
  pthread_create(
      &thread, nullptr,
      [](void*) -> void* {
        tid = get_tid();
        go->await();
        return nullptr;
      },
      nullptr);
  while (tid == 0) sched_yield();
  await_sleep(getpid(), tid);
  EXPECT_EQ(0, pthread_kill(thread, SIGUSR1));
  while (ran_in == 0) sched_yield();
  EXPECT_EQ(tid, ran_in);
  // A signal for the process goes to whichever thread lets it through.
  ran_in = 0;
  {
    ScopedBlock block({SIGUSR1});
    kill(getpid(), SIGUSR1);
    while (ran_in == 0) sched_yield();
    EXPECT_EQ(tid, ran_in);
  }
  go->notify();
  pthread_join(thread, nullptr);
}

TEST_F(SignalTest, FatalSignalEndsAllThreads) {
  const int status = child_status([] {
    pthread_t thread;
    pthread_create(
        &thread, nullptr,
        [](void*) -> void* {
          raise(SIGTERM);
          return nullptr;
        },
        nullptr);
    for (;;) pause();
  });
  EXPECT_EQ(SIGTERM, WTERMSIG(status));
}

TEST_F(SignalTest, ExitGroupFromAThread) {
  const int status = child_status([] {
    pthread_t thread;
    pthread_create(
        &thread, nullptr,
        [](void*) -> void* {
          sys(SYS_exit_group, 23);
          return nullptr;
        },
        nullptr);
    for (;;) pause();
  });
  EXPECT_EQ(23, WEXITSTATUS(status));
}

TEST_F(SignalTest, Signalfd) {
  ScopedBlock block({SIGUSR1, SIGUSR2});
  const uint64_t set = set_of({SIGUSR1});
  Fd fd(sys(SYS_signalfd4, -1, &set, kSetSize, SFD_NONBLOCK | SFD_CLOEXEC));
  ASSERT_OK(+fd);
  signalfd_siginfo info;
  EXPECT_ERR(EAGAIN, read(fd, &info, sizeof(info)));
  kill(getpid(), SIGUSR1);
  kill(getpid(), SIGUSR2);
  EXPECT_ERR(EINVAL, read(fd, &info, sizeof(info) - 1));
  EXPECT_EQ(128, read(fd, &info, sizeof(info)));
  EXPECT_EQ(static_cast<uint32_t>(SIGUSR1), info.ssi_signo);
  EXPECT_EQ(static_cast<uint32_t>(getpid()), info.ssi_pid);
  EXPECT_ERR(EAGAIN, read(fd, &info, sizeof(info)));
  const uint64_t other = set_of({SIGUSR2});
  EXPECT_EQ(+fd, sys(SYS_signalfd4, fd, &other, kSetSize, 0));  // changes the set
  EXPECT_EQ(128, read(fd, &info, sizeof(info)));
  EXPECT_EQ(static_cast<uint32_t>(SIGUSR2), info.ssi_signo);
  Fd old(sys(SYS_signalfd, -1, &set, kSetSize));
  EXPECT_OK(+old);
  raise(SIGUSR2);
  EXPECT_ERR(EFAULT, read(fd, bad(), sizeof(info)));
  EXPECT_ERR(EINVAL, sys(SYS_signalfd4, -1, &set, 4, 0));
  EXPECT_ERR(EINVAL, sys(SYS_signalfd4, -1, &set, kSetSize, 1));
  EXPECT_ERR(EBADF, sys(SYS_signalfd4, dead_fd(), &set, kSetSize, 0));
  Pipe p;
  EXPECT_ERR(EINVAL, sys(SYS_signalfd4, p.r, &set, kSetSize, 0));
  EXPECT_ERR(EFAULT, sys(SYS_signalfd4, -1, bad(), kSetSize, 0));
  const timespec zero = {};
  sys(SYS_rt_sigtimedwait, &other, nullptr, &zero, kSetSize);
  sys(SYS_rt_sigtimedwait, &set, nullptr, &zero, kSetSize);
}

}  // namespace
}  // namespace run9::guest
