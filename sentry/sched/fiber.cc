#include "sentry/sched/fiber.h"

#include <sys/mman.h>

#include <utility>

#include "base/check.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
#endif

namespace run9::sentry {

namespace ctx = boost::context::detail;

// tsan counts a thread's calls and returns. These two are left by other ways than a return.
#define RUN9_LEFT_BY_SWITCH __attribute__((no_sanitize("thread")))

Fiber::Fiber() {
  stack_ = mmap(nullptr, kStackSize, PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
  CHECK(stack_ != MAP_FAILED);
  CHECK(mprotect(stack_, 4096, PROT_NONE) == 0);
  inside_ = ctx::make_fcontext(static_cast<char*>(stack_) + kStackSize, kStackSize - 4096, &Fiber::entry);
#if defined(__SANITIZE_THREAD__)
  tsan_fiber_ = __tsan_create_fiber(0);
#endif
}

Fiber::~Fiber() {
#if defined(__SANITIZE_THREAD__)
  __tsan_destroy_fiber(tsan_fiber_);
#endif
#if defined(__SANITIZE_ADDRESS__)
  // The outermost frames never returned, and what is mapped here next is no stack.
  ASAN_UNPOISON_MEMORY_REGION(static_cast<char*>(stack_) + 4096, kStackSize - 4096);
#endif
  munmap(stack_, kStackSize);
}

void Fiber::run() {
  done = false;
#if defined(__SANITIZE_ADDRESS__)
  void* outer_fake = nullptr;
  __sanitizer_start_switch_fiber(&outer_fake, static_cast<char*>(stack_) + 4096, kStackSize - 4096);
#elif defined(__SANITIZE_THREAD__)
  tsan_outer_ = __tsan_get_current_fiber();
  __tsan_switch_to_fiber(tsan_fiber_, 0);
#endif
  const ctx::transfer_t t = ctx::jump_fcontext(inside_, this);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(outer_fake, nullptr, nullptr);
#endif
  inside_ = t.fctx;
}

RUN9_LEFT_BY_SWITCH void Fiber::leave() {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&fake_stack_, outer_bottom_, outer_size_);
#elif defined(__SANITIZE_THREAD__)
  __tsan_switch_to_fiber(tsan_outer_, 0);
#endif
  const ctx::transfer_t t = ctx::jump_fcontext(outside_, nullptr);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(fake_stack_, &outer_bottom_, &outer_size_);
#endif
  outside_ = t.fctx;
}

RUN9_LEFT_BY_SWITCH void Fiber::entry(ctx::transfer_t from) {
  auto* self = static_cast<Fiber*>(from.data);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, &self->outer_bottom_, &self->outer_size_);
#endif
  self->outside_ = from.fctx;
  for (;;) {
    if (const Call c = std::exchange(self->call, {}); c.function != nullptr) {
      c.function(c.object, c.value);
    } else {
      std::exchange(self->body, nullptr)();
    }
    self->done = true;
    self->leave();  // until there is another body
  }
}

}  // namespace run9::sentry
