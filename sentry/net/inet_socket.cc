#include "sentry/net/inet_socket.h"

#include <netinet/in.h>

#include <algorithm>

#include "sentry/fs/anon.h"
#include "sentry/ipc/ipc_objects.h"
#include "sentry/task/kernel.h"

namespace run9::sentry {
namespace {

constexpr uint16_t kFirstUnprivileged = 1024;
// tcp_wmem and tcp_rmem, and to what Linux makes a sender's buffer grow when it connects over loopback.
constexpr int kTcpSend = 16384, kTcpReceive = 131072, kTcpGrown = 2626560;
constexpr int kMaxProtocol = 263;  // IPPROTO_MAX

}  // namespace

Result<void> InetSocket::check_kind(const vfs::OpContext& owner, int type, int protocol) {
  if (protocol < 0 || protocol >= kMaxProtocol) return Errno{EINVAL};
  switch (type) {
    case SOCK_STREAM:
      if (protocol != 0 && protocol != IPPROTO_TCP) return Errno{EPROTONOSUPPORT};
      return ok();
    case SOCK_DGRAM:
      // Who may ping without CAP_NET_RAW: net.ipv4.ping_group_range has nobody.
      if (protocol == IPPROTO_ICMP) return Errno{EACCES};
      if (protocol != 0 && protocol != IPPROTO_UDP) return Errno{EPROTONOSUPPORT};
      return ok();
    case SOCK_RAW: return Errno{protocol != 0 && !owner.creds().has_cap(CAP_NET_RAW) ? EPERM : EPROTONOSUPPORT};
    default: return Errno{ESOCKTNOSUPPORT};
  }
}

Result<std::shared_ptr<Socket>> InetSocket::create(Kernel& kernel, const vfs::OpContext& owner, int family, int type,
                                                   int protocol, uint32_t flags) {
  TRY(check_kind(owner, type, protocol));
  auto end = std::make_shared<InetEnd>(ipc_objects(kernel).inet_ports().of(type), family, type);
  end->uid = owner.creds().euid;
  auto path = make_anon_path(kernel, "socket:", S_IFSOCK | 0777, owner);
  if (type == SOCK_STREAM) {
    return std::shared_ptr<Socket>(std::make_shared<TcpSocket>(kernel, std::move(path), flags, std::move(end)));
  }
  return std::shared_ptr<Socket>(std::make_shared<UdpSocket>(kernel, std::move(path), flags, std::move(end)));
}

InetSocket::InetSocket(Kernel& kernel, vfs::Path path, uint32_t flags, int protocol, std::shared_ptr<InetEnd> end)
    : Socket(std::move(path), flags, end->family, end->type, protocol), kernel_(kernel), end_(std::move(end)) {
  end_->ino = inode().ino();
  if (end_->type == SOCK_STREAM) {
    options.send_buffer = kTcpSend;
    options.receive_buffer = kTcpReceive;
  }
  InetSocket::options_changed();
}

InetSocket::~InetSocket() {
  const bool abort = options.lingering.l_onoff != 0 && options.lingering.l_linger == 0;
  end_->close(abort);
}

void InetSocket::options_changed() {
  InetEnd& e = *end_;
  e.reuse_address = options.reuse_address;
  e.reuse_port = options.reuse_port;
  e.receive_buffer = static_cast<size_t>(options.receive_buffer);
  if (type() == SOCK_DGRAM) {
    e.inbox.limit = e.receive_buffer;
    return;
  }
  if (e.state == InetEnd::State::kConnected && !options.send_buffer_set) options.send_buffer = kTcpGrown;
  e.send_buffer = static_cast<size_t>(options.send_buffer_set ? options.send_buffer : kTcpGrown);
  e.size_queues();
}

Result<void> InetSocket::bind(vfs::OpContext& ctx, const SocketName& name) {
  InetEnd& e = *end_;
  InetAddress at;
  if (family() == AF_INET && name.size() >= sizeof(sockaddr_in) && TRY(family_of(name)) == AF_UNSPEC) {
    // Old programs leave sin_family out; the address has to be 0.0.0.0 then.
    SocketName inet = name;
    inet.replace(0, sizeof(sa_family_t), bytes_of(sa_family_t{AF_INET}));
    at = TRY(read_inet_name(inet, AF_INET));
    if (!at.is_any()) return Errno{EAFNOSUPPORT};
  } else {
    at = TRY(read_inet_name(name, family()));
  }
  if (at.is_v4() && e.v6_only) return Errno{EINVAL};
  if (!at.is_any() && !at.is_loopback() && option(SOL_IP, IP_FREEBIND) == 0) return Errno{EADDRNOTAVAIL};
  if (at.port != 0 && at.port < kFirstUnprivileged && !ctx.creds().has_cap(CAP_NET_BIND_SERVICE)) return Errno{EACCES};
  if (e.bound || e.state != InetEnd::State::kClosed) return Errno{EINVAL};
  TRY(e.ports.bind(e, at));
  e.address_given = !at.is_any();
  e.port_given = at.port != 0;
  return ok();
}

Result<void> InetSocket::autobind() {
  if (end_->bound) return ok();
  InetAddress at = end_->local;
  at.port = 0;
  return end_->ports.bind(*end_, at);
}

Result<InetAddress> InetSocket::destination(const SocketName& name) const {
  const InetEnd& e = *end_;
  // Datagrams of IPv6 sockets may go to an IPv4 name.
  const bool v4_name = type() == SOCK_DGRAM && !e.v6_only && TRY(family_of(name)) == AF_INET;
  const InetAddress to = TRY(route(TRY(read_inet_name(name, v4_name ? AF_INET : family()))));
  if (to.is_v4() && e.v6_only) return Errno{ENETUNREACH};
  if (!e.local.is_any() && e.local.is_v4() != to.is_v4()) return Errno{ENETUNREACH};
  return to;
}

Result<void> InetSocket::bind_for(const InetAddress& to) {
  InetEnd& e = *end_;
  if (e.local.is_any()) {
    // Bound or not, it has this address from now on.
    e.local.ip = source_for(to).ip;
  }
  const auto bound = autobind();
  if (!bound.has_value()) forget_peer();
  return bound;
}

void InetSocket::forget_peer() {
  InetEnd& e = *end_;
  e.state = InetEnd::State::kClosed;
  e.remote = InetAddress::any(family());
  if (!e.address_given) e.local.ip = e.remote.ip;
}

}  // namespace run9::sentry
