// SOCK_STREAM of AF_INET and AF_INET6: tcp(7).
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>

#include <algorithm>

#include "sentry/fs/anon.h"
#include "sentry/ipc/pipe.h"
#include "sentry/net/inet_socket.h"

namespace run9::sentry {
namespace {

constexpr uint32_t kIn = POLLIN | POLLRDNORM, kOut = POLLOUT | POLLWRNORM;
constexpr size_t kPiece = 32 * 1024;
constexpr unsigned kMaxBacklog = 4096;  // net.core.somaxconn
using State = InetEnd::State;

}  // namespace

int tcp_state(const InetEnd& e) {
  switch (e.state) {
    case State::kListening: return TCP_LISTEN;
    case State::kConnecting: return TCP_SYN_SENT;
    case State::kConnected: return e.finished ? TCP_CLOSE_WAIT : e.write_shut ? TCP_FIN_WAIT2 : TCP_ESTABLISHED;
    case State::kClosed: break;
  }
  return TCP_CLOSE;
}

TcpSocket::TcpSocket(Kernel& kernel, vfs::Path path, uint32_t flags, std::shared_ptr<InetEnd> end)
    : InetSocket(kernel, std::move(path), flags, IPPROTO_TCP, std::move(end)) {}

Result<void> TcpSocket::listen(vfs::OpContext&, int backlog) {
  InetEnd& e = *end_;
  if (progress_ != Progress::kNone) return Errno{EINVAL};
  if (e.state != State::kListening) {
    TRY(autobind());
    TRY(e.ports.may_listen(e));
    e.read_shut = e.write_shut = false;
    e.error = 0;
    e.state = State::kListening;
  }
  e.backlog = std::min(static_cast<unsigned>(backlog), kMaxBacklog);
  e.admit();
  return ok();
}

// tcp_disconnect(). A port that nobody asked for is given back, although the name keeps it.
void TcpSocket::disconnect() {
  InetEnd& e = *end_;
  const bool cut = e.state == State::kConnected || e.state == State::kConnecting;
  if (e.state == State::kListening) e.stop_listening();
  e.abandon();
  if (e.state == State::kConnected) {
    if (const auto p = e.peer.lock()) p->reset();
  }
  forget_peer();
  e.peer.reset();
  e.inbox.clear();
  e.read_shut = e.write_shut = e.finished = false;
  e.error = cut ? ECONNRESET : 0;
  if (!e.port_given) e.ports.release(e);
  progress_ = Progress::kNone;
  e.notify(~0u);
}

Result<void> TcpSocket::start(const SocketName& name) {
  InetEnd& e = *end_;
  const InetAddress to = TRY(destination(name));
  if (const auto bound = bind_for(to); !bound.has_value()) return Errno{EADDRNOTAVAIL};
  e.remote = to;
  e.error = 0;
  progress_ = Progress::kConnecting;
  e.connect_to(e.ports.find(to, e.local));
  return ok();
}

Result<void> TcpSocket::connect(vfs::OpContext& ctx, const SocketName& name) {
  const auto keep = shared_from_this();
  InetEnd& e = *end_;
  if (TRY(family_of(name)) == AF_UNSPEC) {
    disconnect();
    return ok();
  }
  if (progress_ == Progress::kConnected || e.state == State::kListening) return Errno{EISCONN};
  if (progress_ == Progress::kNone) {
    TRY(start(name));
    // It is there already; but Linux' answer comes back behind the call, too.
    if (nonblocking()) return Errno{EINPROGRESS};
  } else if (nonblocking() && e.state == State::kConnecting) {
    return Errno{EALREADY};
  }
  while (e.state == State::kConnecting) {
    const auto waited = wait_within(ctx, e.queue, kOut, options.send_timeout_ns);
    if (!waited.has_value()) return Errno{waited.error() == Errno{EAGAIN} ? Errno{EINPROGRESS} : waited.error()};
  }
  if (e.state == State::kConnected) {
    progress_ = Progress::kConnected;
    options_changed();
    return ok();
  }
  const int why = e.error != 0 ? e.error : ECONNABORTED;
  disconnect();
  return Errno{why};
}

Result<std::shared_ptr<Socket>> TcpSocket::accept(vfs::OpContext& ctx, uint32_t flags) {
  const auto keep = shared_from_this();
  InetEnd& e = *end_;
  while (listening() && e.pending.empty()) {
    if (nonblocking()) return Errno{EAGAIN};
    TRY(wait_within(ctx, e.queue, kIn, options.receive_timeout_ns));
  }
  if (!listening()) return Errno{EINVAL};
  auto server = std::move(e.pending.front());
  e.pending.pop_front();
  e.admit();
  auto path = make_anon_path(kernel_, "socket:", S_IFSOCK | 0777, ctx);
  auto socket = std::make_shared<TcpSocket>(kernel_, std::move(path), flags, std::move(server));
  socket->options = options;
  socket->kept_ = kept_;
  socket->congestion_ = congestion_;
  socket->progress_ = Progress::kConnected;
  socket->options_changed();
  return std::shared_ptr<Socket>(std::move(socket));
}

Result<size_t> TcpSocket::send(vfs::OpContext& ctx, ByteSpan data, Outgoing, int flags) {
  if ((flags & (MSG_OOB | MSG_FASTOPEN)) != 0) return Errno{EOPNOTSUPP};
  const auto keep = shared_from_this();
  return send_all(
      data, flags, [&](ByteSpan rest) { return put(ctx, rest, flags); },
      [&] { return wait_within(ctx, end_->queue, kOut, options.send_timeout_ns); });
}

// A segment.
Result<size_t> TcpSocket::put(vfs::OpContext& ctx, ByteSpan data, int flags) {
  InetEnd& e = *end_;
  if (e.state == State::kConnecting) return Errno{EAGAIN};
  if (const int error = take_error(); error != 0 && error != EPIPE) return Errno{error};
  if (e.state != State::kConnected || e.write_shut) return broken(ctx, flags);
  if (data.empty()) return size_t{0};
  const auto peer = e.peer.lock();
  if (peer == nullptr || peer->closed || (peer->read_shut && peer->write_shut)) {
    // Nobody reads there any more, which the answer to the segment says.
    if (peer != nullptr) peer->reset();
    e.reset();
    return data.size();
  }
  if (!peer->inbox.has_room()) return Errno{EAGAIN};
  SocketMessage m;
  m.data = as_chars(data.first(std::min({data.size(), kPiece, peer->inbox.space()})));
  const size_t n = m.data.size();
  peer->inbox.push(std::move(m));
  peer->queue.notify(kIn);
  return n;
}

Result<Received> TcpSocket::receive(vfs::OpContext& ctx, std::span<std::byte> dst, int flags) {
  if ((flags & MSG_OOB) != 0) return Errno{EINVAL};
  if ((flags & MSG_ERRQUEUE) != 0) return Errno{EAGAIN};
  const auto keep = shared_from_this();
  return receive_some(
      dst.size(), flags, [&](Received& r) { return take(dst, flags, r); },
      [&] { return wait_within(ctx, end_->queue, kIn, options.receive_timeout_ns); });
}

Result<void> TcpSocket::take(std::span<std::byte> dst, int flags, Received& r) {
  InetEnd& e = *end_;
  if (!e.inbox.empty()) {
    e.inbox.take_stream(dst, flags, r);
    const auto peer = e.peer.lock();
    if (peer != nullptr && (flags & MSG_PEEK) == 0 && peer->writable()) peer->queue.notify(kOut);
    return ok();
  }
  if (r.copied > 0 && (e.error != 0 || e.read_shut)) return ok();  // the next call says so
  if (e.finished) return ok();
  if (const int error = take_error(); error != 0) return Errno{error};
  if (e.read_shut) return ok();
  if (e.state != State::kConnected && e.state != State::kConnecting) return Errno{ENOTCONN};
  return Errno{EAGAIN};
}

Result<void> TcpSocket::shutdown(int how) {
  if (how < SHUT_RD || how > SHUT_RDWR) return Errno{EINVAL};
  InetEnd& e = *end_;
  if (e.state == State::kConnecting || (e.state == State::kListening && how != SHUT_WR)) {
    disconnect();
    return ok();
  }
  if (e.state == State::kListening) return ok();
  const bool was_connected = e.state == State::kConnected;
  if (how != SHUT_WR) e.read_shut = true;
  if (how != SHUT_RD) e.finish();
  e.notify(kIn | kOut | POLLRDHUP | POLLHUP);
  if (!was_connected) return Errno{ENOTCONN};
  return ok();
}

Result<SocketName> TcpSocket::peer_name() {
  if (end_->state != State::kConnected) return Errno{ENOTCONN};
  return make_inet_name(end_->remote, family());
}

// tcp_poll().
uint32_t TcpSocket::poll(vfs::OpContext&) {
  const InetEnd& e = *end_;
  if (e.state == State::kListening) return e.pending.empty() ? 0 : kIn;
  uint32_t bits = e.error != 0 ? POLLERR : 0;
  if ((e.read_shut && e.write_shut) || e.state == State::kClosed) bits |= POLLHUP;
  if (e.read_shut) bits |= kIn | POLLRDHUP;
  if (e.state == State::kConnecting) return bits;
  if (!e.inbox.empty()) bits |= kIn;
  if (e.write_shut || e.writable()) bits |= kOut;
  return bits;
}

Result<uint64_t> TcpSocket::ioctl(vfs::OpContext& ctx, uint32_t request, uint64_t arg) {
  switch (request) {
    case SIOCINQ:
      if (listening()) return Errno{EINVAL};
      return answer_int(ctx, arg, static_cast<int>(end_->inbox.unread()));
    case SIOCOUTQ:
      if (listening()) return Errno{EINVAL};
      return answer_int(ctx, arg, 0);  // what was sent is at the peer
    default: return InetSocket::ioctl(ctx, request, arg);
  }
}

}  // namespace run9::sentry
