// futex: wait, wake, requeue, bitsets, timeouts, between threads and between processes.
#include <linux/futex.h>
#include <time.h>

#include <atomic>
#include <thread>

#include "tests/syscalls/test_util.h"

namespace run9::guest {
namespace {

using Word = std::atomic<uint32_t>;

const timespec kZero = {0, 0};
const timespec kShort = {0, 2'000'000};

TEST(FutexTest, WaitRefusesAnotherValue) {
  Word word{1};
  EXPECT_ERR(EAGAIN, sys(SYS_futex, &word, FUTEX_WAIT, 2, nullptr));
  EXPECT_ERR(EAGAIN, sys(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 2, nullptr));
}

TEST(FutexTest, TimeoutRelativeAndAbsolute) {
  Word word{1};
  timespec before, after;
  clock_gettime(CLOCK_MONOTONIC, &before);
  EXPECT_ERR(ETIMEDOUT, sys(SYS_futex, &word, FUTEX_WAIT, 1, &kShort));
  clock_gettime(CLOCK_MONOTONIC, &after);
  EXPECT_GE((after.tv_sec - before.tv_sec) * 1'000'000'000 + after.tv_nsec - before.tv_nsec,
            2'000'000);
  EXPECT_ERR(ETIMEDOUT, sys(SYS_futex, &word, FUTEX_WAIT, 1, &kZero));
  EXPECT_ERR(ETIMEDOUT,
             sys(SYS_futex, &word, FUTEX_WAIT_BITSET, 1, &before, nullptr, ~0u));  // a past time
  timespec real;
  clock_gettime(CLOCK_REALTIME, &real);
  EXPECT_ERR(ETIMEDOUT, sys(SYS_futex, &word, FUTEX_WAIT_BITSET | FUTEX_CLOCK_REALTIME, 1, &real,
                            nullptr, ~0u));
}

TEST(FutexTest, Errors) {
  Word word{1};
  const timespec wrong = {0, 1'000'000'000}, negative = {-1, 0};
  EXPECT_ERR(EINVAL, sys(SYS_futex, &word, FUTEX_WAIT, 1, &wrong));
  EXPECT_ERR(EINVAL, sys(SYS_futex, &word, FUTEX_WAIT, 1, &negative));
  EXPECT_ERR(EFAULT, sys(SYS_futex, &word, FUTEX_WAIT, 1, bad()));
  EXPECT_ERR(EINVAL, sys(SYS_futex, reinterpret_cast<char*>(&word) + 1, FUTEX_WAIT, 1, nullptr));
  EXPECT_ERR(EINVAL, sys(SYS_futex, reinterpret_cast<char*>(&word) + 1, FUTEX_WAKE, 1));
  for (uintptr_t address : {0x10ul, 0x0f'ffff'f000ul, 0xffff'8000'0000'0000ul}) {
    EXPECT_ERR(EFAULT, sys(SYS_futex, address, FUTEX_WAIT, 1, nullptr));
    EXPECT_ERR(EFAULT, sys(SYS_futex, address, FUTEX_WAIT_PRIVATE, 1, nullptr));
  }
  EXPECT_ERR(EINVAL, sys(SYS_futex, &word, FUTEX_WAIT_BITSET, 1, nullptr, nullptr, 0));
  EXPECT_ERR(EINVAL, sys(SYS_futex, &word, FUTEX_WAKE_BITSET, 1, nullptr, nullptr, 0));
  EXPECT_ERR(ENOSYS, sys(SYS_futex, &word, 77, 1));
  EXPECT_ERR(EAGAIN, sys(SYS_futex, &word, FUTEX_CMP_REQUEUE, 1, 1, &word, 2));
  EXPECT_ERR(EINVAL, sys(SYS_futex, &word, FUTEX_REQUEUE, -1, 1, &word, 0));
  EXPECT_EQ(0, sys(SYS_futex, &word, FUTEX_WAKE, 1));
}

// Waiters that count themselves; `woken` tells how many came back.
struct Crowd {
  Word word{0};
  std::atomic<int> woken{0};
  int expected = 0;
  std::vector<std::thread> threads;
  std::vector<std::atomic<pid_t>*> tids;

  void add(uint32_t bits = 0) {
    auto* tid = new std::atomic<pid_t>(0);
    tids.push_back(tid);
    threads.emplace_back([this, tid, bits] {
      *tid = get_tid();
      long got;
      do {
        got = bits == 0 ? sys(SYS_futex, &word, FUTEX_WAIT, 0, nullptr)
                        : sys(SYS_futex, &word, FUTEX_WAIT_BITSET, 0, nullptr, nullptr, bits);
      } while (got == -1 && errno == EINTR);
      EXPECT_EQ(0, got);
      ++woken;
    });
    while (*tid == 0) sched_yield();
  }
  // Wakes through `op` until exactly `want` waiters were woken; waiters may still be on their way
  // to sleep.
  int wake(int want, int op = FUTEX_WAKE, uint32_t bits = ~0u) {
    int total = 0;
    while (total < want) {
      const long n = sys(SYS_futex, &word, op, want - total, nullptr, nullptr, bits);
      EXPECT_GE(n, 0);
      total += static_cast<int>(n);
      sched_yield();
    }
    expected += total;
    while (woken < expected) sched_yield();
    return total;
  }
  ~Crowd() {
    for (auto& t : threads) t.join();
    for (auto* tid : tids) delete tid;
  }
};

TEST(FutexTest, WakesAsManyAsAsked) {
  Crowd crowd;
  for (int i = 0; i < 5; ++i) crowd.add();
  EXPECT_EQ(2, crowd.wake(2));
  EXPECT_EQ(2, crowd.woken);
  EXPECT_EQ(3, crowd.wake(3));
  EXPECT_EQ(0, sys(SYS_futex, &crowd.word, FUTEX_WAKE, 10));
}

TEST(FutexTest, BitsetsChooseTheWaiter) {
  Crowd a;
  a.add(1);
  EXPECT_EQ(0, sys(SYS_futex, &a.word, FUTEX_WAKE_BITSET, 10, nullptr, nullptr, 2));
  EXPECT_EQ(1, a.wake(1, FUTEX_WAKE_BITSET, 1));
}

TEST(FutexTest, Requeue) {
  Crowd crowd;
  Word other{0};
  for (int i = 0; i < 4; ++i) crowd.add();
  // Move all but none woken; retry until each of the four has been moved.
  int moved = 0;
  while (moved < 4) {
    const long n = sys(SYS_futex, &crowd.word, FUTEX_CMP_REQUEUE, 0, 10, &other, 0);
    ASSERT_GE(n, 0);
    moved += static_cast<int>(n);
    sched_yield();
  }
  EXPECT_EQ(0, crowd.woken);
  EXPECT_EQ(0, sys(SYS_futex, &crowd.word, FUTEX_WAKE, 10));
  EXPECT_EQ(3, sys(SYS_futex, &other, FUTEX_WAKE, 3));
  EXPECT_EQ(1, sys(SYS_futex, &other, FUTEX_WAKE, 3));
}

TEST(FutexTest, WakeOp) {
  Word a{0}, b{5};
  // b += 3; wake one on a; as the old b was 5, wake one on b too.
  const uint32_t op = FUTEX_OP(FUTEX_OP_ADD, 3, FUTEX_OP_CMP_EQ, 5);
  EXPECT_EQ(0, sys(SYS_futex, &a, FUTEX_WAKE_OP, 1, 1, &b, op));
  EXPECT_EQ(8u, b);
  EXPECT_ERR(EFAULT, sys(SYS_futex, &a, FUTEX_WAKE_OP, 1, 1, bad(), op));
}

TEST(FutexTest, BetweenProcessesInSharedMemory) {
  SharedMemory<Word> word;
  const pid_t pid = spawn([&] {
    while (*word == 0) sys(SYS_futex, &*word, FUTEX_WAIT, 0, nullptr);
    EXPECT_EQ(1u, *word);
  });
  await_sleep(pid, pid);
  *word = 1;
  sys(SYS_futex, &*word, FUTEX_WAKE, 1);
  EXPECT_EQ(0, reap(pid));
}

TEST(FutexTest, BetweenProcessesAtDifferentAddressesOfOneFile) {
  TempDir dir;
  write_file(dir / "f", std::string(kPage, 0));
  Fd fd(open((dir / "f").c_str(), O_RDWR));
  auto map = [&] {
    return static_cast<Word*>(mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
  };
  Word* mine = map();
  const pid_t pid = spawn([&] {
    Word* other = map();
    EXPECT_NE(mine, other);
    while (*other == 0) sys(SYS_futex, other, FUTEX_WAIT, 0, nullptr);
  });
  await_sleep(pid, pid);
  *mine = 1;
  sys(SYS_futex, mine, FUTEX_WAKE, 1);
  EXPECT_EQ(0, reap(pid));
  munmap(mine, kPage);
}

TEST(FutexTest, PrivateMemoryIsNotSharedAfterFork) {
  auto* word = static_cast<Word*>(map_anonymous(kPage));
  Pipe go;
  const pid_t pid = spawn([&] {
    go.await();
    EXPECT_ERR(ETIMEDOUT, sys(SYS_futex, word, FUTEX_WAIT, 0, &kShort));
  });
  EXPECT_EQ(0, sys(SYS_futex, word, FUTEX_WAKE, 1));
  go.notify();
  EXPECT_EQ(0, reap(pid));
  munmap(word, kPage);
}

TEST(FutexTest, InterruptedBySignal) {
  Word word{0};
  AlarmStorm storm;
  EXPECT_ERR(EINTR, sys(SYS_futex, &word, FUTEX_WAIT, 0, nullptr));
}

TEST(FutexTest, RestartedWithoutTimeoutAfterASignal) {
  Word word{0};
  static std::atomic<int> handled;
  handled = 0;
  ScopedHandler handler(
      SIGUSR1, +[](int) { ++handled; }, SA_RESTART);
  const pid_t tid = get_tid();
  std::thread waker([&] {
    for (int i = 1; i <= 5; ++i) {
      await_sleep(getpid(), tid);
      sys(SYS_tgkill, getpid(), tid, SIGUSR1);
      while (handled < i) sched_yield();
    }
    word = 1;
    while (sys(SYS_futex, &word, FUTEX_WAKE, 1) == 0 && word != 2) sched_yield();
  });
  long got;
  do {
    got = sys(SYS_futex, &word, FUTEX_WAIT, 0, nullptr);
  } while (got == 0 && word == 0);
  if (got == -1) {
    EXPECT_EQ(EAGAIN, errno);  // the word changed while the call was restarted
  }
  word = 2;
  waker.join();
}

// By a call site of the shape that most programs have: mov $nr, %eax; syscall.
long wake_at_plain_site(Word* word) {
  long result;
  register long timeout asm("r10") = 0;
  asm volatile("mov %1, %%eax; syscall"
               : "=a"(result)
               : "i"(SYS_futex), "D"(word), "S"(FUTEX_WAKE_PRIVATE), "d"(1), "r"(timeout)
               : "rcx", "r11", "memory");
  return result;
}

// A signal that comes just before the wake-up is no reason to give an error: Go dies of one.
TEST(FutexTest, WakingIsNotInterrupted) {
  Word word{0};
  AlarmStorm storm;
  for (int i = 0; i < 300'000; ++i) ASSERT_EQ(0, wake_at_plain_site(&word));
}

TEST(FutexTest, PiLock) {
  Word word{0};
  if (sys(SYS_futex, &word, FUTEX_LOCK_PI, 0, nullptr) == -1 && errno == ENOSYS)
    GTEST_SKIP() << "no PI futexes";
  EXPECT_EQ(static_cast<uint32_t>(get_tid()), word & FUTEX_TID_MASK);
  EXPECT_ERR(EDEADLK, sys(SYS_futex, &word, FUTEX_LOCK_PI, 0, nullptr));
  std::thread([&] {
    EXPECT_ERR(EAGAIN, sys(SYS_futex, &word, FUTEX_TRYLOCK_PI, 0, nullptr));
    EXPECT_ERR(EPERM, sys(SYS_futex, &word, FUTEX_UNLOCK_PI));
  }).join();
  EXPECT_OK(sys(SYS_futex, &word, FUTEX_UNLOCK_PI));
  EXPECT_EQ(0u, word & FUTEX_TID_MASK);
}

TEST(FutexTest, Waitv) {
  struct Waitv {
    uint64_t value, address;
    uint32_t flags, reserved;
  };
  Word a{1}, b{2};
  Waitv w[2] = {{1, reinterpret_cast<uint64_t>(&a), 2, 0},
                {3, reinterpret_cast<uint64_t>(&b), 2, 0}};
  const long got = sys(SYS_futex_waitv, w, 2, 0, nullptr, CLOCK_MONOTONIC);
  if (got == -1 && errno == ENOSYS) GTEST_SKIP() << "no futex_waitv";
  EXPECT_ERR(EAGAIN, got);
  EXPECT_ERR(EINVAL, sys(SYS_futex_waitv, w, 0, 0, nullptr, CLOCK_MONOTONIC));
  EXPECT_ERR(EFAULT, sys(SYS_futex_waitv, bad(), 1, 0, nullptr, CLOCK_MONOTONIC));
}

TEST(FutexTest, PingPongBetweenProcesses) {
  SharedMemory<Word> word;
  auto play = [&](uint32_t parity) {
    for (uint32_t i = 0; i < 100; ++i) {
      const uint32_t turn = 2 * i + parity;
      for (uint32_t now; (now = *word) != turn;) sys(SYS_futex, &*word, FUTEX_WAIT, now, nullptr);
      *word = turn + 1;
      sys(SYS_futex, &*word, FUTEX_WAKE, 1);
    }
  };
  const pid_t pid = spawn([&] { play(1); });
  play(0);
  EXPECT_EQ(0, reap(pid));
  EXPECT_EQ(200u, *word);
}

}  // namespace
}  // namespace run9::guest
