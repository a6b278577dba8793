// recvmsg and sendmsg on a unix stream socket, with descriptors.
#pragma once
#include <chrono>
#include <optional>
#include <span>
#include <vector>

#include "base/bytes.h"
#include "base/unique_fd.h"

namespace run9::p9 {

struct Received {
  size_t bytes = 0;  // 0: the peer has closed
  std::vector<UniqueFd> fds;
};
// flags: MSG_DONTWAIT or 0. No descriptor of a message that had more than a frame may have (kMaxOpens), or more than this
// process may open: who waits for them finds that they are missing.
Result<Received> receive_with_fds(BorrowedFd socket, std::span<std::byte> to, int flags);
using Deadline = std::optional<std::chrono::steady_clock::time_point>;  // none: never
// poll(2) for one descriptor. ETIMEDOUT. EINTR: `news`, if it is valid, is readable.
Result<void> wait_for(BorrowedFd socket, short events, Deadline deadline, BorrowedFd news = {});
// All of `bytes`; the descriptors, at most kMaxOpens, ride on the first byte. Blocks, to the deadline: ETIMEDOUT.
Result<void> send_with_fds(BorrowedFd socket, ByteSpan bytes, std::span<const UniqueFd> fds, Deadline deadline = {});

}  // namespace run9::p9
