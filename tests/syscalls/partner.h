// Another process or thread that a test has an understanding with by shared memory alone, and what such tests ask of a descriptor.
#pragma once
#include <atomic>
#include <fstream>
#include <functional>
#include <thread>
#include <vector>

#include "tests/syscalls/test_util.h"

namespace run9::guest {

// Another process, with the descriptors of when it was made, that does one thing when it is asked to. No call of ours is needed for that.
class Partner {
 public:
  explicit Partner(const std::function<void()>& thing) {
    word_ = static_cast<uint32_t*>(mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    if (word_ == MAP_FAILED) abort();
    fflush(nullptr);
    pid_ = fork();
    if (pid_ != 0) return;
    await(1);
    thing();
    say(2);
    await(3);
    fflush(nullptr);
    _exit(testing::Test::HasFailure() ? 1 : 0);
  }
  ~Partner() {
    say(3);
    int status = -1;
    EXPECT_EQ(pid_, waitpid(pid_, &status, 0));
    EXPECT_EQ(0, status);
    munmap(word_, kPage);
  }
  void act() const {
    begin();
    end();
  }
  void begin() const { say(1); }
  void end() const { await(2); }

 private:
  void say(uint32_t n) const { __atomic_store_n(word_, n, __ATOMIC_SEQ_CST); }
  void await(uint32_t n) const {
    while (__atomic_load_n(word_, __ATOMIC_SEQ_CST) != n) sched_yield();
  }
  uint32_t* word_;
  pid_t pid_;
};

// Another thread, which does one thing after the other, each when it is asked to. No call of ours is needed for that.
class PartnerThread {
 public:
  explicit PartnerThread(std::vector<std::function<void()>> things)
      : thread_([this, things = std::move(things)] {
          for (size_t i = 0; i < things.size(); ++i) {
            while (asked_ <= i) sched_yield();
            things[i]();
            ++done_;
          }
        }) {}
  // What nobody has asked for by then is done all the same: a test that fails early does not hang.
  ~PartnerThread() {
    asked_ = SIZE_MAX;
    thread_.join();
  }
  void begin() { ++asked_; }
  bool is_over() const { return done_ == asked_; }
  void act() {
    begin();
    while (!is_over()) {
    }
  }

 private:
  std::atomic<size_t> asked_ = 0, done_ = 0;
  std::thread thread_;
};

inline off_t where(int fd) { return lseek(fd, 0, SEEK_CUR); }

// The same as any process may look it up; -1 if it is not said.
inline off_t position_in_proc(pid_t pid, int fd) {
  std::ifstream in("/proc/" + std::to_string(pid) + "/fdinfo/" + std::to_string(fd));
  std::string key;
  off_t position = -1;
  in >> key >> position;
  return key == "pos:" ? position : -1;
}

// Which number open(2) gives next.
inline int next_descriptor() {
  const int number = dup(0);
  close(number);
  return number;
}

}  // namespace run9::guest
