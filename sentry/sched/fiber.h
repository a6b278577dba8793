// Fiber: a stack and a place on it. The only file besides fiber.cc that knows Boost.Context; the sanitizers
// are told of each switch here. Owned by the EventLoop, which reuses finished ones.
#pragma once
#include <boost/context/detail/fcontext.hpp>

#include <cstddef>
#include <functional>

#include "base/sanitizer.h"

namespace run9 {
struct LayerSpan;
}

namespace run9::sentry {

struct Fiber {
  // 256 KiB of address space, of which only touched pages cost memory, behind a guard page. Sanitizers make
  // frames larger.
  static constexpr size_t kStackSize = (sanitizer::kOn ? 1024 : 256) << 10;

  Fiber();
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // From the worker: runs the fiber until it parks or its body ends.
  void run();
  // From the fiber: back to the worker.
  void leave();

  std::function<void()> body;
  struct Call {  // instead of `body`: costs no allocation
    void (*function)(void* object, int value) = nullptr;
    void* object = nullptr;
    int value = 0;
  } call;
  bool done = true;
  bool queued = false;  // in EventLoop's ready list
  bool aside = false;       // makes a host call, and comes back by itself (EventLoop::step_aside)
  LayerSpan* span = nullptr;  // whose code ran here before that
  void* context = nullptr;  // the platform's: whose call is carried out here

 private:
  static void entry(boost::context::detail::transfer_t from);
  void* stack_ = nullptr;
  boost::context::detail::fcontext_t inside_ = nullptr;
  boost::context::detail::fcontext_t outside_ = nullptr;
  void* fake_stack_ = nullptr;
  const void* outer_bottom_ = nullptr;
  size_t outer_size_ = 0;
  void* tsan_fiber_ = nullptr;
  void* tsan_outer_ = nullptr;
};

}  // namespace run9::sentry
