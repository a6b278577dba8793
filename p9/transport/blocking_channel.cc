#include "p9/transport/blocking_channel.h"

#include <poll.h>
#include <sys/socket.h>

#include "p9/transport/socket_io.h"

namespace run9::p9 {

Result<void> BlockingChannel::receive() {
  Result<Received> got = Errno{EAGAIN};
  if (ring_) {
    got = ring_->receive(demux_.space());
  } else {
    const auto to = demux_.space();
    patience_.wait(
        [&] {
          got = receive_with_fds(socket_.borrow(), to, MSG_DONTWAIT);
          return got || got.error() != Errno{EAGAIN};
        },
        [&] { got = receive_with_fds(socket_.borrow(), to, 0); });
  }
  Received some = TRY(std::move(got));
  if (some.bytes == 0) return Errno{ECONNRESET};
  return demux_.commit(some.bytes, std::move(some.fds));
}

Result<void> BlockingChannel::start_ring(RingMemory memory) {
  ring_.emplace(TRY(Ring::map(memory, Ring::Side::kClient)), socket_.borrow(), patience_us_);
  return ok();
}

Result<void> BlockingChannel::send_all(ByteSpan bytes) {
  return ring_ ? ring_->send(bytes) : send_with_fds(socket_.borrow(), bytes, {});
}

Result<Reply> BlockingChannel::round_trip(std::vector<std::byte> frame, Tag tag) {
  ++requests_;
  ++trips_;
  TRY(send_all(frame));
  for (;;) {
    if (auto in = TRY(demux_.next())) {
      if (in->tag != tag) return Errno{EPROTO};  // nobody else is asking
      return Reply{std::move(in->frame), std::move(in->fds)};
    }
    TRY(receive());
  }
}

void BlockingChannel::round_trips(std::span<Exchange> all) {
  // Whoever has no reply by then keeps his Exchange's EIO.
  static_cast<void>(exchange(all));
}

Result<void> BlockingChannel::exchange(std::span<Exchange> all) {
  size_t sent = 0, answered = 0, part = 0;  // `part` bytes of all[sent] are gone
  ++trips_;
  while (answered < all.size()) {
    while (sent < all.size() && sent - answered < kWindow) {
      const ByteSpan rest = ByteSpan(all[sent].frame).subspan(part);
      const size_t n = TRY(send_some(rest));
      part += n;
      if (n < rest.size()) break;
      ++requests_;
      ++sent;
      part = 0;
    }
    const bool stuck = part != 0 || (sent < all.size() && sent - answered < kWindow);
    TRY(wait(stuck));
    while (TRY(take_reply(all.first(sent)))) ++answered;
  }
  return ok();
}

Result<size_t> BlockingChannel::send_some(ByteSpan bytes) {
  if (ring_) return ring_->send_some(bytes);
  for (;;) {
    const ssize_t n = send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n >= 0) return static_cast<size_t>(n);
    if (errno == EAGAIN) return size_t{0};
    if (errno != EINTR) return last_errno();
  }
}

Result<void> BlockingChannel::wait(bool stuck) {
  if (!stuck) return receive();  // which has the socket's timeout
  if (ring_) {
    TRY(ring_->wait(RingLine::What::kEither));
    return ring_->has_data() ? receive() : Result<void>(ok());
  }
  pollfd p{socket_.get(), POLLIN | POLLOUT, 0};
  while (poll(&p, 1, -1) < 0) {
    if (errno != EINTR) return last_errno();
  }
  if ((p.revents & ~POLLOUT) == 0) return ok();
  return receive();
}

Result<bool> BlockingChannel::take_reply(std::span<Exchange> all) {
  auto in = TRY(demux_.next());
  if (!in) return false;
  for (Exchange& e : all) {
    if (e.tag != in->tag || e.error == Errno{}) continue;
    e.take(Reply{std::move(in->frame), std::move(in->fds)});
    return true;
  }
  return Errno{EPROTO};  // an answer that nobody asked for
}

}  // namespace run9::p9
