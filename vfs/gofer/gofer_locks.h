// GoferLocks: a file's locks as the host's other processes and other sandboxes see them. Each owner has an open file of
// its own on the gofer, and its descriptor: record locks are taken and given up on that, by one host call; what has to wait
// asks the gofer to (Tlockx), on the same open file. flock(2) is a call that we do not make: the gofer locks, and lets go of
// the open file, so that the lock ends when our descriptor is closed.
#pragma once
#include <map>
#include <memory>
#include <utility>

#include "base/unique_fd.h"
#include "vfs/gofer/wire.h"
#include "vfs/locks.h"

namespace run9::vfs::gofer {

class GoferInode;

// Owned by the LockTable of the inode. Only where the gofer donates descriptors and has Tlockx.
class GoferLocks final : public OuterLocks {
 public:
  GoferLocks(GoferInode& node, Wire& wire) : node_(node), wire_(wire) {}

  Result<void> lock(OpContext&, const OuterLock&, LockWait) override;
  void unlock(const OuterLock&) override;
  std::optional<HeldLock> conflict(OpContext&, const OuterLock&) override;
  void forget(LockOwner owner) override;

 private:
  struct Open {
    Wire& wire;
    Fid fid;        // kNoFid: the server has let go of it
    UniqueFd host;  // of the same open file as the fid
    ~Open() { wire.drop(fid); }
  };
  using Key = std::pair<const File*, int32_t>;
  static Key key(LockOwner o) { return {o.file, o.tgid}; }
  // Null where the file has no name any more.
  Result<std::shared_ptr<Open>> open();
  // The owner's; opened if there is none.
  Result<std::shared_ptr<Open>> opened(LockOwner owner);
  Result<void> lock_records(OpContext&, const OuterLock&, LockWait);
  Result<void> lock_whole(OpContext&, const OuterLock&, LockWait);

  GoferInode& node_;
  Wire& wire_;
  std::map<Key, std::shared_ptr<Open>> opens_;                // with record locks
  std::map<const File*, std::shared_ptr<Open>> whole_;  // locked by flock(2)
};

}  // namespace run9::vfs::gofer
