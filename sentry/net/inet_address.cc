#include "sentry/net/inet_address.h"

#include <netinet/in.h>

#include <algorithm>
#include <cstring>

namespace run9::sentry {
namespace {

constexpr std::array<uint8_t, 12> kMapped = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
constexpr std::array<uint8_t, 16> kLoopback6 = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
constexpr size_t kSize6 = 24;  // SIN6_LEN_RFC2133: sin6_scope_id came later

template <typename T>
T read_as(const SocketName& name) {
  T out{};
  std::memcpy(&out, name.data(), std::min(name.size(), sizeof out));
  return out;
}

}  // namespace

InetAddress InetAddress::any(int family, uint16_t port) {
  if (family == AF_INET) return v4(INADDR_ANY, port);
  return {.ip = {}, .port = port};
}

InetAddress InetAddress::v4(uint32_t host_order, uint16_t port) {
  InetAddress a{.ip = {}, .port = port};
  std::copy(kMapped.begin(), kMapped.end(), a.ip.begin());
  const uint32_t wire = htonl(host_order);
  std::memcpy(a.ip.data() + kMapped.size(), &wire, sizeof wire);
  return a;
}

bool InetAddress::is_v4() const { return std::equal(kMapped.begin(), kMapped.end(), ip.begin()); }

uint32_t InetAddress::v4() const {
  uint32_t wire = 0;
  std::memcpy(&wire, ip.data() + kMapped.size(), sizeof wire);
  return ntohl(wire);
}

bool InetAddress::is_loopback() const {
  return is_v4() ? v4() >> IN_CLASSA_NSHIFT == IN_LOOPBACKNET : ip == kLoopback6;
}

Result<int> family_of(const SocketName& name) {
  if (name.size() < sizeof(sa_family_t)) return Errno{EINVAL};
  return int{read_as<sa_family_t>(name)};
}

Result<InetAddress> read_inet_name(const SocketName& name, int family) {
  if (name.size() < (family == AF_INET ? sizeof(sockaddr_in) : kSize6)) return Errno{EINVAL};
  if (read_as<sa_family_t>(name) != family) return Errno{EAFNOSUPPORT};
  if (family == AF_INET) {
    const auto in = read_as<sockaddr_in>(name);
    return InetAddress::v4(ntohl(in.sin_addr.s_addr), ntohs(in.sin_port));
  }
  const auto in = read_as<sockaddr_in6>(name);
  InetAddress a{.ip = {}, .port = ntohs(in.sin6_port)};
  std::memcpy(a.ip.data(), &in.sin6_addr, a.ip.size());
  return a;
}

SocketName make_inet_name(const InetAddress& a, int family) {
  if (family == AF_INET) {
    return bytes_of(sockaddr_in{.sin_family = AF_INET, .sin_port = htons(a.port), .sin_addr = {htonl(a.v4())}, .sin_zero = {}});
  }
  sockaddr_in6 in{};
  in.sin6_family = AF_INET6;
  in.sin6_port = htons(a.port);
  std::memcpy(&in.sin6_addr, a.ip.data(), a.ip.size());
  return bytes_of(in);
}

InetAddress source_for(const InetAddress& to) {
  return to.is_v4() ? InetAddress::v4(INADDR_LOOPBACK) : InetAddress{.ip = kLoopback6};
}

Result<InetAddress> route(InetAddress to) {
  if (to.is_any()) to.ip = source_for(to).ip;
  if (!to.is_loopback()) return Errno{ENETUNREACH};
  return to;
}

bool covers(const InetAddress& local, bool v6_only, const InetAddress& to) {
  if (local.ip == to.ip) return true;
  if (!local.is_any()) return false;
  return local.is_v4() == to.is_v4() || (!local.is_v4() && !v6_only);
}

}  // namespace run9::sentry
