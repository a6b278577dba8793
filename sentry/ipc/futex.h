// FutexTable: the tasks that sleep on words of guest memory (futex(2)). Owned by Kernel.
#pragma once
#include <cstdint>
#include <list>
#include <memory>
#include <optional>
#include <span>
#include <unordered_map>

#include "base/result.h"
#include "sentry/ipc/futex_key.h"
#include "sentry/ipc/pi_futex.h"

namespace run9::sentry {

class Task;
class IpcObjects;
class Kernel;

class FutexTable {
 public:
  FutexTable();
  ~FutexTable();
  FutexTable(const FutexTable&) = delete;
  FutexTable& operator=(const FutexTable&) = delete;

  static constexpr uint32_t kAnyBit = ~uint32_t{0};

  // Sleeps if the word still is `expected`: EAGAIN otherwise. deadline on CLOCK_MONOTONIC.
  Result<void> wait(Task& task, uint64_t addr, bool is_private, uint32_t expected, uint32_t bitset,
                    std::optional<uint64_t> deadline);
  struct WaitSpec {
    uint64_t addr;
    bool is_private;
    uint32_t expected;
  };
  // futex_waitv(2): which of them was woken.
  Result<size_t> wait_any(Task& task, std::span<const WaitSpec> specs,
                          std::optional<uint64_t> deadline);
  // How many were woken.
  int wake(const FutexKey& key, int n, uint32_t bitset = kAnyBit);
  // As the end of a thread does it, wherever the platform's futexes are; clear_and_wake: the word becomes 0 first, if it can. May block.
  void wake_one(Task& task, uint64_t addr);
  void clear_and_wake(Task& task, uint64_t addr);
  // Wakes `wake_n` at `from`, moves up to `move_n` more to `to`; gives the sum.
  int requeue(const FutexKey& from, const FutexKey& to, int wake_n, int move_n);
  // At a thread's end: marks the locks it still holds, and wakes who waits for them.
  void owner_ended(Task& task);

  PiFutexes& locks() { return locks_; }

  // The sandbox's other IPC tables; here because Kernel owns this one.
  IpcObjects& ipc() { return *ipc_; }

 private:
  struct Waiter;
  using Queue = std::list<Waiter*>;
  void enqueue(Waiter& w);
  void dequeue(Waiter& w);
  void exit_robust_list(Task& task);
  void robust_death(Task& task, uint64_t addr, bool pi, bool pending);
  std::unordered_map<FutexKey, Queue, FutexKey::Hash> queues_;
  PiFutexes locks_;
  std::unique_ptr<IpcObjects> ipc_;
};

}  // namespace run9::sentry
