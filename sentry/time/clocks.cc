#include "sentry/time/clocks.h"

#include <algorithm>

#include "sentry/task/kernel.h"

namespace run9::sentry {
namespace {

constexpr uint64_t kFarAway = uint64_t{1} << 62;
constexpr uint64_t kCpuPollNs = 1'000'000;

uint64_t host_clock(clockid_t id) {
  timespec t{};
  ::clock_gettime(id, &t);
  return static_cast<uint64_t>(t.tv_sec) * kNsPerSec + static_cast<uint64_t>(t.tv_nsec);
}

// A CPU clock id made by MAKE_PROCESS_CPUCLOCK or MAKE_THREAD_CPUCLOCK.
Result<ClockRef> dynamic_clock(Task& task, int32_t id) {
  constexpr int32_t kThread = 4;
  if ((id & 3) == 3) return Errno{EINVAL};  // a clock device
  const int32_t pid = ~(id >> 3);
  if (pid == 0) return ClockRef::cpu_of(task.process_ref());
  if ((id & kThread) != 0) {
    Task* t = task.kernel().find_task(pid);
    if (t == nullptr || &t->process() != &task.process()) return Errno{EINVAL};
    return ClockRef::cpu_of(t->process_ref());
  }
  const auto p = task.kernel().find_process(pid);
  if (p == nullptr) return Errno{EINVAL};
  return ClockRef::cpu_of(p);
}

}  // namespace

uint64_t process_cpu_ns(const Process& process) {
  uint64_t ns = process.usage_dead_threads.user_ns + process.usage_dead_threads.system_ns;
  if (process.tasks.empty()) return ns;
  const auto& memory = process.tasks.front()->memory_ref();  // null while the task ends
  if (memory != nullptr) ns += memory->space().cpu_time_ns();
  return ns;
}

Result<ClockRef> ClockRef::find(Task& task, int32_t clock_id) {
  switch (clock_id) {
    case CLOCK_REALTIME:
    case CLOCK_REALTIME_ALARM: return realtime();
    case CLOCK_REALTIME_COARSE:
    case CLOCK_MONOTONIC_COARSE:
    case CLOCK_MONOTONIC_RAW:
    case CLOCK_TAI: {
      ClockRef clock(Kind::kHosts, {});  // as the vDSO reads it
      clock.id_ = clock_id;
      return clock;
    }
    case CLOCK_MONOTONIC:
    case CLOCK_BOOTTIME:
    case CLOCK_BOOTTIME_ALARM: return monotonic();
    case CLOCK_PROCESS_CPUTIME_ID:
    case CLOCK_THREAD_CPUTIME_ID: return cpu_of(task.process_ref());
    default: break;
  }
  if (clock_id < 0) return dynamic_clock(task, clock_id);
  return Errno{EINVAL};
}

uint64_t ClockRef::now() const {
  switch (kind_) {
    case Kind::kMonotonic: return EventLoop::now_ns();
    case Kind::kRealtime: return host_clock(CLOCK_REALTIME);
    case Kind::kHosts: return host_clock(id_);
    case Kind::kProcessCpu: break;
  }
  const auto p = process_.lock();
  return p ? process_cpu_ns(*p) : 0;
}

uint64_t ClockRef::monotonic_deadline(uint64_t t) const {
  if (kind_ == Kind::kMonotonic) return std::max<uint64_t>(t, 1);
  const uint64_t current = now();
  uint64_t left = t > current ? t - current : 0;
  // Several threads may use CPU time at once, and a sleeping process none: look now and then.
  if (is_cpu()) left = std::max(left / 4, kCpuPollNs);
  return saturating_add(EventLoop::now_ns(), left);
}

uint64_t saturating_add(uint64_t a, uint64_t b) { return std::min(a, kFarAway) + std::min(b, kFarAway); }

Result<uint64_t> to_ns(const timespec& t) {
  if (t.tv_sec < 0 || t.tv_nsec < 0 || t.tv_nsec >= static_cast<long>(kNsPerSec)) {
    return Errno{EINVAL};
  }
  if (static_cast<uint64_t>(t.tv_sec) >= kFarAway / kNsPerSec) return kFarAway;
  return static_cast<uint64_t>(t.tv_sec) * kNsPerSec + static_cast<uint64_t>(t.tv_nsec);
}

Result<uint64_t> to_ns(const timeval& t) {
  if (t.tv_usec < 0 || t.tv_usec >= 1'000'000) return Errno{EINVAL};
  return to_ns(timespec{t.tv_sec, t.tv_usec * 1000});
}

timespec to_timespec(uint64_t ns) {
  return {static_cast<time_t>(ns / kNsPerSec), static_cast<long>(ns % kNsPerSec)};
}

timeval to_timeval(uint64_t ns) {
  return {static_cast<time_t>(ns / kNsPerSec), static_cast<suseconds_t>(ns % kNsPerSec / 1000)};
}

Result<std::optional<uint64_t>> read_timeout(Task& task, uint64_t timespec_addr) {
  if (timespec_addr == 0) return std::optional<uint64_t>();
  const auto t = TRY(task.memory().read(UserPtr<timespec>{timespec_addr}));
  return std::optional<uint64_t>(TRY(to_ns(t)));
}

}  // namespace run9::sentry
