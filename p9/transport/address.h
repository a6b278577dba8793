// Where a 9P server listens, as people write it: unix:PATH (unix:@NAME is an abstract name), tcp:HOST:PORT,
// vsock:CID:PORT, or fd:N, a connected socket that the process inherited.
#pragma once
#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include "base/unique_fd.h"

namespace run9::p9 {

struct Address {
  enum class Kind { kUnix, kTcp, kVsock, kFd };
  Kind kind{};
  std::string path;  // kUnix, with '@' for the abstract name's NUL
  std::string host;  // kTcp; [::1] without its brackets
  uint32_t cid = 0;  // kVsock
  uint32_t port = 0;
  int fd = -1;
};

// Nothing if the text is none of the forms above.
std::optional<Address> parse_address(std::string_view text);
// For who listens: also vsock:PORT, at whatever number the machine has.
std::optional<Address> parse_listen_address(std::string_view text);

// A connected stream socket; of kFd the descriptor itself, which has a new owner. EADDRNOTAVAIL for a host name that cannot be resolved. `timeout` bounds the connecting,
// and every single receive and send afterwards (EAGAIN); 0: as long as it takes.
Result<UniqueFd> dial(const Address& address, std::chrono::milliseconds timeout = {});
// A listening one; a unix socket's file must not be there yet (EADDRINUSE). EADDRNOTAVAIL for a host that is no
// number (a confined program links no resolver), EINVAL for kFd.
Result<UniqueFd> listen_on(const Address& address);
// What listen_on and dial give their sockets, for one that somebody else has made: an accepted socket has what its
// listener has.
void prepare_socket(BorrowedFd socket, int family);

}  // namespace run9::p9
