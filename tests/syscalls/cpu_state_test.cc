// The state of the processor survives system calls and signals: general registers, flags, x87 and
// MXCSR control, and the whole of the vector registers (xmm, ymm or zmm, with the mask registers,
// whichever the machine has).
#include <asm/prctl.h>
#include <cpuid.h>
#include <pthread.h>
#include <ucontext.h>

#include "tests/syscalls/test_util.h"

namespace run9::guest {

// The assembly below knows these offsets.
struct CpuState {
  uint64_t gpr[16];     // 0: rax rbx rcx rdx rsi rdi rbp (rsp) r8..r15
  uint64_t rflags;      // 128
  uint32_t mxcsr;       // 136
  uint16_t fcw, pad;    // 140
  uint64_t k[8];        // 144
  uint64_t pad2[6];     // 208
  uint8_t vec[32][64];  // 256
};
static_assert(offsetof(CpuState, vec) == 256 && offsetof(CpuState, k) == 144);

// What run_with_state does between loading and storing the registers.
enum Action : int { kSyscall = 0, kTrap = 1, kSpin = 2 };

extern "C" {
void run_with_state(const CpuState* in, CpuState* out, long action, long width);
extern volatile int spin_over;
volatile int spin_over;
}

// width: 16, 32 or 64 bytes of each vector register.
asm(R"(
  .text
  .globl run_with_state
  .type run_with_state, @function
run_with_state:
  pushq %rbx
  pushq %rbp
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  subq $64, %rsp
  movq %rsi, 8(%rsp)          # out
  movq %rdx, 16(%rsp)         # action
  movq %rcx, 24(%rsp)         # width
  stmxcsr 32(%rsp)
  fnstcw 36(%rsp)
  ldmxcsr 136(%rdi)
  fldcw 140(%rdi)
  cmpq $32, %rcx
  je 2f
  ja 3f
  .irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
  movups (256+64*\n)(%rdi), %xmm\n
  .endr
  jmp 4f
2:
  .irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
  vmovups (256+64*\n)(%rdi), %ymm\n
  .endr
  jmp 4f
3:
  .irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
  vmovups (256+64*\n)(%rdi), %zmm\n
  .endr
  .irp n,0,1,2,3,4,5,6,7
  kmovq (144+8*\n)(%rdi), %k\n
  .endr
4:
  movq 0(%rdi), %rax
  movq 8(%rdi), %rbx
  movq 16(%rdi), %rcx
  movq 24(%rdi), %rdx
  movq 32(%rdi), %rsi
  movq 48(%rdi), %rbp
  movq 64(%rdi), %r8
  movq 72(%rdi), %r9
  movq 80(%rdi), %r10
  movq 88(%rdi), %r11
  movq 96(%rdi), %r12
  movq 104(%rdi), %r13
  movq 112(%rdi), %r14
  movq 120(%rdi), %r15
  cmpq $1, 16(%rsp)
  je 5f
  ja 6f
  pushq 128(%rdi)
  popfq
  movq 40(%rdi), %rdi
  syscall
  jmp 7f
5:
  pushq 128(%rdi)
  popfq
  movq 40(%rdi), %rdi
  ud2
  jmp 7f
6:
  movq 40(%rdi), %rdi
8:
  pause
  cmpl $0, spin_over(%rip)
  je 8b
7:
  movq %rax, 40(%rsp)
  movq 8(%rsp), %rax
  movq %rbx, 8(%rax)
  movq %rcx, 16(%rax)
  movq %rdx, 24(%rax)
  movq %rsi, 32(%rax)
  movq %rdi, 40(%rax)
  movq %rbp, 48(%rax)
  movq %r8, 64(%rax)
  movq %r9, 72(%rax)
  movq %r10, 80(%rax)
  movq %r11, 88(%rax)
  movq %r12, 96(%rax)
  movq %r13, 104(%rax)
  movq %r14, 112(%rax)
  movq %r15, 120(%rax)
  pushfq
  popq 128(%rax)
  cld
  movq 40(%rsp), %rbx
  movq %rbx, 0(%rax)
  stmxcsr 136(%rax)
  fnstcw 140(%rax)
  movq 24(%rsp), %rcx
  cmpq $32, %rcx
  je 2f
  ja 3f
  .irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
  movups %xmm\n, (256+64*\n)(%rax)
  .endr
  jmp 4f
2:
  .irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
  vmovups %ymm\n, (256+64*\n)(%rax)
  .endr
  vzeroupper
  jmp 4f
3:
  .irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
  vmovups %zmm\n, (256+64*\n)(%rax)
  .endr
  .irp n,0,1,2,3,4,5,6,7
  kmovq %k\n, (144+8*\n)(%rax)
  .endr
  vzeroupper
4:
  ldmxcsr 32(%rsp)
  fldcw 36(%rsp)
  addq $64, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbp
  popq %rbx
  ret
  .size run_with_state, .-run_with_state
)");

namespace {

constexpr uint64_t kFlags = 0x8d5 | 0x400;  // CF PF AF ZF SF DF OF
enum { kRax, kRbx, kRcx, kRdx, kRsi, kRdi, kRbp, kRsp, kR8, kR9, kR10, kR11 };

long vector_width() {
  unsigned a, b, c, d;
  __cpuid(1, a, b, c, d);
  if ((c & (1 << 27)) == 0) return 16;
  uint32_t low, high;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  __cpuid_count(7, 0, a, b, c, d);
  if ((low & 0xe6) == 0xe6 && (b & (1 << 16)) != 0 && (b & (1 << 30)) != 0) return 64;
  return (low & 6) == 6 ? 32 : 16;
}

CpuState pattern(unsigned seed) {
  CpuState s = {};
  for (int i = 0; i < 16; ++i) s.gpr[i] = 0x0101010101010101ull * (seed + i) ^ (0xabcd0000ull << i);
  s.rflags = 0x202 | kFlags;
  s.mxcsr = 0x7f80;  // round toward zero
  s.fcw = 0x0b7f;    // round up
  for (int i = 0; i < 8; ++i) s.k[i] = 0x9e3779b97f4a7c15ull * (seed + i + 1);
  for (int r = 0; r < 32; ++r) {
    for (int i = 0; i < 64; ++i) s.vec[r][i] = static_cast<uint8_t>(seed * 17 + r * 7 + i * 3 + 1);
  }
  return s;
}

// rax is not compared when it carries a result, rcx and r11 not after a syscall.
void expect_same(const CpuState& in, const CpuState& out, long width, Action action, bool rax_too) {
  for (int i = 0; i < 16; ++i) {
    if (i == kRsp || (i == kRax && !rax_too)) continue;
    if (action == kSyscall && (i == kRcx || i == kR11)) continue;
    EXPECT_EQ(in.gpr[i], out.gpr[i]) << "general register " << i;
  }
  if (action != kSpin) {
    EXPECT_EQ(in.rflags & kFlags, out.rflags & kFlags);
  }
  EXPECT_EQ(in.mxcsr & ~0x3fu, out.mxcsr & ~0x3fu);
  EXPECT_EQ(in.fcw, out.fcw);
  for (int r = 0; r < (width == 64 ? 32 : 16); ++r) {
    EXPECT_EQ(0, memcmp(in.vec[r], out.vec[r], width)) << "vector register " << r;
  }
  for (int i = 0; i < (width == 64 ? 8 : 0); ++i) EXPECT_EQ(in.k[i], out.k[i]) << "k" << i;
}

volatile sig_atomic_t handled;

// Scribbles over all the state that a signal handler may change.
void scribble() {
  CpuState mess = pattern(200), out;
  mess.rflags = 0x202;
  mess.gpr[kRax] = SYS_getppid;
  run_with_state(&mess, &out, kSyscall, vector_width());
  asm volatile("fninit\n fld1\n fldpi" : : : "memory");
}

void scribbling_handler(int) {
  scribble();
  handled = handled + 1;
}

CpuState call_with(const CpuState& in) {
  CpuState out = {};
  run_with_state(&in, &out, kSyscall, vector_width());
  return out;
}

CpuState call_state(unsigned seed, long nr, long a = 0, long b = 0, long c = 0, long d = 0,
                    long e = 0, long f = 0) {
  CpuState in = pattern(seed);
  in.gpr[kRax] = nr;
  in.gpr[kRdi] = a;
  in.gpr[kRsi] = b;
  in.gpr[kRdx] = c;
  in.gpr[kR10] = d;
  in.gpr[kR8] = e;
  in.gpr[kR9] = f;
  return in;
}

void check_call(const char* what, const CpuState& in) {
  SCOPED_TRACE(what);
  const CpuState out = call_with(in);
  expect_same(in, out, vector_width(), kSyscall, false);
  EXPECT_EQ(out.gpr[kR11] & kFlags, in.rflags & kFlags);  // syscall leaves the flags in r11
}

TEST(CpuStateTest, AcrossEachKindOfCall) {
  Pipe p;
  char buffer[64] = {};
  const long b = reinterpret_cast<long>(buffer);
  check_call("getppid", call_state(1, SYS_getppid));
  check_call("gettid", call_state(2, SYS_gettid));
  check_call("unknown", call_state(3, 0x3ff));
  check_call("negative", call_state(4, -1));
  check_call("write", call_state(5, SYS_write, p.w, b, 8));
  check_call("read", call_state(6, SYS_read, p.r, b, 8));
  check_call("read EFAULT", call_state(7, SYS_write, p.w, 0x10, 8));
  check_call("read EBADF", call_state(8, SYS_read, -1, b, 8));
  check_call("sched_yield", call_state(9, SYS_sched_yield));
  check_call("futex wake", call_state(10, SYS_futex, b, 1, 1));
  check_call("clock_gettime", call_state(11, SYS_clock_gettime, CLOCK_MONOTONIC, b));
  const long page = as_result(map_anonymous(kPage));
  check_call("mprotect", call_state(12, SYS_mprotect, page, kPage, PROT_READ));
  check_call("munmap", call_state(13, SYS_munmap, page, kPage));
  check_call("mmap", call_state(14, SYS_mmap, 0, kPage, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  check_call("openat", call_state(15, SYS_openat, AT_FDCWD, reinterpret_cast<long>("/"),
                                  O_RDONLY | O_CLOEXEC));
  check_call("stat", call_state(16, SYS_stat, reinterpret_cast<long>("/dev/null"), page));
  const timespec nap = {0, 1000000};
  check_call("nanosleep", call_state(17, SYS_nanosleep, reinterpret_cast<long>(&nap)));
  check_call("poll", call_state(18, SYS_poll, 0, 0, 1));
  check_call("uname", call_state(19, SYS_uname, 0x10));
  check_call("rt_sigprocmask", call_state(20, SYS_rt_sigprocmask, 0, 0, b, 8));
}

TEST(CpuStateTest, AcrossFork) {
  const CpuState in = call_state(30, SYS_clone, SIGCHLD);
  CpuState out = {};
  run_with_state(&in, &out, kSyscall, vector_width());
  if (out.gpr[kRax] == 0) {
    expect_same(in, out, vector_width(), kSyscall, false);
    fflush(nullptr);
    _exit(testing::Test::HasFailure() ? 1 : 0);
  }
  expect_same(in, out, vector_width(), kSyscall, false);
  EXPECT_EQ(0, reap(static_cast<pid_t>(out.gpr[kRax])));
}

TEST(CpuStateTest, AcrossASignalSentToOneself) {
  ScopedHandler handler(SIGUSR1, scribbling_handler);
  handled = 0;
  check_call("tgkill", call_state(40, SYS_tgkill, getpid(), get_tid(), SIGUSR1));
  check_call("kill", call_state(41, SYS_kill, getpid(), SIGUSR1));
  EXPECT_EQ(2, handled);
}

TEST(CpuStateTest, AcrossAnInterruptedCall) {
  Pipe p;
  char c;
  CpuState in = call_state(50, SYS_read, p.r, reinterpret_cast<long>(&c), 1), out = {};
  {
    ScopedHandler handler(SIGUSR1, scribbling_handler);
    const pid_t me = getpid();
    const pid_t child = spawn([me] {
      await_sleep(me, me);
      for (;;) {
        if (kill(me, SIGUSR1) == -1) break;
        usleep(1000);
        if (getppid() != me) break;
      }
    });
    run_with_state(&in, &out, kSyscall, vector_width());
    kill(child, SIGKILL);
    reap(child);
  }
  EXPECT_EQ(-EINTR, static_cast<long>(out.gpr[kRax]));
  expect_same(in, out, vector_width(), kSyscall, false);
}

void skip_ud2(int, siginfo_t*, void* context) {
  scribbling_handler(0);
  static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_RIP] += 2;
}

TEST(CpuStateTest, AcrossASynchronousSignal) {
  ScopedHandler handler(SIGILL, skip_ud2);
  const CpuState in = pattern(60);
  CpuState out = {};
  run_with_state(&in, &out, kTrap, vector_width());
  expect_same(in, out, vector_width(), kTrap, true);  // every one, rax, rcx and r11 too
}

TEST(CpuStateTest, AcrossNestedSignalsOnAnAlternateStack) {
  static std::vector<char> memory(1 << 17);
  const stack_t stack = {.ss_sp = memory.data(), .ss_flags = 0, .ss_size = memory.size()};
  ASSERT_OK(sigaltstack(&stack, nullptr));
  handled = 0;
  {
    ScopedHandler inner(SIGUSR1, scribbling_handler, SA_ONSTACK);
    ScopedHandler outer(
        SIGILL,
        +[](int, siginfo_t* info, void* context) {
          const CpuState in = call_state(70, SYS_tgkill, getpid(), get_tid(), SIGUSR1);
          CpuState out = {};
          run_with_state(&in, &out, kSyscall, vector_width());
          expect_same(in, out, vector_width(), kSyscall, false);
          skip_ud2(0, info, context);
        },
        SA_ONSTACK);
    const CpuState in = pattern(71);
    CpuState out = {};
    run_with_state(&in, &out, kTrap, vector_width());
    expect_same(in, out, vector_width(), kTrap, true);
  }
  EXPECT_EQ(2, handled);
  const stack_t off = {.ss_flags = SS_DISABLE};
  sigaltstack(&off, nullptr);
}

TEST(CpuStateTest, AcrossAsynchronousSignals) {
  handled = 0;
  spin_over = 0;
  static volatile int wanted;
  wanted = 50;
  ScopedHandler handler(
      SIGUSR1, +[](int) {
        scribbling_handler(0);
        if (handled >= wanted) spin_over = 1;
      });
  struct Target {
    pid_t pid, tid;
  } target = {getpid(), get_tid()};
  pthread_t thread;
  pthread_create(
      &thread, nullptr,
      [](void* raw) -> void* {
        const auto* t = static_cast<Target*>(raw);
        while (spin_over == 0) {
          const int before = handled;
          sys(SYS_tgkill, t->pid, t->tid, SIGUSR1);
          while (handled == before && spin_over == 0) sched_yield();
        }
        return nullptr;
      },
      &target);
  const CpuState in = pattern(80);
  CpuState out = {};
  run_with_state(&in, &out, kSpin, vector_width());
  pthread_join(thread, nullptr);
  expect_same(in, out, vector_width(), kSpin, true);
}

TEST(CpuStateTest, SwitchesBetweenProcessesKeepTheState) {
  std::vector<pid_t> pids;
  for (unsigned i = 0; i < 4; ++i) {
    pids.push_back(spawn([i] {
      for (int round = 0; round < 50; ++round)
        check_call("yield", call_state(90 + i, SYS_sched_yield));
    }));
  }
  for (pid_t pid : pids) EXPECT_EQ(0, reap(pid));
}

TEST(CpuStateTest, HandlerStartsWithCleanFlagsAndAlignedStack) {
  static volatile uint64_t flags, sp;
  ScopedHandler handler(
      SIGUSR1, +[](int) {
        uint64_t f;
        asm volatile("pushfq\n popq %0" : "=r"(f));
        flags = f;
        sp = reinterpret_cast<uint64_t>(__builtin_frame_address(0));
      });
  call_with(
      call_state(100, SYS_tgkill, getpid(), get_tid(), SIGUSR1));  // with the direction flag set
  EXPECT_EQ(0u, flags & 0x400);
  EXPECT_EQ(0u, sp % 16);
}

TEST(CpuStateTest, FrameHoldsTheExtendedState) {
  static volatile uint32_t magic1, magic2, extended_size;
  ScopedHandler handler(
      SIGUSR1, +[](int, siginfo_t*, void* context) {
        const auto* fp =
            reinterpret_cast<const uint8_t*>(static_cast<ucontext_t*>(context)->uc_mcontext.fpregs);
        uint32_t magic, size, end;
        memcpy(&magic, fp + 464, 4);
        memcpy(&size, fp + 468, 4);
        magic1 = magic;
        extended_size = size;
        memcpy(&end, fp + size - 4, 4);
        magic2 = end;
      });
  raise(SIGUSR1);
  if (vector_width() == 16) GTEST_SKIP() << "no XSAVE here";
  EXPECT_EQ(0x46505853u, magic1);
  EXPECT_EQ(0x46505845u, magic2);
  EXPECT_GE(extended_size, 512u + 64 + 4);
}

TEST(CpuStateTest, HandlerMayChangeVectorStateThroughTheFrame) {
  ScopedHandler handler(
      SIGILL, +[](int, siginfo_t*, void* context) {
        auto* uc = static_cast<ucontext_t*>(context);
        uc->uc_mcontext.fpregs->_xmm[3].element[0] = 0x12345678;
        uc->uc_mcontext.gregs[REG_RIP] += 2;
      });
  uint32_t out;
  asm volatile("pxor %%xmm3, %%xmm3\n ud2\n movd %%xmm3, %0" : "=r"(out) : : "xmm3");
  EXPECT_EQ(0x12345678u, out);
}

TEST(CpuStateTest, ThreadPointer) {
  unsigned long fs = 0, gs = 1;
  EXPECT_OK(sys(SYS_arch_prctl, ARCH_GET_FS, &fs));
  EXPECT_EQ(reinterpret_cast<unsigned long>(pthread_self()), fs);
  uint64_t data[2] = {0x1122334455667788, 0};
  EXPECT_OK(sys(SYS_arch_prctl, ARCH_SET_GS, data));
  EXPECT_OK(sys(SYS_arch_prctl, ARCH_GET_GS, &gs));
  EXPECT_EQ(reinterpret_cast<unsigned long>(data), gs);
  uint64_t through_gs;
  asm volatile("movq %%gs:0, %0" : "=r"(through_gs));
  EXPECT_EQ(data[0], through_gs);
  in_child([&] {
    uint64_t again;
    asm volatile("movq %%gs:0, %0" : "=r"(again));
    EXPECT_EQ(data[0], again);
  });
  EXPECT_OK(sys(SYS_arch_prctl, ARCH_SET_GS, 0));
  EXPECT_ERR(EPERM, sys(SYS_arch_prctl, ARCH_SET_GS, 0xffff'8000'0000'0000));
  EXPECT_ERR(EPERM, sys(SYS_arch_prctl, ARCH_SET_FS, 0xffff'8000'0000'0000));
  EXPECT_ERR(EINVAL, sys(SYS_arch_prctl, 0x9999, 0));
  EXPECT_ERR(EFAULT, sys(SYS_arch_prctl, ARCH_GET_FS, bad()));
}

TEST(CpuStateTest, BadReturnFrameKills) {
  // rt_sigreturn with a stack pointer at nothing.
  const int status = child_status([] {
    asm volatile("movq $0x10, %%rsp\n movl $15, %%eax\n syscall"
                 :
                 :
                 : "rax", "rcx", "r11", "memory");  // SYS_rt_sigreturn
  });
  EXPECT_EQ(SIGSEGV, WTERMSIG(status));
}

}  // namespace
}  // namespace run9::guest
