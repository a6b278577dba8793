#include "base/wait_queue.h"

#include <poll.h>

#include "base/check.h"

namespace run9 {

void Waiter::unlink() {
  if (queue_ == nullptr) return;
  for (auto* c = queue_->cursors_; c != nullptr; c = c->outer) {
    if (c->next == this) c->next = next_;
  }
  (prev_ != nullptr ? prev_->next_ : queue_->head_) = next_;
  (next_ != nullptr ? next_->prev_ : queue_->tail_) = prev_;
  queue_ = nullptr;
  prev_ = next_ = nullptr;
}

WaitQueue::~WaitQueue() {
  while (head_ != nullptr) head_->unlink();
}

void WaitQueue::link(Waiter& w, uint32_t interest, bool exclusive) {
  CHECK(w.queue_ == nullptr);
  w.queue_ = this;
  w.interest_ = interest | POLLERR | POLLHUP;
  w.exclusive_ = exclusive;
  w.prev_ = tail_;
  w.next_ = nullptr;
  (tail_ != nullptr ? tail_->next_ : head_) = &w;
  tail_ = &w;
}

void WaitQueue::add(Waiter& w, uint32_t interest) { link(w, interest, false); }
void WaitQueue::add_exclusive(Waiter& w, uint32_t interest) { link(w, interest, true); }

void WaitQueue::notify_some(uint32_t events, bool all) {
  // A callback may unlink any waiter, or notify this queue again (epoll in epoll).
  Cursor cursor{head_, cursors_};
  cursors_ = &cursor;
  bool exclusive_told = false;
  while (Waiter* w = cursor.next) {
    cursor.next = w->next_;
    if ((w->interest_ & events) == 0) continue;
    if (w->exclusive_ && !all) {
      if (exclusive_told) continue;
      exclusive_told = true;
    }
    w->on_notify(events);
  }
  cursors_ = cursor.outer;
}

void WaitQueue::notify(uint32_t events) { notify_some(events, false); }
void WaitQueue::notify_all(uint32_t events) { notify_some(events, true); }

}  // namespace run9
