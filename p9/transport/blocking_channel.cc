#include "p9/transport/blocking_channel.h"

#include <poll.h>
#include <sys/socket.h>

#include "p9/transport/socket_io.h"

namespace run9::p9 {

Result<void> BlockingChannel::receive() {
  Received got = TRY(receive_with_fds(socket_.borrow(), demux_.space(), 0));
  if (got.bytes == 0) return Errno{ECONNRESET};
  return demux_.commit(got.bytes, std::move(got.fds));
}

Result<Reply> BlockingChannel::round_trip(std::vector<std::byte> frame, Tag tag) {
  ++requests_;
  ++trips_;
  TRY(send_with_fds(socket_.borrow(), frame, {}));
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
    TRY(wait(static_cast<short>(stuck ? POLLIN | POLLOUT : POLLIN)));
    while (TRY(take_reply(all.first(sent)))) ++answered;
  }
  return ok();
}

Result<size_t> BlockingChannel::send_some(ByteSpan bytes) {
  for (;;) {
    const ssize_t n = send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n >= 0) return static_cast<size_t>(n);
    if (errno == EAGAIN) return size_t{0};
    if (errno != EINTR) return last_errno();
  }
}

// Until one of the events; what can be received then is.
Result<void> BlockingChannel::wait(short events) {
  if (events == POLLIN) return receive();  // which has the socket's timeout
  pollfd p{socket_.get(), events, 0};
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
