// Alternate signal stacks.
#include <pthread.h>
#include <setjmp.h>

#include "tests/syscalls/test_util.h"

namespace run9::guest {
namespace {

class SigaltstackTest : public testing::Test {
 protected:
  static constexpr size_t kSize = 1 << 16;
  char* memory_ = static_cast<char*>(map_anonymous(kSize));
  stack_t on_ = {.ss_sp = memory_, .ss_flags = 0, .ss_size = kSize};
  stack_t off_ = {.ss_sp = nullptr, .ss_flags = SS_DISABLE, .ss_size = 0};

  ~SigaltstackTest() override {
    sys(SYS_sigaltstack, &off_, nullptr);
    munmap(memory_, kSize);
  }
  bool inside(uintptr_t p) const {
    return p >= reinterpret_cast<uintptr_t>(memory_) &&
           p < reinterpret_cast<uintptr_t>(memory_) + kSize;
  }
};

volatile uintptr_t handler_sp;
volatile sig_atomic_t depth;
stack_t seen;
void where(int) {
  volatile char local = 0;
  handler_sp = reinterpret_cast<uintptr_t>(&local);
  sys(SYS_sigaltstack, nullptr, &seen);
}

TEST_F(SigaltstackTest, SetAndGet) {
  stack_t old = {};
  EXPECT_OK(sys(SYS_sigaltstack, &on_, &old));
  EXPECT_EQ(SS_DISABLE, old.ss_flags);
  EXPECT_OK(sys(SYS_sigaltstack, nullptr, &old));
  EXPECT_EQ(memory_, old.ss_sp);
  EXPECT_EQ(kSize, old.ss_size);
  EXPECT_EQ(0, old.ss_flags);
}

TEST_F(SigaltstackTest, Errors) {
  stack_t s = on_;
  s.ss_size = 100;
  EXPECT_ERR(ENOMEM, sys(SYS_sigaltstack, &s, nullptr));
  s = on_;
  s.ss_flags = 0x40;
  EXPECT_ERR(EINVAL, sys(SYS_sigaltstack, &s, nullptr));
  for (void* p : bad_pointers()) {
    EXPECT_ERR(EFAULT, sys(SYS_sigaltstack, p, nullptr));
    EXPECT_ERR(EFAULT, sys(SYS_sigaltstack, nullptr, p));
  }
  Straddle page;
  EXPECT_ERR(EFAULT, sys(SYS_sigaltstack, page.last(sizeof(s) - 1), nullptr));
}

TEST_F(SigaltstackTest, HandlerRunsThereOnlyWithOnStack) {
  ASSERT_OK(sigaltstack(&on_, nullptr));
  {
    ScopedHandler handler(SIGUSR1, where, SA_ONSTACK);
    raise(SIGUSR1);
    EXPECT_TRUE(inside(handler_sp));
    EXPECT_EQ(SS_ONSTACK, seen.ss_flags);
  }
  ScopedHandler handler(SIGUSR1, where);
  raise(SIGUSR1);
  EXPECT_FALSE(inside(handler_sp));
  EXPECT_EQ(0, seen.ss_flags);
}

TEST_F(SigaltstackTest, ChangeWhileInUseIsRefused) {
  ASSERT_OK(sigaltstack(&on_, nullptr));
  ScopedHandler handler(
      SIGUSR1,
      +[](int) {
        stack_t off = {.ss_flags = SS_DISABLE};
        EXPECT_ERR(EPERM, sys(SYS_sigaltstack, &off, nullptr));
      },
      SA_ONSTACK);
  raise(SIGUSR1);
}

uintptr_t sps[4];
void nested(int sig) {
  volatile char local = 0;
  sps[depth] = reinterpret_cast<uintptr_t>(&local);
  depth = depth + 1;
  if (depth < 4) raise(sig == SIGUSR1 ? SIGUSR2 : SIGUSR1);
}

TEST_F(SigaltstackTest, NestedHandlersContinueOnTheSameStack) {
  ASSERT_OK(sigaltstack(&on_, nullptr));
  depth = 0;
  ScopedHandler a(SIGUSR1, nested, SA_ONSTACK | SA_NODEFER),
      b(SIGUSR2, nested, SA_ONSTACK | SA_NODEFER);
  raise(SIGUSR1);
  EXPECT_EQ(4, depth);
  for (int i = 0; i < 4; ++i) {
    EXPECT_TRUE(inside(sps[i])) << i;
    if (i > 0) {
      EXPECT_LT(sps[i], sps[i - 1]);
    }
  }
}

TEST_F(SigaltstackTest, Autodisarm) {
  stack_t s = on_;
  s.ss_flags = static_cast<int>(1u << 31);  // SS_AUTODISARM
  ASSERT_OK(sys(SYS_sigaltstack, &s, nullptr));
  ScopedHandler handler(SIGUSR1, where, SA_ONSTACK);
  raise(SIGUSR1);
  EXPECT_TRUE(inside(handler_sp));
  EXPECT_EQ(SS_DISABLE, seen.ss_flags);
  stack_t now;
  ASSERT_OK(sys(SYS_sigaltstack, nullptr, &now));
  EXPECT_EQ(memory_, now.ss_sp);  // armed again after the handler
}

sigjmp_buf escape;
void overflow_handler(int, siginfo_t* info, void*) {
  volatile char local = 0;
  handler_sp = reinterpret_cast<uintptr_t>(&local);
  siglongjmp(escape, info->si_code);
}

[[gnu::noinline]] int recurse(volatile char* above) {
  volatile char frame[1024];
  frame[0] = above[0];
  if (above[0] == 1) return 0;  // never
  const int below = recurse(frame);
  return below + frame[0];
}

TEST_F(SigaltstackTest, StackOverflowIsCaughtOnTheAlternateStack) {
  ASSERT_OK(sigaltstack(&on_, nullptr));
  ScopedHandler handler(SIGSEGV, overflow_handler, SA_ONSTACK);
  handler_sp = 0;
  if (sigsetjmp(escape, 1) == 0) {
    volatile char start = 0;
    recurse(&start);
    FAIL();
  }
  EXPECT_TRUE(inside(handler_sp));
}

TEST_F(SigaltstackTest, OverflowWithoutOneKills) {
  const int status = child_status([] {
    ScopedHandler handler(
        SIGSEGV, +[](int) { _exit(0); });
    volatile char start = 0;
    recurse(&start);
  });
  EXPECT_EQ(SIGSEGV, WTERMSIG(status));
}

TEST_F(SigaltstackTest, UnmappedAlternateStackKills) {
  const int status = child_status([&] {
    stack_t s = {.ss_sp = bad(), .ss_flags = 0, .ss_size = kSize};
    sigaltstack(&s, nullptr);
    ScopedHandler handler(SIGUSR1, where, SA_ONSTACK);
    raise(SIGUSR1);
  });
  EXPECT_EQ(SIGSEGV, WTERMSIG(status));
}

// A frame that cannot be written is a fault, whose handler may have a stack.
TEST_F(SigaltstackTest, UnmappedAlternateStackIsAFault) {
  stack_t s = {.ss_sp = bad(), .ss_flags = 0, .ss_size = kSize};
  ASSERT_OK(sigaltstack(&s, nullptr));
  ScopedHandler handler(SIGUSR1, where, SA_ONSTACK);
  ScopedHandler fault(SIGSEGV, where, 0);
  handler_sp = 0;
  raise(SIGUSR1);
  EXPECT_NE(0u, handler_sp);
  EXPECT_FALSE(inside(handler_sp));
  s.ss_flags = SS_DISABLE;
  EXPECT_OK(sigaltstack(&s, nullptr));
}

TEST_F(SigaltstackTest, BelongsToTheThreadAndIsCopiedByFork) {
  ASSERT_OK(sigaltstack(&on_, nullptr));
  pthread_t thread;
  pthread_create(
      &thread, nullptr,
      [](void*) -> void* {
        stack_t s;
        EXPECT_OK(sigaltstack(nullptr, &s));
        EXPECT_EQ(SS_DISABLE, s.ss_flags);
        return nullptr;
      },
      nullptr);
  pthread_join(thread, nullptr);
  in_child([&] {
    stack_t s;
    EXPECT_OK(sigaltstack(nullptr, &s));
    EXPECT_EQ(memory_, s.ss_sp);
  });
}

}  // namespace
}  // namespace run9::guest
