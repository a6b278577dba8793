// Workers: further threads that run kernel code, one at a time. Who runs it has the seat; it gives the seat up around a call of the host's that
// takes long enough (EventLoop::step_aside), and another worker takes requests meanwhile. They come when requests have waited behind such calls, while
// cores are left for them, and go to sleep, and in the end away, when they have found nothing to do (docs/decisions/0042-more-workers.md).
//
// Lock order: none. Whoever waits for the seat holds nothing; `lock_` is held for a few instructions, by who has the seat or by who sleeps.
#pragma once
#include <pthread.h>

#include <atomic>
#include <cstdint>

#include "sentry/sched/host_thread.h"

namespace run9::sentry {

class EventLoop;

// A lock that is free whenever its holder makes a call of the host's. Those who come back from one go before those who look for work.
class Seat {
 public:
  bool try_take() { return !taken_.load(std::memory_order_relaxed) && !taken_.exchange(true, std::memory_order_acquire); }
  void take();
  void give() { taken_.store(false, std::memory_order_release); }
  // Somebody comes back, and waits.
  bool wanted() const { return waiting_.load(std::memory_order_relaxed) != 0; }

 private:
  std::atomic<bool> taken_{false};
  std::atomic<unsigned> waiting_{0};
};

class Workers {
 public:
  // `more`: than one, at most. The caller has the seat.
  Workers(EventLoop& loop, unsigned more);
  // With the seat. Waits until they have left.
  ~Workers();
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;

  // Around a host call, with the seat and without it. `behind`: requests wait; `cores`: so many are left for further workers.
  void leave(bool behind, int cores);
  void come_back();
  // With the seat, between two requests: who comes back goes first.
  void let_in() {
    if (seat_.wanted()) [[unlikely]] make_room();
  }
  bool wanted() const { return seat_.wanted(); }
  // Somebody makes a host call, and will come back: nobody else may sleep with the seat.
  bool away() const { return away_.load(std::memory_order_relaxed) != 0; }
  // For a moment without the seat.
  void make_room();

  // How often further workers found something to do.
  uint64_t rounds() const { return rounds_.load(std::memory_order_relaxed); }
  unsigned threads();  // now
  uint64_t idle_ns = 2'000'000'000;  // after which a thread ends
  // With the first call that waits behind another, whatever the cores say (tests).
  bool eager = false;

 private:
  static void* enter(void* self);
  void serve();
  void work();
  void call_one();

  EventLoop& loop_;
  const unsigned more_;
  Seat seat_;
  std::atomic<int> away_{0};
  std::atomic<unsigned> awake_{0};
  std::atomic<bool> over_{false};
  std::atomic<uint64_t> rounds_{0};
  int behind_ = 0;  // with the seat: host calls behind which requests had to wait, less those with none
  pthread_mutex_t lock_ = PTHREAD_MUTEX_INITIALIZER;
  Condition called_;
  // Under the lock.
  unsigned threads_ = 0, calls_ = 0;
};

}  // namespace run9::sentry
