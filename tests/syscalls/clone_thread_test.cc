// Threads: clone with CLONE_THREAD, ids, thread exit, robust lists, rseq, and a storm of pthreads.
#include <linux/futex.h>
#include <pthread.h>
#include <semaphore.h>

#include <atomic>
#include <thread>

#include "tests/syscalls/test_util.h"

namespace run9::guest {
namespace {

constexpr int kThreadFlags =
    CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;

void futex_wait(std::atomic<int>* word, int value) {
  sys(SYS_futex, word, FUTEX_WAIT, value, nullptr);
}

TEST(CloneThreadTest, IdsOfAThread) {
  const pid_t pid = getpid(), tid = get_tid();
  EXPECT_EQ(pid, tid);
  std::thread([&] {
    EXPECT_EQ(pid, sys(SYS_getpid));
    EXPECT_NE(tid, sys(SYS_gettid));
    EXPECT_EQ(getppid(), sys(SYS_getppid));
    EXPECT_OK(sys(SYS_tgkill, pid, get_tid(), 0));
  }).join();
}

// A raw thread: no TLS of its own, so it may only touch what it is given.
struct Raw {
  std::atomic<int> parent_tid, child_tid, ran;
};
int raw_thread(void* arg) {
  static_cast<Raw*>(arg)->ran = 1;
  return 0;
}
// What it finds of its number before it has made a call.
int seeing_thread(void* arg) {
  auto* raw = static_cast<Raw*>(arg);
  raw->ran = raw->parent_tid == 0 ? -1 : raw->parent_tid.load();
  return 0;
}

TEST(CloneThreadTest, ChildClearTidWakesTheFutex) {
  static Raw raw;
  auto* stack = static_cast<char*>(map_anonymous(1 << 16));
  raw.child_tid = -1;
  const int tid = clone(raw_thread, stack + (1 << 16),
                        kThreadFlags | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID, &raw,
                        &raw.parent_tid, nullptr, &raw.child_tid);
  ASSERT_OK(tid);
  EXPECT_EQ(tid, raw.parent_tid);
  for (int value; (value = raw.child_tid) != 0;) futex_wait(&raw.child_tid, value);
  EXPECT_EQ(1, raw.ran);
  munmap(stack, 1 << 16);
}

TEST(CloneThreadTest, TheTidIsThereBeforeTheThreadRuns) {
  static Raw raw;
  auto* stack = static_cast<char*>(map_anonymous(1 << 16));
  for (const int more : {0, CLONE_CHILD_SETTID}) {
    for (int i = 0; i < 200; ++i) {
      raw.child_tid = -1;
      raw.parent_tid = raw.ran = 0;
      const int tid = clone(seeing_thread, stack + (1 << 16), kThreadFlags | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID | more, &raw,
                            &raw.parent_tid, nullptr, &raw.child_tid);
      ASSERT_OK(tid);
      ASSERT_EQ(tid, raw.parent_tid);
      for (int value; (value = raw.child_tid) != 0;) futex_wait(&raw.child_tid, value);
      ASSERT_EQ(tid, raw.ran);
    }
  }
  munmap(stack, 1 << 16);
}

TEST(CloneThreadTest, TidsThatCannotBeTold) {
  static Raw raw;
  auto* stack = static_cast<char*>(map_anonymous(1 << 16));
  raw.ran = 0;
  ASSERT_OK(clone(raw_thread, stack + (1 << 16), kThreadFlags | CLONE_PARENT_SETTID, &raw, bad(), nullptr, nullptr));
  while (raw.ran == 0) sched_yield();
}

TEST(CloneThreadTest, SetTidAddress) {
  in_child([] { EXPECT_EQ(get_tid(), sys(SYS_set_tid_address, nullptr)); });
  // In a shared mapping the clearing is seen from outside, when the process shares its memory with
  // nobody it is not done.
  SharedMemory<std::atomic<int>> word;
  *word = 5;
  in_child([&] { EXPECT_EQ(getpid(), sys(SYS_set_tid_address, &*word)); });
  EXPECT_EQ(5, *word);
}

TEST(CloneThreadTest, ThreadsShareDescriptorsAndDirectory) {
  in_child([] {
    int fd = -1;
    std::thread([&] {
      fd = open("/dev/null", O_RDONLY);
      chdir("/proc");
      umask(077);
    }).join();
    EXPECT_OK(fcntl(fd, F_GETFD));
    char cwd[64];
    EXPECT_STREQ("/proc", getcwd(cwd, sizeof(cwd)));
    EXPECT_EQ(077u, umask(0));
  });
}

TEST(CloneThreadTest, UnshareOfFilesAndFs) {
  in_child([] {
    int fd = open("/dev/null", O_RDONLY);
    std::thread([&] {
      EXPECT_OK(sys(SYS_unshare, CLONE_FILES | CLONE_FS));
      close(fd);
      chdir("/proc");
    }).join();
    EXPECT_OK(fcntl(fd, F_GETFD));
    char cwd[4096];
    EXPECT_STRNE("/proc", getcwd(cwd, sizeof(cwd)));
    EXPECT_ERR(EINVAL, sys(SYS_unshare, 1));
    EXPECT_OK(sys(SYS_unshare, 0));
  });
}

TEST(CloneThreadTest, CredentialsAreOfTheThread) {
  SKIP_UNLESS_ROOT();
  std::thread([] {
    EXPECT_OK(sys(SYS_setresuid, kNobody, kNobody, kNobody));
  }).join();  // raw: this thread only
  EXPECT_EQ(0u, getuid());
}

TEST(CloneThreadTest, SignalMaskIsOfTheThread) {
  std::thread([] {
    uint64_t mask = ~0ull;
    sys(SYS_rt_sigprocmask, SIG_SETMASK, &mask, nullptr, 8);
  }).join();
  uint64_t mask = 1;
  sys(SYS_rt_sigprocmask, SIG_BLOCK, nullptr, &mask, 8);
  EXPECT_EQ(0u, mask);
}

TEST(CloneThreadTest, ExitOfOneThreadLeavesTheOthers) {
  const int status = child_status([] {
    pthread_t thread;
    pthread_create(
        &thread, nullptr,
        [](void* leader) -> void* {
          pthread_join(reinterpret_cast<pthread_t>(leader), nullptr);
          _exit(17);
        },
        reinterpret_cast<void*>(pthread_self()));
    sys(SYS_exit, 3);
  });
  EXPECT_EQ(17, WEXITSTATUS(status));
}

// Runs `rest` in a process whose first thread has ended.
int status_without_first_thread(void (*rest)()) {
  struct Both {
    pthread_t first;
    void (*rest)();
  };
  return child_status([rest] {
    static Both both;
    both = {pthread_self(), rest};
    pthread_t thread;
    pthread_create(
        &thread, nullptr,
        [](void*) -> void* {
          pthread_join(both.first, nullptr);
          both.rest();
          _exit(17);
        },
        nullptr);
    sys(SYS_exit, 3);
  });
}

TEST(CloneThreadTest, AProcessIsWholeWithoutItsFirstThread) {
  const int status = status_without_first_thread([] {
    const int fd = open("/proc/thread-self/exe", O_RDONLY);
    const auto* mapped = static_cast<const char*>(mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE, fd, 0));
    if (mapped == MAP_FAILED || memcmp(mapped, "\177ELF", 4) != 0) _exit(1);
    static char large[200'000];
    if (pread(fd, large, sizeof large, 0) != sizeof large || memcmp(large, mapped, 4096) != 0) _exit(2);
    if (WEXITSTATUS(child_status([] { _exit(9); })) != 9) _exit(3);
  });
  EXPECT_EQ(17, WEXITSTATUS(status));
}

TEST(CloneThreadTest, AProcessIsKilledWithoutItsFirstThread) {
  const int status = status_without_first_thread([] {
    if (fork() == 0) {
      kill(getppid(), SIGKILL);
      _exit(0);
    }
    for (;;) {
    }
  });
  EXPECT_EQ(SIGKILL, WTERMSIG(status));
}

TEST(CloneThreadTest, ParentSeesNoExitUntilTheLastThread) {
  Pipe go;
  const pid_t pid = spawn([&] {
    pthread_t thread;
    pthread_create(
        &thread, nullptr,
        [](void* p) -> void* {
          static_cast<Pipe*>(p)->await();
          _exit(8);
        },
        &go);
    sys(SYS_exit, 3);
  });
  int status;
  await_sleep(pid, pid);
  EXPECT_EQ(0, waitpid(pid, &status, WNOHANG));
  go.notify();
  EXPECT_EQ(8, WEXITSTATUS(reap(pid)));
}

TEST(CloneThreadTest, RobustListErrors) {
  struct Head {
    void* next;
    long offset;
    void* pending;
  } head = {&head, 0, nullptr};
  in_child([&] {
    EXPECT_OK(sys(SYS_set_robust_list, &head, sizeof(head)));
    void* got = nullptr;
    size_t size = 0;
    EXPECT_OK(sys(SYS_get_robust_list, 0, &got, &size));
    EXPECT_EQ(&head, got);
    EXPECT_EQ(sizeof(head), size);
    EXPECT_ERR(EINVAL, sys(SYS_set_robust_list, &head, 8));
    EXPECT_ERR(ESRCH, sys(SYS_get_robust_list, 999999, &got, &size));
    EXPECT_ERR(EFAULT, sys(SYS_get_robust_list, 0, bad(), &size));
    EXPECT_ERR(EFAULT, sys(SYS_get_robust_list, 0, &got, bad()));
  });
}

TEST(CloneThreadTest, RobustMutexTellsOfTheOwnersDeath) {
  SharedMemory<pthread_mutex_t> mutex;
  pthread_mutexattr_t attr;
  pthread_mutexattr_init(&attr);
  pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
  pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
  pthread_mutex_init(&*mutex, &attr);
  Pipe locked;
  const pid_t pid = spawn([&] {
    pthread_mutex_lock(&*mutex);
    locked.notify();
    for (;;) pause();
  });
  locked.await();
  EXPECT_EQ(EBUSY, pthread_mutex_trylock(&*mutex));
  const pid_t waiter = spawn([&] {
    EXPECT_EQ(EOWNERDEAD, pthread_mutex_lock(&*mutex));  // blocks until the owner is killed
    pthread_mutex_consistent(&*mutex);
    pthread_mutex_unlock(&*mutex);
  });
  await_sleep(waiter, waiter);
  kill(pid, SIGKILL);
  reap(pid);
  EXPECT_EQ(0, reap(waiter));
  EXPECT_EQ(0, pthread_mutex_lock(&*mutex));
  pthread_mutex_unlock(&*mutex);
}

TEST(CloneThreadTest, RseqIsRegisteredOnce) {
  // glibc registered the area of this thread already.
  alignas(32) static char area[32];
  const long got = sys(SYS_rseq, area, 32, 0, 0x53053053);
  ASSERT_EQ(-1, got);
  if (errno == ENOSYS) GTEST_SKIP() << "no rseq in this kernel";
  EXPECT_TRUE(errno == EBUSY || errno == EINVAL) << errno_name(errno);
  EXPECT_ERR(EINVAL, sys(SYS_rseq, area + 1, 32, 0, 0x53053053));
  EXPECT_ERR(EINVAL, sys(SYS_rseq, area, 32, 64, 0x53053053));
}

TEST(CloneThreadTest, Storm) {
  std::atomic<int> total{0};
  for (int round = 0; round < 20; ++round) {
    std::vector<std::thread> threads;
    for (int i = 0; i < 20; ++i) {
      threads.emplace_back([&total] {
        std::string s(100, 'x');
        for (int j = 0; j < 10; ++j) s += std::to_string(j);
        total += static_cast<int>(s.size());
      });
    }
    for (auto& t : threads) t.join();
  }
  EXPECT_EQ(400 * 110, total);
}

TEST(CloneThreadTest, MutexAndConditionUnderContention) {
  pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
  pthread_cond_t turn = PTHREAD_COND_INITIALIZER;
  int next = 0;
  std::vector<std::thread> threads;
  for (int id = 0; id < 4; ++id) {
    threads.emplace_back([&, id] {
      for (int round = 0; round < 100; ++round) {
        pthread_mutex_lock(&mutex);
        while (next % 4 != id) pthread_cond_wait(&turn, &mutex);
        ++next;
        pthread_cond_broadcast(&turn);
        pthread_mutex_unlock(&mutex);
      }
    });
  }
  for (auto& t : threads) t.join();
  EXPECT_EQ(400, next);
}

TEST(CloneThreadTest, ThreadsThatForkAndMap) {
  std::vector<std::thread> threads;
  std::atomic<int> good{0};
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&good] {
      for (int j = 0; j < 10; ++j) {
        void* p = map_anonymous(16 * kPage);
        memset(p, 1, 16 * kPage);
        const pid_t pid = fork();
        if (pid == 0) _exit(static_cast<char*>(p)[kPage] == 1 ? 0 : 1);
        if (reap(pid) == 0) ++good;
        munmap(p, 16 * kPage);
      }
    });
  }
  for (auto& t : threads) t.join();
  EXPECT_EQ(40, good);
}

TEST(CloneThreadTest, ThreadStackOverflowHitsItsGuard) {
  const int status = child_status([] {
    std::thread([] {
      volatile char* p = static_cast<char*>(__builtin_frame_address(0));
      for (;;) {
        p -= kPage;
        *p = 1;
      }
    }).join();
  });
  EXPECT_EQ(SIGSEGV, WTERMSIG(status));
}

TEST(CloneThreadTest, CancelAndCleanup) {
  Pipe p;
  std::atomic<pid_t> tid{0};
  struct Arg {
    Pipe* p;
    std::atomic<pid_t>* tid;
  } arg = {&p, &tid};
  pthread_t thread;
  pthread_create(
      &thread, nullptr,
      [](void* raw) -> void* {
        auto* a = static_cast<Arg*>(raw);
        *a->tid = get_tid();
        char c;
        (void)!read(a->p->r, &c, 1);  // blocks for good: the signal of pthread_cancel ends it
        return nullptr;
      },
      &arg);
  while (tid == 0) sched_yield();
  await_sleep(getpid(), tid);
  pthread_cancel(thread);
  void* result = nullptr;
  pthread_join(thread, &result);
  EXPECT_EQ(PTHREAD_CANCELED, result);
}

TEST(CloneThreadTest, ProcessSharedSemaphore) {
  struct Shared {
    sem_t ping, pong;
    int value;
  };
  SharedMemory<Shared> s;
  sem_init(&s->ping, 1, 0);
  sem_init(&s->pong, 1, 0);
  const pid_t pid = spawn([&] {
    for (int i = 0; i < 100; ++i) {
      sem_wait(&s->ping);
      ++s->value;
      sem_post(&s->pong);
    }
  });
  for (int i = 0; i < 100; ++i) {
    sem_post(&s->ping);
    sem_wait(&s->pong);
    EXPECT_EQ(i + 1, s->value);
  }
  EXPECT_EQ(0, reap(pid));
}

}  // namespace
}  // namespace run9::guest
