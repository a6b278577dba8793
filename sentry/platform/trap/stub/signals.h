// The way from guest code to the Sentry by a signal, and out of the dispatcher.
#pragma once
#include <errno.h>
#include <linux/audit.h>
#include <linux/sched.h>
#include <signal.h>

#include "sentry/platform/trap/stub/behind.h"
#include "sentry/platform/trap/stub/faults.h"
#include "sentry/platform/trap/stub/orders.h"

namespace run9::sentry::trap::stub {

// The registers of a call that came through the dispatcher, into a signal frame. gregs[kEfl] is of the last call that
// was described: this one may have been answered without.
inline void load_frame(const ControlPage* c, ucontext_t* uc) {
  auto& g = uc->uc_mcontext.gregs;
  for (int i = 0; i <= kRip; ++i) g[i] = static_cast<greg_t>(c->gregs[i]);
  g[REG_EFL] = static_cast<greg_t>(guest_flags(c));
}

enum class Origin { kGuest, kDone, kReported };

// A signal that did not come out of guest code, but out of the code between it and us. kDone: nothing more to
// do. kGuest: `uc` is the guest's now. kReported: it is, and the request is made already.
inline Origin leave_dispatcher(int sig, ControlPage* c, ucontext_t* uc, uint64_t slot) {
  auto& g = uc->uc_mcontext.gregs;
  const auto ip = static_cast<uint64_t>(g[REG_RIP]);
  const auto at = [](const char* label) { return reinterpret_cast<uint64_t>(label); };
  if (ip >= STUB_WIDE && ip < STUB_PATCHES + STUB_PATCHES_SIZE) {
    const uint64_t offset = (ip - STUB_WIDE) % STUB_WIDE_SIZE;
    if (offset >= STUB_WIDE_TAIL) return Origin::kGuest;  // its own instructions
    if (sig == SIGSEGV || sig == SIGBUS) {  // %gs
      if (offset >= STUB_WIDE_SLOW) return Origin::kGuest;
      g[REG_RIP] += static_cast<greg_t>(STUB_WIDE_SLOW - offset);
      return Origin::kDone;
    }
  } else if (ip >= STUB_PATCHES && ip < STUB_WIDE && sig != SIGURG) {
    // The only access to memory there, in its two places, is to %gs.
    const uint64_t offset = (ip - STUB_PATCHES) % STUB_PATCH_SIZE;
    if (offset != PATCH_GS_PLAIN && offset != PATCH_GS_CMP) return Origin::kGuest;
    g[REG_RIP] += offset == PATCH_GS_PLAIN ? PATCH_SLOW_PLAIN - PATCH_GS_PLAIN : PATCH_SLOW_CMP - PATCH_GS_CMP;
    return Origin::kDone;
  }
  if (ip >= at(try_begin) && ip < at(try_failed) && sig != SIGURG) {
    g[REG_RIP] = static_cast<greg_t>(at(try_failed));
    return Origin::kDone;
  }
  const char* const foreign[] = {foreign_plain, foreign_cmp_4095, foreign_cmp_4096, foreign_tail};
  for (uint32_t mode = MODE_PLAIN; sig == SIGILL && mode <= MODE_TAIL; ++mode) {
    if (ip != at(foreign[mode])) continue;
    c->mode = mode;
    c->tail = static_cast<uint64_t>(g[REG_R11]);
    g[REG_RIP] = g[REG_RCX];
    c->reason = kTrapSlow;
    return Origin::kReported;
  }
  if (sig == SIGILL && ip == at(fast_trap)) {
    load_frame(c, uc);
    if (c->reason == kTrapSlow) return Origin::kReported;
    c->frame = reinterpret_cast<uint64_t>(uc);
    c->fpstate = reinterpret_cast<uint64_t>(uc->uc_mcontext.fpregs);
    if (c->reason == kTrapFrame) {
      c->line.kind = kReqOrdersDone;
      converse(c, uc, slot);
    }
    const auto back = static_cast<greg_t>(c->behind);  // the page may have the answer's registers by now
    apply(c, uc);
    __atomic_store_n(&c->line.state, kIdle, __ATOMIC_RELEASE);
    if (g[REG_RIP] == back) {
      go_behind(g, c->mode, c->tail);
    } else {
      note_left(c);
    }
    return Origin::kDone;
  }
  if (sig == SIGURG && ip >= at(fast_way_out) && ip < at(fast_way_out_end)) {
    load_frame(c, uc);
    go_behind(g, c->mode, c->tail);
    return Origin::kGuest;
  }
  if (sig == SIGURG && ip >= at(guest_futex_begin) && ip <= at(guest_futex_call)) {
    g[REG_RIP] = static_cast<greg_t>(at(guest_futex_end));
    g[REG_RAX] = -EINTR;
  }
  if (sig == SIGURG && ((ip >= at(return_begin) && ip < at(return_kicked)) || (ip >= STUB_TEXT && ip < GATE_IP(GATE_SIGRETURN)))) {
    g[REG_RIP] = static_cast<greg_t>(at(return_kicked));
  }
  if (sig == SIGURG && ip >= STUB_TEXT && ip < STUB_PATCHES + STUB_PATCHES_SIZE) {
    c->kicked = 1;
    return Origin::kDone;
  }
  return Origin::kGuest;
}

// A copy of the caller's extended state in another process, or a change of it, goes by a signal frame.
inline bool needs_frame(uint64_t nr, uint64_t arg) {
  switch (nr) {
    case __NR_rt_sigreturn:
    case __NR_fork: return true;
    case __NR_clone: return (arg & CLONE_VM) == 0;
    case __NR_clone3: {
      uint64_t flags;
      return try_copy(&flags, reinterpret_cast<void*>(arg), sizeof flags) != 0 || (flags & CLONE_VM) == 0;
    }
    default: return false;
  }
}

// A call that came by SIGSYS goes on in the dispatcher, as if its site were patched: small copies ride along there,
// and it can be interrupted.
inline bool leave_to_dispatcher(ControlPage* c, ucontext_t* uc) {
  auto& g = uc->uc_mcontext.gregs;
  const auto flags = static_cast<uint64_t>(g[REG_EFL]);
  if (!fit_for_dispatcher(flags) || !has_fsgsbase()) return false;
  const auto nr = static_cast<uint64_t>(g[REG_RAX]);
  // clone3's argument is looked at in the dispatcher, where a fault can be.
  const bool returns = nr == __NR_rt_sigreturn && may_return(c);
  if (nr != __NR_clone3 && !returns && needs_frame(nr, static_cast<uint64_t>(g[REG_RDI]))) return false;
  c->flags = lahf_and_seto(flags);
  g[REG_RCX] = g[REG_RIP];
  g[REG_R11] = reinterpret_cast<greg_t>(c);
  g[REG_RIP] = reinterpret_cast<greg_t>(dispatch_plain);
  return true;
}

inline void on_signal(int sig, siginfo_t* info, void* context) {
  auto* uc = static_cast<ucontext_t*>(context);
  const uint64_t here = reinterpret_cast<uint64_t>(uc);
  const uint64_t slot = slot_of(here);
  ControlPage* c = control_of(here);
  Origin origin = Origin::kGuest;
  if (static_cast<uint64_t>(uc->uc_mcontext.gregs[REG_RIP]) >= STUB_TEXT) {
    origin = leave_dispatcher(sig, c, uc, slot);
    if (origin == Origin::kDone) return;
  } else if (sig == SIGSYS && info->si_arch == AUDIT_ARCH_X86_64 && leave_to_dispatcher(c, uc)) {
    return;
  } else if (sig == SIGSEGV && enter_handler(c, info, uc)) {
    return;
  }
  c->frame = here;
  c->fpstate = reinterpret_cast<uint64_t>(uc->uc_mcontext.fpregs);
  for (int i = 0; i < kGregs; ++i) c->gregs[i] = static_cast<uint64_t>(uc->uc_mcontext.gregs[i]);
  if (has_fsgsbase()) {
    asm volatile("rdfsbase %0" : "=r"(c->fs_base));
    c->gs_base = guest_gs(c);
  }
  const greg_t back = uc->uc_mcontext.gregs[REG_RIP];
  const uint32_t mode = origin == Origin::kReported ? c->mode : MODE_PLAIN;
  if (origin == Origin::kReported) {
    c->line.kind = kReqSyscall;
    c->line.nr = static_cast<int32_t>(c->gregs[kRax]);
    c->arch = AUDIT_ARCH_X86_64;
  } else if (sig == SIGSYS) {
    c->line.kind = kReqSyscall;
    c->line.nr = info->si_syscall;
    c->arch = info->si_arch;
  } else if (sig == SIGURG) {
    c->line.kind = kReqKick;
  } else {
    c->line.kind = kReqFault;
    c->signo = sig;
    c->code = info->si_code;
    c->fault_addr = reinterpret_cast<uint64_t>(info->si_addr);
  }
  converse(c, uc, slot);
  apply(c, uc);
  __atomic_store_n(&c->line.state, kIdle, __ATOMIC_RELEASE);
  if (uc->uc_mcontext.gregs[REG_RIP] == back) go_behind(uc->uc_mcontext.gregs, mode, c->tail);
}

// ---------------------------------------------------------------- calls without a signal

}  // namespace run9::sentry::trap::stub
