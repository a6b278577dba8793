// CpuLimit: RLIMIT_CPU of a process. SIGXCPU at the soft limit and each second after it, SIGKILL at the hard
// one. Owned by its Process.
#pragma once
#include "sentry/time/interval_timer.h"

namespace run9::sentry {

class CpuLimit {
 public:
  explicit CpuLimit(Process& process);
  // Looks at the limits again: they were set, or inherited. Makes process.cpu_limit when there is one to watch.
  static void update(Process& process);

 private:
  void expire();
  void arm();
  Process& process_;
  IntervalTimer timer_;
};

}  // namespace run9::sentry
