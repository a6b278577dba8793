// Threads and futexes.
#include <linux/futex.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <memory>

#include "bench/micro/rows.h"

namespace run9::bench {
namespace {

long futex(std::atomic<int>& word, int operation, int value) {
  return syscall(SYS_futex, &word, operation | FUTEX_PRIVATE_FLAG, value, nullptr, nullptr, 0);
}

pthread_t start(void* (*body)(void*), void* argument) {
  pthread_t thread;
  errno = pthread_create(&thread, nullptr, body, argument);
  check(errno == 0, "pthread_create");
  return thread;
}

void* nothing(void* p) { return p; }

void thread_create_join(int count) {
  for (int i = 0; i < count; ++i) pthread_join(start(nothing, nullptr), nullptr);
}

void thread_64(int count) {
  for (int i = 0; i < count; ++i) {
    pthread_t threads[64];
    for (pthread_t& t : threads) t = start(nothing, nullptr);
    for (pthread_t t : threads) pthread_join(t, nullptr);
  }
}

void futex_wake(int count) {
  std::atomic<int> word{0};
  for (int i = 0; i < count; ++i) check(futex(word, FUTEX_WAKE, 1) == 0, "futex wake");
}

void futex_wait(int count) {
  std::atomic<int> word{0};
  for (int i = 0; i < count; ++i) check(futex(word, FUTEX_WAIT, 1) == -1 && errno == EAGAIN, "futex wait");
}

// Two threads that hand a turn to each other, each with its own word to sleep on.
class PingPong {
 public:
  PingPong() { other_ = start([](void* self) { return static_cast<PingPong*>(self)->answer(); }, this); }
  ~PingPong() {
    stop_ = true;
    pass_to(1);
    pthread_join(other_, nullptr);
  }
  void play(int count) {
    for (int i = 0; i < count; ++i) {
      pass_to(1);
      await(0);
    }
  }

 private:
  void pass_to(int side) {
    words_[side].store(1);
    futex(words_[side], FUTEX_WAKE, 1);
  }
  void await(int side) {
    while (words_[side].load() == 0) futex(words_[side], FUTEX_WAIT, 0);
    words_[side].store(0);
  }
  void* answer() {
    for (await(1); !stop_; await(1)) pass_to(0);
    return nullptr;
  }

  std::atomic<int> words_[2] = {0, 0};
  std::atomic<bool> stop_{false};
  pthread_t other_;
};

Body futex_ping_pong() {
  return [pair = std::make_shared<PingPong>()](int count) { pair->play(count); };
}

}  // namespace

void add_threads(Rows& rows) {
  rows.push_back({"thread_create_join", [] { return thread_create_join; }});
  rows.push_back({"thread_64", [] { return thread_64; }, 64});
  rows.push_back({"futex_wake", [] { return futex_wake; }});
  rows.push_back({"futex_wait", [] { return futex_wait; }});
  rows.push_back({"futex_ping_pong", futex_ping_pong});
}

}  // namespace run9::bench
