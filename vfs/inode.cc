#include "vfs/inode.h"

#include "vfs/dentry.h"
#include "vfs/file.h"
#include "vfs/locks.h"
#include "vfs/permission.h"
#include "vfs/watch.h"

namespace run9::vfs {

FileSystem::FileSystem() : lock_waits_(std::make_unique<LockWaits>()) {}
FileSystem::~FileSystem() = default;

DentryRef FileSystem::root_dentry() {
  if (auto d = root_dentry_.lock()) return d;
  auto d = std::make_shared<Dentry>(nullptr, "", root());
  root_dentry_ = d;
  return d;
}

Inode::Inode(FileSystem& fs, uint64_t ino, uint32_t mode, KeepFs keep)
    : keep_alive_(keep == KeepFs::kYes ? fs.weak_from_this().lock() : nullptr),
      fs_(&fs),
      ino_(ino),
      mode_(mode) {}
Inode::~Inode() = default;

Result<UniqueFd> Inode::connect(OpContext&, int) { return Errno{ECONNREFUSED}; }
std::unique_ptr<OuterLocks> Inode::outer_locks() { return nullptr; }

LockTable& Inode::locks() {
  if (!locks_) locks_ = std::make_unique<LockTable>(fs_->lock_waits(), outer_locks());
  return *locks_;
}

WatchList& Inode::watches() {
  if (!watches_) watches_ = std::make_unique<WatchList>();
  return *watches_;
}

Result<void> Inode::setattr(OpContext&, const SetAttr&) { return Errno{EPERM}; }
Result<FileRights> Inode::rights(OpContext& ctx) {
  const Stat st = TRY(getattr(ctx));
  return FileRights{st.mode, st.uid, st.gid};
}
std::optional<bool> Inode::known_name(OpContext&, std::string_view, const Inode&, Intent) { return std::nullopt; }
Result<bool> Inode::revalidate(OpContext&, std::span<const CachedName>, Intent) { return false; }

Result<InodeRef> Inode::lookup(OpContext&, std::string_view) { return Errno{ENOTDIR}; }

Result<std::vector<InodeRef>> Inode::lookup_many(OpContext& ctx,
                                                 std::span<const std::string_view> names, Intent) {
  std::vector<InodeRef> found;
  found.push_back(TRY(lookup(ctx, names.front())));
  return found;
}

Result<InodeRef> Inode::create(OpContext&, std::string_view, uint32_t) { return Errno{EPERM}; }
Result<InodeRef> Inode::mkdir(OpContext&, std::string_view, uint32_t) { return Errno{EPERM}; }
Result<InodeRef> Inode::mknod(OpContext&, std::string_view, uint32_t, uint64_t) {
  return Errno{EPERM};
}
Result<InodeRef> Inode::symlink(OpContext&, std::string_view, std::string_view) {
  return Errno{EPERM};
}
Result<void> Inode::link(OpContext&, std::string_view, Inode&) { return Errno{EPERM}; }
Result<InodeRef> Inode::tmpfile(OpContext&, uint32_t, bool) { return Errno{EOPNOTSUPP}; }
Result<void> Inode::unlink(OpContext&, std::string_view, Inode&) { return Errno{EPERM}; }
Result<void> Inode::rmdir(OpContext&, std::string_view, Inode&) { return Errno{EPERM}; }
Result<void> Inode::rename(OpContext&, std::string_view, Inode&, Inode&, std::string_view, Inode*,
                           uint32_t) {
  return Errno{EPERM};
}

Result<std::string> Inode::readlink(OpContext&) { return Errno{EINVAL}; }
Result<std::string> Inode::follow(OpContext& ctx, Path&) { return readlink(ctx); }

Result<FileRef> Inode::open(OpContext&, const Path&, uint32_t) { return Errno{ENXIO}; }

Result<std::vector<std::byte>> Inode::getxattr(OpContext&, std::string_view) {
  return Errno{EOPNOTSUPP};
}
Result<void> Inode::setxattr(OpContext&, std::string_view, ByteSpan, int) {
  return Errno{EOPNOTSUPP};
}
Result<void> Inode::removexattr(OpContext&, std::string_view) { return Errno{EOPNOTSUPP}; }
Result<std::vector<std::string>> Inode::listxattr(OpContext&) { return Errno{EOPNOTSUPP}; }

Result<void> Inode::permission(OpContext& ctx, uint32_t mask) {
  return generic_permission(ctx, TRY(getattr(ctx)), mask);
}

}  // namespace run9::vfs
