#include "sentry/syscalls/timer.h"

#include <algorithm>

#include "sentry/task/kernel.h"
#include "sentry/time/interval_timer.h"
#include "sentry/time/posix_timers.h"

namespace run9::sentry {
namespace {

// What a timer shows: time left and interval.
struct Setting {
  uint64_t left = 0, interval = 0;
};

IntervalTimer& timer_of(Task& task, int which) {
  Process& p = task.process();
  if (which != ITIMER_REAL) return PosixTimers::of(p).cpu_timer(task.process_ref(), which);
  if (p.real_timer == nullptr) {
    p.real_timer = std::make_shared<IntervalTimer>(p.kernel.loop(), ClockRef::monotonic(), [&p](uint64_t) {
      (void)p.kernel.send_signal(p, SigInfo::kernel(SIGALRM)).has_value();  // gone: nobody to tell
    });
  }
  return *p.real_timer;
}

Setting get(Task& task, int which) {
  const Process& p = task.process();
  if (which == ITIMER_REAL ? p.real_timer == nullptr : p.timers == nullptr) return {};
  const IntervalTimer& t = timer_of(task, which);
  const uint64_t left = t.remaining();
  if (left == 0 && which == ITIMER_REAL) return {};
  return {left == 0 ? 0 : std::max<uint64_t>(left, 1000), t.interval()};  // due but not yet told: never 0 us
}

void set(Task& task, int which, Setting s) {
  IntervalTimer& t = timer_of(task, which);
  t.set(s.left == 0 ? 0 : saturating_add(t.clock().now(), s.left), s.interval);
}

bool valid_which(int which) { return which >= ITIMER_REAL && which <= ITIMER_PROF; }
itimerval to_itimerval(Setting s) { return {to_timeval(s.interval), to_timeval(s.left)}; }

// struct sigevent as the kernel reads it.
struct GuestSigevent {
  uint64_t value;
  int32_t signo, notify, tid;
  uint8_t pad[44];
};
static_assert(sizeof(GuestSigevent) == 64);

Result<PosixTimer::Spec> read_event(Task& task, uint64_t addr) {
  const auto e = TRY(task.memory().read(UserPtr<GuestSigevent>{addr}));
  PosixTimer::Spec spec{.notify = PosixTimer::Notify::kProcess, .signo = e.signo,
                        .value = e.value, .tid = e.tid};
  switch (e.notify) {
    case SIGEV_NONE: spec.notify = PosixTimer::Notify::kNone; return spec;
    case SIGEV_SIGNAL:
    case SIGEV_THREAD: break;
    case SIGEV_THREAD_ID: {
      Task* target = task.kernel().find_task(e.tid);
      if (target == nullptr || &target->process() != &task.process()) return Errno{EINVAL};
      spec.notify = PosixTimer::Notify::kThread;
      break;
    }
    default: return Errno{EINVAL};
  }
  if (e.signo <= 0 || e.signo > kMaxSignal) return Errno{EINVAL};
  return spec;
}

Result<PosixTimer*> find(Task& task, int32_t id) {
  if (task.process().timers == nullptr) return Errno{EINVAL};
  return task.process().timers->find(id);
}

itimerspec shown(PosixTimer& t) {
  return {to_timespec(t.timer().interval()), to_timespec(t.timer().remaining())};
}

}  // namespace

Result<uint64_t> sys_getitimer(Task& task, int which, UserPtr<itimerval> out) {
  if (!valid_which(which)) return Errno{EINVAL};
  TRY(task.memory().write(out, to_itimerval(get(task, which))));
  return 0;
}

Result<uint64_t> sys_setitimer(Task& task, int which, UserPtr<itimerval> in,
                               UserPtr<itimerval> old) {
  Setting next;
  if (!in.is_null()) {
    const auto v = TRY(task.memory().read(in));
    next = {TRY(to_ns(v.it_value)), TRY(to_ns(v.it_interval))};
  }
  if (!valid_which(which)) return Errno{EINVAL};
  const auto before = to_itimerval(get(task, which));
  set(task, which, next);
  if (!old.is_null()) TRY(task.memory().write(old, before));
  return 0;
}

Result<uint64_t> sys_alarm(Task& task, uint32_t seconds) {
  const uint64_t left = get(task, ITIMER_REAL).left;
  set(task, ITIMER_REAL, {seconds * kNsPerSec, 0});
  // Rounded, but an alarm that is due soon is not none.
  const uint64_t rounded = (left + kNsPerSec / 2) / kNsPerSec;
  return left != 0 && rounded == 0 ? 1 : rounded;
}

Result<uint64_t> sys_timer_create(Task& task, int32_t clock, uint64_t event,
                                  UserPtr<int32_t> id) {
  PosixTimer::Spec spec;
  if (event != 0) (void)TRY(task.memory().read(UserPtr<GuestSigevent>{event}));
  auto ref = TRY(ClockRef::find(task, clock));
  if (clock == CLOCK_MONOTONIC_RAW || clock == CLOCK_REALTIME_COARSE ||
      clock == CLOCK_MONOTONIC_COARSE) {
    return Errno{EOPNOTSUPP};
  }
  auto& timers = PosixTimers::of(task.process());
  if (event != 0) {
    spec = TRY(read_event(task, event));
  } else {
    spec.value = static_cast<uint64_t>(timers.next_id());
  }
  const int32_t made = TRY(timers.create(task.process(), std::move(ref), spec));
  const auto written = task.memory().write(id, made);
  if (!written.has_value()) {
    TRY(timers.remove(made));
    return written.error();
  }
  return 0;
}

Result<uint64_t> sys_timer_settime(Task& task, int32_t id, int flags, UserPtr<itimerspec> in,
                                   UserPtr<itimerspec> old) {
  if (in.is_null()) return Errno{EINVAL};
  const auto spec = TRY(task.memory().read(in));
  const uint64_t value = TRY(to_ns(spec.it_value)), interval = TRY(to_ns(spec.it_interval));
  PosixTimer* t = TRY(find(task, id));
  const auto before = shown(*t);
  t->reset_overrun();
  const uint64_t now = (flags & TIMER_ABSTIME) != 0 ? 0 : t->timer().clock().now();
  t->timer().set(value == 0 ? 0 : saturating_add(now, value), interval);
  if (!old.is_null()) TRY(task.memory().write(old, before));
  return 0;
}

Result<uint64_t> sys_timer_gettime(Task& task, int32_t id, UserPtr<itimerspec> out) {
  TRY(task.memory().write(out, shown(*TRY(find(task, id)))));
  return 0;
}

Result<uint64_t> sys_timer_getoverrun(Task& task, int32_t id) {
  return static_cast<uint64_t>(TRY(find(task, id))->overrun());
}

Result<uint64_t> sys_timer_delete(Task& task, int32_t id) {
  if (task.process().timers == nullptr) return Errno{EINVAL};
  TRY(task.process().timers->remove(id));
  return 0;
}

}  // namespace run9::sentry
