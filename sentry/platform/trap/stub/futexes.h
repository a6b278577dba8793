// futex(2) without the Sentry.
#pragma once
#include <errno.h>
#include <linux/futex.h>
#include <time.h>

#include "sentry/platform/trap/stub/orders.h"

namespace run9::sentry::trap::stub {

// What a call that can be carried out here came to. kBrokenOff: a kick did so.
enum class Served { kDone, kAsk, kBrokenOff };

// How long a call takes at the host, of which the Sentry hears nothing.
template <typename Call>
long at_host(ControlPage* c, Call call) {
  uint64_t from = 0, to = 0;
  note(from);
  const long r = call();
  note(to);
  if (from != 0 && to != 0) c->times.rested += to - from;
  return r;
}

// A look at the word before sleeping: whoever changes it soon need not wake anybody. As long as that helps; else
// now and then.
inline bool changes_soon(ControlPage* c, uint64_t word, uint32_t value) {
  constexpr uint32_t kBest = 4, kTries = 16;
  const uint32_t luck = c->luck % kTries;
  const bool spin = luck < kBest;
  const long changed = try_changed(reinterpret_cast<uint32_t*>(word), value, spin ? shared()->futex_spin : 1);
  if (changed == 1) {
    if (spin) c->luck = 0;
    return true;
  }
  c->luck = luck + 1;
  return false;
}

// Nobody of this process waits for any word: whoever is about to counts itself before the host looks at the word, which has
// changed by now.
inline bool wakes_nobody(uint32_t op, uint64_t word) {
  if (op != (FUTEX_WAKE | FUTEX_PRIVATE_FLAG) || word % 4 != 0) return false;
  return __atomic_fetch_add(&futex_waiters(), 0, __ATOMIC_SEQ_CST) == 0;
}

// A wait that ends before it begins asks for no time: only for what futex(2) refuses first.
inline bool good_timeout(uint64_t address) {
  if (address == 0) return true;
  timespec t;
  return try_copy(&t, reinterpret_cast<void*>(address), sizeof t) == 0 && t.tv_sec >= 0 && t.tv_nsec >= 0 &&
         t.tv_nsec < 1'000'000'000;
}

// Most of futex(2) needs nobody but the host. Timeouts that are relative do: whoever is interrupted goes on with
// what is left.
inline Served futex_here(ControlPage* c) {
  const uint64_t word = c->gregs[kRdi], second = c->gregs[kR8];
  const auto op = static_cast<uint32_t>(c->gregs[kRsi]), value = static_cast<uint32_t>(c->gregs[kRdx]);
  const uint32_t command = futex_command(op);
  const uint64_t timeout = c->gregs[kR10];
  if (word >= kGuestEnd) return Served::kAsk;
  if (wakes_nobody(op, word)) {
    c->gregs[kRax] = 0;
    return Served::kDone;
  }
  switch (command) {
    case FUTEX_WAIT:
    case FUTEX_WAIT_BITSET:
      if (timeout != 0 && command == FUTEX_WAIT) return Served::kAsk;
      break;
    case FUTEX_WAKE:
    case FUTEX_WAKE_BITSET: break;
    case FUTEX_REQUEUE:
    case FUTEX_CMP_REQUEUE:
    case FUTEX_WAKE_OP:
      if (second >= kGuestEnd) return Served::kAsk;
      break;
    default: return Served::kAsk;
  }
  const uint64_t args[7] = {word, op, value, timeout, second, static_cast<uint32_t>(c->gregs[kR9]), __NR_futex};
  const bool plain = good_timeout(timeout) && word % 4 == 0 && (command == FUTEX_WAIT || args[5] != 0);
  long r;
  if (waits(command) && plain && changes_soon(c, word, value)) {
    r = -EAGAIN;
  } else {
    r = at_host(c, [&] { return waits(command) ? rest_in_futex(c, args) : gate_guest_futex(c, args); });
  }
  if (r == -EINTR) return Served::kBrokenOff;
  c->gregs[kRax] = static_cast<uint64_t>(r);
  return Served::kDone;
}

}  // namespace run9::sentry::trap::stub
