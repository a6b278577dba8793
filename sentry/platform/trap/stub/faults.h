// Page faults that a guest's handler takes, and the way back: no request to the Sentry, which hears of it with the next one
// (kReqOwnMask). What it would do is done here, for the cases that FaultHandler describes; everything else is the Sentry's.
#pragma once
#include <signal.h>
#include <string.h>
#include <ucontext.h>

#include "sentry/platform/trap/stub/behind.h"
#include "sentry/platform/trap/stub/masks.h"

namespace run9::sentry::trap::stub {

// arch/x86/include/asm/sigframe.h. The kernel's ucontext ends with eight bytes of mask.
struct GuestContext {
  uint64_t flags, link;
  stack_t stack;
  mcontext_t machine;
  uint64_t mask;
};
struct GuestFrame {
  uint64_t restorer;
  GuestContext uc;
  siginfo_t info;
};
static_assert(sizeof(GuestContext) == 304 && sizeof(GuestFrame) == 440);

inline constexpr uint64_t kSegvBit = 1ul << (SIGSEGV - 1);
inline constexpr uint64_t kPageFault = 14;
// UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS, and with UC_FP_XSTATE.
inline constexpr uint64_t kNoState = 6, kWithState = 7;
inline constexpr uint64_t kUserSegments = 0x002b000000000033;  // cs, gs, fs, ss

inline bool on_stack(const OwnSignals& h, uint64_t sp) { return sp > h.stack && sp - h.stack <= h.stack_size; }

// False: nothing was done.
inline bool enter_handler(ControlPage* c, const siginfo_t* info, ucontext_t* uc) {
  const FaultHandler& h = c->fault;
  OwnSignals& m = c->signals;
  auto& g = uc->uc_mcontext.gregs;
  const uint64_t entry = __atomic_load_n(&h.entry, __ATOMIC_ACQUIRE);
  const uint64_t blocked = mask_of(m);
  if (entry == 0 || static_cast<uint64_t>(g[REG_TRAPNO]) != kPageFault || (blocked & kSegvBit) != 0) return false;
  auto sp = static_cast<uint64_t>(g[REG_RSP]);
  const bool nested = on_stack(m, sp);
  if (h.on_stack != 0 && m.stack_size != 0 && !nested) {
    sp = m.stack + m.stack_size;
  } else {
    sp -= 128;  // red zone
  }
  const uint64_t size = xstate_size();
  const uint64_t fpstate = sp = (sp - size) & ~uint64_t{63};
  sp = ((sp - sizeof(GuestFrame)) & ~uint64_t{15}) - 8;
  if (nested && !on_stack(m, sp)) return false;  // overflow

  GuestFrame f;
  memset(&f, 0, sizeof f);
  f.restorer = h.restorer;
  f.uc.flags = kWithState;
  f.uc.stack.ss_sp = reinterpret_cast<void*>(m.stack);
  f.uc.stack.ss_size = m.stack_size;
  f.uc.stack.ss_flags = static_cast<int>(m.stack_size == 0 ? SS_DISABLE : nested ? SS_ONSTACK : 0);
  memcpy(f.uc.machine.gregs, g, sizeof g);
  f.uc.machine.gregs[REG_CSGSFS] = kUserSegments;
  f.uc.machine.gregs[REG_OLDMASK] = static_cast<greg_t>(blocked);
  f.uc.machine.fpregs = reinterpret_cast<fpregset_t>(fpstate);
  f.uc.mask = blocked;
  f.info.si_signo = SIGSEGV;
  f.info.si_code = info->si_code;
  f.info.si_addr = info->si_addr;
  if (try_copy(reinterpret_cast<void*>(sp), &f, sizeof f) != 0) return false;
  if (try_copy(reinterpret_cast<void*>(fpstate), uc->uc_mcontext.fpregs, size) != 0) return false;

  g[REG_RDI] = SIGSEGV;
  g[REG_RSI] = static_cast<greg_t>(sp + offsetof(GuestFrame, info));
  g[REG_RDX] = static_cast<greg_t>(sp + offsetof(GuestFrame, uc));
  g[REG_RAX] = 0;
  g[REG_RIP] = static_cast<greg_t>(entry);
  g[REG_RSP] = static_cast<greg_t>(sp);
  g[REG_EFL] &= ~greg_t{0x10500};  // RF, DF, TF
  uc->uc_mcontext.fpregs = nullptr;
  set_own_mask(m, blocked | h.mask);
  return true;
}

// Where leave_handler() makes its frame: in the middle of the slot's alternate stack, so that a signal has room below it,
// whose stack pointer lies there, and above it, otherwise.
inline constexpr uint64_t kReturnFrame = 0x3000, kReturnState = kReturnFrame + 0x400, kReturnStateEnd = 0x5000;

// A frame that this thread made, or, as it may choose any mask, one that the Sentry made.
inline bool may_return(const ControlPage* c) { return c->signals.differs != 0 || c->signals.may_change != 0; }

// rt_sigreturn(2), from the dispatcher. Comes back if it is the Sentry's to make.
inline void leave_handler(ControlPage* c, uint64_t slot) {
  const uint64_t base = STUB_STACKS + slot * STUB_SLOT_STACK;
  const uint64_t size = xstate_size();
  GuestContext& u = *reinterpret_cast<GuestContext*>(base + kReturnFrame);
  if (try_copy(&u, reinterpret_cast<void*>(c->gregs[kRsp]), sizeof u) != 0) return;
  // Any other mask may let signals in that wait at the Sentry.
  const OwnSignals before = c->signals;
  if (before.may_change == 0 && u.mask != before.known && u.mask != before.own) return;
  const bool disabled = (u.stack.ss_flags & SS_DISABLE) != 0;
  if (disabled ? before.stack_size != 0
               : u.stack.ss_sp != reinterpret_cast<void*>(before.stack) || u.stack.ss_size != before.stack_size) {
    return;
  }
  if (u.machine.fpregs != nullptr) {
    void* const state = reinterpret_cast<void*>(base + kReturnState);
    if (kReturnState + size > kReturnStateEnd || try_copy(state, u.machine.fpregs, size) != 0) return;
    u.machine.fpregs = static_cast<fpregset_t>(state);
  }
  auto& g = u.machine.gregs;
  if (g[REG_RIP] == static_cast<greg_t>(c->left_behind)) go_behind(g, c->left_mode, c->left_tail);
  u.flags = u.machine.fpregs != nullptr ? kWithState : kNoState;
  u.stack = alternate_stack(slot);
  g[REG_CSGSFS] = kUserSegments;
  set_own_mask(c->signals, u.mask & ~kUnblockable);
  u.mask = 0;
  gate_return(c, reinterpret_cast<ucontext_t*>(&u));
  set_own_mask(c->signals, mask_of(before));
}

}  // namespace run9::sentry::trap::stub
