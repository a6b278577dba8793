// WaitQueue: who waits for what. Knows neither fibers nor threads: a Waiter is told, and does what
// it likes (make a fiber runnable, mark an epoll item ready). Single-threaded: the Sentry's kernel
// runs on one worker (docs/decisions/0001).
#pragma once
#include <cstdint>

namespace run9 {

class WaitQueue;

// Linked into at most one queue at a time. Leaves its queue when destroyed; the queue may die first.
class Waiter {
 public:
  virtual ~Waiter() { unlink(); }
  Waiter() = default;
  Waiter(const Waiter&) = delete;
  Waiter& operator=(const Waiter&) = delete;

  // events: the poll(2) bits that became true. Called inside notify(); must not destroy the queue.
  virtual void on_notify(uint32_t events) = 0;
  void unlink();
  bool linked() const { return queue_ != nullptr; }

 private:
  friend class WaitQueue;
  WaitQueue* queue_ = nullptr;
  Waiter* prev_ = nullptr;
  Waiter* next_ = nullptr;
  uint32_t interest_ = 0;
  bool exclusive_ = false;
};

class WaitQueue {
 public:
  WaitQueue() = default;
  WaitQueue(const WaitQueue&) = delete;
  WaitQueue& operator=(const WaitQueue&) = delete;
  ~WaitQueue();

  // interest: poll bits; POLLERR and POLLHUP are always added, as poll(2) does.
  void add(Waiter& w, uint32_t interest = ~0u);
  void add_exclusive(Waiter& w, uint32_t interest = ~0u);
  // Tells every non-exclusive waiter that cares for one of the bits, and the first exclusive one.
  void notify(uint32_t events = ~0u);
  void notify_all(uint32_t events = ~0u);
  bool empty() const { return head_ == nullptr; }

 private:
  friend class Waiter;
  void link(Waiter& w, uint32_t interest, bool exclusive);
  void notify_some(uint32_t events, bool all);
  Waiter* head_ = nullptr;
  Waiter* tail_ = nullptr;
  // One for each notify() in progress, innermost first: the waiter it tells next.
  struct Cursor {
    Waiter* next;
    Cursor* outer;
  };
  Cursor* cursors_ = nullptr;
};

}  // namespace run9
