#include "sentry/fs/gofer_channel.h"

#include <string.h>
#include <sys/socket.h>

#include <algorithm>

#include "base/layer_clock.h"
#include "base/log.h"
#include "p9/transport/socket_io.h"
#include "sentry/sched/fiber_waiter.h"

namespace run9::sentry {
namespace {

constexpr uint32_t kFirstMsize = 1 << 20;
// A gofer that is up answers within some 10 us; sleeping and being woken costs more than looking again.
constexpr uint64_t kSpinNs = 40'000;

}  // namespace

GoferChannel::GoferChannel(EventLoop& loop, UniqueFd socket)
    : loop_(loop), socket_(std::move(socket)), demux_(kFirstMsize) {}

Result<std::shared_ptr<GoferChannel>> GoferChannel::create(EventLoop& loop, UniqueFd socket) {
  std::shared_ptr<GoferChannel> c(new GoferChannel(loop, std::move(socket)));
  TRY(loop.watch(c->socket_.borrow(), EPOLLIN, *c));
  return c;
}

GoferChannel::~GoferChannel() {
  if (!lost_) loop_.unwatch(socket_.borrow());
}

void GoferChannel::lose(std::string_view why) {
  if (lost_) return;
  lost_ = true;
  log_error("the gofer is gone: {}; files that need it give EIO from now on", why);
  loop_.unwatch(socket_.borrow());
  // Who has just found out by sending is among them, and runs.
  for (auto& [tag, w] : waiting_) {
    if (w->fiber != loop_.current()) loop_.ready(w->fiber);
  }
  waiting_.clear();
  for (auto& [tag, e] : slow_) {
    e->answered = true;
    e->queue.notify_all();
  }
  slow_.clear();
  if (blocked_sender_ != nullptr) loop_.ready(blocked_sender_);
}

Result<void> GoferChannel::send(std::span<const std::byte> frame) {
  while (!frame.empty()) {
    if (lost_) return Errno{EIO};
    const ssize_t n = ::send(socket_.get(), frame.data(), frame.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n > 0) {
      frame = frame.subspan(static_cast<size_t>(n));
      continue;
    }
    const int error = host_errno();
    if (error == EINTR) continue;
    if (error != EAGAIN) {
      lose(strerror(error));
      return Errno{EIO};
    }
    TRY(loop_.rewatch(socket_.borrow(), EPOLLIN | EPOLLOUT, *this));
    blocked_sender_ = loop_.current();
    loop_.park();
    blocked_sender_ = nullptr;
  }
  return ok();
}

Result<void> GoferChannel::send_in_turn(std::span<const std::byte> frames) {
  Fiber* const self = loop_.current();
  while (sending_) {
    // lose() wakes those in line too.
    if (std::ranges::find(senders_, self) == senders_.end()) senders_.push_back(self);
    loop_.park();
  }
  std::erase(senders_, self);
  sending_ = true;
  const auto sent = send(frames);
  sending_ = false;
  if (!senders_.empty()) {
    loop_.ready(senders_.front());
    senders_.erase(senders_.begin());
  }
  return sent;
}

void GoferChannel::wait_for(const bool& answered) {
  // The calling guest thread looks for its answer on a core that the gofer needs: have it sleep.
  if (!answered && !lost_ && !loop_.core_for_peer()) loop_.yield();
  const uint64_t spin_until = loop_.may_spin() ? EventLoop::now_ns() + kSpinNs : 0;
  while (!answered && !lost_ && spin_until != 0 && EventLoop::now_ns() < spin_until) {
    if (!receive()) loop_.pause();
  }
  while (!answered && !lost_) loop_.park();
}

Result<p9::Reply> GoferChannel::round_trip(std::vector<std::byte> frame, p9::Tag tag) {
  if (lost_) return Errno{EIO};
  const LayerScope time(Layer::kGofer);
  Waiting w{.fiber = loop_.current()};
  waiting_[static_cast<uint16_t>(tag)] = &w;
  if (send_in_turn(frame).has_value()) wait_for(w.answered);
  if (w.answered) return std::move(w.reply);
  waiting_.erase(static_cast<uint16_t>(tag));
  return Errno{EIO};
}

void GoferChannel::begin(std::span<p9::SlowExchange* const> all) {
  const LayerScope time(Layer::kGofer);
  std::vector<std::byte> joined;
  for (p9::SlowExchange* e : all) {
    slow_[static_cast<uint16_t>(e->exchange.tag)] = e;
    if (all.size() > 1) joined.insert(joined.end(), e->exchange.frame.begin(), e->exchange.frame.end());
  }
  if (!lost_ && send_in_turn(all.size() > 1 ? joined : all[0]->exchange.frame).has_value()) return;
  // Those that lose() has not seen.
  for (p9::SlowExchange* e : all) {
    slow_.erase(static_cast<uint16_t>(e->exchange.tag));
    e->answered = true;
  }
}

void GoferChannel::wait(p9::SlowExchange& e) {
  FiberWaiter wake(loop_);
  const LayerScope time(Layer::kGofer);
  e.queue.add(wake);
  wait_for(e.answered);
}

void GoferChannel::on_ready(uint32_t events) {
  if (blocked_sender_ != nullptr && (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))) {
    (void)loop_.rewatch(socket_.borrow(), EPOLLIN, *this);
    loop_.ready(blocked_sender_);
  }
  while (!lost_ && receive()) {
  }
}

bool GoferChannel::receive() {
  auto got = p9::receive_with_fds(socket_.borrow(), demux_.space(), MSG_DONTWAIT);
  if (!got) {
    if (got.error() != Errno{EAGAIN}) lose(strerror(to_int(got.error())));
    return false;
  }
  p9::Received& in = got.assume_value();
  if (in.bytes == 0) {
    lose("it closed the connection");
    return false;
  }
  if (!demux_.commit(in.bytes, std::move(in.fds)).has_value()) {
    lose("it broke the protocol");
    return false;
  }
  for (;;) {
    auto next = demux_.next();
    if (!next.has_value()) {
      lose("it broke the protocol");
      return false;
    }
    if (!next.value()) return true;
    p9::Incoming answer = std::move(*next.value());
    if (!deliver(std::move(answer))) {
      lose("it answered a request that nobody made");
      return false;
    }
  }
}

bool GoferChannel::deliver(p9::Incoming answer) {
  const auto tag = static_cast<uint16_t>(answer.tag);
  p9::Reply reply{std::move(answer.frame), std::move(answer.fds)};
  if (const auto it = slow_.find(tag); it != slow_.end()) {
    p9::SlowExchange& e = *it->second;
    slow_.erase(it);
    e.exchange.take(std::move(reply));
    e.answered = true;
    e.queue.notify_all();
    return true;
  }
  const auto it = waiting_.find(tag);
  if (it == waiting_.end()) return false;
  Waiting* w = it->second;
  waiting_.erase(it);
  w->reply = std::move(reply);
  w->answered = true;
  if (w->fiber != loop_.current()) loop_.ready(w->fiber);
  return true;
}

}  // namespace run9::sentry
