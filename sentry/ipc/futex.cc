#include "sentry/ipc/futex.h"

#include <linux/futex.h>

#include <vector>

#include "sentry/ipc/ipc_objects.h"
#include "sentry/task/kernel.h"
#include "sentry/task/task.h"

namespace run9::sentry {

struct FutexTable::Waiter {
  Task* task = nullptr;
  FutexKey key;
  uint32_t bitset = kAnyBit;
  bool queued = false;
  bool woken = false;
  Queue::iterator at;
};

FutexTable::FutexTable() : ipc_(std::make_unique<IpcObjects>()) {}
FutexTable::~FutexTable() = default;

Result<FutexKey> FutexKey::of(MemoryManager& mm, uint64_t addr, bool is_private) {
  if (addr % 4 != 0) return Errno{EINVAL};
  if (addr >= kGuestEnd) return Errno{EFAULT};
  if (is_private) return FutexKey{&mm, addr};
  const auto it = mm.find(addr);
  if (it == mm.vmas().end()) return Errno{EFAULT};
  const Vma& v = it->second;
  if (!v.shared) return FutexKey{&mm, addr};
  if (v.file) return FutexKey{&v.file->inode(), v.file_offset + (addr - it->first)};
  if (v.backing) return FutexKey{v.backing.get(), v.backing_offset + (addr - it->first)};
  return FutexKey{&mm, addr};
}

void FutexTable::enqueue(Waiter& w) {
  auto& q = queues_[w.key];
  w.at = q.insert(q.end(), &w);
  w.queued = true;
}

void FutexTable::dequeue(Waiter& w) {
  if (!w.queued) return;
  const auto it = queues_.find(w.key);
  it->second.erase(w.at);
  if (it->second.empty()) queues_.erase(it);
  w.queued = false;
}

Result<void> FutexTable::wait(Task& task, uint64_t addr, bool is_private, uint32_t expected,
                              uint32_t bitset, std::optional<uint64_t> deadline) {
  Waiter w{.task = &task, .key = TRY(FutexKey::of(task.memory(), addr, is_private)), .bitset = bitset};
  // Queued before the word is read: a waker that comes in between finds us.
  enqueue(w);
  Result<void> result = ok();
  const auto value = task.memory().read(UserPtr<uint32_t>{addr});
  if (!value.has_value()) {
    result = value.error();
  } else if (value.value() != expected) {
    result = Errno{EAGAIN};
  }
  while (result.has_value() && !w.woken) result = task.sleep(deadline);
  dequeue(w);
  if (w.woken) return ok();
  return result;
}

Result<size_t> FutexTable::wait_any(Task& task, std::span<const WaitSpec> specs,
                                    std::optional<uint64_t> deadline) {
  std::vector<Waiter> waiters(specs.size());
  Result<void> result = ok();
  for (size_t i = 0; i < specs.size() && result.has_value(); ++i) {
    auto key = FutexKey::of(task.memory(), specs[i].addr, specs[i].is_private);
    if (!key.has_value()) {
      result = key.error();
      break;
    }
    waiters[i].task = &task;
    waiters[i].key = key.value();
    enqueue(waiters[i]);
    const auto value = task.memory().read(UserPtr<uint32_t>{specs[i].addr});
    if (!value.has_value()) {
      result = value.error();
    } else if (value.value() != specs[i].expected) {
      result = Errno{EAGAIN};
    }
  }
  std::optional<size_t> woken;
  const auto look = [&] {
    for (size_t i = 0; i < waiters.size() && !woken; ++i) {
      if (waiters[i].woken) woken = i;
    }
    return woken.has_value();
  };
  while (!look() && result.has_value()) result = task.sleep(deadline);
  look();
  for (auto& w : waiters) dequeue(w);
  if (woken) return *woken;
  return result.error();
}

int FutexTable::wake(const FutexKey& key, int n, uint32_t bitset) {
  const auto it = queues_.find(key);
  if (it == queues_.end()) return 0;
  Queue& q = it->second;
  int woken = 0;
  for (auto at = q.begin(); at != q.end();) {
    Waiter& w = **at;
    if ((w.bitset & bitset) == 0) {
      ++at;
      continue;
    }
    at = q.erase(at);
    w.queued = false;
    w.woken = true;
    w.task->wake();
    if (++woken >= n) break;
  }
  if (q.empty()) queues_.erase(key);
  return woken;
}

void FutexTable::wake_one(Task& task, uint64_t addr) {
  if (task.context().has_futex()) return task.memory().space().futex_wake(addr);
  const auto key = FutexKey::of(task.memory(), addr, false);
  if (key.has_value()) wake(key.value(), 1);
}

void FutexTable::clear_and_wake(Task& task, uint64_t addr) {
  const int32_t zero = 0;
  if (task.memory().copy_out(addr, &zero, sizeof zero).has_value()) wake_one(task, addr);
}

int FutexTable::requeue(const FutexKey& from, const FutexKey& to, int wake_n, int move_n) {
  int done = wake_n > 0 ? wake(from, wake_n) : 0;
  const auto it = queues_.find(from);
  if (it == queues_.end()) return done;
  if (from == to) {
    return done + static_cast<int>(std::min<size_t>(it->second.size(), static_cast<size_t>(move_n)));
  }
  Queue moved;
  Queue& source = it->second;
  while (move_n-- > 0 && !source.empty()) {
    source.front()->key = to;
    moved.splice(moved.end(), source, source.begin());
    ++done;
  }
  if (source.empty()) queues_.erase(it);
  if (!moved.empty()) {
    auto& q = queues_[to];
    q.splice(q.end(), moved);
  }
  return done;
}

// handle_futex_death(). Not atomic against guest threads that race for the same word; they see the owner
// gone the next time they look.
void FutexTable::robust_death(Task& task, uint64_t addr, bool pi, bool pending) {
  if (addr % 4 != 0) return;
  const auto value = task.memory().read(UserPtr<uint32_t>{addr});
  if (!value.has_value()) return;
  const uint32_t v = value.value();
  if (pending && !pi && v == 0) {
    wake_one(task, addr);
    return;
  }
  if ((v & FUTEX_TID_MASK) != static_cast<uint32_t>(task.tid())) return;
  const uint32_t next = (v & FUTEX_WAITERS) | FUTEX_OWNER_DIED;
  if (!task.memory().write(UserPtr<uint32_t>{addr}, next).has_value()) return;
  if ((v & FUTEX_WAITERS) != 0 && !pi) wake_one(task, addr);
}

void FutexTable::owner_ended(Task& task) {
  exit_robust_list(task);
  locks_.owner_ended(task);
}

void FutexTable::exit_robust_list(Task& task) {
  struct Head {
    uint64_t next;
    int64_t offset;
    uint64_t pending;
  };
  constexpr int kLimit = 2048;  // ROBUST_LIST_LIMIT
  const uint64_t head_addr = task.context().robust_list();
  if (head_addr == 0) return;
  task.context().set_robust_list(0);
  const auto head = task.memory().read(UserPtr<Head>{head_addr});
  if (!head.has_value()) return;
  const auto [first, offset, pending] = head.value();
  const auto word = [offset = offset](uint64_t entry) { return (entry & ~uint64_t{1}) + static_cast<uint64_t>(offset); };
  uint64_t entry = first;
  for (int i = 0; i < kLimit && (entry & ~uint64_t{1}) != head_addr; ++i) {
    const auto next = task.memory().read(UserPtr<uint64_t>{entry & ~uint64_t{1}});
    if (entry != pending) robust_death(task, word(entry), (entry & 1) != 0, false);
    if (!next.has_value()) return;
    entry = next.value();
  }
  if (pending != 0) robust_death(task, word(pending), (pending & 1) != 0, true);
}

}  // namespace run9::sentry
