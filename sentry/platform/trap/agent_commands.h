// What agents are told to do (stub_abi.h, CommandPage).
#pragma once
#include <asm/unistd.h>

#include <cstddef>

#include "sentry/platform/trap/stub_abi.h"

namespace run9::sentry::trap {

inline Command command(uint64_t nr, uint64_t a0 = 0, uint64_t a1 = 0, uint64_t a2 = 0, uint64_t a3 = 0,
                uint64_t a4 = 0, uint64_t a5 = 0, CommandKind kind = kPlain) {
  return {nr, {a0, a1, a2, a3, a4, a5}, kind};
}

// The header is read-only there, so the host's write-back of lengths fails with EFAULT, after the
// descriptors have arrived: what counts is that no guest can make the message stay in the queue.
inline Command receive_command() { return command(__NR_recvmsg, STUB_FD_AGENT, STUB_MESSAGES); }

// The numbers that a message's descriptors get in an agent: the lowest that are free.
constexpr uint64_t received(size_t i) { return i < STUB_FD_AGENT ? i : i + 2; }
static_assert(STUB_FD_AGENT == 3 && STUB_FD_WAKE == 4);

}  // namespace run9::sentry::trap
