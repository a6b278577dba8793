// What every program asks for when it starts: its limits, where its thread's end is to be told, its thread's base address. A
// kernel may answer this where it need not be asked (docs/decisions/0040-what-each-program-asks-first.md).
#include <asm/prctl.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include <atomic>
#include <thread>

#include "tests/syscalls/partner.h"

namespace run9::guest {
namespace {

rlimit limit(int which) {
  rlimit by_getrlimit = {1, 2}, by_prlimit = {3, 4};
  EXPECT_OK(sys(SYS_getrlimit, which, &by_getrlimit));
  EXPECT_OK(sys(SYS_prlimit64, 0, which, nullptr, &by_prlimit));
  EXPECT_EQ(by_getrlimit.rlim_cur, by_prlimit.rlim_cur);
  EXPECT_EQ(by_getrlimit.rlim_max, by_prlimit.rlim_max);
  return by_prlimit;
}

struct LimitTest : testing::Test {
  void TearDown() override { EXPECT_OK(setrlimit(RLIMIT_CORE, &before)); }
  const rlimit before = limit(RLIMIT_CORE);
  void set(rlim_t soft) const {
    const rlimit next = {soft, before.rlim_max};
    EXPECT_OK(setrlimit(RLIMIT_CORE, &next));
  }
};

TEST_F(LimitTest, AreWhatTheyWereSetTo) {
  for (const rlim_t soft : {0, 1, 4096, 77}) {
    set(soft);
    EXPECT_EQ(soft, limit(RLIMIT_CORE).rlim_cur);
    EXPECT_EQ(before.rlim_max, limit(RLIMIT_CORE).rlim_max);
  }
  rlimit by_number = {};
  EXPECT_OK(sys(SYS_prlimit64, getpid(), RLIMIT_CORE, nullptr, &by_number));
  EXPECT_EQ(77u, by_number.rlim_cur);
  const rlimit next = {78, before.rlim_max};
  rlimit old = {};
  EXPECT_OK(sys(SYS_prlimit64, 0, RLIMIT_CORE, &next, &old));
  EXPECT_EQ(77u, old.rlim_cur);
  EXPECT_EQ(78u, limit(RLIMIT_CORE).rlim_cur);
}

TEST_F(LimitTest, Errors) {
  EXPECT_ERR(EINVAL, sys(SYS_prlimit64, 0, 16, nullptr, nullptr));
  EXPECT_ERR(EINVAL, sys(SYS_getrlimit, -1, &before));
  EXPECT_ERR(EFAULT, sys(SYS_prlimit64, 0, RLIMIT_CORE, nullptr, bad()));
  EXPECT_ERR(EFAULT, sys(SYS_getrlimit, RLIMIT_CORE, bad()));
  EXPECT_ERR(EFAULT, sys(SYS_getrlimit, RLIMIT_CORE, nullptr));
  EXPECT_OK(sys(SYS_prlimit64, 0, RLIMIT_CORE, nullptr, nullptr));
}

// By another process; and a child has its own.
TEST_F(LimitTest, OfProcesses) {
  set(1000);
  EXPECT_EQ(1000u, limit(RLIMIT_CORE).rlim_cur);
  EXPECT_EQ(0, WEXITSTATUS(child_status([&] {
    const rlimit next = {2000, before.rlim_max}, own = {3000, before.rlim_max};
    bool good = limit(RLIMIT_CORE).rlim_cur == 1000;
    good = good && sys(SYS_prlimit64, getppid(), RLIMIT_CORE, &next, nullptr) == 0 && limit(RLIMIT_CORE).rlim_cur == 1000;
    good = good && setrlimit(RLIMIT_CORE, &own) == 0 && limit(RLIMIT_CORE).rlim_cur == 3000;
    _exit(good ? 0 : 1);
  })));
  EXPECT_EQ(2000u, limit(RLIMIT_CORE).rlim_cur);
}

// In the same memory, another process.
TEST_F(LimitTest, OfAProcessInOurMemory) {
  set(1000);
  EXPECT_EQ(1000u, limit(RLIMIT_CORE).rlim_cur);
  volatile rlim_t seen[2] = {};
  const pid_t child = vfork();
  if (child == 0) {
    rlimit now = {}, next = {500, before.rlim_max};
    sys(SYS_getrlimit, RLIMIT_CORE, &now);
    seen[0] = now.rlim_cur;
    setrlimit(RLIMIT_CORE, &next);
    sys(SYS_getrlimit, RLIMIT_CORE, &now);
    seen[1] = now.rlim_cur;
    _exit(0);
  }
  EXPECT_EQ(child, waitpid(child, nullptr, 0));
  EXPECT_EQ(1000u, seen[0]);
  EXPECT_EQ(500u, seen[1]);
  EXPECT_EQ(1000u, limit(RLIMIT_CORE).rlim_cur);
  void* const page = mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  EXPECT_EQ(1000u, limit(RLIMIT_CORE).rlim_cur);
  munmap(page, kPage);
}

TEST_F(LimitTest, OfThreads) {
  set(1000);
  std::thread([&] {
    EXPECT_EQ(1000u, limit(RLIMIT_CORE).rlim_cur);
    set(1001);
  }).join();
  EXPECT_EQ(1001u, limit(RLIMIT_CORE).rlim_cur);
}

uint64_t told_address() {
  uint64_t address = 1;
  EXPECT_OK(prctl(PR_GET_TID_ADDRESS, &address));
  return address;
}

// The word of a thread that ends becomes 0, and who waits for it is woken. With its own address, which a test's C library needs.
TEST(TidAddressTest, OfAThread) {
  for (const bool twice : {false, true}) {
    std::atomic<int> word{1}, other{1};
    std::atomic<bool> ready{false};
    const pid_t child = fork();
    if (child == 0) {
      // A second thread looks on while the first ends.
      std::thread([&] {
        while (!ready) sched_yield();
        while (word != 0) sys(SYS_futex, &word, FUTEX_WAIT, 1, nullptr);
        _exit(other == 1 ? 3 : 4);
      }).detach();
      bool good = true;
      if (twice) good = sys(SYS_set_tid_address, &other) == get_tid();
      good = good && sys(SYS_set_tid_address, &word) == get_tid() && told_address() == reinterpret_cast<uint64_t>(&word);
      if (!good) _exit(5);
      ready = true;
      sys(SYS_exit, 0);
    }
    int status = -1;
    EXPECT_EQ(child, waitpid(child, &status, 0));
    EXPECT_EQ(3, WEXITSTATUS(status));
  }
}

TEST(TidAddressTest, OfAThreadBesideOthers) {
  std::atomic<int> word{1};
  const pid_t child = fork();
  if (child == 0) {
    std::thread([&] {
      sys(SYS_set_tid_address, &word);
      sys(SYS_exit, 0);
    }).detach();
    while (word != 0) sys(SYS_futex, &word, FUTEX_WAIT, 1, nullptr);
    _exit(3);
  }
  int status = -1;
  EXPECT_EQ(child, waitpid(child, &status, 0));
  EXPECT_EQ(3, WEXITSTATUS(status));
}

// Whose memory is its parent's.
TEST(TidAddressTest, OfAVforkedChild) {
  static std::atomic<int> word{1}, own{1};
  const uint64_t before = told_address();
  EXPECT_EQ(get_tid(), sys(SYS_set_tid_address, &own));
  const pid_t child = vfork();
  if (child == 0) {
    sys(SYS_set_tid_address, &word);
    _exit(0);
  }
  EXPECT_EQ(child, waitpid(child, nullptr, 0));
  EXPECT_EQ(0, word);
  EXPECT_EQ(1, own);
  EXPECT_EQ(reinterpret_cast<uint64_t>(&own), told_address());
  sys(SYS_set_tid_address, before);
}

// A child's is its own business, and not yet told.
TEST(TidAddressTest, OfAForkedChild) {
  const uint64_t before = told_address();
  int word = 1;
  EXPECT_EQ(get_tid(), sys(SYS_set_tid_address, &word));
  const pid_t child = static_cast<pid_t>(sys(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, nullptr));
  if (child == 0) _exit(told_address() == 0 ? 0 : 1);
  int status = -1;
  EXPECT_EQ(child, waitpid(child, &status, 0));
  EXPECT_EQ(0, status);
  EXPECT_EQ(reinterpret_cast<uint64_t>(&word), told_address());
  sys(SYS_set_tid_address, before);
}

// In a child, as this thread needs its own. By instructions alone between the two, for the same reason.
TEST(BaseTest, IsWhatItWasSetTo) {
  EXPECT_EQ(0, WEXITSTATUS(child_status([] {
    static uint64_t other[64] = {0x1234};
    uint64_t before = 0, during = 0, word = 0;
    long set = -1, got = -1, wrong = 0, back = -1;
    sys(SYS_arch_prctl, ARCH_GET_FS, &before);
    other[0] = reinterpret_cast<uint64_t>(other);
    const auto call = [](long option, void* address) {
      long result;
      asm volatile("mov %1, %%eax\n syscall" : "=&a"(result) : "i"(SYS_arch_prctl), "D"(option), "S"(address) : "rcx", "r11", "memory");
      return result;
    };
    set = call(ARCH_SET_FS, other);
    asm volatile("mov %%fs:0, %0" : "=r"(word));
    got = call(ARCH_GET_FS, &during);
    wrong = call(ARCH_SET_FS, reinterpret_cast<void*>(0xffff'8000'0000'0000ul));
    back = call(ARCH_SET_FS, reinterpret_cast<void*>(before));
    const bool good = set == 0 && got == 0 && wrong == -EPERM && back == 0 && word == reinterpret_cast<uint64_t>(other) && during == word;
    _exit(good ? 0 : 1);
  })));
}

}  // namespace
}  // namespace run9::guest
