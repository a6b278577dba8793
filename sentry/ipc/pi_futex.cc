#include "sentry/ipc/pi_futex.h"

#include <linux/futex.h>

#include "sentry/task/kernel.h"
#include "sentry/task/task.h"

namespace run9::sentry {
namespace {

Result<uint32_t> read_word(Task& task, uint64_t addr) { return task.memory().read(UserPtr<uint32_t>{addr}); }
Result<void> write_word(Task& task, uint64_t addr, uint32_t value) { return task.memory().write(UserPtr<uint32_t>{addr}, value); }

uint32_t tid_of(const Task& task) { return static_cast<uint32_t>(task.tid()); }

}  // namespace

// What the word, which was `word`, says once no guest thread changes it without asking.
Result<uint32_t> PiFutexes::freeze(Task& task, uint64_t addr, uint32_t word) {
  static_assert(FUTEX_WAITERS == 1u << 31);
  constexpr int kTries = 64;  // then everybody else has a turn
  // More than once if it was given back or taken here, while we were on our way.
  for (int tries = 0; (word & FUTEX_WAITERS) == 0; ++tries) {
    if (tries == kTries) return kErestartnointr;
    if (const auto set = task.context().set_top_bit(addr); !set.has_value()) return set.error() == Errno{EINTR} ? kErestartnointr : set.error();
    word = TRY(read_word(task, addr));
  }
  return word;
}

Result<void> PiFutexes::lock(Task& task, uint64_t addr, bool is_private, std::optional<uint64_t> deadline, IfTaken if_taken) {
  const FutexKey key = TRY(FutexKey::of(task.memory(), addr, is_private));
  uint32_t word = TRY(read_word(task, addr));
  if ((word & FUTEX_TID_MASK) == tid_of(task)) return Errno{EDEADLK};
  word = TRY(freeze(task, addr, word));
  const uint32_t owner = word & FUTEX_TID_MASK;
  if (owner == 0) {
    const uint32_t waiters = locks_.contains(key) ? FUTEX_WAITERS : 0;
    return write_word(task, addr, tid_of(task) | (word & FUTEX_OWNER_DIED) | waiters);
  }
  if (owner == tid_of(task)) return Errno{EDEADLK};
  if (const Task* other = task.kernel().find_task(static_cast<int32_t>(owner)); other == nullptr || other->gone()) return Errno{ESRCH};
  if (if_taken == IfTaken::kFail) return Errno{EAGAIN};
  Waiter waiter{&task, addr};
  return wait(task, key, waiter, owner, deadline);
}

Result<void> PiFutexes::wait(Task& task, const FutexKey& key, Waiter& waiter, uint32_t owner, std::optional<uint64_t> deadline) {
  Lock& lock = locks_[key];
  lock.owner = owner;
  lock.waiters.push_back(&waiter);
  Result<void> slept = ok();
  while (slept.has_value() && waiter.state == Waiter::State::kWaits) slept = task.sleep(deadline);
  if (waiter.state == Waiter::State::kHas) return ok();
  if (waiter.state == Waiter::State::kLost) return Errno{EFAULT};
  const auto it = locks_.find(key);
  it->second.waiters.remove(&waiter);
  if (it->second.waiters.empty()) locks_.erase(it);
  return slept.error() == kErestartsys ? kErestartnointr : slept;
}

bool PiFutexes::hand_over(Locks::iterator it, uint32_t flags) {
  auto& [owner, waiters] = it->second;
  bool has = false;
  // Not to who ends: it leaves the list by itself.
  for (auto at = waiters.begin(); at != waiters.end() && !has;) {
    Waiter& next = **at;
    if (next.task->exiting()) {
      ++at;
      continue;
    }
    at = waiters.erase(at);
    has = write_word(*next.task, next.addr, tid_of(*next.task) | FUTEX_WAITERS | flags).has_value();
    if (has) owner = tid_of(*next.task);
    next.state = has ? Waiter::State::kHas : Waiter::State::kLost;
    next.task->wake();
  }
  if (waiters.empty()) locks_.erase(it);
  return has;
}

Result<void> PiFutexes::unlock(Task& task, uint64_t addr, bool is_private) {
  const uint32_t word = TRY(read_word(task, addr));
  if ((word & FUTEX_TID_MASK) != tid_of(task)) return Errno{EPERM};
  const FutexKey key = TRY(FutexKey::of(task.memory(), addr, is_private));
  if ((TRY(freeze(task, addr, word)) & FUTEX_TID_MASK) != tid_of(task)) return Errno{EPERM};
  if (const auto lock = locks_.find(key); lock != locks_.end() && hand_over(lock, 0)) return ok();
  return write_word(task, addr, 0);
}

void PiFutexes::owner_ended(Task& task) {
  for (auto it = locks_.begin(); it != locks_.end();) {
    const auto lock = it++;
    if (lock->second.owner != tid_of(task)) continue;
    hand_over(lock, FUTEX_OWNER_DIED);
  }
}

}  // namespace run9::sentry
