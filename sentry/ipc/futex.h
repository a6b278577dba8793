// FutexTable: the tasks that sleep on words of guest memory (futex(2)). Owned by Kernel. Keys: for memory that
// is shared, the object behind it and the offset; otherwise the address space and the address, whether
// the caller said FUTEX_PRIVATE or not.
#pragma once
#include <cstdint>
#include <list>
#include <memory>
#include <optional>
#include <span>
#include <unordered_map>

#include "base/result.h"

namespace run9::sentry {

class Task;
class MemoryManager;
class IpcObjects;
class Kernel;

struct FutexKey {
  const void* object = nullptr;
  uint64_t offset = 0;
  bool operator==(const FutexKey&) const = default;
};

class FutexTable {
 public:
  FutexTable();
  ~FutexTable();
  FutexTable(const FutexTable&) = delete;
  FutexTable& operator=(const FutexTable&) = delete;

  static constexpr uint32_t kAnyBit = ~uint32_t{0};

  // EFAULT if nothing is mapped there.
  static Result<FutexKey> key_of(MemoryManager& mm, uint64_t addr, bool is_private);

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
  // As the end of a thread does it, wherever the platform's futexes are. May block.
  void wake_one(Task& task, uint64_t addr);
  // Wakes `wake_n` at `from`, moves up to `move_n` more to `to`; gives the sum.
  int requeue(const FutexKey& from, const FutexKey& to, int wake_n, int move_n);
  // At a thread's end: marks and wakes the locks it still holds.
  void exit_robust_list(Task& task);

  // The sandbox's other IPC tables; here because Kernel owns this one.
  IpcObjects& ipc() { return *ipc_; }

 private:
  struct Waiter;
  struct Hash {
    size_t operator()(const FutexKey& k) const {
      return (reinterpret_cast<uintptr_t>(k.object) * 31 + k.offset / 4) * 0x9e3779b97f4a7c15;
    }
  };
  using Queue = std::list<Waiter*>;
  void enqueue(Waiter& w);
  void dequeue(Waiter& w);
  void robust_death(Task& task, uint64_t addr, bool pi, bool pending);
  std::unordered_map<FutexKey, Queue, Hash> queues_;
  std::unique_ptr<IpcObjects> ipc_;
};

}  // namespace run9::sentry
