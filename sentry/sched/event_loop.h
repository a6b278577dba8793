// EventLoop: the worker. Runs fibers, fires timers, watches host descriptors, and polls the platform's
// doorbells; spins a while before it sleeps in epoll_wait. One for each Sentry, one thread
// (docs/decisions/0001-one-worker.md).
#pragma once
#include <sys/epoll.h>

#include <algorithm>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <set>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"

namespace run9::sentry {

class EventLoop;
class Platform;
class Workers;
struct Fiber;

// Fires once at a time of CLOCK_MONOTONIC. Owned by whoever waits; disarmed when destroyed.
class Timer {
 public:
  explicit Timer(EventLoop& loop, std::function<void()> fire);
  ~Timer();
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;
  void arm(uint64_t deadline_ns);  // again: moves it
  void disarm();
  bool armed() const { return deadline_ != 0; }
  uint64_t deadline() const { return deadline_; }

 private:
  friend class EventLoop;
  EventLoop& loop_;
  std::function<void()> fire_;
  uint64_t deadline_ = 0;
};

// Told of readiness of a host descriptor (level-triggered). Runs outside any fiber; must not block.
class FdHandler {
 public:
  virtual ~FdHandler() = default;
  virtual void on_ready(uint32_t epoll_events) = 0;
};

class EventLoop {
 public:
  static Result<std::unique_ptr<EventLoop>> create();
  ~EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  void set_platform(Platform* p) { platform_ = p; }
  // Up to so many threads run kernel code, one at a time (workers.h); the caller is one of them. Before run().
  void set_workers(unsigned most);
  Workers* workers() const { return workers_.get(); }
  // Until stop(). Everything else is called from inside it, or before it.
  void run();
  void stop() { stopping_ = true; }

  // Runs `body` on a fiber of its own, soon (behind those that are ready).
  void spawn(std::function<void()> body);
  // As spawn, but at once: called from outside fibers (event handlers), returns when the fiber parks
  // or ends.
  void enter(void (*body)(void* object, int value), void* object, int value);
  // The running fiber; null outside.
  Fiber* current() const { return current_; }
  // Parks the running fiber until somebody calls ready() on it. Spurious returns do not happen.
  void park();
  void ready(Fiber* fiber);
  // Gives way to all others that are ready, and to events.
  void yield();

  // Around a host call, by the running fiber or between two requests: others may run kernel code meanwhile. False: there are no other workers, and
  // no way back to go. step_back() waits until nobody else does; `fiber`: who was current() before.
  bool step_aside();
  void step_back(Fiber* fiber);
  // For whoever waits awake: a moment.
  void pause();

  static uint64_t now_ns();  // CLOCK_MONOTONIC
  Result<void> watch(BorrowedFd fd, uint32_t epoll_events, FdHandler& handler);
  Result<void> rewatch(BorrowedFd fd, uint32_t epoll_events, FdHandler& handler);
  void unwatch(BorrowedFd fd);
  // A watched descriptor is about to become readable (1), or no longer (-1): it is looked at in every round.
  void expect_descriptor(int change) { descriptors_expected_ += change; }

  // As if there were no more cores than that, where there are.
  void set_cores(int most) { cores_ = std::min(most, online_cpus_); }
  // A core is left for waiting: no more threads run guest code than there are cores beside ours.
  bool may_spin() const;
  // Programs that are not ours want the cores too: it was so a moment ago (give_way()).
  bool crowded() const { return crowded_; }
  // Another process that is asked something has a core to itself, beside ours, the guest thread's that waits for us
  // meanwhile, and those that run guest code.
  bool core_for_peer() const;
  static constexpr uint64_t kSpinNs = 500'000, kBriefSpinNs = 20'000;
  uint64_t spin_limit_ns = kSpinNs;  // 0: never spin
  // Something arrived that is worth spinning after (an event of a guest).
  void note_activity() { last_activity_ = now_ns(); }

 private:
  friend class Timer;
  friend class Workers;
  struct Order {
    bool operator()(const Timer* a, const Timer* b) const {
      return a->deadline_ != b->deadline_ ? a->deadline_ < b->deadline_ : a < b;
    }
  };
  EventLoop() = default;
  void run_ready();
  // By a further worker: requests and fibers, while there are any and nobody comes back; gives how many rounds. Timers and descriptors are for run().
  uint64_t serve_requests();
  void fire_timers(uint64_t now);
  bool poll_fds(int64_t timeout_ns);
  void sleep_until_event();
  void switch_to(Fiber* fiber);
  void give_way();
  int running() const;  // threads in guest code
  bool core_to_spare() const;
  // One of our own that is awaited, or was woken, may be on our core.
  bool core_wanted(bool woken) const;
  Fiber* take_fiber();

  UniqueFd epoll_;
  Platform* platform_ = nullptr;
  bool stopping_ = false;
  Fiber* current_ = nullptr;
  std::deque<Fiber*> ready_;
  std::vector<Fiber*> idle_;  // finished, their stacks wait for the next body
  std::set<Timer*, Order> timers_;
  uint64_t last_activity_ = 0;
  int online_cpus_ = 1, cores_ = 1;
  int descriptors_expected_ = 0;
  bool crowded_ = false;
  uint64_t crowded_until_ = 0, crowded_for_ = 0;
  std::unique_ptr<Workers> workers_;  // none: there is one
};

}  // namespace run9::sentry
