// The stub: the program whose memory is a guest's. Freestanding, no libc, no writable data. It runs
//  - once in the template process: stub_init (maps the shared pages, signal handlers, filter A);
//  - in every guest thread: on_signal, the way from guest code to the Sentry and back.
// on_signal's stack and control page are the guest's to overwrite. That is no hole: this code has no right
// that the guest does not have itself; the seccomp filters are the wall, not this file.
#include <asm/prctl.h>
#include <asm/unistd.h>
#include <elf.h>
#include <linux/futex.h>
#include <linux/prctl.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <ucontext.h>

#include "sentry/platform/trap/stub_abi.h"

using namespace run9::sentry::trap;

#pragma GCC visibility push(hidden)
extern "C" {
long gate_futex(long nr, ...);
long gate_wake(long nr, ...);
long gate_order(long nr, ...);
long gate_seccomp(long nr, ...);
long gate_init(long nr, ...);
void gate_sigreturn();
void thread_entry();
[[noreturn]] void enter_guest(ucontext_t*);
void stub_init(const uint64_t* stack);
[[noreturn]] void thread_main(uint64_t sp);

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
  return reinterpret_cast<ControlPage*>(STUB_CTL + (slot + 1) * 0x1000);
}

uint64_t slot_of(uint64_t stack_address) { return (stack_address - STUB_STACKS) / STUB_SLOT_STACK; }

bool has_fsgsbase() { return (shared()->xstate_size & 0x80000000u) != 0; }

void await_reply(ControlPage* c) {
  for (uint32_t i = shared()->guest_spin; i != 0; --i) {
    if (__atomic_load_n(&c->state, __ATOMIC_ACQUIRE) == kReply) return;
    __builtin_ia32_pause();
  }
  for (;;) {
    uint32_t expected = kRequest;
    __atomic_compare_exchange_n(&c->state, &expected, kRequestAsleep, false, __ATOMIC_ACQ_REL,
                                __ATOMIC_ACQUIRE);
    if (expected == kReply) return;
    gate_futex(__NR_futex, &c->state, FUTEX_WAIT, kRequestAsleep, nullptr, nullptr, 0);
  }
}

// Hands the request to the Sentry and waits for the reply. The worker scans the bells once more after it
// has said that it sleeps, so either it sees our bell or we see that it sleeps.
void call_sentry(ControlPage* c, uint64_t slot) {
  __atomic_store_n(&c->state, kRequest, __ATOMIC_RELEASE);
  auto* header = reinterpret_cast<ControlHeader*>(STUB_CTL);
  __atomic_fetch_or(&header->bell[slot / 64], uint64_t{1} << (slot % 64), __ATOMIC_SEQ_CST);
  if (shared()->worker_sleeps != 0) {
    uint64_t one = 1;
    gate_wake(__NR_write, STUB_FD_WAKE, &one, 8);
  }
  await_reply(c);
}

// A thread of the guest: the caller's frame is copied to the new slot's alternate stack, where
// thread_main finds it.
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
  auto* control = reinterpret_cast<ControlPage*>(STUB_CTL + (slot + 1) * 0x1000);
  control->frame = here + delta;
  uint64_t sp = ((here + delta - 1024) & ~uint64_t{15}) - 8;
  *reinterpret_cast<uint64_t*>(sp) = reinterpret_cast<uint64_t>(&thread_entry);
  return gate_order(__NR_clone,
                    CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM |
                        CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID,
                    sp, &control->host_tid, &control->alive, 0, 0);
}

// False: an order failed, and the Sentry must hear of it.
bool carry_out(ControlPage* c, ucontext_t* uc) {
  const uint32_t n = c->order_count;
  for (uint32_t i = 0; i < n && i < kMaxOrders; ++i) {
    const ThreadOrder& o = c->orders[i];
    const long r = o.kind == kOrderThread
                       ? clone_thread(o, uc)
                       : gate_order(static_cast<long>(o.nr), o.args[0], o.args[1], o.args[2],
                                    o.args[3], o.args[4], o.args[5]);
    if (r < 0 && r > -4096) {
      c->order_error = r;
      return false;
    }
  }
  __atomic_fetch_add(&c->orders_done, 1, __ATOMIC_RELEASE);
  return true;
}

void apply(ControlPage* c, ucontext_t* uc) {
  const uint32_t flags = c->reply_flags;
  if (flags & kExit) {
    gate_order(__NR_exit, 0);
    __builtin_trap();
  }
  if (flags & kRegs) {
    for (int i = 0; i < kGregs; ++i) uc->uc_mcontext.gregs[i] = static_cast<greg_t>(c->gregs[i]);
  } else {
    uc->uc_mcontext.gregs[REG_RAX] = static_cast<greg_t>(c->gregs[kRax]);
  }
  if (flags & kSetFs) gate_order(__NR_arch_prctl, ARCH_SET_FS, c->fs_base);
  if (flags & kSetGs) gate_order(__NR_arch_prctl, ARCH_SET_GS, c->gs_base);
  if (flags & kResetFpu) uc->uc_mcontext.fpregs = nullptr;
}

void exchange(ControlPage* c, ucontext_t* uc, uint64_t slot) {
  for (;;) {
    call_sentry(c, slot);
    if ((c->reply_flags & kOrders) == 0) break;
    if (!carry_out(c, uc)) {
      c->kind = kReqOrderFailed;
    } else if (c->reply_flags & kReport) {
      c->kind = kReqOrdersDone;
    } else {
      break;
    }
  }
  apply(c, uc);
  __atomic_store_n(&c->state, kIdle, __ATOMIC_RELEASE);
}

void on_signal(int sig, siginfo_t* info, void* context) {
  auto* uc = static_cast<ucontext_t*>(context);
  const uint64_t here = reinterpret_cast<uint64_t>(uc);
  const uint64_t slot = slot_of(here);
  ControlPage* c = control_of(here);
  c->frame = here;
  for (int i = 0; i < kGregs; ++i) c->gregs[i] = static_cast<uint64_t>(uc->uc_mcontext.gregs[i]);
  if (has_fsgsbase()) {
    asm volatile("rdfsbase %0" : "=r"(c->fs_base));
    asm volatile("rdgsbase %0" : "=r"(c->gs_base));
  }
  if (sig == SIGSYS) {
    c->kind = kReqSyscall;
    c->syscall = info->si_syscall;
    c->arch = info->si_arch;
  } else if (sig == SIGURG) {
    c->kind = kReqKick;
  } else {
    c->kind = kReqFault;
    c->signo = sig;
    c->code = info->si_code;
    c->fault_addr = reinterpret_cast<uint64_t>(info->si_addr);
  }
  exchange(c, uc, slot);
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

}  // namespace

extern "C" void thread_main(uint64_t sp) {
  const uint64_t slot = slot_of(sp);
  ControlPage* c = control_of(sp);
  const uint32_t flags = c->start_flags;
  auto* uc = reinterpret_cast<ucontext_t*>(c->frame);
  if (flags & kNewFrame) {
    memset(uc, 0, sizeof *uc);
    uc->uc_flags = 6;  // UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS
    uc->uc_stack.ss_sp = reinterpret_cast<void*>(STUB_STACKS + slot * STUB_SLOT_STACK);
    uc->uc_stack.ss_size = STUB_SLOT_STACK;
  }
  // The agent blocks every signal; guest threads none.
  memset(&uc->uc_sigmask, 0, 8);
  if (flags & kInstallFilter) {
    struct {
      unsigned short len;
      const void* filter;
    } prog = {shared()->filter_b_len, reinterpret_cast<const void*>(STUB_SHARED + 0x2000)};
    if (gate_seccomp(__NR_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog) != 0) __builtin_trap();
  }
  await_reply(c);
  apply(c, uc);
  __atomic_store_n(&c->state, kIdle, __ATOMIC_RELEASE);
  enter_guest(uc);
}

extern "C" void stub_init(const uint64_t* stack) {
  const uint64_t* p = stack + 1 + stack[0] + 1;  // argv
  while (*p != 0) ++p;
  uint64_t vdso = 0;
  for (++p; *p != AT_NULL; p += 2) {
    if (*p == AT_SYSINFO_EHDR) vdso = p[1];
  }
  gate_init(__NR_munmap, 0x10000, STUB_TEXT - 0x100000 - 0x10000);
  map_fixed(STUB_SHARED, STUB_SHARED_SIZE, PROT_READ, MAP_SHARED, 5);
  map_fixed(STUB_CMD_A, 0x1000, PROT_READ, MAP_SHARED, 6);
  map_fixed(STUB_CTL, STUB_CTL_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, 7);
  map_fixed(STUB_AGENT_PAGE, 0x1000, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
  map_fixed(STUB_STACKS, uint64_t{STUB_SLOTS} * STUB_SLOT_STACK, PROT_READ | PROT_WRITE,
            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
  gate_init(__NR_madvise, STUB_STACKS, uint64_t{STUB_SLOTS} * STUB_SLOT_STACK, MADV_NOHUGEPAGE);
  gate_init(__NR_madvise, STUB_CTL, STUB_CTL_SIZE, MADV_DONTFORK);
  gate_init(__NR_madvise, STUB_CMD_A, 0x1000, MADV_DONTFORK);
  gate_init(__NR_madvise, STUB_CTL, STUB_CTL_SIZE, MADV_DONTDUMP);
  for (int fd = 5; fd <= 7; ++fd) gate_init(__NR_close, fd);

  // Everything is blocked inside a handler: a kick or a fault waits until the thread is in guest code.
  const KernelSigaction action = {on_signal, SA_SIGINFO | SA_ONSTACK | 0x04000000 /*SA_RESTORER*/,
                                  gate_sigreturn, ~0ul};
  constexpr int kSignals[] = {SIGSYS, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGURG};
  for (int sig : kSignals) {
    if (gate_init(__NR_rt_sigaction, sig, &action, nullptr, 8) != 0) die(102);
  }
  const uint64_t all = ~uint64_t{0};
  gate_init(__NR_rt_sigprocmask, SIG_SETMASK, &all, nullptr, 8);
  uint64_t* results = reinterpret_cast<uint64_t*>(STUB_AGENT_PAGE + AGENT_RESULTS);
  results[0] = private_vdso(vdso);
  gate_init(__NR_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  if (gate_init(__NR_write, STUB_FD_AGENT, results, 8) != 8) die(103);  // ready
  struct {
    unsigned short len;
    const void* filter;
  } prog = {shared()->filter_a_len, reinterpret_cast<const void*>(STUB_SHARED + 0x1000)};
  if (gate_init(__NR_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog) != 0) die(104);
}
