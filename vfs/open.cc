// open(2): the flags, and the checks of may_open in Linux's order.
#include "vfs/walk.h"
#include "vfs/watch.h"

namespace run9::vfs {
namespace {

constexpr uint32_t kTmpfileBit = O_TMPFILE & ~O_DIRECTORY;
constexpr int kMaxRaces = 16;

bool is_special(const Inode& i) {
  const auto t = i.type();
  return t == S_IFIFO || t == S_IFCHR || t == S_IFBLK || t == S_IFSOCK;
}

uint32_t access_mask(uint32_t flags) {
  switch (flags & O_ACCMODE) {
    case O_RDONLY: return kMayRead;
    case O_WRONLY: return kMayWrite;
    default: return kMayRead | kMayWrite;
  }
}

// Flags that the open file keeps, as F_GETFL shows them.
uint32_t status_flags(uint32_t flags) {
  return flags & ~uint32_t{O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | O_CLOEXEC};
}

// What a file system's own open is told: a terminal has to know of O_NOCTTY, and takes it off.
uint32_t opener_flags(const Inode& inode, uint32_t flags) {
  return status_flags(flags) | (inode.type() == S_IFCHR ? flags & O_NOCTTY : 0);
}

Result<void> check_flags(OpenHow& how) {
  if ((how.flags & O_PATH) != 0) {
    how.flags &= O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    return ok();
  }
  if ((how.flags & kTmpfileBit) != 0) {
    if ((how.flags & O_TMPFILE) != O_TMPFILE || (how.flags & O_CREAT) != 0) return Errno{EINVAL};
    if ((access_mask(how.flags) & kMayWrite) == 0) return Errno{EINVAL};
  } else if ((how.flags & (O_CREAT | O_DIRECTORY)) == (O_CREAT | O_DIRECTORY)) {
    return Errno{EINVAL};
  }
  return ok();
}

Result<void> check_type(const Path& p, uint32_t flags, uint32_t mask) {
  Inode& inode = *p.inode();
  if ((flags & O_DIRECTORY) != 0 && !inode.is_dir()) return Errno{ENOTDIR};
  if (inode.is_symlink()) return Errno{ELOOP};
  if (inode.is_dir() && (mask & kMayWrite) != 0) return Errno{EISDIR};
  if ((inode.type() == S_IFCHR || inode.type() == S_IFBLK) && p.mount &&
      (p.mount->flags & kMntNoDev) != 0) {
    return Errno{EACCES};
  }
  return ok();
}

Result<void> truncate_opened(OpContext& ctx, const Path& p) {
  Inode& inode = *p.inode();
  SetAttr a{.valid = kSetSize, .size = 0};
  TRY(prepare_setattr(ctx, TRY(inode.getattr(ctx)), a));
  return inode.setattr(ctx, a);
}

}  // namespace

Result<FileRef> MountNamespace::open(OpContext& ctx, const FsContext& fs, const Path& start,
                                     std::string_view path, const OpenHow& asked) {
  OpenHow how = asked;
  TRY(check_flags(how));
  if ((how.flags & O_PATH) == 0) {
    if ((how.flags & kTmpfileBit) != 0) return open_tmpfile(ctx, fs, start, path, how);
    if ((how.flags & O_CREAT) != 0) return open_create(ctx, fs, start, path, how);
  }
  uint32_t lookup = how.lookup & ~uint32_t{kFollow | kDirectory};
  if ((how.flags & O_NOFOLLOW) == 0) lookup |= kFollow;
  if ((how.flags & O_DIRECTORY) != 0) lookup |= kDirectory;
  if ((how.flags & (O_ACCMODE | O_PATH | O_DIRECTORY | O_TRUNC)) == O_RDONLY) lookup |= kOpenRead;
  return open_existing(ctx, TRY(walk(ctx, fs, start, path, lookup)), how.flags);
}

Result<FileRef> MountNamespace::open_create(OpContext& ctx, const FsContext& fs, const Path& start,
                                            std::string_view path, const OpenHow& how) {
  const bool exclusive = (how.flags & O_EXCL) != 0;
  Walk w(*this, ctx, how.lookup & ~uint32_t{kFollow | kDirectory});
  TRY(w.begin(fs, start, path));
  int races = 0;
  Last last = TRY(w.to_parent());
  while (true) {
    if (last != Last::kName) {
      // A magic link may have led to a file: only then is this not a directory.
      if (exclusive) return Errno{EEXIST};
      if (last == Last::kDot || w.cur().inode()->is_dir()) return Errno{EISDIR};
      return open_existing(ctx, w.cur(), how.flags);
    }
    if (w.trailing_slash()) return Errno{EISDIR};
    DentryRef d = TRY(exclusive ? w.lookup_new() : w.lookup_last());
    if (d->negative()) {
      const Path dir = w.cur();
      if (read_only(dir)) return Errno{EROFS};
      TRY(may_change_dir(ctx, dir));
      auto made = dir.inode()->create(ctx, w.last(), how.mode & 07777 & ~fs.umask);
      if (!made) {
        // Somebody else made it while we waited.
        if (made.error() != Errno{EEXIST} || exclusive || ++races > kMaxRaces) return made.error();
        dir.dentry->drop_child(w.last());
        continue;
      }
      // The mode does not bind the one who makes the file.
      const Path place = created({dir, w.last(), d}, std::move(made).assume_value());
      auto file = TRY(open_path(ctx, place, how.flags & ~uint32_t{O_TRUNC}));
      file->mark_created();
      return file;
    }
    if (exclusive) return Errno{EEXIST};
    if (d->inode()->is_symlink() && (how.flags & O_NOFOLLOW) == 0) {
      TRY(w.follow_link(*d->inode()));
      last = TRY(w.to_parent());
      continue;
    }
    TRY(w.enter(std::move(d)));
    if (w.cur().inode()->is_dir()) return Errno{EISDIR};
    return open_existing(ctx, w.cur(), how.flags);
  }
}

Result<FileRef> MountNamespace::open_tmpfile(OpContext& ctx, const FsContext& fs,
                                             const Path& start, std::string_view path,
                                             const OpenHow& how) {
  uint32_t lookup = (how.lookup | kDirectory) & ~uint32_t{kFollow};
  if ((how.flags & O_NOFOLLOW) == 0) lookup |= kFollow;
  const Path dir = TRY(walk(ctx, fs, start, path, lookup));
  if (read_only(dir)) return Errno{EROFS};
  TRY(may_change_dir(ctx, dir));
  const bool linkable = (how.flags & O_EXCL) == 0;
  InodeRef inode = TRY(dir.inode()->tmpfile(ctx, how.mode & 07777 & ~fs.umask, linkable));
  const std::string name = "#" + std::to_string(inode->ino());
  auto dentry = std::make_shared<Dentry>(dir.dentry, name, std::move(inode));
  dentry->mark_unlinked();
  return open_path(ctx, Path{dir.mount, std::move(dentry)},
                   how.flags & ~uint32_t{O_TMPFILE});
}

Result<FileRef> MountNamespace::open_existing(OpContext& ctx, const Path& p, uint32_t flags) {
  if ((flags & O_PATH) != 0) return open_path(ctx, p, flags);
  Inode& inode = *p.inode();
  if (is_special(inode)) flags &= ~uint32_t{O_TRUNC};
  uint32_t mask = access_mask(flags);
  if ((flags & O_TRUNC) != 0) mask |= kMayWrite;
  TRY(check_type(p, flags, mask));
  TRY(inode_permission(ctx, p, mask));
  if ((flags & O_NOATIME) != 0 &&
      !owner_or_capable(ctx.creds(), TRY(inode.getattr(ctx)).uid)) {
    return Errno{EPERM};
  }
  return open_path(ctx, p, flags);
}

Result<FileRef> MountNamespace::open_path(OpContext& ctx, const Path& p, uint32_t flags) {
  Inode& inode = *p.inode();
  if ((flags & O_PATH) != 0) {
    if ((flags & O_DIRECTORY) != 0 && !inode.is_dir()) return Errno{ENOTDIR};
    return FileRef(std::make_shared<PathFile>(p, status_flags(flags)));
  }
  const uint32_t mask = access_mask(flags);
  TRY(check_type(p, flags, mask));
  if ((mask & kMayWrite) != 0 && inode.is_regular() && read_only(p)) return Errno{EROFS};
  const bool writes = (mask & kMayWrite) != 0 && inode.is_regular();
  const bool truncate = (flags & O_TRUNC) != 0 && inode.is_regular();
  if ((writes || truncate) && inode.executed()) return Errno{ETXTBSY};
  if (truncate) TRY(truncate_opened(ctx, p));
  auto file = inode.open(ctx, p, opener_flags(inode, flags));
  if (!file && file.error() == Errno{ENXIO} && is_special(inode) && special_ != nullptr) {
    file = special_->open_special(ctx, p, opener_flags(inode, flags));
  }
  if (file && writes) TRY(file.value()->hold_write_access());
  if (file) notify_path(p, IN_OPEN);
  if (file && truncate) notify_path(p, IN_MODIFY);
  return file;
}

}  // namespace run9::vfs
