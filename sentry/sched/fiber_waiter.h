// FiberWaiter: a fiber that waits in a WaitQueue, and in nothing else.
#pragma once
#include "base/wait_queue.h"
#include "sentry/sched/event_loop.h"

namespace run9::sentry {

class FiberWaiter final : public Waiter {
 public:
  // For the running fiber.
  explicit FiberWaiter(EventLoop& loop) : loop_(loop), fiber_(loop.current()) {}
  void on_notify(uint32_t) override {
    told_ = true;
    if (fiber_ != loop_.current()) loop_.ready(fiber_);
  }
  bool told() const { return told_; }
  Fiber* fiber() const { return fiber_; }

 private:
  EventLoop& loop_;
  Fiber* const fiber_;
  bool told_ = false;
};

}  // namespace run9::sentry
