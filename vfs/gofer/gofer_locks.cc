#include "vfs/gofer/gofer_locks.h"

#include <fcntl.h>

#include "vfs/gofer/gofer_fs.h"
#include "vfs/gofer/gofer_inode.h"

namespace run9::vfs::gofer {
namespace {

// To the end of the file, where a range ends there.
uint64_t length_of(const LockRange& r) { return r.last == LockRange::kEof ? 0 : r.last - r.first + 1; }

struct flock to_host(const OuterLock& l, short type) {
  struct flock out = {};
  out.l_type = type;
  out.l_whence = SEEK_SET;
  out.l_start = static_cast<off_t>(l.range.first);
  out.l_len = static_cast<off_t>(length_of(l.range));
  return out;
}

short host_type(LockType t) { return t == LockType::kWrite ? F_WRLCK : F_RDLCK; }

p9::LockType wire_type(LockType t) { return t == LockType::kWrite ? p9::LockType::kWrite : p9::LockType::kRead; }

}  // namespace

Result<std::shared_ptr<GoferLocks::Open>> GoferLocks::open() {
  const Fid fid = TRY(node_.fid());
  // A write lock takes a descriptor for writing, and a read lock may become one.
  Result<Wire::OpenHost> open = Errno{EROFS};
  if (!node_.fs().read_only()) open = wire_.open_host(fid, p9::kORdwr);
  if (!open) open = wire_.open_host(fid, p9::kORdonly);
  if (!open && (open.error() == Errno{ENOENT} || open.error() == Errno{ESTALE})) return nullptr;
  if (!open) return Errno{ENOLCK};
  Wire::OpenHost& o = open.assume_value();
  return std::shared_ptr<Open>(new Open{wire_, o.fid, std::move(o.host)});
}

Result<std::shared_ptr<GoferLocks::Open>> GoferLocks::opened(LockOwner owner) {
  if (const auto it = opens_.find(key(owner)); it != opens_.end()) return it->second;
  auto made = TRY(open());
  if (made == nullptr) return made;
  // Another thread of the owner's may have been quicker.
  return opens_.try_emplace(key(owner), std::move(made)).first->second;
}

Result<void> GoferLocks::lock(OpContext& ctx, const OuterLock& l, LockWait wait) {
  return l.whole ? lock_whole(ctx, l, wait) : lock_records(ctx, l, wait);
}

Result<void> GoferLocks::lock_records(OpContext& ctx, const OuterLock& l, LockWait wait) {
  const auto open = TRY(opened(l.owner));
  if (open == nullptr) return ok();  // who else has it open cannot be asked
  auto range = to_host(l, host_type(l.type));
  if (fcntl(open->host.get(), F_OFD_SETLK, &range) == 0) return ok();
  if (const int e = host_errno(); e != EAGAIN && e != EACCES) return Errno{ENOLCK};
  if (wait == LockWait::kNo) return Errno{EAGAIN};
  const p9::Tlockx request{.fid = open->fid,
                           .type = wire_type(l.type),
                           .flags = p9::kLockWait,
                           .start = l.range.first,
                           .length = length_of(l.range)};
  TRY(wire_.lock(request, [&](WaitQueue& q) { return ctx.wait(q, ~0u); }));
  // The owner may have been forgotten meanwhile, and has a lock again.
  opens_[key(l.owner)] = open;
  return ok();
}

Result<void> GoferLocks::lock_whole(OpContext& ctx, const OuterLock& l, LockWait wait) {
  const auto open = TRY(this->open());
  if (open == nullptr) return ok();
  const p9::Tlockx request{.fid = open->fid,
                           .type = wire_type(l.type),
                           .flags = p9::kLockWhole | (wait == LockWait::kYes ? p9::kLockWait : 0)};
  TRY(wire_.lock(request, [&](WaitQueue& q) { return ctx.wait(q, ~0u); }));
  TRY(wire_.clunk(std::exchange(open->fid, p9::kNoFid)));
  whole_[l.owner.file] = open;
  return ok();
}

void GoferLocks::unlock(const OuterLock& l) {
  if (l.whole) {
    whole_.erase(l.owner.file);
    return;
  }
  const auto it = opens_.find(key(l.owner));
  if (it == opens_.end()) return;
  auto range = to_host(l, F_UNLCK);
  static_cast<void>(fcntl(it->second->host.get(), F_OFD_SETLK, &range));
}

// What the server still has of its open file must not keep a lock.
void GoferLocks::forget(LockOwner owner) {
  opens_.erase(key(owner));
  if (owner.file != nullptr) whole_.erase(owner.file);
}

std::optional<HeldLock> GoferLocks::conflict(OpContext&, const OuterLock& l) {
  const auto open = opened(l.owner);
  if (!open || open.assume_value() == nullptr) return std::nullopt;
  auto found = to_host(l, host_type(l.type));
  if (fcntl(open.assume_value()->host.get(), F_OFD_GETLK, &found) != 0 || found.l_type == F_UNLCK) return std::nullopt;
  const auto first = static_cast<uint64_t>(found.l_start);
  const uint64_t last = found.l_len == 0 ? LockRange::kEof : first + static_cast<uint64_t>(found.l_len) - 1;
  // A process that the guest cannot see has no number; what is no process's has none either.
  return HeldLock{.type = found.l_type == F_WRLCK ? LockType::kWrite : LockType::kRead,
                  .range = {first, last},
                  .pid = found.l_pid < 0 ? -1 : 0};
}

}  // namespace run9::vfs::gofer
