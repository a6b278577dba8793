// Clocks, sleeping, interval timers and POSIX timers.
#include <sys/time.h>
#include <sys/times.h>
#include <sys/timex.h>
#include <time.h>

#include <thread>

#include "tests/syscalls/test_util.h"

namespace run9::guest {
namespace {

int64_t ns(const timespec& t) { return t.tv_sec * 1'000'000'000 + t.tv_nsec; }
int64_t now(clockid_t clock = CLOCK_MONOTONIC) {
  timespec t;
  sys(SYS_clock_gettime, clock, &t);
  return ns(t);
}

TEST(TimeTest, ClocksExistAndAdvance) {
  timespec t;
  for (clockid_t clock :
       {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_PROCESS_CPUTIME_ID, CLOCK_THREAD_CPUTIME_ID,
        CLOCK_MONOTONIC_RAW, CLOCK_REALTIME_COARSE, CLOCK_MONOTONIC_COARSE, CLOCK_BOOTTIME}) {
    EXPECT_OK(sys(SYS_clock_gettime, clock, &t)) << clock;
    EXPECT_LT(t.tv_nsec, 1'000'000'000);
    EXPECT_OK(sys(SYS_clock_getres, clock, &t)) << clock;
    EXPECT_GT(ns(t), 0);
  }
  const int64_t a = now();
  EXPECT_LE(a, now());
  EXPECT_OK(sys(SYS_clock_getres, CLOCK_MONOTONIC, nullptr));
  EXPECT_ERR(EINVAL, sys(SYS_clock_gettime, 77, &t));
  EXPECT_ERR(EINVAL, sys(SYS_clock_getres, 77, &t));
  EXPECT_ERR(EFAULT, sys(SYS_clock_gettime, CLOCK_MONOTONIC, bad()));
  EXPECT_ERR(EFAULT, sys(SYS_clock_getres, CLOCK_MONOTONIC, bad()));
}

TEST(TimeTest, VdsoAgreesWithTheKernel) {
  for (int i = 0; i < 1000; ++i) {
    timespec v;
    const int64_t before = now();
    clock_gettime(CLOCK_MONOTONIC, &v);  // through the vDSO
    const int64_t after = now();
    ASSERT_LE(before, ns(v));
    ASSERT_LE(ns(v), after);
  }
  const int64_t before = now(CLOCK_REALTIME);
  timespec v;
  clock_gettime(CLOCK_REALTIME, &v);
  EXPECT_LE(before, ns(v));
  for (const clockid_t clock : {CLOCK_REALTIME_COARSE, CLOCK_MONOTONIC_COARSE, CLOCK_MONOTONIC_RAW}) {
    for (int i = 0; i < 100; ++i) {
      const int64_t by_call = now(clock);
      clock_gettime(clock, &v);
      ASSERT_LE(by_call, ns(v)) << clock;
    }
  }
}

TEST(TimeTest, OldCalls) {
  timeval tv = {};
  struct {
    int west, dst;
  } zone;
  EXPECT_OK(sys(SYS_gettimeofday, &tv, &zone));
  long t = 0;
  const long got = sys(SYS_time, &t);
  EXPECT_EQ(got, t);
  EXPECT_LE(std::abs(got - tv.tv_sec), 2);
  EXPECT_ERR(EFAULT, sys(SYS_gettimeofday, bad(), nullptr));
  EXPECT_ERR(EFAULT, sys(SYS_time, bad()));
  tms buffer;
  EXPECT_OK(sys(SYS_times, &buffer));
  EXPECT_OK(sys(SYS_times, nullptr));
}

TEST(TimeTest, CpuTimeOfAProcess) {
  const int64_t before = now(CLOCK_PROCESS_CPUTIME_ID);
  int rounds = 0;
  while (now(CLOCK_PROCESS_CPUTIME_ID) < before + 2'000'000 && rounds < 100'000'000) ++rounds;
  EXPECT_GE(now(CLOCK_PROCESS_CPUTIME_ID), before + 2'000'000);
  EXPECT_GT(now(CLOCK_THREAD_CPUTIME_ID), 0);
}

TEST(TimeTest, CpuTimeOfAThread) {
  std::thread([] {
    const int64_t end = now(CLOCK_PROCESS_CPUTIME_ID) + 30'000'000;
    while (now(CLOCK_PROCESS_CPUTIME_ID) < end) {
    }
    EXPECT_GE(now(CLOCK_THREAD_CPUTIME_ID), 20'000'000);
  }).join();
  for (const bool by_call : {true, false}) {
    timespec t = {};
    EXPECT_OK(by_call ? static_cast<int>(sys(SYS_clock_gettime, CLOCK_THREAD_CPUTIME_ID, &t)) : clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t));
    EXPECT_LT(ns(t), now(CLOCK_PROCESS_CPUTIME_ID) - 20'000'000);
  }
  EXPECT_ERR(EFAULT, sys(SYS_clock_gettime, CLOCK_THREAD_CPUTIME_ID, bad()));
}

TEST(TimeTest, Nanosleep) {
  timespec t = {0, 2'000'000};
  const int64_t before = now();
  EXPECT_OK(sys(SYS_nanosleep, &t, nullptr));
  EXPECT_GE(now() - before, 2'000'000);
  t.tv_nsec = 0;
  EXPECT_OK(sys(SYS_nanosleep, &t, nullptr));
  t.tv_nsec = 1'000'000'000;
  EXPECT_ERR(EINVAL, sys(SYS_nanosleep, &t, nullptr));
  t = {-1, 0};
  EXPECT_ERR(EINVAL, sys(SYS_nanosleep, &t, nullptr));
  EXPECT_ERR(EFAULT, sys(SYS_nanosleep, bad(), nullptr));
  EXPECT_ERR(EFAULT, sys(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, bad(), nullptr));
  EXPECT_ERR(EINVAL, sys(SYS_clock_nanosleep, 77, 0, &t, nullptr));
  t = {0, 1'000'000'000};
  EXPECT_ERR(EINVAL, sys(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &t, nullptr));
  const int64_t until = now() + 2'000'000;
  t = {until / 1'000'000'000, until % 1'000'000'000};
  EXPECT_OK(sys(SYS_clock_nanosleep, CLOCK_MONOTONIC, TIMER_ABSTIME, &t, nullptr));
  EXPECT_GE(now(), until);
  EXPECT_OK(sys(SYS_clock_nanosleep, CLOCK_MONOTONIC, TIMER_ABSTIME, &t, nullptr));  // in the past
}

volatile sig_atomic_t alarms;
siginfo_t alarm_info;
void on_alarm(int, siginfo_t* info, void*) {
  alarm_info = *info;
  alarms = alarms + 1;
}

TEST(TimeTest, AlarmAndItimer) {
  ScopedHandler handler(SIGALRM, on_alarm);
  alarms = 0;
  EXPECT_EQ(0, sys(SYS_alarm, 1000));
  const long left = sys(SYS_alarm, 0);
  EXPECT_TRUE(left == 1000 || left == 999) << left;
  itimerval t = {{0, 1000}, {0, 1000}}, old = {};
  EXPECT_OK(sys(SYS_setitimer, ITIMER_REAL, &t, nullptr));
  while (alarms < 3) sched_yield();
  EXPECT_OK(sys(SYS_getitimer, ITIMER_REAL, &old));
  EXPECT_EQ(1000, old.it_interval.tv_usec);
  t = {};
  EXPECT_OK(sys(SYS_setitimer, ITIMER_REAL, &t, &old));
  EXPECT_EQ(1000, old.it_interval.tv_usec);
  EXPECT_OK(sys(SYS_getitimer, ITIMER_REAL, &old));
  EXPECT_EQ(0, old.it_value.tv_sec + old.it_value.tv_usec);
  EXPECT_ERR(EINVAL, sys(SYS_getitimer, 3, &old));
  EXPECT_ERR(EINVAL, sys(SYS_setitimer, 3, &t, nullptr));
  EXPECT_ERR(EFAULT, sys(SYS_getitimer, ITIMER_REAL, bad()));
  EXPECT_ERR(EFAULT, sys(SYS_setitimer, ITIMER_REAL, bad(), nullptr));
  t.it_value.tv_usec = 1'000'000;
  EXPECT_ERR(EINVAL, sys(SYS_setitimer, ITIMER_REAL, &t, nullptr));
}

// Each tick comes a whole number of periods after the first, however late the one before was.
TEST(TimeTest, ItimerKeepsItsPace) {
  ScopedHandler handler(SIGALRM, on_alarm);
  alarms = 0;
  constexpr int64_t kPeriod = 20'000'000, kClose = 400'000;
  const itimerval every = {{0, kPeriod / 1000}, {0, kPeriod / 1000}};
  int64_t earliest, latest;
  do {  // until nothing has come between
    earliest = now();
    ASSERT_OK(setitimer(ITIMER_REAL, &every, nullptr));
    latest = now();
  } while (latest - earliest > kClose / 4);
  while (alarms < 15) usleep(1000);
  for (;;) {
    itimerval left;
    const int64_t before = now();
    ASSERT_OK(getitimer(ITIMER_REAL, &left));
    const int64_t after = now(), value = left.it_value.tv_usec * 1000;
    if (after - before > kClose / 4 || value < 1'000'000) continue;
    const int64_t off = (before + value - earliest + kPeriod / 2) % kPeriod - kPeriod / 2;
    EXPECT_LT(std::abs(off), kClose);
    break;
  }
  const itimerval off = {};
  setitimer(ITIMER_REAL, &off, nullptr);
}

TEST(TimeTest, VirtualItimerCountsOwnWork) {
  ScopedHandler handler(SIGVTALRM, on_alarm), prof(SIGPROF, on_alarm);
  for (int which : {ITIMER_VIRTUAL, ITIMER_PROF}) {
    alarms = 0;
    itimerval t = {{0, 0}, {0, 1000}};
    ASSERT_OK(setitimer(which, &t, nullptr));
    volatile unsigned work = 0;
    while (alarms == 0) work = work + 1;
    EXPECT_EQ(1, alarms);
  }
}

TEST(TimeTest, AlarmKillsByDefault) {
  const int status = child_status([] {
    itimerval t = {{0, 0}, {0, 1000}};
    setitimer(ITIMER_REAL, &t, nullptr);
    for (;;) pause();
  });
  EXPECT_EQ(SIGALRM, WTERMSIG(status));
}

struct KernelSigevent {
  union {
    int number;
    void* pointer;
  } value;
  int signo, notify;
  int tid;
  int pad[11];
};

TEST(TimeTest, PosixTimer) {
  ScopedHandler handler(SIGUSR1, on_alarm);
  alarms = 0;
  KernelSigevent event = {};
  event.value.number = 77;
  event.signo = SIGUSR1;
  event.notify = SIGEV_SIGNAL;
  int id = -1;
  ASSERT_OK(sys(SYS_timer_create, CLOCK_MONOTONIC, &event, &id));
  itimerspec t = {{0, 1'000'000}, {0, 1'000'000}}, old = {};
  EXPECT_OK(sys(SYS_timer_settime, id, 0, &t, &old));
  EXPECT_EQ(0, old.it_value.tv_nsec);
  while (alarms < 3) sched_yield();
  EXPECT_EQ(SI_TIMER, alarm_info.si_code);
  EXPECT_EQ(77, alarm_info.si_value.sival_int);
  EXPECT_OK(sys(SYS_timer_gettime, id, &old));
  EXPECT_EQ(1'000'000, old.it_interval.tv_nsec);
  EXPECT_OK(sys(SYS_timer_getoverrun, id));
  EXPECT_OK(sys(SYS_timer_delete, id));
  EXPECT_ERR(EINVAL, sys(SYS_timer_delete, id));
  EXPECT_ERR(EINVAL, sys(SYS_timer_settime, id, 0, &t, nullptr));
  EXPECT_ERR(EINVAL, sys(SYS_timer_gettime, id, &old));
  EXPECT_ERR(EINVAL, sys(SYS_timer_getoverrun, id));
}

TEST(TimeTest, PosixTimerOverrunAndThread) {
  ScopedBlock block({SIGRTMIN});
  KernelSigevent event = {};
  event.signo = SIGRTMIN;
  event.notify = SIGEV_THREAD_ID;
  event.tid = get_tid();
  int id = -1;
  ASSERT_OK(sys(SYS_timer_create, CLOCK_MONOTONIC, &event, &id));
  itimerspec t = {{0, 100'000}, {0, 100'000}};
  ASSERT_OK(sys(SYS_timer_settime, id, 0, &t, nullptr));
  const timespec nap = {0, 5'000'000};
  nanosleep(&nap, nullptr);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGRTMIN);
  siginfo_t info = {};
  EXPECT_EQ(SIGRTMIN, sigwaitinfo(&set, &info));
  EXPECT_GT(info.si_overrun, 0);  // one signal, the others counted
  EXPECT_OK(sys(SYS_timer_delete, id));
  const timespec zero = {};
  sigtimedwait(&set, &info, &zero);
}

TEST(TimeTest, PosixTimerErrors) {
  int id;
  KernelSigevent event = {};
  event.signo = 99;
  EXPECT_ERR(EINVAL, sys(SYS_timer_create, CLOCK_MONOTONIC, &event, &id));
  EXPECT_ERR(EINVAL, sys(SYS_timer_create, 77, nullptr, &id));
  EXPECT_ERR(EFAULT, sys(SYS_timer_create, CLOCK_MONOTONIC, bad(), &id));
  EXPECT_ERR(EFAULT, sys(SYS_timer_create, CLOCK_MONOTONIC, nullptr, bad()));
  ASSERT_OK(sys(SYS_timer_create, CLOCK_REALTIME, nullptr, &id));  // SIGALRM, never armed
  itimerspec t = {{0, 0}, {0, 1'000'000'000}};
  EXPECT_ERR(EINVAL, sys(SYS_timer_settime, id, 0, &t, nullptr));
  EXPECT_ERR(EFAULT, sys(SYS_timer_settime, id, 0, bad(), nullptr));
  EXPECT_ERR(EFAULT, sys(SYS_timer_gettime, id, bad()));
  EXPECT_OK(sys(SYS_timer_delete, id));
}

TEST(TimeTest, SettingTheClockNeedsPrivilege) {
  SKIP_UNLESS_ROOT();
  in_user_child([] {
    timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    EXPECT_ERR(EPERM, sys(SYS_clock_settime, CLOCK_REALTIME, &t));
    const timeval tv = {t.tv_sec, 0};
    EXPECT_ERR(EPERM, sys(SYS_settimeofday, &tv, nullptr));
  });
  timespec t = {};
  EXPECT_ERR(EINVAL, sys(SYS_clock_settime, CLOCK_MONOTONIC, &t));
  EXPECT_ERR(EFAULT, sys(SYS_clock_settime, CLOCK_REALTIME, bad()));
  timex tx = {};
  EXPECT_GE(sys(SYS_adjtimex, &tx), 0);
  EXPECT_GE(sys(SYS_clock_adjtime, CLOCK_REALTIME, &tx), 0);
  EXPECT_ERR(EFAULT, sys(SYS_adjtimex, bad()));
}

}  // namespace
}  // namespace run9::guest
