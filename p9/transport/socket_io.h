// recvmsg and sendmsg on a unix stream socket, with at most one descriptor at a time.
#pragma once
#include <span>

#include "base/bytes.h"
#include "base/unique_fd.h"

namespace run9::p9 {

struct Received {
  size_t bytes = 0;  // 0: the peer has closed
  UniqueFd fd;
};
// flags: MSG_DONTWAIT or 0. Descriptors beyond the first are closed and EPROTO is the result.
Result<Received> receive_with_fd(BorrowedFd socket, std::span<std::byte> to, int flags);
// All of `bytes`; the descriptor, if valid, rides on the first byte. Blocks.
Result<void> send_with_fd(BorrowedFd socket, ByteSpan bytes, BorrowedFd fd);

}  // namespace run9::p9
