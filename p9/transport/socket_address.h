// Addresses as the host's calls want them; what address.cc and dial.cc share.
#pragma once
#include <sys/socket.h>

#include <cstring>

#include "p9/transport/address.h"

namespace run9::p9 {

struct SocketAddress {
  int family = 0;
  sockaddr_storage bytes{};
  socklen_t size = 0;
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&bytes); }
};

// Nothing is resolved: EADDRNOTAVAIL for a tcp host that is no number.
Result<SocketAddress> socket_address(const Address& address);
// With what a connection of requests and replies wants.
Result<UniqueFd> make_socket(int family);

}  // namespace run9::p9
