// The guest's clocks: ids of clock_gettime(2) to nanoseconds. CPU clocks are those of the address space,
// counted by the host: user time of all threads together.
#pragma once
#include <time.h>

#include <cstdint>

#include "sentry/task/task.h"

namespace run9::sentry {

inline constexpr uint64_t kNsPerSec = 1'000'000'000;

// CPU time used by a process so far.
uint64_t process_cpu_ns(const Process& process);

// A clock a timer can run on.
class ClockRef {
 public:
  enum class Kind { kMonotonic, kRealtime, kHosts, kProcessCpu };
  // EINVAL: no such clock.
  static Result<ClockRef> find(Task& task, int32_t clock_id);
  static ClockRef monotonic() { return ClockRef(Kind::kMonotonic, {}); }
  static ClockRef realtime() { return ClockRef(Kind::kRealtime, {}); }
  static ClockRef cpu_of(const ProcessRef& process) { return ClockRef(Kind::kProcessCpu, process); }

  uint64_t now() const;
  bool is_cpu() const { return kind_ == Kind::kProcessCpu; }
  // The CLOCK_MONOTONIC time at which this clock is to show `t`; for CPU clocks the earliest moment worth
  // looking again.
  uint64_t monotonic_deadline(uint64_t t) const;

 private:
  ClockRef(Kind kind, std::weak_ptr<Process> process) : kind_(kind), process_(std::move(process)) {}
  Kind kind_;
  clockid_t id_ = 0;  // of kHosts
  std::weak_ptr<Process> process_;
};

// EINVAL for negative seconds and nanoseconds out of range; saturates far in the future.
Result<uint64_t> to_ns(const timespec& t);
timespec to_timespec(uint64_t ns);
Result<uint64_t> to_ns(const timeval& t);
timeval to_timeval(uint64_t ns);
// now + delta without overflow.
uint64_t saturating_add(uint64_t a, uint64_t b);
// A guest's optional relative timeout: none if the pointer is null.
Result<std::optional<uint64_t>> read_timeout(Task& task, uint64_t timespec_addr);

}  // namespace run9::sentry
