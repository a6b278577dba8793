// SOCK_DGRAM of AF_INET and AF_INET6: udp(7).
#include <linux/sockios.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/ioctl.h>

#include <algorithm>

#include "sentry/ipc/pipe.h"
#include "sentry/net/inet_socket.h"
#include "sentry/net/interfaces.h"

namespace run9::sentry {
namespace {

constexpr uint32_t kIn = POLLIN | POLLRDNORM, kOut = POLLOUT | POLLWRNORM | POLLWRBAND;
constexpr size_t kMaxDatagram4 = 65507, kMaxDatagram6 = 65527;  // 65535 less the headers
using State = InetEnd::State;

template <typename T>
SocketControl control(int level, int type, const T& value) {
  return {level, type, bytes_of(value)};
}

// IP_PKTINFO, IPV6_PKTINFO: where a datagram was sent to.
SocketControl packet_info(const InetAddress& to, int family) {
  if (family == AF_INET) {
    const in_addr at{htonl(to.v4())};
    return control(SOL_IP, IP_PKTINFO, in_pktinfo{.ipi_ifindex = kLoopbackIndex, .ipi_spec_dst = at, .ipi_addr = at});
  }
  in6_pktinfo info{.ipi6_addr = {}, .ipi6_ifindex = kLoopbackIndex};
  std::copy(to.ip.begin(), to.ip.end(), info.ipi6_addr.s6_addr);
  return control(SOL_IPV6, IPV6_PKTINFO, info);
}

}  // namespace

UdpSocket::UdpSocket(Kernel& kernel, vfs::Path path, uint32_t flags, std::shared_ptr<InetEnd> end)
    : InetSocket(kernel, std::move(path), flags, IPPROTO_UDP, std::move(end)) {}

Result<void> UdpSocket::connect(vfs::OpContext&, const SocketName& name) {
  InetEnd& e = *end_;
  if (TRY(family_of(name)) == AF_UNSPEC) {
    forget_peer();
    if (e.bound && !e.port_given) {
      e.ports.release(e);
      e.local.port = 0;
    }
    return ok();
  }
  const InetAddress to = TRY(destination(name));
  if (const auto bound = bind_for(to); !bound.has_value()) return Errno{EAGAIN};
  e.remote = to;
  e.state = State::kConnected;
  return ok();
}

// EDESTADDRREQ without a name and a peer.
Result<InetAddress> UdpSocket::target(const SocketName& name) const {
  const bool none = name.empty() || (family() == AF_INET6 && TRY(family_of(name)) == AF_UNSPEC);
  if (none && !connected()) return Errno{EDESTADDRREQ};
  const InetAddress to = none ? end_->remote : TRY(destination(name));
  if (to.port == 0) return Errno{EINVAL};
  return to;
}

Result<size_t> UdpSocket::send(vfs::OpContext&, ByteSpan data, Outgoing extra, int flags) {
  if ((flags & MSG_OOB) != 0) return Errno{EOPNOTSUPP};
  InetEnd& e = *end_;
  if (!autobind().has_value()) return Errno{EAGAIN};
  // The first part's name is that of the whole.
  const InetAddress to = corked_ ? corked_->to : TRY(target(extra.to));
  const size_t before = corked_ ? corked_->data.size() : 0;
  if (before + data.size() > (to.is_v4() ? kMaxDatagram4 : kMaxDatagram6)) return Errno{EMSGSIZE};
  if (const int error = take_error(); error != 0) return Errno{error};
  if (e.write_shut) return Errno{EPIPE};
  if (!corked_ && (flags & MSG_MORE) == 0) {
    deliver(data, to);
    return data.size();
  }
  if (!corked_) corked_.emplace(Corked{to, {}});
  corked_->data.insert(corked_->data.end(), data.begin(), data.end());
  if ((flags & MSG_MORE) == 0) deliver(std::exchange(corked_, std::nullopt)->data, to);
  return data.size();
}

void UdpSocket::deliver(ByteSpan data, const InetAddress& to) {
  InetEnd& e = *end_;
  InetAddress from = e.local;
  if (from.is_any()) from.ip = source_for(to).ip;
  const auto at = e.ports.find(to, from);
  if (at == nullptr) {
    // ICMP's answer: told to who is connected there, or asked for errors.
    const bool wants = option(SOL_IP, IP_RECVERR) != 0 || option(SOL_IPV6, IPV6_RECVERR) != 0;
    if (!wants && !(connected() && e.remote == to)) return;
    e.error = ECONNREFUSED;
    e.notify(POLLERR);
    return;
  }
  if (!at->inbox.has_room()) return;  // dropped
  SocketMessage m;
  m.data = as_chars(data);
  m.from = make_inet_name(from, at->family);
  m.control.push_back(packet_info(to, at->family));
  at->inbox.push(std::move(m));
  at->queue.notify(kIn);
}

Result<Received> UdpSocket::receive(vfs::OpContext& ctx, std::span<std::byte> dst, int flags) {
  if ((flags & MSG_OOB) != 0) return Errno{EOPNOTSUPP};
  if ((flags & MSG_ERRQUEUE) != 0) return Errno{EAGAIN};
  const auto keep = shared_from_this();
  auto r = TRY(receive_some(
      dst.size(), flags, [&](Received& got) { return take(dst, flags, got); },
      [&] { return wait_within(ctx, end_->queue, kIn, options.receive_timeout_ns); }));
  const bool info = family() == AF_INET ? option(SOL_IP, IP_PKTINFO) != 0 : option(SOL_IPV6, IPV6_RECVPKTINFO) != 0;
  if (!info) r.control.clear();
  return r;
}

Result<void> UdpSocket::take(std::span<std::byte> dst, int flags, Received& r) {
  if (const int error = take_error(); error != 0) return Errno{error};
  if (!end_->inbox.empty()) {
    end_->inbox.take_packet(dst, flags, r);
    return ok();
  }
  if (end_->read_shut && !nonblocking() && (flags & MSG_DONTWAIT) == 0) return ok();
  return Errno{EAGAIN};
}

Result<void> UdpSocket::shutdown(int how) {
  if (how < SHUT_RD || how > SHUT_RDWR) return Errno{EINVAL};
  end_->read_shut |= how != SHUT_WR;
  end_->write_shut |= how != SHUT_RD;
  end_->notify(kIn | kOut | POLLRDHUP | POLLHUP);
  // Linux shuts one that is not connected all the same.
  if (!connected()) return Errno{ENOTCONN};
  return ok();
}

Result<SocketName> UdpSocket::peer_name() {
  if (!connected()) return Errno{ENOTCONN};
  return make_inet_name(end_->remote, family());
}

// datagram_poll(). What cannot be queued is dropped, so that one can always send.
uint32_t UdpSocket::poll(vfs::OpContext&) {
  const InetEnd& e = *end_;
  uint32_t bits = kOut;
  if (e.error != 0) bits |= POLLERR;
  if (e.read_shut) bits |= kIn | POLLRDHUP;
  if (e.read_shut && e.write_shut) bits |= POLLHUP;
  if (!e.inbox.empty()) bits |= kIn;
  return bits;
}

Result<uint64_t> UdpSocket::ioctl(vfs::OpContext& ctx, uint32_t request, uint64_t arg) {
  switch (request) {
    case SIOCINQ: return answer_int(ctx, arg, static_cast<int>(end_->inbox.unread()));
    case SIOCOUTQ: return answer_int(ctx, arg, 0);
    default: return InetSocket::ioctl(ctx, request, arg);
  }
}

}  // namespace run9::sentry
