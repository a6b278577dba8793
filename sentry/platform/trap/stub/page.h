// Where a stub finds what belongs to a thread: its control page, its stack, its segments.
#pragma once
#include <asm/prctl.h>
#include <asm/unistd.h>
#include <signal.h>

#include "sentry/platform/trap/stub/gates.h"
#include "sentry/platform/trap/stub_abi.h"

namespace run9::sentry::trap::stub {

inline const volatile SharedPage* shared() { return reinterpret_cast<const volatile SharedPage*>(STUB_SHARED); }

inline ControlPage* control_of(uint64_t stack_address) {
  const uint64_t slot = (stack_address - STUB_STACKS) / STUB_SLOT_STACK;
  return reinterpret_cast<ControlPage*>(page_address(slot));
}

inline uint64_t slot_of(uint64_t stack_address) { return (stack_address - STUB_STACKS) / STUB_SLOT_STACK; }

inline bool has_fsgsbase() { return (shared()->xstate_size & 0x80000000u) != 0; }

// Of the extended state in a signal frame, in bytes.
inline uint64_t xstate_size() { return shared()->xstate_size & 0x7fffffff; }

// The guest's %gs base. Ours stands there until the guest sets its own; then its patched call sites take
// the long way.
inline uint64_t guest_gs(const ControlPage* c) {
  uint64_t gs;
  asm volatile("rdgsbase %0" : "=r"(gs));
  return gs == reinterpret_cast<uint64_t>(c) ? 0 : gs;
}

inline void set_guest_gs(ControlPage* c, uint64_t gs) {
  if (!has_fsgsbase()) {
    gate_order(__NR_arch_prctl, ARCH_SET_GS, gs);
    return;
  }
  if (gs == 0) gs = reinterpret_cast<uint64_t>(c);
  asm volatile("wrgsbase %0" : : "r"(gs));
}

inline constexpr uint64_t kGuestEnd = uint64_t{STUB_GUEST_END_HIGH + 1} << 32;

inline const CommandPage& command_page() { return *reinterpret_cast<const CommandPage*>(STUB_CMD); }
inline ControlHeader& header() { return *reinterpret_cast<ControlHeader*>(STUB_CTL); }

// What the vDSO's getcpu reads: the limit of a segment that the host keeps for it.
inline uint32_t this_cpu() {
  uint32_t limit = 0;
  asm("lsl %1, %0" : "=r"(limit) : "r"(0x7b));
  return limit & 0xfff;
}

inline void note(uint64_t& ticks) {
  if (shared()->profiling != 0) ticks = __builtin_ia32_rdtsc();
}

inline uint64_t slot_of_page(const ControlPage* c) {
  return (reinterpret_cast<uint64_t>(c) - STUB_CTL) / 0x1000 - 1;
}

inline stack_t alternate_stack(uint64_t slot) {
  stack_t s = {};
  s.ss_sp = reinterpret_cast<void*>(STUB_STACKS + slot * STUB_SLOT_STACK);
  s.ss_size = STUB_SLOT_STACK - STUB_FAST_STACK;
  return s;
}

}  // namespace run9::sentry::trap::stub
