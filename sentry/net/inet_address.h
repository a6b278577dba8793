// Internet addresses with a port. IPv4 ones are kept as IPv6 has them, ::ffff:a.b.c.d, so that sockets of both families meet.
#pragma once
#include <array>
#include <cstdint>

#include "sentry/net/socket.h"

namespace run9::sentry {

struct InetAddress {
  std::array<uint8_t, 16> ip{};
  uint16_t port = 0;

  static InetAddress any(int family, uint16_t port = 0);
  static InetAddress v4(uint32_t host_order, uint16_t port = 0);
  bool is_v4() const;
  uint32_t v4() const;  // in host order, of one that is_v4()
  bool is_any() const { return ip == any(is_v4() ? AF_INET : AF_INET6).ip; }
  bool is_loopback() const;
  bool operator==(const InetAddress&) const = default;
};

// EINVAL for a name that is too short to have one.
Result<int> family_of(const SocketName& name);
// Of a socket of `family`: EINVAL when it is too short, EAFNOSUPPORT for another family's.
Result<InetAddress> read_inet_name(const SocketName& name, int family);
SocketName make_inet_name(const InetAddress& address, int family);
// Where what is sent to `to` gets, and from which of our addresses it comes: ENETUNREACH beyond the loopback interface.
Result<InetAddress> route(InetAddress to);
InetAddress source_for(const InetAddress& to);
// Whether a socket bound to `local` may get what is sent to `ip` (its port is not looked at).
bool covers(const InetAddress& local, bool v6_only, const InetAddress& to);

}  // namespace run9::sentry
