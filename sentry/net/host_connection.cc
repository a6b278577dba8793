#include "sentry/net/host_connection.h"

#include <sys/ioctl.h>

#include <algorithm>

#include "base/host_poll.h"
#include "base/layer_clock.h"
#include "base/log.h"

namespace run9::sentry {

HostConnection::~HostConnection() {
  if (watched_ != 0) loop_.unwatch(fd_.borrow());
}

uint32_t HostConnection::poll() {
  constexpr uint32_t kBoth = POLLIN | POLLOUT;
  const auto now = static_cast<uint16_t>(host_poll(fd_.get(), static_cast<short>(kBoth | POLLRDHUP | POLLRDNORM | POLLWRNORM)));
  // After a hangup nothing changes any more, and a watch on it would fire for ever.
  if ((now & (POLLHUP | POLLERR)) != 0) return now;
  const uint32_t missing = kBoth & ~now;
  if ((missing & ~watched_) != 0) {
    const uint32_t before = std::exchange(watched_, watched_ | missing);
    const auto watching = before == 0 ? loop_.watch(fd_.borrow(), watched_, *this)
                                      : loop_.rewatch(fd_.borrow(), watched_, *this);
    if (!watching.has_value()) {
      watched_ = before;
      log_warn("a host socket cannot be watched: {}", describe(watching.error()));
    }
  }
  return now;
}

// Once for each bit that was armed: whoever still waits for it asks poll() again, and that arms it anew. Who waits for another bit
// is not woken, so that one stays armed; after a hangup nothing does.
void HostConnection::on_ready(uint32_t epoll_events) {
  const bool over = (epoll_events & (EPOLLHUP | EPOLLERR)) != 0;
  watched_ = over ? 0 : watched_ & ~epoll_events;
  if (watched_ == 0 || !loop_.rewatch(fd_.borrow(), watched_, *this).has_value()) {
    watched_ = 0;
    loop_.unwatch(fd_.borrow());
  }
  if (over) return queue_.notify_all(~0u);
  queue_.notify_all(epoll_events | ((epoll_events & POLLIN) != 0 ? POLLRDNORM : 0u) |
                    ((epoll_events & POLLOUT) != 0 ? POLLWRNORM : 0u));
}

Result<size_t> HostConnection::send(ByteSpan data, int flags) {
  const LayerScope time(Layer::kHost);
  const ssize_t n = ::send(fd_.get(), data.data(), data.size(), (flags & MSG_EOR) | MSG_DONTWAIT | MSG_NOSIGNAL);
  if (n < 0) return Errno{errno == EINTR ? EAGAIN : errno};
  return static_cast<size_t>(n);
}

Result<Received> HostConnection::receive(std::span<std::byte> dst, int flags) {
  const LayerScope time(Layer::kHost);
  const bool stream = type_ == SOCK_STREAM;
  // Without a control buffer the host drops descriptors that come along.
  const ssize_t n = ::recv(fd_.get(), dst.data(), dst.size(), (flags & MSG_PEEK) | (stream ? 0 : MSG_TRUNC) | MSG_DONTWAIT);
  if (n < 0) return Errno{errno == EINTR ? EAGAIN : errno};
  Received r;
  r.full = static_cast<size_t>(n);
  r.copied = std::min(dst.size(), r.full);
  return r;
}

Result<void> HostConnection::shutdown(int how) {
  if (::shutdown(fd_.get(), how) != 0) return last_errno();
  return ok();
}

Result<int> HostConnection::unread() const {
  int n = 0;
  if (::ioctl(fd_.get(), FIONREAD, &n) != 0) return last_errno();
  return n;
}

}  // namespace run9::sentry
