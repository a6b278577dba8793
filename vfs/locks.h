// LockTable: the advisory locks of one inode. Record locks (fcntl(2): POSIX, owned by a process, and
// OFD, owned by an open file description) conflict with one another; flock(2) locks are a world apart.
// Owned by the inode.
#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "base/wait_queue.h"
#include "vfs/context.h"

namespace run9::vfs {

class File;

enum class LockType { kRead, kWrite };

// Who holds a record lock: a file for OFD locks, otherwise a thread group.
struct LockOwner {
  const File* file = nullptr;
  int32_t tgid = 0;
  static LockOwner posix(int32_t tgid) { return {nullptr, tgid}; }
  static LockOwner ofd(const File& f) { return {&f, 0}; }
  bool operator==(const LockOwner&) const = default;
};

struct LockRange {
  static constexpr uint64_t kEof = ~uint64_t{0};
  uint64_t first = 0;
  uint64_t last = kEof;  // inclusive
};

struct HeldLock {
  LockOwner owner;
  LockType type = LockType::kRead;
  LockRange range;
  int32_t pid = 0;  // l_pid of F_GETLK: -1 for OFD locks
};

// Which process waits for which, over all files of one file system: EDEADLK comes of it.
class LockWaits {
 public:
  bool would_deadlock(int32_t waiter, int32_t holder) const;
  void add(int32_t waiter, int32_t holder) { edges_.emplace(waiter, holder); }
  void remove(int32_t waiter, int32_t holder);

 private:
  std::multimap<int32_t, int32_t> edges_;
};

enum class LockWait { kNo, kYes };

class LockTable {
 public:
  explicit LockTable(LockWaits& waits) : waits_(waits) {}

  // EAGAIN if another holds it and `wait` is kNo; kErestartsys, EDEADLK.
  Result<void> lock(OpContext&, LockOwner, LockType, LockRange, LockWait);
  void unlock(LockOwner, LockRange);
  // F_GETLK: the first lock in the way, if any.
  std::optional<HeldLock> conflict(LockOwner, LockType, LockRange) const;

  Result<void> flock(OpContext&, const File&, LockType, LockWait);
  void funlock(const File&);

  // A process closed one of its descriptors of the file: its POSIX locks go.
  void release_process(int32_t tgid) { unlock(LockOwner::posix(tgid), {}); }
  // ~File does this.
  void release_file(const File&);
  const std::vector<HeldLock>& records() const { return records_; }  // for /proc/locks

 private:
  struct FlockHeld {
    const File* file;
    LockType type;
  };
  bool remove_range(LockOwner, LockRange);
  void merge(LockOwner);
  const FlockHeld* flock_conflict(const File&, LockType) const;

  LockWaits& waits_;
  std::vector<HeldLock> records_;  // sorted by range.first
  std::vector<FlockHeld> flocks_;
  WaitQueue released_;
};

}  // namespace run9::vfs
