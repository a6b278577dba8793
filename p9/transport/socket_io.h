// recvmsg and sendmsg on a unix stream socket, with at most one descriptor at a time.
#pragma once
#include <chrono>
#include <optional>
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
using Deadline = std::optional<std::chrono::steady_clock::time_point>;  // none: never
// poll(2) for one descriptor. ETIMEDOUT.
Result<void> wait_for(BorrowedFd socket, short events, Deadline deadline);
// All of `bytes`; the descriptor, if valid, rides on the first byte. Blocks, to the deadline: ETIMEDOUT.
Result<void> send_with_fd(BorrowedFd socket, ByteSpan bytes, BorrowedFd fd, Deadline deadline = {});

}  // namespace run9::p9
