// Handlers of page faults, again and again: a kernel may deliver the later ones in another way than the first.
#include <pthread.h>
#include <setjmp.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <atomic>
#include <cstring>

#include "tests/syscalls/test_util.h"

namespace run9::guest {
namespace {

constexpr int kTimes = 4;
constexpr uint64_t kSegv = uint64_t{1} << (SIGSEGV - 1), kUsr1 = uint64_t{1} << (SIGUSR1 - 1),
                   kUsr2 = uint64_t{1} << (SIGUSR2 - 1);

uint64_t mask_now() {
  uint64_t mask = 0;
  sys(SYS_rt_sigprocmask, SIG_BLOCK, nullptr, &mask, 8);
  return mask;
}

volatile sig_atomic_t handled;
volatile sig_atomic_t by_the_way;  // SIGUSR1's
siginfo_t seen_info;
uint64_t seen_mask, seen_saved_mask;
stack_t seen_stack;
char* area;
sigjmp_buf escape;

void open_page(int, siginfo_t* info, void*) {
  seen_info = *info;
  handled = handled + 1;
  const auto page = reinterpret_cast<uint64_t>(info->si_addr) & ~uint64_t{kPage - 1};
  mprotect(reinterpret_cast<void*>(page), kPage, PROT_READ | PROT_WRITE);
}

// Makes no call: goes on behind the instruction, which is a store of two bytes ("movb %al, (%rdi)").
void step_over(int, siginfo_t* info, void* context) {
  auto* uc = static_cast<ucontext_t*>(context);
  seen_info = *info;
  seen_stack = uc->uc_stack;
  memcpy(&seen_saved_mask, &uc->uc_sigmask, 8);
  handled = handled + 1;
  uc->uc_mcontext.gregs[REG_RIP] += 2;
}

void store(char* at) { asm volatile("movb %%al, (%%rdi)" : : "D"(at), "a"(1) : "memory"); }

class PageFaultTest : public testing::Test {
 protected:
  PageFaultTest() {
    handled = 0;
    by_the_way = 0;
    area = static_cast<char*>(map_anonymous(16 * kPage, PROT_NONE));
  }
  ~PageFaultTest() override { munmap(area, 16 * kPage); }
};

TEST_F(PageFaultTest, PagesAreOpened) {
  ScopedHandler handler(SIGSEGV, open_page, SA_SIGINFO);
  for (int i = 0; i < 16; ++i) {
    area[i * kPage + 5] = 'x';
    EXPECT_EQ(i + 1, handled);
    EXPECT_EQ(SIGSEGV, seen_info.si_signo);
    EXPECT_EQ(0, seen_info.si_errno);
    EXPECT_EQ(SEGV_ACCERR, seen_info.si_code);
    EXPECT_EQ(area + i * kPage + 5, seen_info.si_addr);
    EXPECT_EQ('x', area[i * kPage + 5]);
  }
  EXPECT_EQ(0u, mask_now());
}

TEST_F(PageFaultTest, HandlerWithoutCalls) {
  ScopedHandler handler(SIGSEGV, step_over, SA_SIGINFO);
  for (int i = 0; i < 100; ++i) {
    store(area + i);
    ASSERT_EQ(i + 1, handled);
    ASSERT_EQ(area + i, seen_info.si_addr);
    ASSERT_EQ(0u, seen_saved_mask);
  }
  EXPECT_EQ(0u, mask_now());
}

// General registers, flags, x87, SSE and AVX are what they were.
TEST_F(PageFaultTest, RegistersSurvive) {
  ScopedHandler handler(SIGSEGV, +[](int, siginfo_t*, void* context) {
    static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_RIP] += 2;
    asm volatile("pxor %%xmm5, %%xmm5\n fninit" : : : "xmm5");
  }, SA_SIGINFO);
  for (int i = 0; i < kTimes; ++i) {
    uint64_t r[8] = {}, flags = 0, x = 0;
    double half = 0;
    asm volatile(
        "mov $0x1111, %%rbx\n mov $0x2222, %%r8\n mov $0x3333, %%r11\n mov $0x4444, %%r15\n mov $0x5555, %%rcx\n"
        "mov $0x6666, %%rdx\n movq %%rdx, %%xmm5\n fldl %[one]\n stc\n"
        "movb %%al, (%%rdi)\n"
        "pushfq\n popq %[flags]\n fstpl %[half]\n"
        "movq %%xmm5, %[x]\n mov %%rbx, (%%rsi)\n mov %%r8, 8(%%rsi)\n mov %%r11, 16(%%rsi)\n mov %%r15, 24(%%rsi)\n"
        "mov %%rcx, 32(%%rsi)\n mov %%rdi, 40(%%rsi)\n mov %%rax, 48(%%rsi)\n"
        : [flags] "=m"(flags), [half] "=m"(half), [x] "=m"(x)
        : "D"(area + 9), "S"(r), "a"(0x77), [one] "m"(*&static_cast<const double&>(0.5))
        : "rbx", "rcx", "rdx", "r8", "r11", "r15", "xmm5", "memory", "cc");
    EXPECT_EQ(0x1111u, r[0]);
    EXPECT_EQ(0x2222u, r[1]);
    EXPECT_EQ(0x3333u, r[2]);
    EXPECT_EQ(0x4444u, r[3]);
    EXPECT_EQ(0x5555u, r[4]);
    EXPECT_EQ(reinterpret_cast<uint64_t>(area + 9), r[5]);
    EXPECT_EQ(0x77u, r[6]);
    EXPECT_EQ(0x6666u, x);
    EXPECT_EQ(0.5, half);
    EXPECT_EQ(1u, flags & 1);
  }
}

TEST_F(PageFaultTest, ContextTellsOfTheFault) {
  ScopedHandler handler(SIGSEGV, +[](int, siginfo_t*, void* context) {
    auto* uc = static_cast<ucontext_t*>(context);
    auto& g = uc->uc_mcontext.gregs;
    EXPECT_EQ(14, g[REG_TRAPNO]);
    EXPECT_EQ(5, g[REG_ERR] & 5);  // by user code, of a page that is there
    EXPECT_EQ(reinterpret_cast<long long>(area + 3), g[REG_CR2]);
    EXPECT_EQ(0x33, g[REG_CSGSFS] & 0xffff);
    EXPECT_EQ(0, g[REG_OLDMASK]);
    EXPECT_NE(nullptr, uc->uc_mcontext.fpregs);
    EXPECT_EQ(nullptr, uc->uc_link);
    g[REG_RIP] += 2;
    handled = handled + 1;
  }, SA_SIGINFO);
  mprotect(area, kPage, PROT_READ);
  EXPECT_EQ(0, *const_cast<volatile char*>(area));
  for (int i = 0; i < kTimes; ++i) store(area + 3);
  EXPECT_EQ(kTimes, handled);
}

TEST_F(PageFaultTest, MaskInTheHandlerAndBehindIt) {
  struct KernelAction {
    void* handler;
    unsigned long flags;
    void* restorer;
    uint64_t mask;
  };
  ScopedHandler handler(SIGSEGV, +[](int, siginfo_t*, void* context) {
    seen_mask = mask_now();
    handled = handled + 1;
    static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_RIP] += 2;
  }, SA_SIGINFO);
  KernelAction action;
  ASSERT_EQ(0, sys(SYS_rt_sigaction, SIGSEGV, nullptr, &action, 8));
  action.mask = kUsr2;
  ASSERT_EQ(0, sys(SYS_rt_sigaction, SIGSEGV, &action, nullptr, 8));
  for (int i = 0; i < kTimes; ++i) {
    store(area);
    EXPECT_EQ(kSegv | kUsr2, seen_mask);
    EXPECT_EQ(0u, mask_now());
  }
  const uint64_t usr1 = kUsr1;
  sys(SYS_rt_sigprocmask, SIG_BLOCK, &usr1, nullptr, 8);
  for (int i = 0; i < kTimes; ++i) {
    store(area);
    EXPECT_EQ(kSegv | kUsr1 | kUsr2, seen_mask);
    EXPECT_EQ(kUsr1, mask_now());
  }
  sys(SYS_rt_sigprocmask, SIG_UNBLOCK, &usr1, nullptr, 8);
  for (int i = 0; i < kTimes; ++i) {
    store(area);
    EXPECT_EQ(kSegv | kUsr2, seen_mask);
    EXPECT_EQ(0u, mask_now());
  }
}

// What the handler writes into the frame's mask holds afterwards.
TEST_F(PageFaultTest, HandlerChangesTheMask) {
  ScopedHandler handler(SIGSEGV, +[](int, siginfo_t*, void* context) {
    auto* uc = static_cast<ucontext_t*>(context);
    const uint64_t mask = (handled & 1) == 0 ? kUsr1 : 0;
    memcpy(&uc->uc_sigmask, &mask, 8);
    handled = handled + 1;
    uc->uc_mcontext.gregs[REG_RIP] += 2;
  }, SA_SIGINFO);
  for (int i = 0; i < 2 * kTimes; ++i) {
    store(area);
    EXPECT_EQ((i & 1) == 0 ? kUsr1 : 0, mask_now());
  }
}

TEST_F(PageFaultTest, BlockedFaultKills) {
  EXPECT_EQ(SIGSEGV, WTERMSIG(child_status([] {
              ScopedHandler handler(SIGSEGV, step_over, SA_SIGINFO);
              for (int i = 0; i < kTimes; ++i) store(area);
              const uint64_t segv = kSegv;
              sys(SYS_rt_sigprocmask, SIG_BLOCK, &segv, nullptr, 8);
              store(area);
            })));
}

// In its own handler it is blocked.
TEST_F(PageFaultTest, FaultInTheHandlerKills) {
  EXPECT_EQ(SIGSEGV, WTERMSIG(child_status([] {
              ScopedHandler handler(SIGSEGV, +[](int, siginfo_t*, void* context) {
                handled = handled + 1;
                if (handled == kTimes) store(area);
                static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_RIP] += 2;
              }, SA_SIGINFO);
              for (int i = 0; i < kTimes; ++i) store(area);
            })));
}

TEST_F(PageFaultTest, NestedWithNodefer) {
  ScopedHandler handler(SIGSEGV, +[](int, siginfo_t*, void* context) {
    handled = handled + 1;
    if (handled % 3 != 0) store(area);  // three deep
    static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_RIP] += 2;
  }, SA_SIGINFO | SA_NODEFER);
  for (int i = 1; i <= kTimes; ++i) {
    store(area);
    EXPECT_EQ(3 * i, handled);
    EXPECT_EQ(0u, mask_now());
  }
}

TEST_F(PageFaultTest, LeftByALongJump) {
  ScopedHandler handler(SIGSEGV, +[](int, siginfo_t*, void*) {
    handled = handled + 1;
    siglongjmp(escape, 1);
  }, SA_SIGINFO);
  while (handled < kTimes) {
    const int before = handled;
    if (sigsetjmp(escape, 1) == 0) store(area);
    EXPECT_EQ(before + 1, handled);
    EXPECT_EQ(0u, mask_now());
  }
}

TEST_F(PageFaultTest, OnAnAlternateStack) {
  constexpr size_t kSize = 16 * kPage;
  auto* memory = static_cast<char*>(map_anonymous(kSize));
  const stack_t stack = {.ss_sp = memory, .ss_flags = 0, .ss_size = kSize};
  ASSERT_EQ(0, sigaltstack(&stack, nullptr));
  static char* here;
  ScopedHandler handler(SIGSEGV, +[](int sig, siginfo_t* info, void* context) {
    char local;
    here = &local;
    step_over(sig, info, context);
    stack_t now;
    sigaltstack(nullptr, &now);
    EXPECT_EQ(SS_ONSTACK, now.ss_flags);
  }, SA_SIGINFO | SA_ONSTACK);
  for (int i = 0; i < kTimes; ++i) {
    store(area);
    EXPECT_TRUE(here > memory && here < memory + kSize);
    EXPECT_EQ(memory, seen_stack.ss_sp);
    EXPECT_EQ(kSize, seen_stack.ss_size);
    EXPECT_EQ(0, seen_stack.ss_flags);
  }
  const stack_t off = {.ss_sp = nullptr, .ss_flags = SS_DISABLE, .ss_size = 0};
  ASSERT_EQ(0, sigaltstack(&off, nullptr));
  for (int i = 0; i < kTimes; ++i) {
    ScopedHandler plain(SIGSEGV, step_over, SA_SIGINFO | SA_ONSTACK);
    store(area);
    store(area);
    EXPECT_EQ(SS_DISABLE, seen_stack.ss_flags);
  }
  munmap(memory, kSize);
}

// Far deeper than a stack goes.
void recurse(int depth) {
  volatile char space[4096];
  space[0] = 1;
  if (depth > 0) recurse(depth - space[0]);
  space[1] = 1;
}

// There is no room for the frame.
TEST_F(PageFaultTest, StackOverflowKills) {
  EXPECT_EQ(SIGSEGV, WTERMSIG(child_status([] {
              ScopedHandler handler(SIGSEGV, step_over, SA_SIGINFO);
              for (int i = 0; i < kTimes; ++i) store(area);
              recurse(1 << 20);
            })));
}

TEST_F(PageFaultTest, ResethandAndDefault) {
  EXPECT_EQ(SIGSEGV, WTERMSIG(child_status([] {
              {
                ScopedHandler handler(SIGSEGV, step_over, SA_SIGINFO);
                for (int i = 0; i < kTimes; ++i) store(area);
              }
              signal(SIGSEGV, SIG_DFL);
              store(area);
            })));
  EXPECT_EQ(SIGSEGV, WTERMSIG(child_status([] {
              ScopedHandler handler(SIGSEGV, step_over, SA_SIGINFO | static_cast<int>(SA_RESETHAND));
              for (int i = 0; i < kTimes; ++i) store(area);
            })));
}

TEST_F(PageFaultTest, AnotherThreadChangesTheHandler) {
  ScopedHandler handler(SIGSEGV, step_over, SA_SIGINFO);
  for (int i = 0; i < kTimes; ++i) store(area);
  pthread_t thread;
  pthread_create(&thread, nullptr, [](void*) -> void* {
    struct sigaction action = {};
    action.sa_flags = SA_SIGINFO;
    action.sa_sigaction = +[](int, siginfo_t*, void* context) {
      by_the_way = by_the_way + 1;
      static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_RIP] += 2;
    };
    sigaction(SIGSEGV, &action, nullptr);
    return nullptr;
  }, nullptr);
  pthread_join(thread, nullptr);
  for (int i = 0; i < kTimes; ++i) store(area);
  EXPECT_EQ(kTimes, handled);
  EXPECT_EQ(kTimes, by_the_way);
}

// A signal that the handler blocks comes when it is over.
TEST_F(PageFaultTest, BlockedSignalsComeBehindTheHandler) {
  static std::atomic<int> inside;
  static std::atomic<bool> sent;
  static int early;
  early = 0;
  ScopedHandler usr1(SIGUSR1, +[](int) {
    by_the_way = by_the_way + 1;
    if (inside != 0) ++early;
  });
  struct sigaction action = {}, before;
  action.sa_flags = SA_SIGINFO;
  sigaddset(&action.sa_mask, SIGUSR1);
  action.sa_sigaction = +[](int, siginfo_t*, void* context) {
    inside = 1;
    while (!sent) {
    }
    for (int i = 0; i < 100'000; ++i) inside = 1;
    inside = 0;
    static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_RIP] += 2;
  };
  sigaction(SIGSEGV, &action, &before);
  for (int i = 0; i < 8; ++i) {
    inside = 0;
    sent = false;
    const pid_t me = get_tid();
    pthread_t thread;
    pthread_create(&thread, nullptr, [](void* tid) -> void* {
      while (inside == 0) {
      }
      sys(SYS_tgkill, getpid(), static_cast<pid_t>(reinterpret_cast<long>(tid)), SIGUSR1);
      sent = true;
      return nullptr;
    }, reinterpret_cast<void*>(static_cast<long>(me)));
    store(area);
    pthread_join(thread, nullptr);
    EXPECT_EQ(i + 1, by_the_way);
    EXPECT_EQ(0, early);
  }
  sigaction(SIGSEGV, &before, nullptr);
}

// Signals of another thread, at any moment of fault, handler and return.
TEST_F(PageFaultTest, SignalsMeanwhile) {
  static std::atomic<bool> over;
  over = false;
  ScopedHandler usr1(SIGUSR1, +[](int) { by_the_way = by_the_way + 1; });
  ScopedHandler handler(SIGSEGV, step_over, SA_SIGINFO);
  const pid_t me = get_tid();
  pthread_t thread;
  pthread_create(&thread, nullptr, [](void* tid) -> void* {
    while (!over) {
      sys(SYS_tgkill, getpid(), static_cast<pid_t>(reinterpret_cast<long>(tid)), SIGUSR1);
      for (int i = 0; i < 200; ++i) __builtin_ia32_pause();
    }
    return nullptr;
  }, reinterpret_cast<void*>(static_cast<long>(me)));
  int faults = 0;
  while (faults < 5'000 || by_the_way < 10) {
    store(area + faults % kPage);
    ASSERT_EQ(++faults, handled);
  }
  over = true;
  pthread_join(thread, nullptr);
  EXPECT_EQ(0u, mask_now());
}

TEST_F(PageFaultTest, EachThreadForItself) {
  ScopedHandler handler(SIGSEGV, +[](int, siginfo_t*, void* context) {
    static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_RIP] += 2;
  }, SA_SIGINFO);
  pthread_t threads[4];
  for (auto& t : threads) {
    pthread_create(&t, nullptr, [](void*) -> void* {
      for (int i = 0; i < 2000; ++i) store(area + i);
      return reinterpret_cast<void*>(mask_now());
    }, nullptr);
  }
  for (auto& t : threads) {
    void* mask = nullptr;
    pthread_join(t, &mask);
    EXPECT_EQ(nullptr, mask);
  }
}

// A child begins with its parent's handler and mask, from inside a handler too.
TEST_F(PageFaultTest, ForkInTheHandler) {
  static int status;
  ScopedHandler handler(SIGSEGV, +[](int sig, siginfo_t* info, void* context) {
    if (handled == kTimes - 1) {
      const pid_t child = fork();
      if (child == 0) _exit(mask_now() == kSegv ? 7 : 8);
      waitpid(child, &status, 0);
    }
    step_over(sig, info, context);
  }, SA_SIGINFO);
  for (int i = 0; i < kTimes; ++i) store(area);
  EXPECT_EQ(7, WEXITSTATUS(status));
  const int again = child_status([] {
    for (int i = 0; i < kTimes; ++i) store(area);
    _exit(handled == 2 * kTimes ? 3 : 4);
  });
  EXPECT_EQ(3, WEXITSTATUS(again));
  EXPECT_EQ(0u, mask_now());
}

}  // namespace
}  // namespace run9::guest
