#include "vfs/path_walk.h"

#include "vfs/walk.h"
#include "vfs/watch.h"

namespace run9::vfs {

Result<Path> MountNamespace::walk(OpContext& ctx, const FsContext& fs, const Path& start,
                                  std::string_view path, uint32_t lookup_flags) {
  Walk w(*this, ctx, lookup_flags);
  TRY(w.begin(fs, start, path));
  TRY(w.to_end());
  return w.cur();
}

ToldNames& MountNamespace::told() { return shared_->told; }

Result<Path> MountNamespace::walk_told(OpContext& ctx, const FsContext& fs, const Path& start, std::string_view path, uint32_t lookup_flags,
                                       std::optional<uint32_t> record) {
  Walk w(*this, ctx, lookup_flags);
  w.tell_steps(record);
  TRY(w.begin(fs, start, path));
  TRY(w.to_end());
  return w.cur();
}

Result<Parent> MountNamespace::walk_parent(OpContext& ctx, const FsContext& fs, const Path& start,
                                           std::string_view path, uint32_t lookup_flags) {
  Walk w(*this, ctx, lookup_flags & ~uint32_t{kEmptyPath});
  TRY(w.begin(fs, start, path));
  TRY(w.to_parent());
  return Parent{w.cur(), w.last(), w.trailing_slash()};
}

Result<std::string> MountNamespace::readlink(OpContext& ctx, const Path& p) {
  if (!p.inode()->is_symlink()) return Errno{EINVAL};
  return p.inode()->readlink(ctx);
}

Result<Stat> MountNamespace::stat(OpContext& ctx, const Path& p) {
  Stat st = TRY(p.inode()->getattr(ctx));
  if (st.dev == 0) st.dev = p.inode()->fs().dev();
  return st;
}

Result<StatFs> MountNamespace::statfs(OpContext& ctx, const Path& p) {
  return p.inode()->fs().statfs(ctx);
}

Result<void> MountNamespace::access(OpContext& ctx, const Path& p, uint32_t mask) {
  Inode& inode = *p.inode();
  if ((mask & kMayExec) != 0 && inode.is_regular() && p.mount &&
      (p.mount->flags & kMntNoExec) != 0) {
    return Errno{EACCES};
  }
  if (mask == 0) return ok();
  // Permission first and EROFS after it, as faccessat does.
  TRY(inode.permission(ctx, mask));
  return inode_permission(ctx, p, mask);
}

Result<void> MountNamespace::setattr(OpContext& ctx, const Path& p, SetAttr a, File* file) {
  Inode& inode = *p.inode();
  if ((a.valid & kSetSize) != 0) {
    if (inode.is_dir()) return Errno{EISDIR};
    if (!inode.is_regular()) return Errno{EINVAL};
    if (file != nullptr && !file->writable()) return Errno{EINVAL};
  }
  // A descriptor open for writing has its write access already (truncate, futimens aside).
  if (read_only(p)) return Errno{EROFS};
  if (inode.is_symlink() && (a.valid & kSetMode) != 0) return Errno{EOPNOTSUPP};
  if ((a.valid & kSetSize) != 0 && file == nullptr) TRY(inode.permission(ctx, kMayWrite));
  const Stat now = TRY(file != nullptr ? file->getattr(ctx) : inode.getattr(ctx));
  TRY(prepare_setattr(ctx, now, a));
  TRY(file != nullptr ? file->setattr(ctx, a) : inode.setattr(ctx, a));
  if (const uint32_t event = event_of(a); event != 0) notify_path(p, event);
  return ok();
}

Result<std::vector<std::byte>> MountNamespace::getxattr(OpContext& ctx, const Path& p,
                                                        std::string_view name) {
  Inode& inode = *p.inode();
  TRY(xattr_permission(ctx, inode, TRY(inode.getattr(ctx)), name, kMayRead));
  return inode.getxattr(ctx, name);
}

Result<void> MountNamespace::setxattr(OpContext& ctx, const Path& p, std::string_view name,
                                      ByteSpan value, int flags) {
  Inode& inode = *p.inode();
  if (read_only(p)) return Errno{EROFS};
  TRY(xattr_permission(ctx, inode, TRY(inode.getattr(ctx)), name, kMayWrite));
  TRY(inode.setxattr(ctx, name, value, flags));
  notify_path(p, IN_ATTRIB);
  return ok();
}

Result<void> MountNamespace::removexattr(OpContext& ctx, const Path& p, std::string_view name) {
  Inode& inode = *p.inode();
  if (read_only(p)) return Errno{EROFS};
  TRY(xattr_permission(ctx, inode, TRY(inode.getattr(ctx)), name, kMayWrite));
  TRY(inode.removexattr(ctx, name));
  notify_path(p, IN_ATTRIB);
  return ok();
}

Result<std::vector<std::string>> MountNamespace::listxattr(OpContext& ctx, const Path& p) {
  auto listed = p.inode()->listxattr(ctx);
  if (!listed && listed.error() == Errno{EOPNOTSUPP}) return std::vector<std::string>();  // it has none
  auto names = TRY(std::move(listed));
  if (!ctx.creds().has_cap(CAP_SYS_ADMIN)) {
    std::erase_if(names, [](const std::string& n) { return n.starts_with("trusted."); });
  }
  return names;
}

// d_path of Linux.
std::string MountNamespace::path_name(const Path& p, const Path& root) const {
  const std::string suffix = p.dentry->unlinked() ? " (deleted)" : "";
  if (!p.mount) return p.dentry->name() + suffix;  // a file of no tree: "pipe:[7]"
  std::vector<const std::string*> names;
  const char* prefix = "";
  const Mount* mount = p.mount.get();
  const Dentry* d = p.dentry.get();
  while (mount != root.mount.get() || d != root.dentry.get()) {
    if (d == mount->root.get()) {
      if (!mount->mountpoint) {
        // Mount 0 is in no namespace: "/memfd:x (deleted)".
        if (mount->id != 0) prefix = "(unreachable)";
        break;
      }
      d = mount->mountpoint.dentry.get();
      mount = mount->mountpoint.mount.get();
    } else if (d->parent()) {
      names.push_back(&d->name());
      d = d->parent().get();
    } else {
      prefix = "(unreachable)";
      break;
    }
  }
  std::string out = prefix;
  if (names.empty()) out += '/';
  for (auto it = names.rbegin(); it != names.rend(); ++it) {
    out += '/';
    out += **it;
  }
  return out + suffix;
}

}  // namespace run9::vfs
