#include "sentry/time/cpu_limit.h"

#include <algorithm>

#include "sentry/task/kernel.h"

namespace run9::sentry {
namespace {

// In nanoseconds; a limit of 0 counts as one second (update_rlimit_cpu of Linux).
uint64_t limit_ns(rlim_t seconds) {
  if (seconds >= RLIM_INFINITY / kNsPerSec) return RLIM_INFINITY;
  return std::max<uint64_t>(seconds, 1) * kNsPerSec;
}

}  // namespace

CpuLimit::CpuLimit(Process& process)
    : process_(process),
      timer_(process.kernel.loop(), ClockRef::cpu_of(process.shared_from_this()), [this](uint64_t) { expire(); }) {}

void CpuLimit::update(Process& process) {
  const rlimit& r = process.limits[RLIMIT_CPU];
  if (process.cpu_limit == nullptr) {
    if (r.rlim_cur == RLIM_INFINITY && r.rlim_max == RLIM_INFINITY) return;
    process.cpu_limit = std::make_shared<CpuLimit>(process);
  }
  process.cpu_limit->arm();
}

void CpuLimit::arm() {
  const rlimit& r = process_.limits[RLIMIT_CPU];
  const uint64_t next = std::min(limit_ns(r.rlim_cur), limit_ns(r.rlim_max));
  timer_.set(next == RLIM_INFINITY ? 0 : next, 0);
}

void CpuLimit::expire() {
  rlimit& r = process_.limits[RLIMIT_CPU];
  const uint64_t used = process_cpu_ns(process_);
  if (used >= limit_ns(r.rlim_max)) {
    (void)process_.kernel.send_signal(process_, SigInfo::kernel(SIGKILL));
    return;
  }
  if (used >= limit_ns(r.rlim_cur)) {
    (void)process_.kernel.send_signal(process_, SigInfo::kernel(SIGXCPU));
    r.rlim_cur = std::max<rlim_t>(r.rlim_cur, 1) + 1;
  }
  arm();
}

}  // namespace run9::sentry
