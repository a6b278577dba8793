// Changes of directories: all in the upper tree, with whiteouts over what must not show from below.
#include "vfs/overlay/inodes.h"

namespace run9::vfs {

Result<bool> OvlDir::clear_whiteout(OpContext& ctx, std::string_view name) {
  if (lowers_.empty()) return false;
  auto found = upper_.inode->lookup(ctx, name);
  if (!found) return false;
  Inode& there = *found.assume_value();
  if (!is_whiteout(ctx, there)) return false;
  TRY(upper_.inode->unlink(ctx, name, there));
  return true;
}

Result<void> OvlDir::put_whiteout(OpContext& ctx, std::string_view name) {
  TRY(upper_.inode->mknod(ctx, name, S_IFCHR, 0));
  return ok();
}

Result<bool> OvlDir::shows_below(OpContext& ctx, std::string_view name) {
  for (const Real& low : lowers_) {
    auto found = low.inode->lookup(ctx, name);
    if (found) return !is_whiteout(ctx, *found.assume_value());
    if (found.error() != Errno{ENOENT}) return found.error();
  }
  return false;
}

Result<void> OvlDir::make_opaque(OpContext& ctx) {
  return upper_.inode->setxattr(ctx, kOpaque, as_bytes("y"), 0);
}

// Whiteouts are all that is left in a directory that shows nothing.
Result<void> OvlDir::empty_upper(OpContext& ctx) {
  if (!TRY(names(ctx)).empty()) return Errno{ENOTEMPTY};
  if (!upper_) return ok();
  std::vector<std::string> hidden;
  struct Sink : DirSink {
    explicit Sink(std::vector<std::string>& out) : out(out) {}
    bool add(const DirEntry& e) override {
      ++taken;
      if (e.name != "." && e.name != "..") out.emplace_back(e.name);
      return true;
    }
    std::vector<std::string>& out;
    size_t taken = 0;
  } sink(hidden);
  auto dir = TRY(upper_.inode->open(ctx, upper_.path(), O_RDONLY | O_DIRECTORY));
  size_t before = 0;
  do {
    before = sink.taken;
    TRY(dir->readdir(ctx, sink));
  } while (sink.taken != before);
  for (const auto& name : hidden) {
    auto found = TRY(upper_.inode->lookup(ctx, name));
    TRY(upper_.inode->unlink(ctx, name, *found));
  }
  return ok();
}

template <typename Make>
Result<InodeRef> OvlDir::add(OpContext& caller, std::string_view name, Make make) {
  TRY(copy_up(caller));
  OverlayContext ctx(caller);
  const bool was_hidden = TRY(clear_whiteout(ctx, name));
  auto made = make(*upper_.inode);
  if (!made) {
    if (was_hidden) TRY(put_whiteout(ctx, name));
    return made.error();
  }
  auto inode = wrap(ctx, name, Real{std::move(made).assume_value(), upper_.mount, 0}, {});
  if (was_hidden && inode->is_dir()) TRY(static_cast<OvlDir&>(*inode).make_opaque(ctx));
  return InodeRef(std::move(inode));
}

Result<InodeRef> OvlDir::create(OpContext& ctx, std::string_view name, uint32_t mode) {
  return add(ctx, name, [&](Inode& up) { return up.create(ctx, name, mode); });
}
Result<InodeRef> OvlDir::mkdir(OpContext& ctx, std::string_view name, uint32_t mode) {
  return add(ctx, name, [&](Inode& up) { return up.mkdir(ctx, name, mode); });
}
Result<InodeRef> OvlDir::mknod(OpContext& ctx, std::string_view name, uint32_t mode,
                               uint64_t rdev) {
  // It would vanish: it is the mark of a removed name.
  if (S_ISCHR(mode) && rdev == 0) return Errno{EPERM};
  return add(ctx, name, [&](Inode& up) { return up.mknod(ctx, name, mode, rdev); });
}
Result<InodeRef> OvlDir::symlink(OpContext& ctx, std::string_view name, std::string_view target) {
  return add(ctx, name, [&](Inode& up) { return up.symlink(ctx, name, target); });
}

Result<void> OvlDir::link(OpContext& ctx, std::string_view name, Inode& target) {
  auto& t = static_cast<OvlInode&>(target);
  TRY(t.copy_up(ctx));
  TRY(add(ctx, name, [&](Inode& up) -> Result<InodeRef> {
    TRY(up.link(ctx, name, *t.upper().inode));
    return t.upper().inode;
  }));
  return ok();
}

Result<InodeRef> OvlDir::tmpfile(OpContext& ctx, uint32_t mode, bool linkable) {
  TRY(copy_up(ctx));
  auto made = TRY(upper_.inode->tmpfile(ctx, mode, linkable));
  return InodeRef(wrap(ctx, "", Real{std::move(made), upper_.mount, 0}, {}));
}

Result<void> OvlDir::unlink(OpContext& caller, std::string_view name, Inode& victim) {
  auto& v = static_cast<OvlInode&>(victim);
  TRY(copy_up(caller));
  OverlayContext ctx(caller);
  const bool hide = TRY(shows_below(ctx, name));
  if (v.upper()) {
    TRY(upper_.inode->unlink(ctx, name, *v.upper().inode));
  } else {
    v.lost_name();
  }
  if (hide) TRY(put_whiteout(ctx, name));
  return ok();
}

Result<void> OvlDir::rmdir(OpContext& caller, std::string_view name, Inode& victim) {
  auto& v = static_cast<OvlDir&>(victim);
  TRY(copy_up(caller));
  OverlayContext ctx(caller);
  const bool hide = TRY(shows_below(ctx, name));
  TRY(v.empty_upper(ctx));
  if (v.upper()) TRY(upper_.inode->rmdir(ctx, name, *v.upper().inode));
  v.lost_name();
  if (hide) TRY(put_whiteout(ctx, name));
  return ok();
}

// What lies below cannot move: EXDEV, and the caller copies, as with Linux's overlayfs.
Result<void> OvlDir::may_rename(OpContext& ctx, OvlInode& moved, OvlDir& to, OvlInode* target,
                                bool exchange) {
  if (moved.is_dir() && !moved.lowers().empty()) return Errno{EXDEV};
  if (exchange && target->is_dir() && !target->lowers().empty()) return Errno{EXDEV};
  TRY(copy_up(ctx));
  TRY(to.copy_up(ctx));
  TRY(moved.copy_up(ctx));
  if (exchange) TRY(target->copy_up(ctx));
  if (!exchange && target != nullptr && target->is_dir()) {
    TRY(static_cast<OvlDir*>(target)->empty_upper(ctx));
  }
  return ok();
}

Result<void> OvlDir::rename(OpContext& caller, std::string_view name, Inode& victim,
                            Inode& new_dir, std::string_view new_name, Inode* target,
                            uint32_t flags) {
  if ((flags & RenameFlags::kWhiteout) != 0) return Errno{EINVAL};
  const bool exchange = (flags & RenameFlags::kExchange) != 0;
  OverlayContext ctx(caller);
  auto& v = static_cast<OvlInode&>(victim);
  auto& to = static_cast<OvlDir&>(new_dir);
  auto* t = static_cast<OvlInode*>(target);
  TRY(may_rename(ctx, v, to, t, exchange));
  const bool hide = !exchange && TRY(shows_below(ctx, name));
  // A directory must not merge with what lies below its new name.
  if (v.is_dir() && !to.lowers_.empty()) TRY(static_cast<OvlDir&>(v).make_opaque(ctx));
  if (exchange && t->is_dir() && !lowers_.empty()) TRY(static_cast<OvlDir*>(t)->make_opaque(ctx));
  const bool was_hidden = TRY(to.clear_whiteout(ctx, new_name));
  Inode* over = t != nullptr && t->upper() ? t->upper().inode.get() : nullptr;
  uint32_t upper_flags = flags & RenameFlags::kExchange;
  if (hide) upper_flags |= RenameFlags::kWhiteout;
  auto renamed = upper_.inode->rename(ctx, name, *v.upper().inode, *to.upper_.inode, new_name,
                                      over, upper_flags);
  if (!renamed) {
    if (was_hidden) TRY(to.put_whiteout(ctx, new_name));
    return renamed.error();
  }
  if (!exchange && t != nullptr && !t->upper()) t->lost_name();
  return ok();
}

}  // namespace run9::vfs
