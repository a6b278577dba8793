#include "sentry/sched/host_thread.h"

#include <signal.h>

#include "base/check.h"
#include "sentry/sched/event_loop.h"

namespace run9::sentry {

bool make_host_thread(void* (*body)(void*), void* object, size_t stack) {
  pthread_attr_t how;
  CHECK(pthread_attr_init(&how) == 0);
  sigset_t all;
  sigfillset(&all);
  CHECK(pthread_attr_setstacksize(&how, stack) == 0 && pthread_attr_setsigmask_np(&how, &all) == 0 &&
        pthread_attr_setdetachstate(&how, PTHREAD_CREATE_DETACHED) == 0);
  pthread_t thread;
  const bool made = pthread_create(&thread, &how, body, object) == 0;
  pthread_attr_destroy(&how);
  return made;
}

Condition::Condition() {
  pthread_condattr_t by;
  pthread_condattr_init(&by);
  pthread_condattr_setclock(&by, CLOCK_MONOTONIC);
  pthread_cond_init(&condition_, &by);
  pthread_condattr_destroy(&by);
}

timespec after_ns(uint64_t ns) {
  const uint64_t at = EventLoop::now_ns() + ns;
  return {static_cast<time_t>(at / 1'000'000'000), static_cast<long>(at % 1'000'000'000)};
}

}  // namespace run9::sentry
