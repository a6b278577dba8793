#include "sentry/time/interval_timer.h"

#include <algorithm>

namespace run9::sentry {
namespace {
// A guest may ask for an interval of a nanosecond; the worker has others to serve.
constexpr uint64_t kMinPeriodNs = 50'000;
}  // namespace

IntervalTimer::IntervalTimer(EventLoop& loop, ClockRef clock, std::function<void(uint64_t)> fire)
    : clock_(std::move(clock)), fire_(std::move(fire)), timer_(loop, [this] { expire(); }) {}

void IntervalTimer::set(uint64_t deadline, uint64_t interval) {
  deadline_ = deadline;
  interval_ = interval;
  if (deadline == 0) {
    timer_.disarm();
  } else {
    timer_.arm(clock_.monotonic_deadline(deadline));
  }
}

uint64_t IntervalTimer::remaining() const {
  if (deadline_ == 0) return 0;
  const uint64_t now = clock_.now();
  return deadline_ > now ? deadline_ - now : 1;  // due, not told yet: never 0
}

void IntervalTimer::expire() {
  const uint64_t now = clock_.now();
  if (now < deadline_) {  // a CPU clock, or a clock that was set back
    timer_.arm(clock_.monotonic_deadline(deadline_));
    return;
  }
  uint64_t ticks = 1;
  if (interval_ == 0) {
    deadline_ = 0;
  } else {
    ticks += (now - deadline_) / interval_;
    deadline_ = saturating_add(deadline_, ticks * interval_);
    const uint64_t next = clock_.monotonic_deadline(deadline_);
    timer_.arm(std::max(next, EventLoop::now_ns() + kMinPeriodNs));
  }
  fire_(ticks);
}

}  // namespace run9::sentry
