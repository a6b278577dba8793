// The signal mask of a thread that changes it by itself. The Sentry hears of it with the next request (kReqOwnMask), and has
// such a thread make one when a signal comes, whatever mask it knows: so nothing that a thread lets in is kept from it, and it
// gets nothing that it blocks.
#pragma once
#include <signal.h>

#include "sentry/platform/trap/stub/page.h"

namespace run9::sentry::trap::stub {

inline constexpr uint64_t kUnblockable = 1ul << (SIGKILL - 1) | 1ul << (SIGSTOP - 1);

inline uint64_t mask_of(const OwnSignals& m) { return m.differs != 0 ? m.own : m.known; }

inline void set_own_mask(OwnSignals& m, uint64_t mask) {
  m.own = mask;
  m.differs = mask != m.known ? 1 : 0;
}

// rt_sigprocmask(2). False: nothing was done, it is the Sentry's.
inline bool change_mask(ControlPage* c) {
  OwnSignals& m = c->signals;
  const uint64_t set = c->gregs[kRsi], old = c->gregs[kRdx];
  if (m.may_change == 0 || c->gregs[kR10] != sizeof(uint64_t) || set >= kGuestEnd || old >= kGuestEnd) return false;
  const uint64_t before = mask_of(m);
  uint64_t after = before;
  if (set != 0) {
    uint64_t given;
    if (try_copy(&given, reinterpret_cast<void*>(set), sizeof given) != 0) return false;
    switch (static_cast<int>(c->gregs[kRdi])) {
      case SIG_BLOCK: after = before | given; break;
      case SIG_UNBLOCK: after = before & ~given; break;
      case SIG_SETMASK: after = given; break;
      default: return false;
    }
  }
  if (old != 0 && try_copy(reinterpret_cast<void*>(old), &before, sizeof before) != 0) return false;
  set_own_mask(m, after & ~kUnblockable);
  return true;
}

}  // namespace run9::sentry::trap::stub
