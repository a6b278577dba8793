// PiFutexes: the tasks that wait for locks whose word names its owner (futex(2), FUTEX_LOCK_PI and its like). Owned by FutexTable.
//
// The word is the owner's tid, 0 for nobody, and FUTEX_WAITERS once somebody asked for a lock that was taken. Guest threads take
// and give it back by themselves as long as that bit is not set; from then on they ask here. So the bit is set first, at one go
// with whatever guests do to the word, and what is read behind it stays so but for what the kernel writes itself. No priority is
// inherited: the host does not follow ours. Waiters get the lock in the order they came.
#pragma once
#include <cstdint>
#include <list>
#include <optional>
#include <unordered_map>

#include "base/result.h"
#include "sentry/ipc/futex_key.h"

namespace run9::sentry {

class Task;

class PiFutexes {
 public:
  enum class IfTaken { kWait, kFail };
  // EDEADLK: it is the caller's. ESRCH: its owner is no task. EAGAIN: taken, with kFail. deadline on CLOCK_MONOTONIC. Blocks.
  Result<void> lock(Task& task, uint64_t addr, bool is_private, std::optional<uint64_t> deadline, IfTaken if_taken);
  // Gives it to who waits longest. EPERM: it is not the caller's. Blocks.
  Result<void> unlock(Task& task, uint64_t addr, bool is_private);
  // At a thread's end: what it holds goes to who waits for it, with FUTEX_OWNER_DIED.
  void owner_ended(Task& task);

 private:
  struct Waiter {
    Task* task;
    uint64_t addr;  // in its own memory
    enum class State { kWaits, kHas, kLost } state = State::kWaits;  // kLost: its memory has no such word any more
  };
  struct Lock {
    uint32_t owner = 0;
    std::list<Waiter*> waiters;
  };
  using Locks = std::unordered_map<FutexKey, Lock, FutexKey::Hash>;
  static Result<uint32_t> freeze(Task& task, uint64_t addr, uint32_t word);
  Result<void> wait(Task& task, const FutexKey& key, Waiter& waiter, uint32_t owner, std::optional<uint64_t> deadline);
  // False: nobody is left who could have it.
  bool hand_over(Locks::iterator lock, uint32_t flags);
  Locks locks_;  // that somebody waits for
};

}  // namespace run9::sentry
