// LockTable: the advisory locks of one inode. Record locks (fcntl(2): POSIX, owned by a process, and
// OFD, owned by an open file description) conflict with one another; flock(2) locks are a world apart.
// Owned by the inode.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
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

// A record lock, or flock(2)'s of the whole file, whose owner is a file.
struct OuterLock {
  LockOwner owner;
  bool whole = false;
  LockType type = LockType::kRead;
  LockRange range{};
};

// Of an inode that others lock too, who know nothing of our table: asked once that lets a lock pass, and told of what goes.
class OuterLocks {
 public:
  virtual ~OuterLocks() = default;
  // EAGAIN if somebody else has it and `wait` is kNo; kErestartsys.
  virtual Result<void> lock(OpContext&, const OuterLock&, LockWait) = 0;
  // Does not block.
  virtual void unlock(const OuterLock&) = 0;
  virtual std::optional<HeldLock> conflict(OpContext&, const OuterLock&) = 0;
  // The owner has no lock any more.
  virtual void forget(LockOwner) = 0;
};

class LockTable {
 public:
  // `outer`: null where all who lock it do so here.
  explicit LockTable(LockWaits& waits, std::unique_ptr<OuterLocks> outer = nullptr)
      : waits_(waits), outer_(std::move(outer)) {}

  // EAGAIN if another holds it and `wait` is kNo; kErestartsys, EDEADLK.
  Result<void> lock(OpContext&, LockOwner, LockType, LockRange, LockWait);
  void unlock(LockOwner, LockRange);
  // F_GETLK: the first lock in the way, if any.
  std::optional<HeldLock> conflict(OpContext&, LockOwner, LockType, LockRange) const;

  Result<void> flock(OpContext&, const File&, LockType, LockWait);
  void funlock(const File&);

  // A process closed one of its descriptors of the file: its POSIX locks go.
  void release_process(int32_t tgid);
  // ~File does this.
  void release_file(const File&);
  const std::vector<HeldLock>& records() const { return records_; }  // for /proc/locks

 private:
  struct FlockHeld {
    const File* file;
    LockType type;
  };
  std::optional<HeldLock> own_conflict(LockOwner, LockType, LockRange) const;
  Result<void> wait_for_own(OpContext&, LockOwner, LockType, LockRange, LockWait);
  bool remove_range(LockOwner, LockRange);
  void merge(LockOwner);
  const FlockHeld* flock_conflict(const File&, LockType) const;

  LockWaits& waits_;
  const std::unique_ptr<OuterLocks> outer_;
  std::vector<HeldLock> records_;  // sorted by range.first
  std::vector<FlockHeld> flocks_;
  WaitQueue released_;
};

}  // namespace run9::vfs
