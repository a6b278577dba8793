// Masks that change often while signals come: a kernel may leave a thread's mask to the thread until a signal asks for it.
#include <pthread.h>
#include <ucontext.h>

#include <atomic>
#include <cstring>
#include <fstream>
#include <thread>

#include "tests/syscalls/test_util.h"

namespace run9::guest {
namespace {

constexpr uint64_t bit(int sig) { return uint64_t{1} << (sig - 1); }
const uint64_t kUsr1 = bit(SIGUSR1), kUsr2 = bit(SIGUSR2);

uint64_t change(int how, uint64_t set) {
  uint64_t before = ~uint64_t{0};
  EXPECT_EQ(sys(SYS_rt_sigprocmask, how, &set, &before, 8), 0);
  return before;
}
uint64_t mask_now() {
  uint64_t mask = ~uint64_t{0};
  EXPECT_EQ(sys(SYS_rt_sigprocmask, SIG_BLOCK, nullptr, &mask, 8), 0);
  return mask;
}

std::atomic<int> handled;
std::atomic<int> handled_while_blocked;
std::atomic<bool> blocks_everywhere;

void count(int) {
  handled.fetch_add(1);
  if (blocks_everywhere) handled_while_blocked.fetch_add(1);
}

class MaskTest : public testing::Test {
 protected:
  MaskTest() {
    handled = handled_while_blocked = 0;
    blocks_everywhere = false;
    struct sigaction action = {};
    action.sa_handler = count;
    sigaction(SIGUSR1, &action, nullptr);
    sigaction(SIGRTMIN, &action, nullptr);
    change(SIG_SETMASK, 0);
  }
  ~MaskTest() override {
    change(SIG_SETMASK, 0);
    signal(SIGUSR1, SIG_DFL);
    signal(SIGUSR2, SIG_DFL);
    signal(SIGRTMIN, SIG_DFL);
  }
};

// Of any thread of this process, as others see it.
uint64_t blocked_in_proc(long tid) {
  std::ifstream status("/proc/self/task/" + std::to_string(tid) + "/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("SigBlk:")) return std::stoull(line.substr(7), nullptr, 16);
  }
  return 0;
}

TEST_F(MaskTest, EachChangeTellsTheOneBefore) {
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(change(SIG_SETMASK, kUsr1), 0u);
    EXPECT_EQ(change(SIG_BLOCK, kUsr2), kUsr1);
    EXPECT_EQ(change(SIG_UNBLOCK, kUsr1), kUsr1 | kUsr2);
    EXPECT_EQ(change(SIG_SETMASK, ~uint64_t{0}), kUsr2);
    EXPECT_EQ(mask_now(), ~(bit(SIGKILL) | bit(SIGSTOP)));
    change(SIG_SETMASK, 0);
  }
}

TEST_F(MaskTest, Errors) {
  uint64_t set = kUsr1, before = 0;
  auto* const nowhere = reinterpret_cast<void*>(8);
  for (int i = 0; i < 3; ++i) {
    EXPECT_ERR(EINVAL, sys(SYS_rt_sigprocmask, 3, &set, &before, 8));
    EXPECT_ERR(EINVAL, sys(SYS_rt_sigprocmask, -1, &set, &before, 8));
    EXPECT_ERR(EINVAL, sys(SYS_rt_sigprocmask, SIG_BLOCK, &set, &before, 4));
    EXPECT_ERR(EFAULT, sys(SYS_rt_sigprocmask, SIG_BLOCK, nowhere, &before, 8));
    EXPECT_EQ(mask_now(), 0u);
    EXPECT_OK(sys(SYS_rt_sigprocmask, 3, nullptr, &before, 8));
    EXPECT_ERR(EFAULT, sys(SYS_rt_sigprocmask, SIG_BLOCK, &set, nowhere, 8));
    EXPECT_EQ(change(SIG_SETMASK, 0), kUsr1) << "the mask changes before the old one is told";
  }
}

TEST_F(MaskTest, SetAndOldMayBeTheSame) {
  uint64_t both = kUsr1;
  ASSERT_EQ(sys(SYS_rt_sigprocmask, SIG_SETMASK, &both, &both, 8), 0);
  EXPECT_EQ(both, 0u);
  EXPECT_EQ(mask_now(), kUsr1);
}

TEST_F(MaskTest, SignalsOfOthersWaitAndComeWhenTheyMay) {
  const pid_t self = getpid();
  for (int i = 0; i < 50; ++i) {
    change(SIG_BLOCK, kUsr1);
    const int before = handled;
    std::thread([&] {
      change(SIG_BLOCK, kUsr1);
      kill(self, SIGUSR1);
    }).join();
    EXPECT_EQ(handled, before);
    change(SIG_UNBLOCK, kUsr1);
    EXPECT_EQ(handled, before + 1);
  }
}

// None is lost, none comes twice, none comes to who blocks it.
TEST_F(MaskTest, ChangesRaceWithSignalsToTheThread) {
  constexpr int kSignals = 300;
  const pid_t self = getpid();
  const long target = sys(SYS_gettid);
  std::atomic<bool> sent{false};
  std::thread sender([&] {
    change(SIG_SETMASK, ~uint64_t{0});
    for (int i = 0; i < kSignals; ++i) {
      sys(SYS_tgkill, self, target, SIGRTMIN);
      for (int pause = i * 7 % 50; pause > 0; --pause) sched_yield();
    }
    sent = true;
  });
  const uint64_t set = bit(SIGRTMIN);
  while (!sent) {
    change(SIG_BLOCK, set);
    blocks_everywhere = true;
    for (int i = 0; i < 30; ++i) __builtin_ia32_pause();
    blocks_everywhere = false;
    change(SIG_UNBLOCK, set);
  }
  sender.join();
  EXPECT_EQ(handled, kSignals);
  EXPECT_EQ(handled_while_blocked, 0);
}

TEST_F(MaskTest, ChangesRaceWithSignalsToTheProcess) {
  constexpr int kSignals = 300;
  const pid_t self = getpid();
  std::atomic<bool> stop{false};
  const auto toggle = [&] {
    const uint64_t set = bit(SIGRTMIN);
    while (!stop) {
      change(SIG_BLOCK, set);
      for (int i = 0; i < 20; ++i) __builtin_ia32_pause();
      change(SIG_UNBLOCK, set);
    }
  };
  std::thread one(toggle), two(toggle);
  change(SIG_SETMASK, ~uint64_t{0});
  for (int i = 0; i < kSignals; ++i) {
    ASSERT_OK(sigqueue(self, SIGRTMIN, sigval{}));
    for (int pause = i * 11 % 40; pause > 0; --pause) sched_yield();
  }
  for (int i = 0; i < 5000 && handled < kSignals; ++i) usleep(1000);
  EXPECT_EQ(handled, kSignals) << "while threads that run do not block it";
  stop = true;
  one.join();
  two.join();
}

TEST_F(MaskTest, OneOfTwoThreadsTakesWhatTheOtherBlocks) {
  const pid_t self = getpid();
  std::atomic<bool> stop{false}, runs{false};
  std::thread open([&] {
    change(SIG_BLOCK, kUsr1);
    change(SIG_UNBLOCK, kUsr1);
    runs = true;
    while (!stop) __builtin_ia32_pause();
  });
  while (!runs) sched_yield();
  change(SIG_BLOCK, kUsr1);
  for (int i = 1; i <= 20; ++i) {
    kill(self, SIGUSR1);
    for (int tries = 0; tries < 5000 && handled < i; ++tries) usleep(1000);
    ASSERT_EQ(handled, i);
  }
  stop = true;
  open.join();
}

TEST_F(MaskTest, IgnoredWhileBlockedIsKept) {
  signal(SIGUSR2, SIG_IGN);
  change(SIG_BLOCK, kUsr2);
  kill(getpid(), SIGUSR2);
  uint64_t pending = 0;
  ASSERT_OK(sys(SYS_rt_sigpending, &pending, 8));
  EXPECT_EQ(pending, kUsr2);
  signal(SIGUSR2, count);
  change(SIG_UNBLOCK, kUsr2);
  EXPECT_EQ(handled, 1);
}

TEST_F(MaskTest, ChildrenAndThreadsAndProgramsInheritIt) {
  for (int i = 0; i < 3; ++i) {
    change(SIG_SETMASK, kUsr1 | kUsr2);
    const pid_t child = fork();
    if (child == 0) _exit(mask_now() == (kUsr1 | kUsr2) && change(SIG_SETMASK, 0) == (kUsr1 | kUsr2) ? 0 : 1);
    int status = -1;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
    uint64_t in_thread = 0, after = 1;
    std::thread([&] {
      in_thread = mask_now();
      change(SIG_SETMASK, 0);
      after = mask_now();
    }).join();
    EXPECT_EQ(in_thread, kUsr1 | kUsr2);
    EXPECT_EQ(after, 0u);
    EXPECT_EQ(change(SIG_SETMASK, 0), kUsr1 | kUsr2);
  }
}

TEST_F(MaskTest, OthersSeeIt) {
  std::atomic<long> tid{0};
  std::atomic<int> turn{0};
  std::thread other([&] {
    change(SIG_SETMASK, kUsr1);
    change(SIG_SETMASK, kUsr2);
    tid = sys(SYS_gettid);
    while (turn != 1) __builtin_ia32_pause();
    change(SIG_SETMASK, kUsr1);
    turn = 2;
    while (turn != 3) __builtin_ia32_pause();
  });
  while (tid == 0) __builtin_ia32_pause();
  EXPECT_EQ(blocked_in_proc(tid), kUsr2);
  turn = 1;
  while (turn != 2) __builtin_ia32_pause();
  EXPECT_EQ(blocked_in_proc(tid), kUsr1);
  turn = 3;
  other.join();
}

uint64_t wanted_mask, mask_inside;

void edit_mask(int, siginfo_t*, void* context) {
  auto* uc = static_cast<ucontext_t*>(context);
  mask_inside = mask_now();
  change(SIG_BLOCK, kUsr2);  // ends with the handler
  memcpy(&uc->uc_sigmask, &wanted_mask, 8);
  handled.fetch_add(1);
}

TEST_F(MaskTest, TheHandlersFrameSaysWhatHoldsAfterIt) {
  struct sigaction action = {};
  action.sa_sigaction = edit_mask;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGUSR1, &action, nullptr);
  for (const uint64_t wanted : {bit(SIGALRM), uint64_t{0}, kUsr2, bit(SIGALRM) | kUsr2}) {
    wanted_mask = wanted;
    raise(SIGUSR1);
    EXPECT_EQ(mask_inside & kUsr1, kUsr1);
    EXPECT_EQ(change(SIG_SETMASK, 0), wanted);
  }
  EXPECT_EQ(handled, 4);
}

// A wait that begins with an own mask, and is interrupted by what that mask allows.
TEST_F(MaskTest, WaitsAreInterrupted) {
  const pid_t self = getpid();
  const long target = sys(SYS_gettid);
  for (int i = 0; i < 10; ++i) {
    change(SIG_BLOCK, kUsr1);
    change(SIG_UNBLOCK, kUsr1);
    // A signal may come before the wait begins: then another one ends it.
    std::atomic<bool> over{false};
    std::thread waker([&] {
      while (!over) {
        usleep(2000);
        sys(SYS_tgkill, self, target, SIGUSR1);
        usleep(20'000);
      }
    });
    EXPECT_ERR(EINTR, sys(SYS_pause));
    over = true;
    waker.join();
  }
}

// One that is blocked does not: the sleep is as long as it should be.
TEST_F(MaskTest, BlockedSignalsDoNotInterruptWaits) {
  const pid_t self = getpid();
  const long target = sys(SYS_gettid);
  change(SIG_BLOCK, kUsr1);
  std::thread([&] { sys(SYS_tgkill, self, target, SIGUSR1); }).join();
  const timespec brief{0, 3'000'000};
  EXPECT_OK(nanosleep(&brief, nullptr));
  EXPECT_EQ(handled, 0);
  change(SIG_UNBLOCK, kUsr1);
  EXPECT_EQ(handled, 1);
}

}  // namespace
}  // namespace run9::guest
