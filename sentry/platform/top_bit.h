// futex(2) as an instruction: the call of the host's by which a platform sets the highest bit of a word of guest memory at one go.
// FUTEX_WAKE_OP changes its second word so; its first one is the same, on which nobody sleeps at the host (FUTEX_LOCK_PI's
// waiters sleep in the kernel).
#pragma once
#include <linux/futex.h>

#include <array>
#include <cstdint>

namespace run9::sentry {

constexpr std::array<uint64_t, 6> top_bit_call(uint64_t addr) {
  constexpr uint32_t kOrBit31 = FUTEX_OP(FUTEX_OP_OR | FUTEX_OP_OPARG_SHIFT, 31, FUTEX_OP_CMP_EQ, 0);
  return {addr, FUTEX_WAKE_OP, 0, 0, addr, kOrBit31};
}

}  // namespace run9::sentry
