// The calls that a guest thread may make at the host by itself, with files that it was given (Context::give_file), in the order in which they are counted.
#pragma once
#include <asm/unistd.h>
#include <stdint.h>

namespace run9::sentry {

inline constexpr uint32_t kOwnCalls[] = {__NR_read,  __NR_readv,  __NR_pread64,  __NR_preadv,
                                         __NR_write, __NR_writev, __NR_pwrite64, __NR_pwritev};
inline constexpr uint32_t kOwnCallKinds = sizeof kOwnCalls / sizeof kOwnCalls[0];

// A kind, an index of kOwnCalls, says of it:
inline constexpr uint32_t kOwnVector = 1;  // its memory is an array of iovec
inline constexpr uint32_t kOwnOffset = 2;  // it leaves the position alone
inline constexpr uint32_t kOwnWrites = 4;

constexpr uint32_t own_call_kind(uint32_t nr) {
  uint32_t kind = 0;
  while (kind < kOwnCallKinds && kOwnCalls[kind] != nr) ++kind;
  return kind;
}
static_assert(own_call_kind(__NR_preadv) == (kOwnVector | kOwnOffset) && own_call_kind(__NR_writev) == (kOwnWrites | kOwnVector) &&
              own_call_kind(__NR_pwrite64) == (kOwnWrites | kOwnOffset));

}  // namespace run9::sentry
