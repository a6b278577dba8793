// Making, removing and renaming names. The order of the checks is that of Linux's fs/namei.c: programs
// (and the tests of LTP) tell the errors apart.
#include "vfs/walk.h"
#include "vfs/watch.h"

namespace run9::vfs {
namespace {

Errno dots_error(Last last, const std::string& name, int dot, int dotdot, int root) {
  if (last == Last::kRoot) return Errno{root};
  return Errno{name == "." ? dot : dotdot};
}

// protected_hardlinks: a link to a file that one may not write could keep a set-user-ID program alive.
Result<void> may_link(OpContext& ctx, Inode& target) {
  const Stat st = TRY(target.getattr(ctx));
  if (owner_or_capable(ctx.creds(), st.uid)) return ok();
  const bool set_id = (st.mode & S_ISUID) != 0 ||
                      (st.mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP);
  if (!S_ISREG(st.mode) || set_id) return Errno{EPERM};
  if (!target.permission(ctx, kMayRead | kMayWrite)) return Errno{EPERM};
  return ok();
}

struct Moved {
  Inode& from;
  const std::string& name;
  Inode& victim;
  Inode& to;
  const std::string& new_name;
};

// fsnotify_move(): the cookie ties the two ends together.
void notify_moved(OpContext& ctx, const Moved& m, Inode* target, bool exchange, uint32_t cookie) {
  notify_name(m.from, m.name, IN_MOVED_FROM, m.victim.is_dir(), cookie);
  notify_name(m.to, m.new_name, IN_MOVED_TO, m.victim.is_dir(), cookie);
  if (target != nullptr && !exchange) notify_unlinked(ctx, *target);
  notify_inode(m.victim, IN_MOVE_SELF);
  if (target == nullptr || !exchange) return;
  notify_name(m.to, m.new_name, IN_MOVED_FROM, target->is_dir(), cookie);
  notify_name(m.from, m.name, IN_MOVED_TO, target->is_dir(), cookie);
  notify_inode(*target, IN_MOVE_SELF);
}

}  // namespace

Result<MountNamespace::NewName> MountNamespace::new_name(OpContext& ctx, const FsContext& fs,
                                                         const Path& start, std::string_view path,
                                                         bool directory) {
  Walk w(*this, ctx, 0);
  TRY(w.begin(fs, start, path));
  if (TRY(w.to_parent()) != Last::kName) return Errno{EEXIST};
  DentryRef d = TRY(w.lookup_new());
  if (!d->negative()) return Errno{EEXIST};
  if (w.trailing_slash() && !directory) return Errno{ENOENT};
  if (read_only(w.cur())) return Errno{EROFS};
  TRY(may_change_dir(ctx, w.cur()));
  return NewName{w.cur(), w.last(), std::move(d)};
}

// Makes the negative dentry of a new name positive.
Path MountNamespace::created(const NewName& at, InodeRef inode) {
  DentryRef d = at.dir.dentry->child(at.name);
  if (d && d->negative()) {
    d->make_positive(std::move(inode));
  } else if (!d || d->inode_ref() != inode) {
    d = at.dir.dentry->add_child(at.name, std::move(inode));
  }
  if (d->inode()->fs().caching() != Caching::kNone) shared_->cache.touch(d);
  notify_name(*at.dir.inode(), at.name, IN_CREATE, d->inode()->is_dir());
  return Path{at.dir.mount, std::move(d)};
}

// The name is gone: remembers so where nobody else could make it again.
void MountNamespace::removed(const Path& dir, Dentry& victim) {
  const std::string name = victim.name();
  const bool still_there = dir.dentry->child(name).get() == &victim;
  victim.mark_unlinked();
  shared_->cache.drop(victim);
  if (still_there && dir.inode()->fs().caching() == Caching::kAuthoritative) {
    shared_->cache.touch(dir.dentry->add_child(name, nullptr));
  }
}

Result<void> MountNamespace::mkdir(OpContext& ctx, const FsContext& fs, const Path& start,
                                   std::string_view path, uint32_t mode) {
  const NewName at = TRY(new_name(ctx, fs, start, path, true));
  const uint32_t allowed = mode & (0777 | S_ISVTX) & ~fs.umask;
  created(at, TRY(at.dir.inode()->mkdir(ctx, at.name, allowed)));
  return ok();
}

Result<Path> MountNamespace::mknod(OpContext& ctx, const FsContext& fs, const Path& start,
                                   std::string_view path, uint32_t mode, uint64_t rdev) {
  uint32_t type = mode & S_IFMT;
  if (type == 0) type = S_IFREG;
  if (type == S_IFDIR) return Errno{EPERM};
  const bool device = type == S_IFCHR || type == S_IFBLK;
  if (type != S_IFREG && type != S_IFIFO && type != S_IFSOCK && !device) return Errno{EINVAL};
  const NewName at = TRY(new_name(ctx, fs, start, path, false));
  // A whiteout (character device 0:0) is no device, anybody may make one.
  const bool whiteout = type == S_IFCHR && rdev == 0;
  if (device && !whiteout && !ctx.creds().has_cap(CAP_MKNOD)) return Errno{EPERM};
  const uint32_t allowed = mode & 07777 & ~fs.umask;
  Inode& dir = *at.dir.inode();
  if (type == S_IFREG) return created(at, TRY(dir.create(ctx, at.name, allowed)));
  return created(at, TRY(dir.mknod(ctx, at.name, type | allowed, device ? rdev : 0)));
}

Result<void> MountNamespace::symlink(OpContext& ctx, const FsContext& fs, const Path& start,
                                     std::string_view path, std::string_view target) {
  if (target.empty()) return Errno{ENOENT};
  if (target.size() >= kPathMax) return Errno{ENAMETOOLONG};
  const NewName at = TRY(new_name(ctx, fs, start, path, false));
  created(at, TRY(at.dir.inode()->symlink(ctx, at.name, target)));
  return ok();
}

Result<void> MountNamespace::link(OpContext& ctx, const FsContext& fs, const Path& existing,
                                  const Path& start, std::string_view path) {
  const NewName at = TRY(new_name(ctx, fs, start, path, false));
  if (at.dir.mount != existing.mount) return Errno{EXDEV};
  Inode& target = *existing.inode();
  TRY(may_link(ctx, target));
  if (target.is_dir()) return Errno{EPERM};
  TRY(at.dir.inode()->link(ctx, at.name, target));
  notify_inode(target, IN_ATTRIB);
  created(at, existing.dentry->inode_ref());
  return ok();
}

// The walk to a name that is to go: filename_parentat, the dots, EROFS, then the lookup.
Result<MountNamespace::OldName> MountNamespace::old_name(OpContext& ctx, const FsContext& fs,
                                                         const Path& start, std::string_view path,
                                                         int dot_error, int dotdot_error,
                                                         int root_error, bool& trailing_slash) {
  Walk w(*this, ctx, 0);
  TRY(w.begin(fs, start, path));
  const Last last = TRY(w.to_parent());
  if (last != Last::kName) {
    return dots_error(last, w.last(), dot_error, dotdot_error, root_error);
  }
  trailing_slash = w.trailing_slash();
  if (read_only(w.cur())) return Errno{EROFS};
  DentryRef d = TRY(w.lookup_last());
  if (d->negative()) return Errno{ENOENT};
  return OldName{w.cur(), std::move(d)};
}

Result<void> MountNamespace::unlink(OpContext& ctx, const FsContext& fs, const Path& start,
                                    std::string_view path) {
  bool slash = false;
  const OldName at = TRY(old_name(ctx, fs, start, path, EISDIR, EISDIR, EISDIR, slash));
  Inode& victim = *at.dentry->inode();
  if (slash) return Errno{victim.is_dir() ? EISDIR : ENOTDIR};
  TRY(may_delete(ctx, at.dir, victim, false));
  if (at.dentry->mounts != 0) return Errno{EBUSY};
  const std::string name = at.dentry->name();
  TRY(at.dir.inode()->unlink(ctx, name, victim));
  removed(at.dir, *at.dentry);
  notify_name(*at.dir.inode(), name, IN_DELETE, false);
  notify_unlinked(ctx, victim);
  return ok();
}

Result<void> MountNamespace::rmdir(OpContext& ctx, const FsContext& fs, const Path& start,
                                   std::string_view path) {
  bool slash = false;
  const OldName at = TRY(old_name(ctx, fs, start, path, EINVAL, ENOTEMPTY, EBUSY, slash));
  Inode& victim = *at.dentry->inode();
  TRY(may_delete(ctx, at.dir, victim, true));
  if (at.dentry->mounts != 0) return Errno{EBUSY};
  const std::string name = at.dentry->name();
  TRY(at.dir.inode()->rmdir(ctx, name, victim));
  removed(at.dir, *at.dentry);
  notify_name(*at.dir.inode(), name, IN_DELETE, true);
  notify_unlinked(ctx, victim);
  return ok();
}

// vfs_rename up to the call of the file system. to.dentry is negative where there is no target.
Result<void> MountNamespace::rename_checks(OpContext& ctx, const OldName& from, const OldName& to,
                                           uint32_t flags) {
  Inode& victim = *from.dentry->inode();
  Inode* target = to.dentry->inode();
  const bool exchange = (flags & RenameFlags::kExchange) != 0;
  TRY(may_delete(ctx, from.dir, victim, victim.is_dir()));
  if (target == nullptr) {
    TRY(may_change_dir(ctx, to.dir));
  } else {
    TRY(may_delete(ctx, to.dir, *target, exchange ? target->is_dir() : victim.is_dir()));
  }
  // ".." of a moved directory changes: that is a write to it.
  if (from.dir.dentry != to.dir.dentry) {
    if (victim.is_dir()) TRY(victim.permission(ctx, kMayWrite));
    if (exchange && target->is_dir()) TRY(target->permission(ctx, kMayWrite));
  }
  if (from.dentry->mounts != 0 || to.dentry->mounts != 0) return Errno{EBUSY};
  return ok();
}

Result<void> MountNamespace::rename(OpContext& ctx, const FsContext& fs, const Path& start,
                                    std::string_view path, const Path& new_start,
                                    std::string_view new_path, uint32_t flags) {
  constexpr uint32_t kAll = RenameFlags::kNoReplace | RenameFlags::kExchange |
                            RenameFlags::kWhiteout;
  const bool exchange = (flags & RenameFlags::kExchange) != 0;
  const bool no_replace = (flags & RenameFlags::kNoReplace) != 0;
  if ((flags & ~kAll) != 0 || (exchange && (flags & ~RenameFlags::kExchange) != 0)) {
    return Errno{EINVAL};
  }
  Walk old_walk(*this, ctx, 0);
  TRY(old_walk.begin(fs, start, path));
  const Last old_last = TRY(old_walk.to_parent());
  Walk new_walk(*this, ctx, 0);
  TRY(new_walk.begin(fs, new_start, new_path));
  const Last new_last = TRY(new_walk.to_parent());
  if (old_walk.cur().mount != new_walk.cur().mount) return Errno{EXDEV};
  if (old_last != Last::kName) return Errno{EBUSY};
  if (new_last != Last::kName) return Errno{no_replace ? EEXIST : EBUSY};
  if (read_only(old_walk.cur())) return Errno{EROFS};

  const OldName from{old_walk.cur(), TRY(old_walk.lookup_last())};
  if (from.dentry->negative()) return Errno{ENOENT};
  OldName to{new_walk.cur(), TRY(new_walk.lookup_last())};
  const InodeRef victim = from.dentry->inode_ref();
  const InodeRef target = to.dentry->inode_ref();
  if (no_replace && target) return Errno{EEXIST};
  if (exchange) {
    if (!target) return Errno{ENOENT};
    if (new_walk.trailing_slash() && !target->is_dir()) return Errno{ENOTDIR};
  }
  if (!victim->is_dir()) {
    if (old_walk.trailing_slash()) return Errno{ENOTDIR};
    if (!exchange && new_walk.trailing_slash()) return Errno{ENOTDIR};
  }
  if (to.dir.dentry->is_under(*from.dentry)) return Errno{EINVAL};
  if (target && from.dir.dentry->is_under(*to.dentry)) {
    return Errno{exchange ? EINVAL : ENOTEMPTY};
  }
  if (victim == target) return ok();  // two names of one file: nothing to do
  TRY(rename_checks(ctx, from, to, flags));
  if ((flags & RenameFlags::kWhiteout) != 0 && !ctx.creds().has_cap(CAP_MKNOD)) {
    return Errno{EPERM};
  }
  TRY(from.dir.inode()->rename(ctx, old_walk.last(), *victim, *to.dir.inode(), new_walk.last(),
                               target.get(), flags));
  const auto move_dentries = [&] {
    // A fiber that ran meanwhile may have moved things: the dentries follow only if they still fit.
    if (to.dir.dentry->is_under(*from.dentry)) return from.dentry->mark_unlinked();
    if (exchange) return from.dentry->swap_with(*to.dentry);
    if (target) {
      to.dentry->mark_unlinked();
      shared_->cache.drop(*to.dentry);
    }
    from.dentry->move_to(to.dir.dentry, new_walk.last());
    const bool authoritative = victim->fs().caching() == Caching::kAuthoritative;
    if (authoritative && (flags & RenameFlags::kWhiteout) == 0) {
      shared_->cache.touch(from.dir.dentry->add_child(old_walk.last(), nullptr));
    }
  };
  move_dentries();
  // Who is told may look at once, and telling may wait.
  const Moved moved{*from.dir.inode(), old_walk.last(), *victim, *to.dir.inode(), new_walk.last()};
  notify_moved(ctx, moved, target.get(), exchange, shared_->next_move++);
  return ok();
}

}  // namespace run9::vfs
