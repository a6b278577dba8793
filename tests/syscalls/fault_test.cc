// Signals of the CPU's own: what a fault says, and what its handler may change.
#include <setjmp.h>
#include <ucontext.h>

#include "tests/syscalls/signal_util.h"

namespace run9::guest {
namespace {

class FaultTest : public NotingTest {};

sigjmp_buf escape;
void note_and_escape(int, siginfo_t* info, void*) {
  last_info = *info;
  siglongjmp(escape, 1);
}

// Runs `body` until the signal comes; then last_info tells about it.
template <typename F>
void expect_fault(int sig, F&& body) {
  ScopedHandler handler(sig, note_and_escape);
  last_info = {};
  if (sigsetjmp(escape, 1) == 0) {
    body();
    ADD_FAILURE() << "no fault";
  }
  EXPECT_EQ(sig, last_info.si_signo);
}

TEST_F(FaultTest, SegvMapErr) {
  auto* p = bad<volatile char>();
  expect_fault(SIGSEGV, [&] { (void)p[5]; });
  EXPECT_EQ(SEGV_MAPERR, last_info.si_code);
  EXPECT_EQ(const_cast<char*>(p + 5), last_info.si_addr);
  expect_fault(SIGSEGV, [&] { p[7] = 1; });
  EXPECT_EQ(SEGV_MAPERR, last_info.si_code);
  EXPECT_EQ(const_cast<char*>(p + 7), last_info.si_addr);
}

TEST_F(FaultTest, SegvNullPointer) {
  volatile int* volatile null = nullptr;
  expect_fault(SIGSEGV, [&] { *null = 1; });
  EXPECT_EQ(SEGV_MAPERR, last_info.si_code);
  EXPECT_EQ(nullptr, last_info.si_addr);
}

TEST_F(FaultTest, SegvAccErr) {
  auto* p = static_cast<volatile char*>(map_anonymous(kPage, PROT_READ));
  expect_fault(SIGSEGV, [&] { p[9] = 1; });
  EXPECT_EQ(SEGV_ACCERR, last_info.si_code);
  EXPECT_EQ(const_cast<char*>(p + 9), last_info.si_addr);
  auto* none = static_cast<volatile char*>(map_anonymous(kPage, PROT_NONE));
  expect_fault(SIGSEGV, [&] { (void)none[3]; });
  EXPECT_EQ(SEGV_ACCERR, last_info.si_code);
  auto* no_exec = static_cast<char*>(map_anonymous(kPage));
  expect_fault(SIGSEGV, [&] { reinterpret_cast<void (*)()>(no_exec)(); });
  EXPECT_EQ(SEGV_ACCERR, last_info.si_code);
  EXPECT_EQ(no_exec, last_info.si_addr);
}

TEST_F(FaultTest, SegvNonCanonicalAndPrivileged) {
  auto* p = bad<volatile char>(0x8000'0000'0000'0000);
  expect_fault(SIGSEGV, [&] { (void)*p; });
  EXPECT_EQ(SI_KERNEL, last_info.si_code);
  EXPECT_EQ(nullptr, last_info.si_addr);
  expect_fault(SIGSEGV, [] { asm volatile("hlt"); });
  EXPECT_EQ(SI_KERNEL, last_info.si_code);
  auto* kernel = bad<volatile char>(0xffff'8000'0000'0000);
  expect_fault(SIGSEGV, [&] { (void)*kernel; });
  EXPECT_EQ(SEGV_MAPERR, last_info.si_code);
}

TEST_F(FaultTest, Bus) {
  Fd fd(memfd_create("short", 0));
  auto* p =
      static_cast<volatile char*>(mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
  expect_fault(SIGBUS, [&] { (void)p[4]; });
  EXPECT_EQ(BUS_ADRERR, last_info.si_code);
  EXPECT_EQ(const_cast<char*>(p + 4), last_info.si_addr);
}

TEST_F(FaultTest, Fpe) {
  expect_fault(SIGFPE, [] {
    volatile int zero = 0;
    asm volatile("xorl %%edx, %%edx\n movl $1, %%eax\n idivl %0" : : "m"(zero) : "rax", "rdx");
  });
  EXPECT_EQ(FPE_INTDIV, last_info.si_code);
  EXPECT_NE(nullptr, last_info.si_addr);
  expect_fault(SIGFPE, [] {
    unsigned mxcsr = 0x1f80 & ~0x200u;  // unmask divide by zero
    const double one = 1, zero = 0;
    asm volatile("ldmxcsr %0\n movsd %1, %%xmm0\n divsd %2, %%xmm0"
                 :
                 : "m"(mxcsr), "m"(one), "m"(zero)
                 : "xmm0");
  });
  EXPECT_EQ(FPE_FLTDIV, last_info.si_code);
  const unsigned normal = 0x1f80;
  asm volatile("ldmxcsr %0" : : "m"(normal));
}

TEST_F(FaultTest, Ill) {
  static void* volatile at;
  expect_fault(SIGILL, [] {
    void* here;
    asm volatile("leaq 1f(%%rip), %0\n movq %0, %1\n 1: ud2" : "=&r"(here), "=m"(at));
  });
  EXPECT_EQ(ILL_ILLOPN, last_info.si_code);
  EXPECT_EQ(at, last_info.si_addr);
}

TEST_F(FaultTest, Trap) {
  ScopedHandler handler(SIGTRAP, note);
  asm volatile("int3");
  EXPECT_EQ(1, count);
  EXPECT_EQ(SI_KERNEL, last_info.si_code);
}

TEST_F(FaultTest, SingleStepTrap) {
  ScopedHandler handler(
      SIGTRAP, +[](int, siginfo_t* info, void* context) {
        last_info = *info;
        count = count + 1;
        if (count == 3) static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_EFL] &= ~0x100ll;
      });
  asm volatile("pushfq\n orq $0x100, (%%rsp)\n popfq\n nop\n nop\n nop\n nop" : : : "memory", "cc");
  EXPECT_EQ(3, count);
  EXPECT_EQ(TRAP_TRACE, last_info.si_code);
}

TEST_F(FaultTest, FaultWhileBlockedOrIgnoredKills) {
  EXPECT_EQ(SIGSEGV, WTERMSIG(child_status([] {
              ScopedHandler handler(
                  SIGSEGV, +[](int) { _exit(0); });
              ScopedBlock block({SIGSEGV});
              *bad<volatile int>() = 1;
            })));
  EXPECT_EQ(SIGSEGV, WTERMSIG(child_status([] {
              signal(SIGSEGV, SIG_IGN);
              *bad<volatile int>() = 1;
            })));
}

TEST_F(FaultTest, HandlerCanRepairAFault) {
  static char* page;
  page = static_cast<char*>(map_anonymous(kPage, PROT_NONE));
  ScopedHandler handler(
      SIGSEGV, +[](int, siginfo_t*, void*) {
        mprotect(page, kPage, PROT_READ | PROT_WRITE);
        count = count + 1;
      });
  page[3] = 7;
  EXPECT_EQ(7, page[3]);
  EXPECT_EQ(1, count);
  munmap(page, kPage);
}

TEST_F(FaultTest, ContextTellsAndTakesRegisters) {
  ScopedHandler handler(
      SIGILL, +[](int, siginfo_t*, void* context) {
        auto& regs = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
        regs[REG_RAX] = regs[REG_RBX] + 1;
        regs[REG_RIP] += 2;  // over the ud2
      });
  long out;
  asm volatile("movq $41, %%rbx\n ud2" : "=a"(out) : : "rbx", "memory");
  EXPECT_EQ(42, out);
}

TEST_F(FaultTest, PageFaultContext) {
  ScopedHandler handler(
      SIGSEGV, +[](int, siginfo_t*, void* context) {
        auto& regs = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
        EXPECT_EQ(14, regs[REG_TRAPNO]);
        EXPECT_EQ(6, regs[REG_ERR]);  // a write, by user code, to what is not there
        EXPECT_EQ(static_cast<long long>(kBadAddresses[1]), regs[REG_CR2]);
        siglongjmp(escape, 1);
      });
  if (sigsetjmp(escape, 1) == 0) *bad<volatile char>() = 1;
}

}  // namespace
}  // namespace run9::guest
