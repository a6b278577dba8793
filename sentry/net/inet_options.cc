// Options of the levels IPPROTO_TCP, IPPROTO_IP and IPPROTO_IPV6.
#include <linux/in6.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

#include <algorithm>
#include <cstring>

#include "sentry/net/inet_socket.h"
#include "sentry/net/interfaces.h"

namespace run9::sentry {
namespace {

// One that is an int, is kept, and has no effect where nothing gets lost and nothing takes time; or one that option() asks for.
struct Kept {
  int level, name, initial, least, most;
};
constexpr int kAny = 0x7fffffff;
constexpr uint32_t kSegment = 65483;  // 65535 less the headers of IP and TCP, as Linux says on lo
constexpr Kept kKept[] = {
    {SOL_TCP, TCP_NODELAY, 0, 0, 1},
    {SOL_TCP, TCP_MAXSEG, 536, 88, 32767},
    {SOL_TCP, TCP_CORK, 0, 0, 1},
    {SOL_TCP, TCP_KEEPIDLE, 7200, 1, 32767},
    {SOL_TCP, TCP_KEEPINTVL, 75, 1, 32767},
    {SOL_TCP, TCP_KEEPCNT, 9, 1, 127},
    {SOL_TCP, TCP_SYNCNT, 6, 1, 255},
    {SOL_TCP, TCP_LINGER2, 60, -kAny, kAny},
    {SOL_TCP, TCP_DEFER_ACCEPT, 0, -kAny, kAny},
    {SOL_TCP, TCP_WINDOW_CLAMP, 0, 0, kAny},
    {SOL_TCP, TCP_QUICKACK, 1, 0, 1},
    {SOL_TCP, TCP_USER_TIMEOUT, 0, 0, kAny},
    {SOL_TCP, TCP_FASTOPEN, 0, 0, kAny},
    {SOL_TCP, TCP_NOTSENT_LOWAT, 0, -kAny, kAny},
    {SOL_IP, IP_TOS, 0, 0, 255},
    {SOL_IP, IP_TTL, 64, 1, 255},
    {SOL_IP, IP_PKTINFO, 0, 0, 1},
    {SOL_IP, IP_MTU_DISCOVER, 1, 0, 5},
    {SOL_IP, IP_RECVERR, 0, 0, 1},
    {SOL_IP, IP_FREEBIND, 0, 0, 1},
    {SOL_IP, IP_MULTICAST_TTL, 1, 0, 255},
    {SOL_IP, IP_MULTICAST_LOOP, 1, 0, 1},
    {SOL_IPV6, IPV6_UNICAST_HOPS, 64, 0, 255},
    {SOL_IPV6, IPV6_MULTICAST_IF, 0, 0, kLoopbackIndex},
    {SOL_IPV6, IPV6_MULTICAST_HOPS, 1, 0, 255},
    {SOL_IPV6, IPV6_MULTICAST_LOOP, 1, 0, 1},
    {SOL_IPV6, IPV6_MTU_DISCOVER, 1, 0, 5},
    {SOL_IPV6, IPV6_RECVERR, 0, 0, 1},
    {SOL_IPV6, IPV6_RECVPKTINFO, 0, 0, 1},
    {SOL_IPV6, IPV6_TCLASS, 0, 0, 255},
};

const Kept* find_kept(int level, int name) {
  const auto* k = std::ranges::find_if(kKept, [&](const Kept& x) { return x.level == level && x.name == name; });
  return k == std::end(kKept) ? nullptr : k;
}

// SOL_IP takes a byte for an int.
Result<int> read_int(int level, ByteSpan value) {
  int v = 0;
  if (value.size() >= sizeof v) {
    std::memcpy(&v, value.data(), sizeof v);
  } else if (level == SOL_IP && !value.empty()) {
    v = static_cast<int>(value[0]);
  } else {
    return Errno{EINVAL};
  }
  return v;
}

// An on/off switch takes any number, -1 the initial value of some.
Result<int> checked(const Kept& k, int v) {
  if (k.least == 0 && k.most == 1) return int{v != 0};
  if (v == -1 && (k.level == SOL_IP || k.level == SOL_IPV6)) return k.initial;
  if (k.level == SOL_IP && k.name == IP_TOS) return v & 0xff;
  if (v < k.least || v > k.most) return Errno{k.name == IPV6_MULTICAST_IF && k.level == SOL_IPV6 ? ENODEV : EINVAL};
  return v;
}

// IP_MULTICAST_IF: an address, or a struct ip_mreq(n) with one behind the group's.
Result<int> read_interface(ByteSpan value) {
  in_addr a{};
  if (value.size() < sizeof a) return Errno{EINVAL};
  std::memcpy(&a, value.data() + (value.size() >= sizeof(ip_mreq) ? sizeof a : 0), sizeof a);
  const auto at = InetAddress::v4(ntohl(a.s_addr));
  if (!at.is_any() && !at.is_loopback()) return Errno{EADDRNOTAVAIL};
  return static_cast<int>(a.s_addr);
}

// lo is no interface for groups.
bool is_membership(int level, int name) {
  return (level == SOL_IP && (name == IP_ADD_MEMBERSHIP || name == IP_ADD_SOURCE_MEMBERSHIP)) ||
         (level == SOL_IPV6 && name == IPV6_ADD_MEMBERSHIP) ||
         ((level == SOL_IP || level == SOL_IPV6) && name == MCAST_JOIN_GROUP);
}

}  // namespace

int InetSocket::option(int level, int name) const {
  const auto it = kept_.find({level, name});
  if (it != kept_.end()) return it->second;
  const Kept* k = find_kept(level, name);
  return k == nullptr ? 0 : k->initial;
}

Result<void> InetSocket::set_option(vfs::OpContext&, int level, int name, ByteSpan value) {
  const bool ours = level == SOL_IP || (level == SOL_TCP && type() == SOCK_STREAM) ||
                    (level == SOL_IPV6 && family() == AF_INET6);
  if (!ours) return Errno{ENOPROTOOPT};
  if (level == SOL_TCP && name == TCP_CONGESTION) {
    const std::string_view text = as_chars(value);
    const auto algorithm = text.substr(0, text.find('\0'));
    if (algorithm != "cubic" && algorithm != "reno") return Errno{ENOENT};
    congestion_ = algorithm;
    return ok();
  }
  if (level == SOL_IP && name == IP_MULTICAST_IF) {
    kept_[{level, name}] = TRY(read_interface(value));
    return ok();
  }
  if (is_membership(level, name)) return Errno{ENODEV};
  if (level == SOL_IPV6 && name == IPV6_V6ONLY) {
    const int v = TRY(read_int(level, value));
    if (end_->bound) return Errno{EINVAL};
    end_->v6_only = v != 0;
    return ok();
  }
  const Kept* k = find_kept(level, name);
  if (k == nullptr) return Errno{ENOPROTOOPT};
  kept_[{level, name}] = TRY(checked(*k, TRY(read_int(level, value))));
  return ok();
}

// What is no setting but says how it is.
Result<std::string> InetSocket::get_state(int level, int name) const {
  const bool connected = end_->state == InetEnd::State::kConnected;
  if (level == SOL_IPV6 && name == IPV6_V6ONLY) return bytes_of(int{end_->v6_only});
  if (level == SOL_TCP && name == TCP_CONGESTION) {
    std::string text = congestion_;
    text.resize(16);  // TCP_CA_NAME_MAX
    return text;
  }
  if (level == SOL_TCP && name == TCP_INFO) {
    tcp_info info{};
    info.tcpi_state = static_cast<uint8_t>(tcp_state(*end_));
    info.tcpi_pmtu = kLoopbackMtu;
    info.tcpi_snd_mss = info.tcpi_rcv_mss = info.tcpi_advmss = kSegment;
    return bytes_of(info);
  }
  if ((level == SOL_IP && name == IP_MTU) || (level == SOL_IPV6 && name == IPV6_MTU)) {
    if (!connected) return Errno{ENOTCONN};
    return bytes_of(kLoopbackMtu);
  }
  if (level == SOL_IP && name == IP_MULTICAST_IF) return bytes_of(option(level, name));
  return Errno{ENOPROTOOPT};
}

Result<std::string> InetSocket::get_option(vfs::OpContext&, int level, int name) {
  const bool ours = level == SOL_SOCKET || level == SOL_IP || (level == SOL_TCP && type() == SOCK_STREAM) ||
                    (level == SOL_IPV6 && family() == AF_INET6);
  if (!ours) return Errno{EOPNOTSUPP};
  if (find_kept(level, name) != nullptr) return bytes_of(option(level, name));
  return get_state(level, name);
}

}  // namespace run9::sentry
