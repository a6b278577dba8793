// IntervalTimer: fires at a time of some clock, and again every interval: what timerfd, POSIX timers and
// interval timers share. Owned by those; runs on the worker, outside any fiber.
#pragma once
#include <functional>

#include "sentry/sched/event_loop.h"
#include "sentry/time/clocks.h"

namespace run9::sentry {

class IntervalTimer {
 public:
  // fire(n): n expirations since the last call.
  IntervalTimer(EventLoop& loop, ClockRef clock, std::function<void(uint64_t)> fire);
  // deadline on the clock, 0 stops; interval 0: once.
  void set(uint64_t deadline, uint64_t interval);
  uint64_t remaining() const;  // 0: not armed
  uint64_t interval() const { return interval_; }
  const ClockRef& clock() const { return clock_; }

 private:
  void expire();
  ClockRef clock_;
  std::function<void(uint64_t)> fire_;
  uint64_t deadline_ = 0;
  uint64_t interval_ = 0;
  Timer timer_;
};

}  // namespace run9::sentry
