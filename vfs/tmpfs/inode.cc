#include <sys/xattr.h>

#include "vfs/tmpfs/inodes.h"
#include "vfs/watch.h"

namespace run9::vfs {

TmpInode::TmpInode(Tmpfs& fs, const NewOwner& owner, uint64_t rdev, Timespec now)
    : Inode(fs, fs.new_ino(), owner.mode, KeepFs::kNo), quota_(fs.quota()) {
  st_.ino = ino();
  st_.mode = owner.mode;
  st_.uid = owner.uid;
  st_.gid = owner.gid;
  st_.rdev = rdev;
  st_.atime = st_.mtime = st_.ctime = st_.btime = now;
  st_.mask |= 0x800;  // STATX_BTIME
  ++quota_->inodes;
}

TmpInode::~TmpInode() { --quota_->inodes; }

Result<Stat> TmpInode::getattr(OpContext&) {
  Stat st = st_;
  st.dev = fs().dev();
  return st;
}

Result<void> TmpInode::permission(OpContext& ctx, uint32_t mask) {
  return generic_permission(ctx, st_, mask);
}

Result<void> TmpInode::setattr(OpContext& ctx, const SetAttr& a) {
  if ((a.valid & kSetSize) != 0) TRY(set_size(ctx, a.size));
  if ((a.valid & kSetMode) != 0) st_.mode = (st_.mode & S_IFMT) | (a.mode & 07777);
  if ((a.valid & kSetUid) != 0) st_.uid = a.uid;
  if ((a.valid & kSetGid) != 0) st_.gid = a.gid;
  if ((a.valid & (kSetUid | kSetGid)) != 0) xattrs_.erase("security.capability");
  const Timespec now = ctx.now();
  if ((a.valid & kSetAtimeNow) != 0) st_.atime = now;
  if ((a.valid & kSetMtimeNow) != 0) st_.mtime = now;
  if ((a.valid & kSetAtime) != 0) st_.atime = a.atime;
  if ((a.valid & kSetMtime) != 0) st_.mtime = a.mtime;
  changed(now);
  return ok();
}

void TmpInode::drop_privileges(OpContext& ctx) {
  if ((st_.mode & (S_ISUID | S_ISGID)) != 0) {
    st_.mode = mode_after_write(ctx.creds(), st_.mode, st_.gid);
  }
  if (!xattrs_.empty()) {
    if (auto it = xattrs_.find("security.capability"); it != xattrs_.end()) xattrs_.erase(it);
  }
}

void TmpInode::changed(Timespec now) {
  st_.ctime = now;
  notify_inode(*this, kAttributesMoved);
}

void TmpInode::modified(Timespec now) {
  st_.mtime = now;
  changed(now);
}

void TmpInode::accessed(const Path& at, uint32_t open_flags, Timespec now) {
  if ((open_flags & O_NOATIME) == 0) accessed(at.mount ? at.mount->flags : 0, now);
}

bool TmpInode::access_moves(uint32_t mount, Timespec now) const {
  if ((mount & (kMntNoAtime | kMntReadOnly)) != 0) return false;
  if (is_dir() && (mount & kMntNoDirAtime) != 0) return false;
  return (mount & kMntRelAtime) == 0 || relatime_due(st_, now);
}

void TmpInode::accessed(uint32_t mount, Timespec now) {
  if (!access_moves(mount, now)) return;
  st_.atime = now;
  notify_inode(*this, kAttributesMoved);
}

Result<std::vector<std::byte>> TmpInode::getxattr(OpContext&, std::string_view name) {
  if (name.starts_with("system.")) return Errno{EOPNOTSUPP};
  auto it = xattrs_.find(name);
  if (it == xattrs_.end()) return Errno{ENODATA};
  return it->second;
}

Result<void> TmpInode::setxattr(OpContext& ctx, std::string_view name, ByteSpan value, int flags) {
  const bool known = name.starts_with("user.") || name.starts_with("trusted.") ||
                     name.starts_with("security.");
  if (!known) return Errno{EOPNOTSUPP};
  auto it = xattrs_.find(name);
  if (it != xattrs_.end() && (flags & XATTR_CREATE) != 0) return Errno{EEXIST};
  if (it == xattrs_.end() && (flags & XATTR_REPLACE) != 0) return Errno{ENODATA};
  std::vector<std::byte> bytes(value.begin(), value.end());
  xattrs_.insert_or_assign(std::string(name), std::move(bytes));
  changed(ctx.now());
  return ok();
}

Result<void> TmpInode::removexattr(OpContext& ctx, std::string_view name) {
  if (name.starts_with("system.")) return Errno{EOPNOTSUPP};
  auto it = xattrs_.find(name);
  if (it == xattrs_.end()) return Errno{ENODATA};
  xattrs_.erase(it);
  changed(ctx.now());
  return ok();
}

Result<std::vector<std::string>> TmpInode::listxattr(OpContext&) {
  std::vector<std::string> names;
  for (const auto& [name, value] : xattrs_) names.push_back(name);
  return names;
}

}  // namespace run9::vfs
