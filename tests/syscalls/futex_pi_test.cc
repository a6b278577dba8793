// futex: the lock commands (FUTEX_LOCK_PI and its like), and the mutexes that C libraries make of them. Whether a priority is
// inherited cannot be seen here: all threads have the same.
#include <linux/futex.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

#include <atomic>
#include <csignal>
#include <functional>
#include <thread>

#include "tests/syscalls/test_util.h"

#ifndef FUTEX_LOCK_PI2
#define FUTEX_LOCK_PI2 13
#endif

namespace run9::guest {
namespace {

using Word = std::atomic<uint32_t>;

long lock(Word& word, const timespec* until = nullptr) { return sys(SYS_futex, &word, FUTEX_LOCK_PI, 0, until); }
long unlock(Word& word) { return sys(SYS_futex, &word, FUTEX_UNLOCK_PI, 0); }
long try_lock(Word& word) { return sys(SYS_futex, &word, FUTEX_TRYLOCK_PI, 0); }
uint32_t own() { return static_cast<uint32_t>(get_tid()); }

timespec soon(clockid_t clock, long ns) {
  timespec t;
  clock_gettime(clock, &t);
  t.tv_nsec += ns;
  t.tv_sec += t.tv_nsec / 1'000'000'000;
  t.tv_nsec %= 1'000'000'000;
  return t;
}

void until(const std::function<bool()>& condition) {
  for (int i = 0; i < 20'000 && !condition(); ++i) usleep(500);
  EXPECT_TRUE(condition());
}
bool waited_for(const Word& word) { return (word & FUTEX_WAITERS) != 0; }

// A thread that takes the lock when it can, and gives it back when it is told to.
struct Locker {
  explicit Locker(Word& word, uint32_t expect_died = 0)
      : thread([this, &word, expect_died] {
          tid = own();
          EXPECT_EQ(0, lock(word)) << strerror(errno);
          EXPECT_EQ(tid | expect_died, word & ~FUTEX_WAITERS);
          has = true;
          while (!done) usleep(200);
          EXPECT_EQ(0, unlock(word)) << strerror(errno);
        }) {}
  ~Locker() { release(); }
  void release() {
    done = true;
    if (thread.joinable()) thread.join();
  }
  std::atomic<uint32_t> tid{0};
  std::atomic<bool> has{false}, done{false};
  std::thread thread;
};

TEST(FutexPiTest, Alone) {
  for (const int flag : {0, FUTEX_PRIVATE_FLAG}) {
    Word word{0};
    EXPECT_EQ(0, sys(SYS_futex, &word, FUTEX_LOCK_PI | flag, 0, nullptr));
    EXPECT_EQ(own(), word);
    EXPECT_ERR(EDEADLK, sys(SYS_futex, &word, FUTEX_LOCK_PI | flag, 0, nullptr));
    EXPECT_ERR(EDEADLK, sys(SYS_futex, &word, FUTEX_TRYLOCK_PI | flag, 0));
    EXPECT_EQ(own(), word);
    EXPECT_EQ(0, sys(SYS_futex, &word, FUTEX_UNLOCK_PI | flag, 0));
    EXPECT_EQ(0u, word);
    EXPECT_EQ(0, sys(SYS_futex, &word, FUTEX_TRYLOCK_PI | flag, 0));
    EXPECT_EQ(own(), word);
    EXPECT_EQ(0, sys(SYS_futex, &word, FUTEX_UNLOCK_PI | flag, 0));
    EXPECT_EQ(0u, word);
  }
}

TEST(FutexPiTest, Errors) {
  Word word{0};
  EXPECT_ERR(EPERM, unlock(word)) << "nobody has it";
  EXPECT_EQ(0u, word);
  word = 1 + own();
  EXPECT_ERR(EPERM, unlock(word)) << "somebody else has it";
  for (const int command : {FUTEX_LOCK_PI, FUTEX_TRYLOCK_PI, FUTEX_UNLOCK_PI}) {
    // Who unlocks is asked for last where the word is.
    EXPECT_ERR(command == FUTEX_UNLOCK_PI ? EPERM : EINVAL, sys(SYS_futex, reinterpret_cast<char*>(&word) + 1, command, 0, nullptr));
    EXPECT_ERR(EFAULT, sys(SYS_futex, bad(), command, 0, nullptr));
    EXPECT_ERR(EFAULT, sys(SYS_futex, 0xffff'8000'0000'0000ul, command, 0, nullptr));
    EXPECT_ERR(ENOSYS, sys(SYS_futex, &word, command | FUTEX_CLOCK_REALTIME, 0, nullptr));
  }
  word = 0;
  const timespec wrong = {0, 1'000'000'000};
  EXPECT_ERR(EINVAL, lock(word, &wrong));
  EXPECT_ERR(EFAULT, sys(SYS_futex, &word, FUTEX_LOCK_PI, 0, bad()));
}

TEST(FutexPiTest, OwnerThatIsNotThere) {
  const pid_t child = fork();
  if (child == 0) _exit(0);
  EXPECT_EQ(child, waitpid(child, nullptr, 0));
  const pid_t zombie = fork();
  if (zombie == 0) _exit(0);
  siginfo_t info;
  EXPECT_EQ(0, waitid(P_PID, static_cast<id_t>(zombie), &info, WEXITED | WNOWAIT));
  for (const pid_t tid : {child, zombie}) {
    Word word{static_cast<uint32_t>(tid)};
    EXPECT_ERR(ESRCH, lock(word));
    EXPECT_ERR(ESRCH, try_lock(word));
  }
  EXPECT_EQ(zombie, waitpid(zombie, nullptr, 0));
}

TEST(FutexPiTest, ReadOnlyWord) {
  void* page = mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  for (const int command : {FUTEX_LOCK_PI, FUTEX_TRYLOCK_PI}) EXPECT_ERR(EFAULT, sys(SYS_futex, page, command, 0, nullptr));
  EXPECT_ERR(EPERM, sys(SYS_futex, page, FUTEX_UNLOCK_PI, 0));
  munmap(page, 4096);
}

TEST(FutexPiTest, HandedOver) {
  Word word{0};
  Locker first(word);
  until([&] { return first.has.load(); });
  EXPECT_ERR(EAGAIN, try_lock(word));
  EXPECT_TRUE(waited_for(word)) << "the owner has to ask";
  Locker second(word);
  until([&] { return second.tid != 0; });
  usleep(5'000);
  EXPECT_FALSE(second.has);
  Locker third(word);
  until([&] { return third.tid != 0; });
  usleep(5'000);
  first.release();
  until([&] { return second.has.load(); });
  EXPECT_FALSE(third.has) << "in the order they came";
  EXPECT_EQ(second.tid | FUTEX_WAITERS, word);
  second.release();
  until([&] { return third.has.load(); });
  third.release();
  EXPECT_EQ(0u, word);
}

TEST(FutexPiTest, Timeouts) {
  Word word{0};
  Locker other(word);
  until([&] { return other.has.load(); });
  timespec t = soon(CLOCK_REALTIME, 3'000'000);
  EXPECT_ERR(ETIMEDOUT, lock(word, &t));
  EXPECT_ERR(ETIMEDOUT, lock(word, &t)) << "it is past";
  t = soon(CLOCK_MONOTONIC, 3'000'000);
  EXPECT_ERR(ETIMEDOUT, sys(SYS_futex, &word, FUTEX_LOCK_PI2, 0, &t));
  t = soon(CLOCK_REALTIME, 3'000'000);
  EXPECT_ERR(ETIMEDOUT, sys(SYS_futex, &word, FUTEX_LOCK_PI2 | FUTEX_CLOCK_REALTIME, 0, &t));
  other.release();
  EXPECT_EQ(0u, word) << "nobody waits any more";
  EXPECT_EQ(0, lock(word, &t)) << "that is free: at any time";
  EXPECT_EQ(0, unlock(word));
}

std::atomic<int> signals{0};

TEST(FutexPiTest, ASignalDoesNotEndTheWait) {
  struct sigaction action {};
  action.sa_handler = [](int) { ++signals; };  // without SA_RESTART
  struct sigaction old {};
  sigaction(SIGUSR1, &action, &old);
  Word word{0};
  EXPECT_EQ(0, lock(word));
  Locker other(word);
  until([&] { return waited_for(word); });
  for (int i = 1; i <= 3; ++i) {
    EXPECT_EQ(0, pthread_kill(other.thread.native_handle(), SIGUSR1));
    until([&] { return signals == i; });
  }
  EXPECT_FALSE(other.has);
  EXPECT_EQ(0, unlock(word));
  until([&] { return other.has.load(); });
  other.release();
  sigaction(SIGUSR1, &old, nullptr);
}

TEST(FutexPiTest, OwnerThatEnds) {
  Word word{0};
  std::atomic<bool> go{false};
  std::thread owner([&] {
    EXPECT_EQ(0, lock(word));
    while (!go) usleep(200);
  });
  until([&] { return word != 0; });
  Locker next(word, FUTEX_OWNER_DIED);
  until([&] { return waited_for(word); });
  usleep(5'000);
  EXPECT_FALSE(next.has);
  go = true;
  owner.join();
  until([&] { return next.has.load(); });
  EXPECT_EQ(next.tid | FUTEX_OWNER_DIED, word & ~FUTEX_WAITERS);
  next.release();
  EXPECT_EQ(0u, word);
}

TEST(FutexPiTest, BetweenProcesses) {
  void* page = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  auto& word = *new (page) Word{0};
  EXPECT_EQ(0, lock(word));
  const pid_t child = fork();
  if (child == 0) {
    bool good = lock(word) == 0 && (word & FUTEX_TID_MASK) == own();
    good = good && unlock(word) == 0;
    _exit(good ? 0 : 1);
  }
  until([&] { return waited_for(word); });
  EXPECT_EQ(0, unlock(word));
  int status = -1;
  EXPECT_EQ(child, waitpid(child, &status, 0));
  EXPECT_EQ(0, status);
  EXPECT_EQ(0u, word);
  munmap(page, 4096);
}

TEST(FutexPiTest, WaitersThatAreKilled) {
  void* page = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  auto& word = *new (page) Word{0};
  for (const bool reaped : {true, false}) {
    EXPECT_EQ(0, lock(word));
    pid_t children[3];
    for (size_t i = 0; i < 3; ++i) {
      children[i] = fork();
      if (children[i] == 0) _exit(lock(word) == 0 && unlock(word) == 0 ? 0 : 1);
      usleep(5'000);
    }
    for (const size_t i : {0, 2}) {
      EXPECT_EQ(0, kill(children[i], SIGKILL));
      if (reaped) {
        EXPECT_EQ(children[i], waitpid(children[i], nullptr, 0));
      }
    }
    EXPECT_EQ(0, unlock(word));
    int status = -1;
    EXPECT_EQ(children[1], waitpid(children[1], &status, 0));
    EXPECT_EQ(0, status);
    for (const size_t i : {0, 2}) {
      if (!reaped) {
        EXPECT_EQ(children[i], waitpid(children[i], nullptr, 0));
      }
    }
    EXPECT_EQ(0, lock(word)) << "it is free";
    EXPECT_EQ(0, unlock(word));
    EXPECT_EQ(0u, word);
  }
  munmap(page, 4096);
}

struct Mutex {
  Mutex(bool robust, int shared = PTHREAD_PROCESS_PRIVATE) {
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    EXPECT_EQ(0, pthread_mutexattr_setprotocol(&attributes, PTHREAD_PRIO_INHERIT));
    if (robust) pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    pthread_mutexattr_setpshared(&attributes, shared);
    EXPECT_EQ(0, pthread_mutex_init(&mutex, &attributes));
    pthread_mutexattr_destroy(&attributes);
  }
  ~Mutex() { pthread_mutex_destroy(&mutex); }
  pthread_mutex_t mutex;
};

TEST(FutexPiTest, Mutexes) {
  Mutex m(false);
  int count = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int k = 0; k < 2'000; ++k) {
        ASSERT_EQ(0, pthread_mutex_lock(&m.mutex));
        const int seen = count;
        if (k % 64 == 0) sched_yield();
        count = seen + 1;
        ASSERT_EQ(0, pthread_mutex_unlock(&m.mutex));
      }
    });
  }
  for (auto& t : threads) t.join();
  EXPECT_EQ(8'000, count);
  EXPECT_EQ(0, pthread_mutex_trylock(&m.mutex));
  std::thread([&] {
    EXPECT_EQ(EBUSY, pthread_mutex_trylock(&m.mutex));
    const timespec t = soon(CLOCK_REALTIME, 2'000'000);
    EXPECT_EQ(ETIMEDOUT, pthread_mutex_timedlock(&m.mutex, &t));
  }).join();
  EXPECT_EQ(0, pthread_mutex_unlock(&m.mutex));
}

TEST(FutexPiTest, Conditions) {
  Mutex m(false);
  pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
  int turn = 0;
  std::thread other([&] {
    for (int i = 0; i < 200; ++i) {
      pthread_mutex_lock(&m.mutex);
      while (turn != 1) pthread_cond_wait(&changed, &m.mutex);
      turn = 0;
      pthread_cond_broadcast(&changed);
      pthread_mutex_unlock(&m.mutex);
    }
  });
  for (int i = 0; i < 200; ++i) {
    pthread_mutex_lock(&m.mutex);
    turn = 1;
    pthread_cond_broadcast(&changed);
    while (turn != 0) pthread_cond_wait(&changed, &m.mutex);
    pthread_mutex_unlock(&m.mutex);
  }
  other.join();
  EXPECT_EQ(0, turn);
}

// With a waiter, and without one.
TEST(FutexPiTest, RobustMutexes) {
  for (const bool waits : {true, false}) {
    Mutex m(true);
    std::atomic<bool> has{false}, go{false};
    std::thread owner([&] {
      EXPECT_EQ(0, pthread_mutex_lock(&m.mutex));
      has = true;
      while (!go) usleep(200);
    });
    until([&] { return has.load(); });
    const auto take = [&] {
      EXPECT_EQ(EOWNERDEAD, pthread_mutex_lock(&m.mutex));
      EXPECT_EQ(0, pthread_mutex_consistent(&m.mutex));
      EXPECT_EQ(0, pthread_mutex_unlock(&m.mutex));
    };
    if (waits) {
      std::thread waiter(take);
      usleep(10'000);
      go = true;
      waiter.join();
      owner.join();
    } else {
      go = true;
      owner.join();
      take();
    }
    EXPECT_EQ(0, pthread_mutex_lock(&m.mutex));
    EXPECT_EQ(0, pthread_mutex_unlock(&m.mutex));
  }
}

TEST(FutexPiTest, RobustMutexOfAProcessThatIsKilled) {
  void* page = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  auto& m = *new (page) Mutex(true, PTHREAD_PROCESS_SHARED);
  auto& has = *new (static_cast<char*>(page) + 2048) std::atomic<bool>{false};
  const pid_t child = fork();
  if (child == 0) {
    pthread_mutex_lock(&m.mutex);
    has = true;
    for (;;) pause();
  }
  until([&] { return has.load(); });
  std::thread waiter([&] {
    EXPECT_EQ(EOWNERDEAD, pthread_mutex_lock(&m.mutex));
    EXPECT_EQ(0, pthread_mutex_consistent(&m.mutex));
    EXPECT_EQ(0, pthread_mutex_unlock(&m.mutex));
  });
  usleep(10'000);
  EXPECT_EQ(0, kill(child, SIGKILL));
  waiter.join();
  EXPECT_EQ(child, waitpid(child, nullptr, 0));
  munmap(page, 4096);
}

}  // namespace
}  // namespace run9::guest
