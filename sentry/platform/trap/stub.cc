// The stub: the program whose memory is a guest's. Freestanding, no libc, no writable data. It runs
//  - once in the template process: stub_init (maps the shared pages, signal handlers, filter A);
//  - in every guest thread: on_signal, the way from guest code to the Sentry and back by a signal, and
//    fast_call, the way without one, from patched call sites (gates.S, the dispatcher).
// on_signal's stack and control page are the guest's to overwrite. That is no hole: this code has no right
// that the guest does not have itself; the seccomp filters are the wall, not this file.
#include <asm/prctl.h>
#include <asm/unistd.h>
#include <elf.h>
#include <errno.h>
#include <linux/audit.h>
#include <linux/futex.h>
#include <limits.h>
#include <linux/membarrier.h>
#include <linux/prctl.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <ucontext.h>

#include "sentry/platform/trap/call_windows.h"
#include "sentry/platform/trap/stub_abi.h"

using namespace run9::sentry::trap;

#pragma GCC visibility push(hidden)
extern "C" {
long gate_futex(long nr, ...);
long gate_wake(long nr, ...);
long gate_order(long nr, ...);
long gate_init(long nr, ...);
long gate_guest_futex(ControlPage* c, const uint64_t* args);
void gate_sigreturn();
void thread_entry();
void thread_entry_fast();
[[noreturn]] void enter_guest(ucontext_t*);
uint64_t stub_init(const uint64_t* stack);
[[noreturn]] void thread_main(uint64_t sp);
uint32_t thread_main_fast(ControlPage* c);
uint32_t fast_call(ControlPage* c);
uint32_t fast_interrupted(ControlPage* c);
long try_copy(void* to, const void* from, size_t n);
long try_string(char* to, const char* from, size_t max);
long try_writable(void* first, void* last);
long try_changed(const uint32_t* word, uint32_t value, uint32_t times);
extern const char guest_futex_begin[], guest_futex_call[], guest_futex_end[], dispatch_plain[];
extern const char try_begin[], try_failed[], fast_way_out[], fast_way_out_end[], fast_trap[];
extern const char foreign_plain[], foreign_cmp_4095[], foreign_cmp_4096[], foreign_tail[];

void* memcpy(void* dst, const void* src, size_t n) {
  void* ret = dst;
  asm volatile("rep movsb" : "+D"(dst), "+S"(src), "+c"(n) : : "memory");
  return ret;
}
void* memset(void* dst, int c, size_t n) {
  void* ret = dst;
  asm volatile("rep stosb" : "+D"(dst), "+c"(n) : "a"(c) : "memory");
  return ret;
}
}
#pragma GCC visibility pop

namespace {

const volatile SharedPage* shared() { return reinterpret_cast<const volatile SharedPage*>(STUB_SHARED); }

ControlPage* control_of(uint64_t stack_address) {
  const uint64_t slot = (stack_address - STUB_STACKS) / STUB_SLOT_STACK;
  return reinterpret_cast<ControlPage*>(page_address(slot));
}

uint64_t slot_of(uint64_t stack_address) { return (stack_address - STUB_STACKS) / STUB_SLOT_STACK; }

bool has_fsgsbase() { return (shared()->xstate_size & 0x80000000u) != 0; }

// The guest's %gs base. Ours stands there until the guest sets its own; then its patched call sites take
// the long way.
uint64_t guest_gs(const ControlPage* c) {
  uint64_t gs;
  asm volatile("rdgsbase %0" : "=r"(gs));
  return gs == reinterpret_cast<uint64_t>(c) ? 0 : gs;
}

void set_guest_gs(ControlPage* c, uint64_t gs) {
  if (!has_fsgsbase()) {
    gate_order(__NR_arch_prctl, ARCH_SET_GS, gs);
    return;
  }
  if (gs == 0) gs = reinterpret_cast<uint64_t>(c);
  asm volatile("wrgsbase %0" : : "r"(gs));
}

// What the vDSO's getcpu reads: the limit of a segment that the host keeps for it.
uint32_t this_cpu() {
  uint32_t limit = 0;
  asm("lsl %1, %0" : "=r"(limit) : "r"(0x7b));
  return limit & 0xfff;
}

void note(uint64_t& ticks) {
  if (shared()->profiling != 0) ticks = __builtin_ia32_rdtsc();
}

// True: the answer is there. False: it takes longer, says the Sentry, or it has taken too long.
bool spin_for_reply(ControlPage* c) {
  for (uint32_t i = shared()->guest_spin << c->patience; i != 0; --i) {
    const uint32_t state = __atomic_load_n(&c->line.state, __ATOMIC_ACQUIRE);
    if (state == kReply) return true;
    if (state == kRequestAsleep) return false;
    __builtin_ia32_pause();
  }
  return false;
}

uint32_t* sleep_word(uint32_t n) {
  return reinterpret_cast<uint32_t*>(STUB_SLEEP_WORDS) + n % STUB_SLEEP_WORD_COUNT;
}

// Whom the Sentry has answered meanwhile is best woken here: it then runs where we stop.
void hand_on(ControlPage* c) {
  const uint32_t next = c->hand_to;
  if (next == 0) return;
  c->hand_to = 0;
  gate_futex(__NR_futex, sleep_word(next - 1), FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

void await_reply(ControlPage* c) {
  while (!spin_for_reply(c)) {
    const uint32_t seen = __atomic_load_n(sleep_word(c->sleep_word), __ATOMIC_ACQUIRE);
    uint32_t state = kRequest;
    __atomic_compare_exchange_n(&c->line.state, &state, kRequestAsleep, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
    if (state == kReply) break;
    hand_on(c);
    gate_futex(__NR_futex, sleep_word(c->sleep_word), FUTEX_WAIT, seen, nullptr, nullptr, 0);
    c->line.woken_on = static_cast<uint8_t>(this_cpu() % 255 + 1);
    // Woken before the answer, by an agent that has done its part: it will not be long.
    state = kRequestAsleep;
    __atomic_compare_exchange_n(&c->line.state, &state, kRequest, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
  }
  hand_on(c);  // the answer may have come before this thread knew that it was to sleep
}

// A guest thread that waits for these awake wakes the agent that the Sentry needs for them, on its own core. That takes
// the Sentry longer than most calls to find out.
uint8_t patience_for(uint64_t nr) {
  switch (nr) {
    case __NR_execve:
    case __NR_execveat:
    case __NR_fork:
    case __NR_vfork:
    case __NR_clone:
    case __NR_clone3: return 4;
    default: return 0;
  }
}

// Hands the request to the Sentry and waits for the reply. The worker looks at all states and bells once more
// after it has said that it sleeps, so either it sees our request or we see that it sleeps.
void call_sentry(ControlPage* c, uint64_t slot) {
  note(c->times.asked);
  c->patience = patience_for(c->gregs[kRax]);
  __atomic_exchange_n(&c->line.state, kRequest, __ATOMIC_SEQ_CST);
  if (c->line.polled == 0) {
    auto* header = reinterpret_cast<ControlHeader*>(STUB_CTL);
    __atomic_fetch_or(&header->bell[slot / 64], uint64_t{1} << (slot % 64), __ATOMIC_SEQ_CST);
  }
  if (shared()->worker_sleeps != 0) {
    uint64_t one = 1;
    gate_wake(__NR_write, STUB_FD_WAKE, &one, 8);
  }
  await_reply(c);
}

long clone_at_host(uint64_t sp, ControlPage* control) {
  return gate_order(__NR_clone,
                    CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM |
                        CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID,
                    sp, &control->host_tid, &control->alive, 0, 0);
}

// A thread of the guest, made by a call that came through the dispatcher: the host's clone copies what the guest has in
// its vector registers, the Sentry's first answer has the others, and flags and call site are the caller's.
long clone_thread_fast(const ThreadOrder& order, const ControlPage* c) {
  const uint64_t slot = order.args[0] % STUB_SLOTS;
  auto* control = reinterpret_cast<ControlPage*>(page_address(slot));
  control->mode = c->mode;
  control->flags = c->flags;
  control->tail = c->tail;
  const uint64_t top = STUB_STACKS + (slot + 1) * STUB_SLOT_STACK;
  *reinterpret_cast<uint64_t*>(top - 8) = reinterpret_cast<uint64_t>(&thread_entry_fast);
  return clone_at_host(top - 8, control);
}

// The same with a frame: the caller's is copied to the new slot's alternate stack, where thread_main finds it.
long clone_thread(const ThreadOrder& order, ucontext_t* uc) {
  const uint64_t slot = order.args[0] % STUB_SLOTS;
  const uint64_t here = reinterpret_cast<uint64_t>(uc);
  const uint64_t base = STUB_STACKS + slot_of(here) * STUB_SLOT_STACK;
  const uint64_t new_base = STUB_STACKS + slot * STUB_SLOT_STACK;
  const uint64_t delta = new_base - base;
  memcpy(reinterpret_cast<void*>(here + delta), uc, base + STUB_SLOT_STACK - here);
  auto* copy = reinterpret_cast<ucontext_t*>(here + delta);
  if (copy->uc_mcontext.fpregs != nullptr) {
    copy->uc_mcontext.fpregs = reinterpret_cast<fpregset_t>(
        reinterpret_cast<uint64_t>(copy->uc_mcontext.fpregs) + delta);
  }
  copy->uc_stack.ss_sp = reinterpret_cast<void*>(new_base);
  auto* control = reinterpret_cast<ControlPage*>(page_address(slot));
  control->frame = here + delta;
  control->fpstate = reinterpret_cast<uint64_t>(copy->uc_mcontext.fpregs);
  uint64_t sp = ((here + delta - 1024) & ~uint64_t{15}) - 8;
  *reinterpret_cast<uint64_t*>(sp) = reinterpret_cast<uint64_t>(&thread_entry);
  return clone_at_host(sp, control);
}

uint32_t& futex_waiters() { return reinterpret_cast<ControlHeader*>(STUB_CTL)->futex_waiters; }

// futex(2) at the host, where the guest's memory is. -EINTR: a kick came.
long rest_in_futex(ControlPage* c, const uint64_t* args) {
  __atomic_store_n(&c->line.state, kResting, __ATOMIC_RELEASE);
  __atomic_fetch_add(&futex_waiters(), 1, __ATOMIC_SEQ_CST);  // the host looks at the word afterwards
  const long r = gate_guest_futex(c, args);
  __atomic_fetch_sub(&futex_waiters(), 1, __ATOMIC_RELAXED);
  __atomic_store_n(&c->line.state, kIdle, __ATOMIC_RELEASE);
  // The request that follows makes the Sentry look for what the kick was about.
  if (r == -EINTR) c->kicked = 0;
  return r;
}

uint32_t futex_command(uint64_t op) {
  return static_cast<uint32_t>(op) & ~uint32_t{FUTEX_PRIVATE_FLAG | FUTEX_CLOCK_REALTIME};
}
bool waits(uint32_t command) { return command == FUTEX_WAIT || command == FUTEX_WAIT_BITSET; }

// In a handler no kick would end a wait. Only guests that call with the trap, direction or alignment flag set come here
// (leave_to_dispatcher): their waits are over at once, as they may be for no reason.
long futex_in_handler(ControlPage* c, const uint64_t* args) {
  if (args[6] != __NR_futex || waits(futex_command(args[1]))) return -EAGAIN;
  c->kicked = 0;
  return gate_guest_futex(c, args);
}

// False: an order failed, and the Sentry must hear of it.
bool carry_out(ControlPage* c, ucontext_t* uc) {
  const uint32_t n = c->order_count;
  for (uint32_t i = 0; i < n && i < kMaxOrders; ++i) {
    const ThreadOrder& o = c->orders[i];
    if (o.kind == kOrderFutex) {
      c->order_error = uc == nullptr ? rest_in_futex(c, o.args) : futex_in_handler(c, o.args);
      continue;
    }
    const long r = o.kind == kOrderThread
                       ? (uc != nullptr ? clone_thread(o, uc) : clone_thread_fast(o, c))
                       : gate_order(static_cast<long>(o.nr), o.args[0], o.args[1], o.args[2],
                                    o.args[3], o.args[4], o.args[5]);
    if (r < 0 && r > -4096) {
      c->order_error = r;
      return false;
    }
  }
  note(c->times.resumed);
  __atomic_fetch_add(&c->orders_done, 1, __ATOMIC_RELEASE);
  return true;
}

enum class Store { kHere, kDone };

[[noreturn]] void leave(ControlPage* c, Store store) {
  const Reply& reply = c->line.reply;
  if (reply.flags & kClearTid) {
    const uint64_t word = reply.results[0].addr;
    const uint32_t zero = 0;
    if (store == Store::kHere) try_copy(reinterpret_cast<void*>(word), &zero, sizeof zero);
    const uint64_t args[7] = {word, FUTEX_WAKE, 1, 0, 0, 0, __NR_futex};
    c->kicked = 0;
    gate_guest_futex(c, args);
  }
  gate_order(__NR_exit, 0);
  __builtin_trap();
}

void apply(ControlPage* c, ucontext_t* uc) {
  const uint32_t flags = c->line.reply.flags;
  if (flags & kExit) leave(c, Store::kDone);
  if (flags & kRegs) {
    for (int i = 0; i < kGregs; ++i) uc->uc_mcontext.gregs[i] = static_cast<greg_t>(c->gregs[i]);
  } else {
    uc->uc_mcontext.gregs[REG_RAX] = static_cast<greg_t>(c->line.reply.rax);
  }
  if (flags & kSetFs) gate_order(__NR_arch_prctl, ARCH_SET_FS, c->fs_base);
  if (flags & kSetGs) set_guest_gs(c, c->gs_base);
  if (flags & kResetFpu) uc->uc_mcontext.fpregs = nullptr;
}

// One request, the orders that come back first included; the reply is in the page then. `uc`: null in the
// dispatcher. `asked`: the request was made already. True: the Sentry wants a frame.
bool converse(ControlPage* c, ucontext_t* uc, uint64_t slot, bool asked = false) {
  for (;; asked = false) {
    if (asked) {
      await_reply(c);
    } else {
      call_sentry(c, slot);
    }
    note(c->times.answered);
    const uint32_t flags = c->line.reply.flags;
    if ((flags & kOrders) && !carry_out(c, uc)) {
      c->line.kind = kReqOrderFailed;
    } else if ((flags & kFrame) && uc == nullptr) {
      return true;
    } else if (flags & kReport) {
      c->line.kind = kReqOrdersDone;
    } else {
      return false;
    }
  }
}

// The guest must not go on right behind its patched call, where what stood there is overwritten.
void go_behind(ucontext_t* uc, const ControlPage* c, uint32_t mode) {
  auto& g = uc->uc_mcontext.gregs;
  if (mode == MODE_PLAIN) return;
  if (mode >= MODE_TAIL) {
    g[REG_RIP] = static_cast<greg_t>(c->tail);
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

// The registers of a call that came through the dispatcher, into a signal frame.
void load_frame(const ControlPage* c, ucontext_t* uc) {
  auto& g = uc->uc_mcontext.gregs;
  for (int i = 0; i <= kRip; ++i) g[i] = static_cast<greg_t>(c->gregs[i]);
  g[REG_EFL] = static_cast<greg_t>(c->gregs[kEfl]);
}

// ax as lahf and seto left it, as flags; the others stay as they are in a program that computes.
uint64_t guest_flags(const ControlPage* c) {
  if (c->mode == MODE_CMP_4095 || c->mode == MODE_CMP_4096) return 0x246;
  return 0x202 | ((c->flags >> 8) & 0xd5) | ((c->flags & 1) << 11);
}

enum class Origin { kGuest, kDone, kReported };

// A signal that did not come out of guest code, but out of the code between it and us. kDone: nothing more to
// do. kGuest: `uc` is the guest's now. kReported: it is, and the request is made already.
Origin leave_dispatcher(int sig, ControlPage* c, ucontext_t* uc, uint64_t slot) {
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
    const uint32_t mode = c->mode;
    const greg_t back = g[REG_RIP];
    apply(c, uc);
    __atomic_store_n(&c->line.state, kIdle, __ATOMIC_RELEASE);
    if (g[REG_RIP] == back) go_behind(uc, c, mode);
    return Origin::kDone;
  }
  if (sig == SIGURG && ip >= at(fast_way_out) && ip < at(fast_way_out_end)) {
    load_frame(c, uc);
    go_behind(uc, c, c->mode);
    return Origin::kGuest;
  }
  if (sig == SIGURG && ip >= at(guest_futex_begin) && ip <= at(guest_futex_call)) {
    g[REG_RIP] = static_cast<greg_t>(at(guest_futex_end));
    g[REG_RAX] = -EINTR;
  }
  if (sig == SIGURG && ip >= STUB_TEXT && ip < STUB_PATCHES + STUB_PATCHES_SIZE) {
    c->kicked = 1;
    return Origin::kDone;
  }
  return Origin::kGuest;
}

// A copy of the caller's extended state in another process, or a change of it, goes by a signal frame.
bool needs_frame(uint64_t nr, uint64_t arg) {
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
bool leave_to_dispatcher(ControlPage* c, ucontext_t* uc) {
  auto& g = uc->uc_mcontext.gregs;
  const auto flags = static_cast<uint64_t>(g[REG_EFL]);
  if (!fit_for_dispatcher(flags) || !has_fsgsbase()) return false;
  const auto nr = static_cast<uint64_t>(g[REG_RAX]);
  // clone3's argument is looked at in the dispatcher, where a fault can be.
  if (nr != __NR_clone3 && needs_frame(nr, static_cast<uint64_t>(g[REG_RDI]))) return false;
  c->flags = lahf_and_seto(flags);
  g[REG_RCX] = g[REG_RIP];
  g[REG_R11] = reinterpret_cast<greg_t>(c);
  g[REG_RIP] = reinterpret_cast<greg_t>(dispatch_plain);
  return true;
}

void on_signal(int sig, siginfo_t* info, void* context) {
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
  if (uc->uc_mcontext.gregs[REG_RIP] == back) go_behind(uc, c, mode);
}

// ---------------------------------------------------------------- calls without a signal

bool answer_here(ControlPage* c, uint64_t nr) {
  const Identity& id = c->identity;
  if (id.valid == 0) return false;
  uint64_t value;
  switch (nr) {
    case __NR_getpid: value = static_cast<uint64_t>(id.pid); break;
    case __NR_gettid: value = static_cast<uint64_t>(id.tid); break;
    case __NR_getppid: value = static_cast<uint64_t>(id.ppid); break;
    case __NR_getuid: value = id.uid; break;
    case __NR_geteuid: value = id.euid; break;
    case __NR_getgid: value = id.gid; break;
    case __NR_getegid: value = id.egid; break;
    case __NR_rseq: value = static_cast<uint64_t>(-ENOSYS); break;
    case __NR_set_robust_list:
      if (c->gregs[kRsi] != sizeof(robust_list_head)) return false;
      c->robust_list = c->gregs[kRdi];
      value = 0;
      break;
    default: return false;
  }
  c->gregs[kRax] = value;
  return true;
}

// A thread that leaves with nothing in its robust list: the Sentry need not look.
void leave_list(ControlPage* c, uint64_t nr) {
  robust_list_head head;
  if (nr != __NR_exit || c->robust_list == 0) return;
  const bool read = try_copy(&head, reinterpret_cast<void*>(c->robust_list), sizeof head) == 0;
  if (read && reinterpret_cast<uint64_t>(head.list.next) == c->robust_list && head.list_op_pending == nullptr) {
    c->robust_list = 0;
  }
}

// What the Sentry reads and writes for this call (call_windows.h), as far as it can be brought along.
void fill_windows(ControlPage* c, uint64_t nr) {
  CallLine& line = c->line;
  line.in_length[0] = line.in_length[1] = 0;
  line.out_ready = 0;
  if (nr >= kWindowCalls) return;
  const CallWindows& w = window_table.calls[nr];
  uint32_t used = 0;
  for (int i = 0; i < kWindows && w.in[i].kind != WindowKind::kNone; ++i) {
    const uint64_t from = line.args[w.in[i].arg];
    const uint32_t room = kInBuffer - used;
    if (from == 0) continue;
    uint64_t size = 0;
    if (w.in[i].kind == WindowKind::kString) {
      const long n = try_string(reinterpret_cast<char*>(c->in_buffer + used), reinterpret_cast<char*>(from), room);
      if (n > 0 && n <= static_cast<long>(room)) size = static_cast<uint64_t>(n);
    } else {
      size = w.in[i].bytes(line.args);
      const bool small = w.spare && size <= kSmall;
      void* const to = small ? static_cast<void*>(&line.args[4]) : c->in_buffer + used;
      if (size > room || try_copy(to, reinterpret_cast<void*>(from), size) != 0) size = 0;
    }
    line.in_length[i] = static_cast<uint16_t>(size);
    used += padded(static_cast<uint32_t>(size));
    if (used > kInBuffer) used = kInBuffer;
  }
  for (int i = 0; i < kWindows && w.out[i].kind != WindowKind::kNone; ++i) {
    const uint64_t to = line.args[w.out[i].arg];
    const uint64_t size = w.out[i].out_bytes(line.args);
    if (to == 0 || size == 0) continue;
    auto* first = reinterpret_cast<uint8_t*>(to);
    if (try_writable(first, first + size - 1) == 0) line.out_ready |= static_cast<uint8_t>(1 << i);
  }
}

// The way out is prepared; 1 if it goes by a frame: then `by_frame` are the flags of the answer for which it does.
uint32_t conclude(ControlPage* c, uint32_t by_frame) {
  const Reply& reply = c->line.reply;
  const uint32_t flags = reply.flags;
  if (flags & kExit) leave(c, Store::kHere);
  if (!(flags & kRegs)) c->gregs[kRax] = reply.rax;
  for (int i = 0; i < kWindows; ++i) {
    const Window& w = reply.results[i];
    if (w.size == 0) break;
    const void* from = w.offset == kInLine ? static_cast<const void*>(&reply.results[1]) : c->out_buffer + w.offset;
    if (try_copy(reinterpret_cast<void*>(w.addr), from, w.size) != 0) {
      c->gregs[kRax] = static_cast<uint64_t>(-EFAULT);
    }
    if (w.offset == kInLine) break;
  }
  if (flags & by_frame) {
    c->reason = kTrapApply;
    return 1;
  }
  if (flags & kSetFs) asm volatile("wrfsbase %0" : : "r"(c->fs_base));
  if (flags & kSetGs) set_guest_gs(c, c->gs_base);
  __atomic_store_n(&c->line.state, kIdle, __ATOMIC_RELEASE);
  return 0;
}

uint32_t finish(ControlPage* c, uint64_t slot) {
  if (converse(c, nullptr, slot)) {
    c->reason = kTrapFrame;
    return 1;
  }
  return conclude(c, kRegs | kResetFpu);
}

uint64_t slot_of_page(const ControlPage* c) {
  return (reinterpret_cast<uint64_t>(c) - STUB_CTL) / 0x1000 - 1;
}

// Writes down what the dispatcher's assembly did not.
void describe(ControlPage* c) {
  c->frame = 0;
  c->gregs[kEfl] = c->gregs[kR11] = guest_flags(c);
  asm volatile("rdfsbase %0" : "=r"(c->fs_base));
  c->gs_base = 0;
}

struct KernelSigaction {
  void (*handler)(int, siginfo_t*, void*);
  unsigned long flags;
  void (*restorer)();
  unsigned long mask;
};

// The host's release is in the vDSO's note; the guest gets a copy that says Run9's (6.12).
uint64_t private_vdso(uint64_t vdso) {
  if (vdso < STUB_TEXT) return 0;  // address randomization could not be turned off: do without
  const auto* eh = reinterpret_cast<const Elf64_Ehdr*>(vdso);
  const auto* ph = reinterpret_cast<const Elf64_Phdr*>(vdso + eh->e_phoff);
  uint64_t size = 0, note = 0, note_size = 0;
  for (int i = 0; i < eh->e_phnum; ++i) {
    if (ph[i].p_type == PT_LOAD) size = (ph[i].p_memsz + 4095) & ~uint64_t{4095};
    if (ph[i].p_type == PT_NOTE) {
      note = ph[i].p_vaddr;
      note_size = ph[i].p_memsz;
    }
  }
  const long copy = gate_init(__NR_mmap, 0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (copy < 0 || size == 0) return 0;
  memcpy(reinterpret_cast<void*>(copy), reinterpret_cast<void*>(vdso), size);
  for (uint64_t at = note; note != 0 && at + sizeof(Elf64_Nhdr) <= note + note_size;) {
    auto* n = reinterpret_cast<Elf64_Nhdr*>(copy + at);
    const uint64_t desc = at + sizeof *n + ((n->n_namesz + 3) & ~3u);
    if (n->n_type == 0 && n->n_namesz == 6 && n->n_descsz == 4) {  // "Linux", LINUX_VERSION_CODE
      *reinterpret_cast<uint32_t*>(copy + desc) = (6 << 16) | (12 << 8);
    } else if (n->n_type == NT_GNU_BUILD_ID) {
      memset(reinterpret_cast<void*>(copy + desc), 0x39, n->n_descsz);
    }
    at = desc + ((n->n_descsz + 3) & ~3u);
  }
  const long moved = gate_init(__NR_mremap, copy, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, vdso);
  if (moved < 0) return 0;
  gate_init(__NR_mprotect, vdso, size, PROT_READ | PROT_EXEC, 0, 0, 0);
  return vdso;
}

[[noreturn]] void die(int code) {
  gate_init(__NR_exit_group, code);
  __builtin_trap();
}

uint64_t map_fixed(uint64_t addr, uint64_t size, int prot, int flags, int fd) {
  const long r = gate_init(__NR_mmap, addr, size, prot, flags | MAP_FIXED, fd, 0);
  if (r < 0 && r > -4096) die(101);
  return static_cast<uint64_t>(r);
}

enum class Futex { kDone, kAsk, kBrokenOff };

// A look at the word before sleeping: whoever changes it soon need not wake anybody. As long as that helps; else
// now and then.
bool changes_soon(ControlPage* c, uint64_t word, uint32_t value) {
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
bool wakes_nobody(uint32_t op, uint64_t word) {
  if (op != (FUTEX_WAKE | FUTEX_PRIVATE_FLAG) || word % 4 != 0) return false;
  return __atomic_fetch_add(&futex_waiters(), 0, __ATOMIC_SEQ_CST) == 0;
}

// Most of futex(2) needs nobody but the host. Timeouts that are relative do: whoever is interrupted goes on with
// what is left.
Futex futex_here(ControlPage* c) {
  const uint64_t word = c->gregs[kRdi], second = c->gregs[kR8];
  const auto op = static_cast<uint32_t>(c->gregs[kRsi]), value = static_cast<uint32_t>(c->gregs[kRdx]);
  const uint32_t command = futex_command(op);
  const uint64_t timeout = c->gregs[kR10];
  constexpr uint64_t kEnd = uint64_t{STUB_GUEST_END_HIGH + 1} << 32;
  if (word >= kEnd) return Futex::kAsk;
  if (wakes_nobody(op, word)) {
    c->gregs[kRax] = 0;
    return Futex::kDone;
  }
  switch (command) {
    case FUTEX_WAIT:
    case FUTEX_WAIT_BITSET:
      if (timeout != 0 && command == FUTEX_WAIT) return Futex::kAsk;
      break;
    case FUTEX_WAKE:
    case FUTEX_WAKE_BITSET: break;
    case FUTEX_REQUEUE:
    case FUTEX_CMP_REQUEUE:
    case FUTEX_WAKE_OP:
      if (second >= kEnd) return Futex::kAsk;
      break;
    default: return Futex::kAsk;
  }
  const uint64_t args[7] = {word, op, value, timeout, second, static_cast<uint32_t>(c->gregs[kR9]), __NR_futex};
  const bool plain = timeout == 0 && word % 4 == 0 && (command == FUTEX_WAIT || args[5] != 0);
  long r;
  if (waits(command) && plain && changes_soon(c, word, value)) {
    r = -EAGAIN;
  } else {
    uint64_t from = 0, to = 0;
    note(from);
    r = waits(command) ? rest_in_futex(c, args) : gate_guest_futex(c, args);
    note(to);
    if (from != 0 && to != 0) c->times.rested += to - from;
  }
  if (r == -EINTR) return Futex::kBrokenOff;
  c->gregs[kRax] = static_cast<uint64_t>(r);
  return Futex::kDone;
}

// 0: the call is over, its result in the page. 1: a frame is needed (ControlPage::reason).
[[gnu::noinline]] uint32_t ask(ControlPage* c, uint64_t nr, RequestKind kind) {
  describe(c);
  if (needs_frame(nr, c->gregs[kRdi])) {
    c->reason = kTrapSlow;
    return 1;
  }
  CallLine& line = c->line;
  line.nr = static_cast<int32_t>(nr);
  line.args[0] = c->gregs[kRdi], line.args[1] = c->gregs[kRsi], line.args[2] = c->gregs[kRdx];
  line.args[3] = c->gregs[kR10], line.args[4] = c->gregs[kR8], line.args[5] = c->gregs[kR9];
  line.kind = kind;
  leave_list(c, nr);
  fill_windows(c, nr);
  return finish(c, slot_of_page(c));
}

// Where the host's vm.mmap_min_addr forbids it, no call site is patched (the Sentry asks the same question).
bool map_table() {
  return gate_init(__NR_mmap, STUB_TABLE, STUB_TABLE_SIZE, PROT_READ, MAP_SHARED | MAP_FIXED, 8,
                   STUB_PATCHES_SIZE) == STUB_TABLE;
}

}  // namespace

extern "C" uint32_t fast_call(ControlPage* c) {
  const uint64_t nr = c->gregs[kRax];
  if (answer_here(c, nr)) return 0;
  RequestKind kind = kReqCall;
  if (nr == __NR_futex && c->identity.valid != 0) {
    const Futex how = futex_here(c);
    if (how == Futex::kDone) return 0;
    if (how == Futex::kBrokenOff) {
      c->kicked = 0;
      kind = kReqBrokenOff;
    }
  }
  return ask(c, nr, kind);
}
// A kick came while the dispatcher was at work: the guest would go on now.
extern "C" uint32_t fast_interrupted(ControlPage* c) {
  __atomic_store_n(&c->kicked, 0, __ATOMIC_RELEASE);
  describe(c);
  c->line.kind = kReqKick;
  return finish(c, slot_of_page(c));
}

stack_t alternate_stack(uint64_t slot) {
  stack_t s = {};
  s.ss_sp = reinterpret_cast<void*>(STUB_STACKS + slot * STUB_SLOT_STACK);
  s.ss_size = STUB_SLOT_STACK - STUB_FAST_STACK;
  return s;
}

extern "C" void thread_main(uint64_t sp) {
  const uint64_t slot = slot_of(sp);
  ControlPage* c = control_of(sp);
  const uint32_t flags = c->start_flags;
  auto* uc = reinterpret_cast<ucontext_t*>(c->frame);
  if (flags & kNewFrame) {
    memset(uc, 0, sizeof *uc);
    uc->uc_flags = 6;  // UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS
    uc->uc_stack = alternate_stack(slot);
  }
  c->self = reinterpret_cast<uint64_t>(c);
  c->kicked = 0;
  if (has_fsgsbase()) set_guest_gs(c, 0);
  // The agent blocks every signal; guest threads none.
  memset(&uc->uc_sigmask, 0, 8);
  await_reply(c);
  note(c->times.answered);
  apply(c, uc);
  __atomic_store_n(&c->line.state, kIdle, __ATOMIC_RELEASE);
  enter_guest(uc);
}

// All registers are in the page, where the way out looks for them: a frame is needed only for a changed extended state.
extern "C" uint32_t thread_main_fast(ControlPage* c) {
  const uint64_t slot = slot_of_page(c);
  const stack_t stack = alternate_stack(slot);
  gate_order(__NR_sigaltstack, &stack, nullptr);
  c->self = reinterpret_cast<uint64_t>(c);
  c->kicked = 0;
  set_guest_gs(c, 0);
  if (converse(c, nullptr, slot, true)) {
    c->reason = kTrapFrame;
    return 1;
  }
  return conclude(c, kResetFpu);
}

// Gives the agent's key. The stack that it comes through is unmapped before there is a guest (TrapPlatform).
extern "C" uint64_t stub_init(const uint64_t* stack) {
  const uint64_t* p = stack + 1 + stack[0] + 1;  // argv
  while (*p != 0) ++p;
  uint64_t vdso = 0, name = 0;
  for (++p; *p != AT_NULL; p += 2) {
    if (*p == AT_SYSINFO_EHDR) vdso = p[1];
    if (*p == AT_EXECFN) name = p[1];
  }
  gate_init(__NR_munmap, 0x10000, STUB_TEXT - 0x100000 - 0x10000);
  map_fixed(STUB_SHARED, STUB_SHARED_SIZE, PROT_READ, MAP_SHARED, 5);
  map_fixed(STUB_CMD_A, 0x1000, PROT_READ, MAP_SHARED, 6);
  map_fixed(STUB_CTL, STUB_CTL_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, 7);
  map_fixed(STUB_PATCHES, STUB_PATCHES_SIZE, PROT_READ | PROT_EXEC, MAP_SHARED, 8);
  const bool can_patch = map_table();
  map_fixed(STUB_AGENT_PAGE, 0x1000 + STUB_BASES_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
  map_fixed(STUB_STACKS, uint64_t{STUB_SLOTS} * STUB_SLOT_STACK, PROT_READ | PROT_WRITE,
            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
  gate_init(__NR_madvise, STUB_STACKS, uint64_t{STUB_SLOTS} * STUB_SLOT_STACK, MADV_NOHUGEPAGE);
  gate_init(__NR_madvise, STUB_CTL, STUB_CTL_SIZE, MADV_DONTFORK);
  gate_init(__NR_madvise, STUB_CMD_A, 0x1000, MADV_DONTFORK);
  gate_init(__NR_madvise, STUB_CTL, STUB_CTL_SIZE, MADV_DONTDUMP);
  for (int fd = 5; fd <= 8; ++fd) gate_init(__NR_close, fd);

  // Everything is blocked inside a handler: a kick or a fault waits until the thread is in guest code.
  const KernelSigaction action = {on_signal, SA_SIGINFO | SA_ONSTACK | 0x04000000 /*SA_RESTORER*/,
                                  gate_sigreturn, ~0ul};
  constexpr int kSignals[] = {SIGSYS, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGURG};
  for (int sig : kSignals) {
    if (gate_init(__NR_rt_sigaction, sig, &action, nullptr, 8) != 0) die(102);
  }
  const uint64_t all = ~uint64_t{0};
  gate_init(__NR_rt_sigprocmask, SIG_SETMASK, &all, nullptr, 8);
  // The program's name is the last thing on the stack.
  constexpr uint64_t kPage = 0x1000, kStack = 0x40000, kNameMax = 64, kTop = 0x7ffffffff000;
  const uint64_t here = reinterpret_cast<uint64_t>(__builtin_frame_address(0)) & ~(kPage - 1);
  const uint64_t end = (name + kNameMax) / kPage * kPage + kPage;
  const StubReady ready = {private_vdso(vdso), can_patch ? 1u : 0u, here - kStack, end < kTop ? end : kTop};
  // The Sentry makes barriers for membarrier(2) from outside: forks inherit that we want them.
  gate_init(__NR_membarrier, MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED, 0, 0);
  gate_init(__NR_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  StubSecrets secrets;
  if (gate_init(__NR_read, STUB_FD_AGENT, &secrets, sizeof secrets) != sizeof secrets) die(103);
  if (gate_init(__NR_write, STUB_FD_AGENT, &ready, sizeof ready) != sizeof ready) die(103);
  struct {
    unsigned short len;
    const void* filter;
  } prog = {static_cast<unsigned short>(secrets.filter_length), secrets.filter};
  if (gate_init(__NR_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog) != 0) die(104);
  return secrets.agent_key;
}
