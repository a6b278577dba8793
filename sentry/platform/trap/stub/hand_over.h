// A request to the Sentry, and the wait for its reply.
#pragma once
#include <asm/unistd.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/mman.h>

#include "sentry/platform/trap/stub/told_files.h"

namespace run9::sentry::trap::stub {

// True: the answer is there. False: it takes longer, says the Sentry, or it has taken too long, or the Sentry cannot
// run because we do.
inline bool spin_for_reply(ControlPage* c) {
  constexpr uint32_t kSoon = 8;
  const uint32_t usual = shared()->guest_spin, most = usual << c->patience;
  for (uint32_t i = 0; i < most; ++i) {
    const uint32_t state = __atomic_load_n(&c->line.state, __ATOMIC_ACQUIRE);
    if (state == kReply) return true;
    if (state == kRequestAsleep) return false;
    if ((i == kSoon || (i >= usual && i % 32 == 0)) && this_cpu() == shared()->worker_cpu) return false;
    __builtin_ia32_pause();
  }
  return false;
}

inline uint32_t* sleep_word(uint32_t n) {
  return reinterpret_cast<uint32_t*>(STUB_SLEEP_WORDS) + n % STUB_SLEEP_WORD_COUNT;
}

inline void wake_sleeper(uint32_t next) {
  gate_futex(__NR_futex, sleep_word((next & ~kComesBack) - 1), FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

// Whom the Sentry has answered meanwhile is best woken here: it then runs where we stop. True: it was an agent that works for us, and has run
// already, as it seems, in our place.
inline bool hand_on(ControlPage* c) {
  constexpr uint64_t kLong = 50'000;  // ticks, some 20 us: to wake somebody takes less
  if (c->hand_to == 0) return false;
  const uint32_t next = __atomic_exchange_n(&c->hand_to, 0, __ATOMIC_SEQ_CST);
  const uint64_t before = __builtin_ia32_rdtsc();
  wake_sleeper(next);
  return (next & kComesBack) != 0 && __builtin_ia32_rdtsc() - before > kLong;
}

inline void await_reply(ControlPage* c) {
  while (!spin_for_reply(c)) {
    const uint32_t seen = __atomic_load_n(sleep_word(c->sleep_word), __ATOMIC_ACQUIRE);
    uint32_t state = kRequest;
    __atomic_compare_exchange_n(&c->line.state, &state, kRequestAsleep, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
    if (state == kReply) break;
    if (!hand_on(c)) {
      gate_futex(__NR_futex, sleep_word(c->sleep_word), FUTEX_WAIT, seen, nullptr, nullptr, 0);
      c->line.woken_on = static_cast<uint8_t>(this_cpu() % 255 + 1);
    }
    // Before the answer: an agent has done its part. It will not be long.
    state = kRequestAsleep;
    __atomic_compare_exchange_n(&c->line.state, &state, kRequest, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
  }
  hand_on(c);  // the answer may have come before this thread knew that it was to sleep
}

// A guest thread that waits for these awake wakes the agent that the Sentry needs for them, on its own core. That takes
// the Sentry longer than most calls to find out.
inline uint8_t patience_for(const uint64_t* gregs) {
  constexpr uint64_t kMuch = 4096;  // bytes: to copy them takes longer than a call
  switch (gregs[kRax]) {
    case __NR_execve:
    case __NR_execveat:
    case __NR_fork:
    case __NR_vfork:
    case __NR_clone:
    case __NR_clone3: return 4;
    case __NR_mmap: return (gregs[kR10] & MAP_ANONYMOUS) != 0 ? 0 : 3;
    case __NR_open:
    case __NR_openat: return 2;
    case __NR_exit_group: return 2;  // it may be asked to wake whoever waits for this end
    case __NR_read:
    case __NR_write:
    case __NR_pread64:
    case __NR_pwrite64:
    case __NR_sendto:
    case __NR_getdents64: return gregs[kRdx] > kMuch ? 3 : 0;
    case __NR_sendfile: return gregs[kR10] > kMuch ? 3 : 0;
    case __NR_splice:
    case __NR_copy_file_range: return gregs[kR8] > kMuch ? 3 : 0;
    default: return 0;
  }
}

// Hands the request to the Sentry and waits for the reply. The worker looks at all states and bells once more
// after it has said that it sleeps, so either it sees our request or we see that it sleeps.
inline void call_sentry(ControlPage* c, uint64_t slot) {
  note(c->times.asked);
  c->patience = patience_for(c->gregs);
  if (c->signals.differs != 0) c->line.kind |= kReqOwnMask;
  ask_about_files(c);
  __atomic_exchange_n(&c->line.state, kRequest, __ATOMIC_SEQ_CST);
  if (c->line.polled == 0) {
    __atomic_fetch_or(&header().bell[slot / 64], uint64_t{1} << (slot % 64), __ATOMIC_SEQ_CST);
  }
  if (shared()->worker_sleeps != 0) {
    uint64_t one = 1;
    gate_wake(__NR_write, STUB_FD_WAKE, &one, 8);
  }
  await_reply(c);
}

}  // namespace run9::sentry::trap::stub
