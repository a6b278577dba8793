// FiberMutex: parks the fiber that finds it taken; first come, first served. May be held across anything
// that blocks.
#pragma once
#include <deque>

#include "sentry/sched/event_loop.h"

namespace run9::sentry {

class FiberMutex {
 public:
  explicit FiberMutex(EventLoop& loop) : loop_(loop) {}
  bool locked() const { return held_; }
  void lock() {
    if (!held_) {
      held_ = true;
      return;
    }
    waiters_.push_back(loop_.current());
    loop_.park();  // unlock() hands it over
  }
  void unlock() {
    if (waiters_.empty()) {
      held_ = false;
      return;
    }
    Fiber* const next = waiters_.front();
    waiters_.pop_front();
    loop_.ready(next);
  }

 private:
  EventLoop& loop_;
  bool held_ = false;
  std::deque<Fiber*> waiters_;
};

}  // namespace run9::sentry
