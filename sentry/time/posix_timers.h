// PosixTimers: the timers of timer_create(2) and the CPU interval timers of a process. Owned by Process,
// made on first use; gone at exec.
#pragma once
#include <map>
#include <memory>

#include "sentry/time/interval_timer.h"

namespace run9::sentry {

class PosixTimer {
 public:
  enum class Notify { kNone, kProcess, kThread };
  struct Spec {
    Notify notify = Notify::kProcess;
    int signo = SIGALRM;
    uint64_t value = 0;
    int32_t tid = 0;
  };
  PosixTimer(Process& process, int32_t id, ClockRef clock, Spec spec);
  IntervalTimer& timer() { return timer_; }
  int32_t overrun() const;  // of the signal delivered last
  void reset_overrun() { overrun_ = delivered_overrun_ = 0; }

 private:
  void fire(uint64_t ticks);
  Process& process_;
  const int32_t id_;
  const Spec spec_;
  int32_t overrun_ = 0;  // of the signal that is queued, or was queued last
  int32_t delivered_overrun_ = 0;  // of the one before
  IntervalTimer timer_;
};

class PosixTimers {
 public:
  static PosixTimers& of(Process& process);
  Result<int32_t> create(Process& process, ClockRef clock, PosixTimer::Spec spec);
  Result<PosixTimer*> find(int32_t id);
  Result<void> remove(int32_t id);
  int32_t next_id() const { return next_id_; }
  // ITIMER_VIRTUAL and ITIMER_PROF; both count the CPU clock of the process.
  IntervalTimer& cpu_timer(const ProcessRef& process, int which);

 private:
  std::map<int32_t, std::unique_ptr<PosixTimer>> timers_;
  int32_t next_id_ = 0;
  std::unique_ptr<IntervalTimer> cpu_timers_[2];
};

}  // namespace run9::sentry
