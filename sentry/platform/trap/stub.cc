// The stub: the program whose memory is a guest's. Freestanding, no libc, no writable data. It runs
//  - once in the template process: stub_init (maps the shared pages, installs signal handlers and the filter);
//  - in every guest thread: on_signal, the way from guest code to the Sentry and back by a signal, and
//    fast_call, the way without one, from patched call sites (gates.S, the dispatcher).
// on_signal's stack and control page are the guest's to overwrite. That is no hole: this code has no right
// that the guest does not have itself; the seccomp filter is the wall, not this file.
#include <asm/unistd.h>
#include <linux/membarrier.h>
#include <linux/prctl.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/mman.h>

#include "sentry/platform/trap/stub/calls.h"
#include "sentry/platform/trap/stub/futexes.h"
#include "sentry/platform/trap/stub/rings.h"
#include "sentry/platform/trap/stub/template.h"

using namespace run9::sentry::trap;
using namespace run9::sentry::trap::stub;

extern "C" {
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

// Calls that only the host has a part in.
static inline Served serve_here(ControlPage* c, uint64_t nr) {
  const uint32_t valid = c->identity.valid;
  c->already = 0;
  if (nr == __NR_futex && valid != 0) return futex_here(c);
  if ((nr == __NR_read || nr == __NR_write) && (valid & kOwnDescriptors) != 0) return serve_ring(c, nr == __NR_read);
  return Served::kAsk;
}

extern "C" uint32_t fast_call(ControlPage* c) {
  const uint64_t nr = c->gregs[kRax];
  uint32_t brought = 0;
  if (answer_here(c, nr, brought)) return 0;
  const Served how = serve_here(c, nr);
  if (how == Served::kDone) return 0;
  if (how == Served::kBrokenOff) c->kicked = 0;
  return ask(c, nr, how == Served::kBrokenOff ? kReqBrokenOff : kReqCall, brought);
}
// A kick came while the dispatcher was at work: the guest would go on now.
extern "C" uint32_t fast_interrupted(ControlPage* c) {
  __atomic_store_n(&c->kicked, 0, __ATOMIC_RELEASE);
  describe(c);
  c->line.kind = kReqKick;
  return finish(c, slot_of_page(c));
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
  store_results(c);  // of fork: its number
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
  map_fixed(STUB_CMD, 0x1000, PROT_READ, MAP_SHARED, 6);
  map_fixed(STUB_CTL, STUB_CTL_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, 7);
  map_fixed(STUB_PATCHES, STUB_PATCHES_SIZE, PROT_READ | PROT_EXEC, MAP_SHARED, 8);
  const bool can_patch = map_table();
  constexpr uint64_t kPrivate = STUB_STACKS + STUB_STACKS_SIZE - STUB_BASES;
  map_fixed(STUB_BASES, kPrivate, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
  gate_init(__NR_madvise, STUB_BASES, kPrivate, MADV_NOHUGEPAGE);
  gate_init(__NR_madvise, STUB_CTL, STUB_CTL_SIZE, MADV_DONTFORK);
  gate_init(__NR_madvise, STUB_CTL, STUB_CTL_SIZE, MADV_DONTDUMP);
  for (int fd = 5; fd <= 8; ++fd) gate_init(__NR_close, fd);
  // No guest is here; but what the agent receives gets the same numbers as in the stubs that are made from it.
  gate_init(__NR_dup2, STUB_FD_AGENT, STUB_FD_FILES);

  // Everything is blocked inside a handler: a kick or a fault waits until the thread is in guest code. But for faults in
  // that of SIGSEGV, which writes to the guest's stack (faults.h).
  constexpr unsigned long kFlags = SA_SIGINFO | SA_ONSTACK | 0x04000000 /*SA_RESTORER*/;
  constexpr unsigned long kFaults = 1ul << (SIGSEGV - 1) | 1ul << (SIGBUS - 1);
  const KernelSigaction action = {on_signal, kFlags, gate_sigreturn, ~0ul};
  const KernelSigaction on_fault = {on_signal, kFlags | SA_NODEFER, gate_sigreturn, ~kFaults};
  constexpr int kSignals[] = {SIGSYS, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGURG};
  for (int sig : kSignals) {
    if (gate_init(__NR_rt_sigaction, sig, sig == SIGSEGV ? &on_fault : &action, nullptr, 8) != 0) die(102);
  }
  const uint64_t all = ~uint64_t{0};
  gate_init(__NR_rt_sigprocmask, SIG_SETMASK, &all, nullptr, 8);
  // The program's name is the last thing on the stack.
  constexpr uint64_t kPage = 0x1000, kStack = 0x40000, kNameMax = 64, kTop = 0x7ffffffff000;
  const uint64_t here = reinterpret_cast<uint64_t>(__builtin_frame_address(0)) & ~(kPage - 1);
  const uint64_t end = (name + kNameMax) / kPage * kPage + kPage;
  StubReady ready = {0, can_patch ? 1u : 0u, here - kStack, end < kTop ? end : kTop, {}};
  ready.vdso = own_vdso(vdso, can_patch && has_fsgsbase() ? ready.vdso_calls : nullptr);
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
