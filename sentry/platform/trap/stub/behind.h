// What the guest does behind a patched call.
#pragma once
#include <signal.h>
#include <ucontext.h>

#include "sentry/platform/trap/stub/page.h"

namespace run9::sentry::trap::stub {

// The guest must not go on right behind its patched call, where what stood there is overwritten.
inline void go_behind(gregset_t& g, uint32_t mode, uint64_t tail) {
  if (mode == MODE_PLAIN) return;
  if (mode >= MODE_TAIL) {
    g[REG_RIP] = static_cast<greg_t>(tail);
    return;
  }
  const auto value = static_cast<long>(g[REG_RAX]);
  uint64_t flags;
  if (mode == MODE_CMP_4095) {
    asm("cmp $-4095, %1; pushfq; pop %0" : "=r"(flags) : "r"(value) : "cc");
  } else {
    asm("cmp $-4096, %1; pushfq; pop %0" : "=r"(flags) : "r"(value) : "cc");
  }
  constexpr uint64_t kArithmetic = 0x8d5;
  g[REG_EFL] = static_cast<greg_t>((static_cast<uint64_t>(g[REG_EFL]) & ~kArithmetic) | (flags & kArithmetic));
  g[REG_RIP] += CMP_LENGTH;
}

// ax as lahf and seto left it, as flags; the others stay as they are in a program that computes.
inline uint64_t guest_flags(const ControlPage* c) {
  if (c->mode == MODE_CMP_4095 || c->mode == MODE_CMP_4096) return 0x246;
  return 0x202 | ((c->flags >> 8) & 0xd5) | ((c->flags & 1) << 11);
}

// Into a handler, which may come back to behind the call.
inline void note_left(ControlPage* c) {
  c->left_behind = c->behind;
  c->left_tail = c->tail;
  c->left_mode = c->mode;
}

}  // namespace run9::sentry::trap::stub
