#include <netdb.h>

#include <memory>
#include <vector>

#include "p9/transport/socket_address.h"

namespace run9::p9 {

namespace {

Result<std::vector<SocketAddress>> resolve(const Address& a) {
  const addrinfo hints{.ai_flags = AI_NUMERICSERV, .ai_socktype = SOCK_STREAM};
  addrinfo* found = nullptr;
  if (getaddrinfo(a.host.c_str(), std::to_string(a.port).c_str(), &hints, &found) != 0) {
    return Errno{EADDRNOTAVAIL};
  }
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owner(found, freeaddrinfo);
  std::vector<SocketAddress> out;
  for (const addrinfo* i = found; i != nullptr; i = i->ai_next) {
    SocketAddress& s = out.emplace_back();
    s.family = i->ai_family;
    s.size = i->ai_addrlen;
    std::memcpy(&s.bytes, i->ai_addr, i->ai_addrlen);
  }
  return out;
}

// In the order in which to try them.
Result<std::vector<SocketAddress>> candidates(const Address& a) {
  auto one = socket_address(a);
  if (one) return std::vector{one.assume_value()};
  if (a.kind != Address::Kind::kTcp) return one.assume_error();
  return resolve(a);
}

Result<void> set_timeout(BorrowedFd socket, std::chrono::milliseconds timeout) {
  if (timeout.count() == 0) return ok();
  const timeval tv{.tv_sec = timeout.count() / 1000, .tv_usec = timeout.count() % 1000 * 1000};
  // The one for sending is connect(2)'s too.
  for (const int name : {SO_RCVTIMEO, SO_SNDTIMEO}) {
    if (setsockopt(socket.get(), SOL_SOCKET, name, &tv, sizeof tv) < 0) return last_errno();
  }
  return ok();
}

}  // namespace

Result<UniqueFd> dial(const Address& address, std::chrono::milliseconds timeout) {
  if (address.kind == Address::Kind::kFd) {
    UniqueFd fd(address.fd);
    TRY(set_timeout(fd.borrow(), timeout));
    return fd;
  }
  Errno last{EADDRNOTAVAIL};
  for (const SocketAddress& s : TRY(candidates(address))) {
    UniqueFd fd = TRY(make_socket(s.family));
    TRY(set_timeout(fd.borrow(), timeout));
    if (connect(fd.get(), s.get(), s.size) == 0) return fd;
    last = last_errno() == Errno{EINPROGRESS} ? Errno{ETIMEDOUT} : last_errno();
  }
  return last;
}

}  // namespace run9::p9
