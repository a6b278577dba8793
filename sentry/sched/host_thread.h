// Host threads of the Sentry, beside its worker: how they are made, and the lock under which they say what they want.
#pragma once
#include <pthread.h>
#include <time.h>

#include <cstddef>
#include <cstdint>

namespace run9::sentry {

// Detached, and deaf: signals are the worker's. False: the host makes none.
bool make_host_thread(void* (*body)(void*), void* object, size_t stack);

class Locked {
 public:
  explicit Locked(pthread_mutex_t& m) : mutex_(m) { pthread_mutex_lock(&mutex_); }
  ~Locked() { pthread_mutex_unlock(&mutex_); }
  Locked(const Locked&) = delete;
  Locked& operator=(const Locked&) = delete;

 private:
  pthread_mutex_t& mutex_;
};

// A condition by CLOCK_MONOTONIC.
class Condition {
 public:
  Condition();
  void wait(pthread_mutex_t& held) { pthread_cond_wait(&condition_, &held); }
  // False: it is too late.
  bool wait_until(pthread_mutex_t& held, const timespec& deadline) { return pthread_cond_timedwait(&condition_, &held, &deadline) == 0; }
  void tell_one() { pthread_cond_signal(&condition_); }
  void tell_all() { pthread_cond_broadcast(&condition_); }

 private:
  pthread_cond_t condition_;
};

// In so many ns from now, by CLOCK_MONOTONIC.
timespec after_ns(uint64_t ns);

}  // namespace run9::sentry
