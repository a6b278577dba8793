// A unix socket whose peer is outside of the sandbox.
#include <poll.h>

#include "sentry/net/unix_socket.h"
#include "sentry/task/kernel.h"

namespace run9::sentry {
namespace {

constexpr uint32_t kIn = POLLIN | POLLRDNORM, kOut = POLLOUT | POLLWRNORM;
// Nobody says when a listener of the host's has room for another connection.
constexpr uint64_t kAskAgainNs = 10'000'000;
constexpr uid_t kNobody = 65534;

}  // namespace

Result<void> UnixSocket::connect_outside(vfs::OpContext& ctx, vfs::Inode& file, const SocketName& name) {
  const uint64_t timeout = options.send_timeout_ns;
  const uint64_t deadline = timeout == 0 ? ~uint64_t{0} : EventLoop::now_ns() + timeout;
  auto fd = file.connect(ctx, end_->type);
  while (!fd && fd.error() == Errno{EAGAIN} && !nonblocking() && EventLoop::now_ns() < deadline) {
    const auto waited = ctx.wait(end_->queue, 0, EventLoop::now_ns() + kAskAgainNs);
    if (!waited.has_value() && waited.error() != Errno{ETIMEDOUT}) return waited;
    fd = file.connect(ctx, end_->type);
  }
  if (!fd) return fd.error();
  if (!end_->datagram() && end_->connected) return Errno{EISCONN};  // by another thread
  outside_ = std::make_shared<HostConnection>(kernel_.loop(), std::move(fd).value(), end_->type, end_->queue);
  end_->peer.reset();
  end_->connected = true;
  end_->peer_name = name;
  end_->peer_creds = {0, kNobody, kNobody};  // who it is on the host means nothing here
  end_->queue.notify(kOut);
  return ok();
}

Result<void> UnixSocket::wait_outside(vfs::OpContext& ctx, HostConnection& outside, uint32_t events, uint64_t timeout_ns) {
  if ((outside.poll() & (events | POLLERR | POLLHUP)) != 0) return ok();
  return wait_within(ctx, end_->queue, events, timeout_ns);
}

// A datagram to somebody outside by a socket that is connected to nobody, or to another.
Result<size_t> UnixSocket::send_once_outside(vfs::OpContext& ctx, vfs::Inode& file, ByteSpan data, const Outgoing& extra,
                                             int flags) {
  if (!extra.files.empty()) return Errno{EOPNOTSUPP};
  HostConnection once(kernel_.loop(), TRY(file.connect(ctx, end_->type)), end_->type, end_->queue);
  return once.send(data, flags);
}

// Descriptors of the guest's are nothing that the host knows.
Result<size_t> UnixSocket::send_outside(vfs::OpContext& ctx, ByteSpan data, const Outgoing& extra, int flags) {
  if (!extra.files.empty()) return Errno{EOPNOTSUPP};
  const auto outside = outside_;  // a datagram socket may be connected to another while we wait
  if (!extra.to.empty() && type() == SOCK_STREAM) return Errno{EISCONN};
  return send_all(
      data, flags,
      [&](ByteSpan rest) -> Result<size_t> {
        const auto n = outside->send(rest, flags);
        if (!n.has_value() && n.error() == Errno{EPIPE}) return broken(ctx, flags);
        return n;
      },
      [&] { return wait_outside(ctx, *outside, kOut, options.send_timeout_ns); });
}

Result<Received> UnixSocket::receive_outside(vfs::OpContext& ctx, std::span<std::byte> dst, int flags) {
  const auto outside = outside_;
  return receive_some(
      dst.size(), flags,
      [&](Received& sum) -> Result<void> {
        const auto r = TRY(outside->receive(dst.subspan(sum.copied), flags));
        sum.copied += r.copied;
        sum.full += r.full;
        return ok();
      },
      [&] { return wait_outside(ctx, *outside, kIn, options.receive_timeout_ns); });
}

}  // namespace run9::sentry
