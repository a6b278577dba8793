#include "sentry/syscalls/time.h"

#include <sys/time.h>
#include <sys/times.h>
#include <sys/timex.h>

#include <algorithm>

#include "sentry/task/kernel.h"
#include "sentry/time/clocks.h"

namespace run9::sentry {
namespace {

constexpr uint64_t kTickNs = 10'000'000;  // USER_HZ is 100

// Until the clock shows `deadline`; kErestartsys on a signal.
Result<void> sleep_on(Task& task, const ClockRef& clock, uint64_t deadline) {
  while (clock.now() < deadline) TRY(task.sleep_until(clock.monotonic_deadline(deadline)));
  return ok();
}

// A relative sleep that a restart continues with what is left.
Result<uint64_t> sleep_relative(Task& task, ClockRef clock, uint64_t deadline,
                                UserPtr<timespec> remaining) {
  const auto slept = sleep_on(task, clock, deadline);
  if (slept.has_value()) return 0;
  if (slept.error() != kErestartsys) return slept.error();
  const uint64_t now = clock.now();
  if (now >= deadline) return 0;
  if (!remaining.is_null()) TRY(task.memory().write(remaining, to_timespec(deadline - now)));
  return task.restart_with([=](Task& t) { return sleep_relative(t, clock, deadline, remaining); });
}

timeval split(uint64_t ns) { return to_timeval(ns); }

}  // namespace

Result<uint64_t> sys_clock_gettime(Task& task, int32_t clock, UserPtr<timespec> out) {
  const uint64_t now = TRY(ClockRef::find(task, clock)).now();
  TRY(task.memory().write(out, to_timespec(now)));
  return 0;
}

Result<uint64_t> sys_clock_getres(Task& task, int32_t clock, UserPtr<timespec> out) {
  (void)TRY(ClockRef::find(task, clock));
  const bool coarse = clock == CLOCK_REALTIME_COARSE || clock == CLOCK_MONOTONIC_COARSE;
  if (!out.is_null()) TRY(task.memory().write(out, timespec{0, coarse ? 4'000'000 : 1}));
  return 0;
}

// The clocks are the host's: nobody in a sandbox may set them.
Result<uint64_t> sys_clock_settime(Task& task, int32_t clock, UserPtr<timespec> in) {
  if (clock != CLOCK_REALTIME) return Errno{EINVAL};
  const auto t = TRY(task.memory().read(in));
  (void)TRY(to_ns(t));
  return Errno{EPERM};
}

Result<uint64_t> sys_settimeofday(Task& task, uint64_t tv, uint64_t tz) {
  if (tv != 0) {
    const auto t = TRY(task.memory().read(UserPtr<timeval>{tv}));
    (void)TRY(to_ns(t));
  }
  if (tz != 0) (void)TRY(task.memory().read(UserPtr<struct timezone>{tz}));
  return Errno{EPERM};
}

Result<uint64_t> sys_clock_nanosleep(Task& task, int32_t clock, int flags, UserPtr<timespec> in,
                                     UserPtr<timespec> remaining) {
  const ClockRef ref = TRY(ClockRef::find(task, clock));
  if (clock == CLOCK_THREAD_CPUTIME_ID || clock == CLOCK_MONOTONIC_RAW || clock == CLOCK_REALTIME_COARSE ||
      clock == CLOCK_MONOTONIC_COARSE) {
    return Errno{EOPNOTSUPP};
  }
  const uint64_t t = TRY(to_ns(TRY(task.memory().read(in))));
  if ((flags & TIMER_ABSTIME) == 0) {
    return sleep_relative(task, ref, saturating_add(ref.now(), t), remaining);
  }
  const auto slept = sleep_on(task, ref, t);
  if (slept.has_value()) return 0;
  return slept.error() == kErestartsys ? kErestartnohand : slept.error();
}

Result<uint64_t> sys_nanosleep(Task& task, UserPtr<timespec> in, UserPtr<timespec> remaining) {
  const uint64_t t = TRY(to_ns(TRY(task.memory().read(in))));
  const auto clock = ClockRef::monotonic();
  return sleep_relative(task, clock, saturating_add(clock.now(), t), remaining);
}

Result<uint64_t> sys_gettimeofday(Task& task, uint64_t tv, uint64_t tz) {
  if (tv != 0) {
    TRY(task.memory().write(UserPtr<timeval>{tv}, to_timeval(ClockRef::realtime().now())));
  }
  if (tz != 0) TRY(task.memory().zero(tz, sizeof(struct timezone)));
  return 0;
}

Result<uint64_t> sys_time(Task& task, UserPtr<int64_t> out) {
  const uint64_t now = ClockRef::realtime().now() / kNsPerSec;
  if (!out.is_null()) TRY(task.memory().write(out, static_cast<int64_t>(now)));
  return now;
}

Rusage usage_of(const Process& process) {
  Rusage u = process.usage_dead_threads;
  if (process.tasks.empty() || process.tasks.front()->memory_ref() == nullptr) return u;
  MemoryManager& mm = process.tasks.front()->memory();
  u.add(mm.space().cpu_time_ns(), mm.peak_bytes());
  return u;
}

rusage to_rusage(const Rusage& u) {
  rusage r{};
  r.ru_utime = split(u.user_ns);
  r.ru_stime = split(u.system_ns);
  r.ru_maxrss = static_cast<long>(u.max_rss_kib);
  r.ru_minflt = static_cast<long>(u.minor_faults);
  r.ru_majflt = static_cast<long>(u.major_faults);
  r.ru_nvcsw = static_cast<long>(u.voluntary);
  r.ru_nivcsw = static_cast<long>(u.involuntary);
  return r;
}

Result<uint64_t> sys_getrusage(Task& task, int who, uint64_t out) {
  if (who != RUSAGE_SELF && who != RUSAGE_CHILDREN && who != RUSAGE_THREAD) return Errno{EINVAL};
  const rusage r = to_rusage(who == RUSAGE_CHILDREN ? task.process().usage_children
                                                    : usage_of(task.process()));
  TRY(task.memory().copy_out(out, &r, sizeof r));
  return 0;
}

Result<uint64_t> sys_times(Task& task, uint64_t out) {
  if (out != 0) {
    const Rusage self = usage_of(task.process());
    const Rusage& children = task.process().usage_children;
    const auto ticks = [](uint64_t ns) { return static_cast<clock_t>(ns / kTickNs); };
    const tms t{ticks(self.user_ns), ticks(self.system_ns), ticks(children.user_ns),
                ticks(children.system_ns)};
    TRY(task.memory().copy_out(out, &t, sizeof t));
  }
  return EventLoop::now_ns() / kTickNs;
}

Result<uint64_t> sys_adjtimex(Task& task, uint64_t buffer) {
  return sys_clock_adjtime(task, CLOCK_REALTIME, buffer);
}

// Reading only; says that nobody keeps the clock in step, which is true of a sandbox.
Result<uint64_t> sys_clock_adjtime(Task& task, int32_t clock, uint64_t buffer) {
  timex t{};
  TRY(task.memory().copy_in(&t, buffer, sizeof t));
  if (clock != CLOCK_REALTIME) return Errno{clock < 0 || clock > CLOCK_TAI ? EINVAL : EOPNOTSUPP};
  constexpr unsigned kReadOffset = 0xa001;  // ADJ_OFFSET_SS_READ
  if (t.modes != 0 && t.modes != kReadOffset) return Errno{EPERM};
  t = timex{};
  t.status = STA_UNSYNC;
  t.maxerror = t.esterror = 16'000'000;
  t.constant = 2;
  t.precision = 1;
  t.tolerance = 32'768'000;
  t.tick = 10'000;
  t.time = to_timeval(ClockRef::realtime().now());
  TRY(task.memory().copy_out(buffer, &t, sizeof t));
  return uint64_t{TIME_ERROR};
}

}  // namespace run9::sentry
