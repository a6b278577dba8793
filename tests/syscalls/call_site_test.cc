// The ways in which compilers and hand-written code make a system call, and what such code may rely on: every
// register but rax, rcx and r11, the flags, the vector registers and the red zone stay as they were, wherever
// the call is entered, interrupted or resumed.
#include <asm/prctl.h>
#include <asm/unistd.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>

#include <atomic>

#include "tests/syscalls/test_util.h"

// Each: long NAME(State* s): loads every register from s, makes the call s->rax (or its own), stores what it
// finds in s. r11 and rcx are not looked at.
struct State {
  uint64_t rax, rdi, rsi, rdx, r10, r8, r9, rbx, rbp, r12, r13, r14, r15, flags, red_zone, xmm[2];
};

#define SITE(name, call, after)                                                               \
  asm(".text\n.balign 64\n.globl " #name "\n" #name ":\n"                                     \
      "push %rbx\npush %rbp\npush %r12\npush %r13\npush %r14\npush %r15\npush %rdi\n"         \
      "mov %rdi, %r11\n"                                                                      \
      "push 104(%r11)\npopfq\n"                                                               \
      "mov 112(%r11), %rax\nmov %rax, -72(%rsp)\n"                                            \
      "movups 120(%r11), %xmm7\n"                                                             \
      "mov 0(%r11), %rax\nmov 8(%r11), %rdi\nmov 16(%r11), %rsi\nmov 24(%r11), %rdx\n"        \
      "mov 32(%r11), %r10\nmov 40(%r11), %r8\nmov 48(%r11), %r9\nmov 56(%r11), %rbx\n"        \
      "mov 64(%r11), %rbp\nmov 72(%r11), %r12\nmov 80(%r11), %r13\nmov 88(%r11), %r14\n"      \
      "mov 96(%r11), %r15\n" call "\n" after                                                  \
      "\nmov (%rsp), %r11\n"                                                                  \
      "mov %rax, 0(%r11)\nmov -72(%rsp), %rax\nmov %rax, 112(%r11)\n"                         \
      "pushfq\npop %rax\nmov %rax, 104(%r11)\n"                                               \
      "mov %rdi, 8(%r11)\nmov %rsi, 16(%r11)\nmov %rdx, 24(%r11)\n"                           \
      "mov %r10, 32(%r11)\nmov %r8, 40(%r11)\nmov %r9, 48(%r11)\nmov %rbx, 56(%r11)\n"        \
      "mov %rbp, 64(%r11)\nmov %r12, 72(%r11)\nmov %r13, 80(%r11)\nmov %r14, 88(%r11)\n"      \
      "mov %r15, 96(%r11)\nmovups %xmm7, 120(%r11)\n"                                         \
      "pop %rdi\npop %r15\npop %r14\npop %r13\npop %r12\npop %rbp\npop %rbx\nret\n");         \
  extern "C" void name(State*)

SITE(call_bare, "syscall", "nop; nop; nop");
SITE(call_mov_getpid, "mov $39, %eax; syscall", "nop");
SITE(call_mov_umask, "mov $95, %eax; syscall", "nop");
SITE(call_mov64_umask, "mov $95, %rax; syscall", "nop");
SITE(call_mov_pause, "mov $34, %eax; syscall", "nop");
SITE(call_cmp_4095, "syscall; cmp $-4095, %rax", "");
SITE(call_cmp_4096, "syscall; cmp $-4096, %rax", "");
// Entered at the system call instruction itself, and at the comparison behind one.
SITE(call_into_mov, "jmp 1f; .balign 16; .byte 0xb8; .long 39; 1: syscall", "nop");
SITE(call_into_cmp, "jmp 1f; .balign 16; syscall; 1: cmp $-4095, %rax", "");
// With instructions between the number and the call, and behind a call. `mov %rdi, %rdi` says where an instruction ends.
SITE(call_between_umask, "mov $95, %eax; mov %rdi, %rcx; syscall", "nop");
SITE(call_between64_umask, "mov $95, %rax; mov %r12, %rcx; lea 8(%rsp), %rcx; syscall", "nop");
SITE(call_between_xor, "mov $95, %eax; xor %ecx, %ecx; syscall", "nop");
SITE(call_between_read, "mov $0, %eax; mov %rdi, %rcx; syscall", "nop");
SITE(call_between_pause, "mov $34, %eax; mov %rdi, %rcx; syscall", "nop");
SITE(call_between_lea, "mov $1, %eax; lea 1f(%rip), %rsi; syscall", "jmp 2f; 1: .ascii \"wide\"; 2:");
SITE(call_behind_cmp, "mov %rdi, %rdi; syscall; cmp $-4096, %eax", "");
SITE(call_behind_call, "mov %rdi, %rdi; syscall; mov %rax, %rcx; call 1f", "jmp 2f; 1: mov %rcx, %rax; ret; 2:");
SITE(call_behind_jump, "mov %rdi, %rdi; syscall; jmp 1f; .fill 128, 1, 0xcc; 1:", "nop");
SITE(call_behind_branch, "mov %rdi, %rdi; syscall; test %rax, %rax; js 1f", "jmp 2f; 1: mov $77, %eax; 2:");
SITE(call_behind_mov, "mov %rdi, %rdi; syscall; mov %rax, %rcx; cmp $-1, %rax", "");
SITE(call_into_between, "jmp 1f; .balign 16; .byte 0xb8; .long 39; 1: mov %rdi, %rcx; syscall", "nop");
SITE(call_into_behind, "jmp 1f; .balign 16; mov %rdi, %rdi; syscall; 1: mov %rax, %rcx; cmp $-4095, %rax", "");
SITE(call_into_behind_second, "jmp 1f; .balign 16; mov %rdi, %rdi; syscall; mov %rax, %rcx; 1: cmp $-4095, %rax", "");
// long clone_behind(flags, stack, parent_tid, child_tid): the new thread calls what is behind the call, on its stack.
asm(".text\n.globl clone_behind\nclone_behind:\npush $56\npop %rax\nmov %rcx, %r10\nsyscall\n"
    "mov %rax, %rdx\ncall 1f\nret\n1: test %edx, %edx\njz 2f\nret\n2: xor %edi, %edi\nmov $60, %eax\nsyscall\n");
extern "C" long clone_behind(unsigned long flags, void* stack, int* parent_tid, int* child_tid);

namespace run9::guest {
namespace {

constexpr uint64_t kArithmetic = 0x8d5;

State filled(uint64_t nr) {
  State s;
  auto* p = reinterpret_cast<uint64_t*>(&s);
  for (size_t i = 0; i < sizeof s / 8; ++i) p[i] = 0x0123456789abcdef * (i + 1);
  s.rax = nr;
  return s;
}

void expect_kept(const State& before, const State& after) {
  EXPECT_EQ(after.rdi, before.rdi);
  EXPECT_EQ(after.rsi, before.rsi);
  EXPECT_EQ(after.rdx, before.rdx);
  EXPECT_EQ(after.r10, before.r10);
  EXPECT_EQ(after.r8, before.r8);
  EXPECT_EQ(after.r9, before.r9);
  EXPECT_EQ(after.rbx, before.rbx);
  EXPECT_EQ(after.rbp, before.rbp);
  EXPECT_EQ(after.r12, before.r12);
  EXPECT_EQ(after.r13, before.r13);
  EXPECT_EQ(after.r14, before.r14);
  EXPECT_EQ(after.r15, before.r15);
  EXPECT_EQ(after.red_zone, before.red_zone);
  EXPECT_EQ(after.xmm[0], before.xmm[0]);
  EXPECT_EQ(after.xmm[1], before.xmm[1]);
}

using Site = void (*)(State*);

TEST(CallSiteTest, KeepsEveryRegister) {
  const struct {
    Site site;
    uint64_t nr;
    bool keeps_flags;
  } cases[] = {{call_bare, __NR_umask, true},        {call_mov_getpid, 0, true},
               {call_mov_umask, 0, true},            {call_mov64_umask, 0, true},
               {call_cmp_4095, __NR_getppid, false}, {call_cmp_4096, __NR_umask, false},
               {call_between_umask, 0, true},        {call_between64_umask, 0, true},
               {call_between_xor, 0, false},         {call_behind_cmp, __NR_umask, false},
               {call_behind_call, __NR_umask, true}, {call_behind_jump, __NR_umask, true},
               {call_behind_branch, __NR_umask, false}, {call_behind_mov, __NR_getppid, false}};
  for (const auto& c : cases) {
    for (uint64_t flags : {0x202ul, 0x202ul | kArithmetic, 0x243ul, 0xa02ul}) {
      State before = filled(c.nr);
      before.rdi = 022;
      before.flags = flags;
      State after = before;
      c.site(&after);
      expect_kept(before, after);
      EXPECT_LT(after.rax, 0xfffffffffffff000);
      if (c.keeps_flags) {
        EXPECT_EQ(after.flags & kArithmetic, flags & kArithmetic);
      }
    }
  }
}

TEST(CallSiteTest, ComparisonBehindTheCallSetsTheFlags) {
  for (Site site : {call_cmp_4095, call_cmp_4096, call_behind_cmp}) {
    State bad = filled(__NR_close);
    bad.rdi = ~0ul;
    bad.flags = 0x202;
    site(&bad);
    EXPECT_EQ(static_cast<int64_t>(bad.rax), -EBADF);
    EXPECT_EQ(bad.flags & 1, 0u);  // not below -4095
    State good = filled(__NR_umask);
    good.rdi = 022;
    good.flags = 0x202;
    site(&good);
    EXPECT_EQ(good.flags & 1, 1u);
  }
}

TEST(CallSiteTest, BranchBehindTheCall) {
  for (const auto& [fd, rax] : {std::pair<uint64_t, uint64_t>{~0ul, 77}, {0, 0}}) {
    State s = filled(fd == 0 ? __NR_sched_yield : __NR_close);
    s.rdi = fd;
    s.flags = 0x202;
    call_behind_branch(&s);
    EXPECT_EQ(s.rax, rax);
  }
}

TEST(CallSiteTest, FlagsThatAreSetBeforeTheCall) {
  State s = filled(0);
  s.rdi = 022;
  s.flags = 0x202 | 0x881;
  call_between_xor(&s);
  EXPECT_EQ(s.flags & (kArithmetic & ~0x10ul), 0x44u);  // zero and parity; the adjust flag is undefined
}

TEST(CallSiteTest, AddressInTheText) {
  int fds[2];
  ASSERT_EQ(pipe(fds), 0);
  State s = filled(0);
  s.rdi = static_cast<uint64_t>(fds[1]);
  s.rdx = 4;
  s.flags = 0x202;
  call_between_lea(&s);
  EXPECT_EQ(s.rax, 4u);
  char text[5] = {};
  EXPECT_EQ(read(fds[0], text, 4), 4);
  EXPECT_STREQ(text, "wide");
  close(fds[0]);
  close(fds[1]);
}

TEST(CallSiteTest, EnteredAtTheInstructionItself) {
  for (Site site : {call_into_mov, call_into_between}) {
    State s = filled(__NR_getppid);  // not the number that the site's mov would have loaded
    s.flags = 0x202 | kArithmetic;
    const State before = s;
    site(&s);
    EXPECT_EQ(static_cast<pid_t>(s.rax), getppid());
    EXPECT_EQ(s.flags & kArithmetic, kArithmetic);
    expect_kept(before, s);
  }
}

TEST(CallSiteTest, EnteredBehindTheCall) {
  for (Site site : {call_into_cmp, call_into_behind, call_into_behind_second}) {
    for (const auto& [value, below] : {std::pair<uint64_t, bool>{5, true}, {~0ul, false}, {-4095ul, false}}) {
      State s = filled(value);
      s.flags = 0x202;
      const State before = s;
      site(&s);
      EXPECT_EQ(s.rax, value);
      EXPECT_EQ((s.flags & 1) != 0, below);
      EXPECT_EQ((s.flags & 0x40) != 0, value == -4095ul);
      expect_kept(before, s);
    }
  }
}

std::atomic<int> handled;
void count(int) { ++handled; }

// A handler runs while the call waits; then it fails with EINTR, and nothing is lost.
TEST(CallSiteTest, InterruptedCall) {
  struct sigaction action {};
  action.sa_handler = count;
  sigaction(SIGALRM, &action, nullptr);
  for (Site site : {call_mov_pause, call_between_pause, call_behind_cmp, call_behind_call, call_behind_mov}) {
    handled = 0;
    const itimerval soon = {{0, 0}, {0, 20'000}};
    setitimer(ITIMER_REAL, &soon, nullptr);
    State s = filled(__NR_pause);
    s.flags = 0x202;
    const State before = s;
    site(&s);
    EXPECT_EQ(static_cast<int64_t>(s.rax), -EINTR);
    EXPECT_EQ(handled, 1);
    expect_kept(before, s);
  }
}

struct Extended {
  uint64_t xmm[2] = {};
  uint32_t mxcsr = 0;
  uint16_t x87 = 0;
};
Extended extended_now() {
  Extended e;
  asm volatile("movups %%xmm7, %0\n stmxcsr %1\n fnstcw %2" : "=m"(e.xmm), "=m"(e.mxcsr), "=m"(e.x87));
  return e;
}
void set_control(uint32_t mxcsr, uint16_t x87) { asm volatile("ldmxcsr %0\n fldcw %1" : : "m"(mxcsr), "m"(x87)); }

constexpr uint32_t kInitialMxcsr = 0x1f80, kRoundingUp = 0x5f80;
constexpr uint16_t kInitialX87 = 0x37f, kSinglePrecision = 0x7f;

// Handlers start with the initial extended state, and what they make of it ends with them.
void disturb(int, siginfo_t*, void* context) {
  const Extended e = extended_now();
  EXPECT_EQ(e.xmm[0] | e.xmm[1], 0u);
  EXPECT_EQ(e.mxcsr, kInitialMxcsr);
  EXPECT_EQ(e.x87, kInitialX87);
  set_control(0x3f80, 0x27f);
  asm volatile("pcmpeqb %%xmm7, %%xmm7" : : : "xmm7");
  const auto* fp = static_cast<const ucontext_t*>(context)->uc_mcontext.fpregs;
  EXPECT_EQ(fp->mxcsr, kRoundingUp);
  EXPECT_EQ(fp->cwd, kSinglePrecision);
  ++handled;
}

State signal_to_oneself(uint64_t flags) {
  State s = filled(__NR_tgkill);
  s.rdi = static_cast<uint64_t>(getpid());
  s.rsi = static_cast<uint64_t>(gettid());
  s.rdx = SIGUSR1;
  s.flags = flags;
  return s;
}

// A signal that the call itself sends, from every shape: the handler runs before it is over, and comes back behind it.
TEST(CallSiteTest, SignalOfOnesOwn) {
  ScopedHandler handler(SIGUSR1, disturb);
  for (Site site : {call_bare, call_cmp_4095, call_cmp_4096, call_behind_cmp, call_behind_call, call_behind_jump,
                    call_behind_branch, call_behind_mov}) {
    for (int round = 0; round < 3; ++round) {
      handled = 0;
      State s = signal_to_oneself(0x202 | kArithmetic);
      const State before = s;
      set_control(kRoundingUp, kSinglePrecision);
      site(&s);
      const Extended after = extended_now();
      set_control(kInitialMxcsr, kInitialX87);
      EXPECT_EQ(handled, 1);
      EXPECT_EQ(s.rax, 0u);
      EXPECT_EQ(after.mxcsr, kRoundingUp);
      EXPECT_EQ(after.x87, kSinglePrecision);
      expect_kept(before, s);
      EXPECT_EQ(s.flags & 1, site == call_behind_branch ? 0u : 1u);  // its `test` clears it
    }
  }
}

// The comparison behind the call is made after the handler, with what that has put into the frame.
TEST(CallSiteTest, ResultThatAHandlerChanges) {
  ScopedHandler handler(SIGUSR1, +[](int, siginfo_t*, void* context) {
    static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_RAX] = -EBADF;
  });
  for (Site site : {call_cmp_4095, call_cmp_4096, call_behind_cmp}) {
    State s = signal_to_oneself(0x203);
    site(&s);
    EXPECT_EQ(static_cast<int64_t>(s.rax), -EBADF);
    EXPECT_EQ(s.flags & 1, 0u);
  }
}

// While a handler runs, the text that it returns to is another.
TEST(CallSiteTest, TextRewrittenByAHandler) {
  static const auto address = reinterpret_cast<uint64_t>(&call_cmp_4095);
  static const uint64_t page = address & ~4095ul;
  static constexpr uint8_t kCmp[] = {0x48, 0x3d, 0x01, 0xf0, 0xff, 0xff}, kOther[] = {0x31, 0xc0, 0xff, 0xc0, 0x90, 0x90};
  const auto replace = [](const uint8_t* from, const uint8_t* to) {
    ASSERT_EQ(mprotect(reinterpret_cast<void*>(page), 8192, PROT_READ | PROT_WRITE | PROT_EXEC), 0);
    auto* text = reinterpret_cast<uint8_t*>(address);
    int at = 0;
    while (at < 200 && memcmp(text + at, from, sizeof kCmp) != 0) ++at;
    ASSERT_LT(at, 200);
    memcpy(text + at, to, sizeof kCmp);
    ASSERT_EQ(mprotect(reinterpret_cast<void*>(page), 8192, PROT_READ | PROT_EXEC), 0);
  };
  static const auto replace_now = replace;
  ScopedHandler handler(SIGUSR1, +[](int) { replace_now(kCmp, kOther); });  // xor %eax, %eax; inc %eax
  State s = signal_to_oneself(0x202);
  call_cmp_4095(&s);
  EXPECT_EQ(s.rax, 1u);
  replace(kOther, kCmp);
}

// Restarted calls (SA_RESTART) of every shape go on waiting after the handler.
TEST(CallSiteTest, RestartedCall) {
  struct sigaction action {};
  action.sa_handler = count;
  action.sa_flags = SA_RESTART;
  sigaction(SIGALRM, &action, nullptr);
  for (Site site : {call_cmp_4095, call_cmp_4096, call_bare, call_between_read, call_behind_cmp, call_behind_call,
                    call_behind_jump, call_behind_mov}) {
    handled = 0;
    int fds[2];
    ASSERT_EQ(pipe(fds), 0);
    std::atomic<int> write_end = fds[1];
    const itimerval soon = {{0, 0}, {0, 10'000}};
    setitimer(ITIMER_REAL, &soon, nullptr);
    pthread_t writer;
    pthread_create(
        &writer, nullptr,
        [](void* p) -> void* {
          sigset_t all;
          sigfillset(&all);
          pthread_sigmask(SIG_BLOCK, &all, nullptr);
          usleep(60'000);
          EXPECT_EQ(write(*static_cast<std::atomic<int>*>(p), "x", 1), 1);
          return nullptr;
        },
        &write_end);
    char c = 0;
    State s = filled(__NR_read);
    s.rdi = static_cast<uint64_t>(fds[0]);
    s.rsi = reinterpret_cast<uint64_t>(&c);
    s.rdx = 1;
    s.flags = 0x202;
    const State before = s;
    site(&s);
    EXPECT_EQ(s.rax, 1u);
    EXPECT_EQ(c, 'x');
    EXPECT_EQ(handled, 1);
    expect_kept(before, s);
    pthread_join(writer, nullptr);
    close(fds[0]);
    close(fds[1]);
  }
}

// A process that sends this one `first`, while it waits, and then SIGCONT, and then writes to `fd`.
pid_t disturb(int first, int fd) {
  const pid_t child = fork();
  if (child != 0) return child;
  usleep(10'000);
  kill(getppid(), first);
  usleep(10'000);
  kill(getppid(), SIGCONT);
  usleep(10'000);
  _exit(write(fd, "x", 1) == 1 ? 0 : 1);
}

constexpr Site kWaitingSites[] = {call_cmp_4095,   call_cmp_4096,    call_bare,          call_behind_cmp,
                                  call_behind_call, call_behind_jump, call_behind_branch, call_behind_mov};

// Calls that are interrupted and have no handler to run go on as if nothing had been.
class UndisturbedCallTest : public testing::TestWithParam<int> {
 protected:
  void SetUp() override {
    sigset_t blocked;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR1);
    ASSERT_EQ(sigprocmask(SIG_BLOCK, &blocked, &mask_), 0);
    ASSERT_EQ(pipe(fds_), 0);
  }
  void TearDown() override {
    close(fds_[0]);
    close(fds_[1]);
    const timespec none{};
    sigset_t blocked;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR1);
    while (sigtimedwait(&blocked, nullptr, &none) > 0) {
    }
    sigprocmask(SIG_SETMASK, &mask_, nullptr);
  }
  void call(Site site, State& s) {
    const pid_t child = disturb(GetParam(), fds_[1]);
    s.flags = 0x202;
    const State before = s;
    site(&s);
    expect_kept(before, s);
    int status;
    EXPECT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
  }
  int fds_[2];
  sigset_t mask_;
};

TEST_P(UndisturbedCallTest, GoesOn) {
  for (Site site : kWaitingSites) {
    char c = 0;
    State s = filled(__NR_read);
    s.rdi = static_cast<uint64_t>(fds_[0]);
    s.rsi = reinterpret_cast<uint64_t>(&c);
    s.rdx = 1;
    call(site, s);
    EXPECT_EQ(s.rax, 1u);
    EXPECT_EQ(c, 'x');
  }
}

// By restart_syscall(2), which a relative timeout needs.
TEST_P(UndisturbedCallTest, GoesOnWithWhatIsLeft) {
  for (Site site : kWaitingSites) {
    uint32_t word = 0;
    const timespec timeout = {0, 50'000'000};
    State s = filled(__NR_futex);
    s.rdi = reinterpret_cast<uint64_t>(&word);
    s.rsi = FUTEX_WAIT;
    s.rdx = 0;
    s.r10 = reinterpret_cast<uint64_t>(&timeout);
    call(site, s);
    EXPECT_EQ(static_cast<int64_t>(s.rax), site == call_behind_branch ? 77 : -ETIMEDOUT);
  }
}

INSTANTIATE_TEST_SUITE_P(Signals, UndisturbedCallTest, testing::Values(SIGSTOP, SIGUSR1),
                         [](const auto& info) { return info.param == SIGSTOP ? "Stopped" : "Blocked"; });

// Signals that arrive at any moment around cheap calls.
TEST(CallSiteTest, SignalsAtAnyMoment) {
  struct sigaction action {};
  action.sa_handler = count;
  action.sa_flags = SA_RESTART;
  sigaction(SIGALRM, &action, nullptr);
  handled = 0;
  const itimerval often = {{0, 300}, {0, 300}};
  setitimer(ITIMER_REAL, &often, nullptr);
  const pid_t parent = getppid();
  for (int i = 0; i < 100'000 && handled < 200; ++i) {
    for (Site site : {call_mov_getpid, call_cmp_4095, call_mov_umask, call_between_umask, call_behind_call}) {
      State s = filled(__NR_getppid);
      s.rdi = 022;
      s.flags = 0x202 | (i % 2 ? kArithmetic : 0);
      const State before = s;
      site(&s);
      expect_kept(before, s);
      if (site == call_cmp_4095 || site == call_behind_call) {
        ASSERT_EQ(static_cast<pid_t>(s.rax), parent);
      }
      if (site != call_cmp_4095) {
        ASSERT_EQ(s.flags & kArithmetic, before.flags & kArithmetic);
      }
      if (site == call_mov_getpid) ASSERT_EQ(static_cast<pid_t>(s.rax), getpid());
    }
  }
  const itimerval off{};
  setitimer(ITIMER_REAL, &off, nullptr);
  EXPECT_GT(handled, 0);
}

// What one call's buffer held says nothing about the next, whichever way that is entered.
TEST(CallSiteTest, BufferChangedBetweenTwoEntries) {
  int fds[2];
  ASSERT_EQ(pipe(fds), 0);
  char byte = 'a';
  for (Site site : {call_cmp_4095, call_into_mov}) {
    State s = filled(__NR_write);
    s.rdi = static_cast<uint64_t>(fds[1]);
    s.rsi = reinterpret_cast<uint64_t>(&byte);
    s.rdx = 1;
    s.flags = 0x202;
    site(&s);
    EXPECT_EQ(s.rax, 1u);
    byte = 'b';
  }
  char both[3] = {};
  EXPECT_EQ(read(fds[0], both, 2), 2);
  EXPECT_STREQ(both, "ab");
  close(fds[0]);
  close(fds[1]);
}

std::atomic<int> seen_signo;
void note_signo(int, siginfo_t* info, void*) { seen_signo = info->si_signo; }

// A signal's frame lies where a call's buffer was before, while the program computes.
TEST(CallSiteTest, SignalFrameWhereABufferWas) {
  constexpr size_t kStack = 32768;
  auto* stack = static_cast<char*>(
      mmap(nullptr, kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  const stack_t alternate{stack, 0, kStack}, none{nullptr, SS_DISABLE, 0};
  ASSERT_EQ(sigaltstack(&alternate, nullptr), 0);
  struct sigaction action {};
  action.sa_sigaction = note_signo;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigaction(SIGALRM, &action, nullptr);
  int fds[2];
  ASSERT_EQ(pipe(fds), 0);
  for (size_t below = 2048; below <= 6144; below += 256) {
    seen_signo = 0;
    const itimerval soon = {{0, 0}, {0, 2000}};
    setitimer(ITIMER_REAL, &soon, nullptr);
    ASSERT_EQ(write(fds[1], "x", 1), 1);
    ASSERT_EQ(read(fds[0], stack + kStack - below, 2048), 1);
    while (seen_signo == 0) {
    }
    EXPECT_EQ(seen_signo, SIGALRM);
  }
  ASSERT_EQ(sigaltstack(&none, nullptr), 0);
  munmap(stack, kStack);
  close(fds[0]);
  close(fds[1]);
}

// A program may use %gs for itself (Wine does).
TEST(CallSiteTest, OwnGsBase) {
  const uint64_t mine[1024] = {42};
  ASSERT_EQ(syscall(__NR_arch_prctl, ARCH_SET_GS, mine), 0);
  uint64_t seen, base = 0;
  asm volatile("mov %%gs:0, %0" : "=r"(seen));
  EXPECT_EQ(seen, 42u);
  for (Site site : {call_mov_umask, call_mov_getpid, call_cmp_4095, call_between_umask, call_behind_call, call_behind_mov,
                    call_into_between}) {
    State s = filled(__NR_umask);
    s.rdi = 022;
    s.flags = 0x202 | kArithmetic;
    const State before = s;
    site(&s);
    EXPECT_LT(s.rax, 0xfffffffffffff000);
    expect_kept(before, s);
  }
  ASSERT_EQ(syscall(__NR_arch_prctl, ARCH_GET_GS, &base), 0);
  EXPECT_EQ(base, reinterpret_cast<uint64_t>(mine));
  ASSERT_EQ(syscall(__NR_arch_prctl, ARCH_SET_GS, 0), 0);
  ASSERT_EQ(syscall(__NR_arch_prctl, ARCH_GET_GS, &base), 0);
  EXPECT_EQ(base, 0u);
}

TEST(CallSiteTest, ForkBehindTheCall) {
  for (Site site : {call_behind_call, call_behind_mov, call_behind_branch}) {
    State s = filled(__NR_fork);
    s.flags = 0x202;
    const State before = s;
    site(&s);
    if (s.rax == 0) {
      State mine = filled(__NR_getppid);
      mine.flags = 0x202;
      site(&mine);
      _exit(s.rbx == before.rbx && s.r15 == before.r15 && mine.rax != 0 ? 0 : 1);
    }
    expect_kept(before, s);
    int status = -1;
    EXPECT_EQ(waitpid(static_cast<pid_t>(s.rax), &status, 0), static_cast<pid_t>(s.rax));
    EXPECT_EQ(status, 0);
  }
}

TEST(CallSiteTest, ThreadBehindTheCall) {
  static uint64_t stack[1024];
  static int tid;
  constexpr unsigned long kFlags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM |
                                   CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID;
  for (int i = 0; i < 20; ++i) {
    stack[1023] = 0;
    tid = -1;
    const long made = clone_behind(kFlags, stack + 1024, &tid, &tid);
    ASSERT_GT(made, 0);
    for (int seen; (seen = __atomic_load_n(&tid, __ATOMIC_ACQUIRE)) != 0;) syscall(__NR_futex, &tid, FUTEX_WAIT, seen, nullptr);
    EXPECT_NE(stack[1023], 0u);  // where it would have returned to
  }
}

// Text that becomes writable is what the file holds, and what is written there runs.
TEST(CallSiteTest, RewrittenText) {
  const auto address = reinterpret_cast<uint64_t>(&call_mov64_umask);
  const uint64_t page = address & ~4095ul;
  ASSERT_EQ(mprotect(reinterpret_cast<void*>(page), 8192, PROT_READ | PROT_WRITE | PROT_EXEC), 0);
  auto* text = reinterpret_cast<uint8_t*>(address);
  int at = 0;
  while (at < 200 && memcmp(text + at, "\x48\xc7\xc0\x5f\0\0\0\x0f\x05", 9) != 0) ++at;
  ASSERT_LT(at, 200);
  text[at + 3] = __NR_getpid;
  State s = filled(0);
  s.flags = 0x202;
  call_mov64_umask(&s);
  EXPECT_EQ(static_cast<pid_t>(s.rax), getpid());
  text[at + 3] = __NR_umask;
  for (Site site : {call_between_umask, call_behind_call, call_behind_mov}) {  // near it
    State near = filled(__NR_umask);
    near.rdi = 022;
    near.flags = 0x202;
    const State before = near;
    site(&near);
    EXPECT_LT(near.rax, 0xfffffffffffff000);
    expect_kept(before, near);
  }
  ASSERT_EQ(mprotect(reinterpret_cast<void*>(page), 8192, PROT_READ | PROT_EXEC), 0);
}

// Buffers at the edge of what is mapped: a short result fits, a fault is EFAULT, and a pipe keeps its byte.
TEST(CallSiteTest, BufferAtTheEdge) {
  auto* two = static_cast<char*>(mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  ASSERT_EQ(munmap(two + 4096, 4096), 0);
  int fds[2];
  ASSERT_EQ(pipe(fds), 0);
  ASSERT_EQ(write(fds[1], "abc", 3), 3);
  EXPECT_EQ(read(fds[0], two + 4094, 2), 2);
  EXPECT_EQ(two[4095], 'b');
  EXPECT_EQ(syscall(__NR_read, fds[0], two + 4096, 1), -1);
  EXPECT_EQ(errno, EFAULT);
  EXPECT_EQ(read(fds[0], two + 4095, 100), 1);  // says more than there is room for
  EXPECT_EQ(two[4095], 'c');
  memcpy(two + 4090, "/none", 6);
  EXPECT_EQ(syscall(__NR_access, two + 4090, 0), -1);
  EXPECT_EQ(errno, ENOENT);
  two[4095] = 'x';
  EXPECT_EQ(syscall(__NR_access, two + 4090, 0), -1);
  EXPECT_EQ(errno, EFAULT);
  munmap(two, 4096);
  close(fds[0]);
  close(fds[1]);
}

}  // namespace
}  // namespace run9::guest
