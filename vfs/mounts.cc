// The mount table: mount(2), umount(2), pivot_root(2), unshare(CLONE_NEWNS).
#include <sys/mount.h>
#include <sys/sysmacros.h>

#include <algorithm>

#include "vfs/walk.h"

namespace run9::vfs {

MountNamespace::MountNamespace(FileSystemRef root_fs, uint32_t root_flags, std::string root_source)
    : shared_(std::make_shared<Shared>()) {
  DentryRef root = root_fs->root_dentry();
  root_mount_ = attach(std::move(root_fs), std::move(root), Path{}, root_flags,
                       std::move(root_source));
}

MountNamespace::~MountNamespace() {
  while (!mounts_.empty()) detach(MountRef(mounts_.back()));
}

Path MountNamespace::root() const { return Path{root_mount_, root_mount_->root}; }

void MountNamespace::set_cache_limit(size_t dentries) { shared_->cache.set_limit(dentries); }
void MountNamespace::forget_names(size_t count) { shared_->cache.forget_oldest(count); }

MountRef MountNamespace::mounted_at(const Path& at) const {
  // The newest is the one on top.
  for (auto it = mounts_.rbegin(); it != mounts_.rend(); ++it) {
    if ((*it)->mountpoint == at) return *it;
  }
  return nullptr;
}

Path MountNamespace::topmost(Path at) const {
  while (at.dentry->mounts != 0) {
    MountRef m = mounted_at(at);
    if (!m) break;
    at = Path{m, m->root};
  }
  return at;
}

void MountNamespace::set_mountpoint(Mount& m, const Path& where) {
  shared_->told.drop();
  if (m.mountpoint) --m.mountpoint.dentry->mounts;
  m.mountpoint = where;
  if (where) ++where.dentry->mounts;
}

MountRef MountNamespace::attach(FileSystemRef fs, DentryRef root, const Path& where,
                                uint32_t flags, std::string source) {
  // Major 0 is Linux's for file systems without a device.
  if (fs->dev() == 0) fs->set_dev(makedev(0, 20 + shared_->next_dev++));
  auto m = std::make_shared<Mount>(shared_->next_mount_id++, std::move(fs), std::move(root), flags,
                                   std::move(source));
  set_mountpoint(*m, where);
  mounts_.push_back(m);
  return m;
}

void MountNamespace::detach(const MountRef& m) {
  set_mountpoint(*m, Path{});
  std::erase(mounts_, m);
  const bool last = std::none_of(mounts_.begin(), mounts_.end(),
                                 [&](const MountRef& other) { return other->fs == m->fs; });
  if (last) shared_->cache.forget(*m->fs);
}

std::vector<MountRef> MountNamespace::tree_of(const MountRef& top) const {
  std::vector<MountRef> tree{top};
  for (size_t i = 0; i < tree.size(); ++i) {
    for (const auto& m : mounts_) {
      if (m->mountpoint && m->mountpoint.mount == tree[i]) tree.push_back(m);
    }
  }
  return tree;
}

Result<MountRef> MountNamespace::mount(OpContext&, FileSystemRef fs, const Path& where,
                                       uint32_t flags, std::string source) {
  const Path at = topmost(where);
  if (at.dentry->unlinked()) return Errno{ENOENT};
  DentryRef root = fs->root_dentry();
  if (root->inode()->is_dir() != at.inode()->is_dir()) return Errno{ENOTDIR};
  // The same file system twice on one place would hide itself.
  if (at.dentry == at.mount->root && at.mount->fs == fs) return Errno{EBUSY};
  return attach(std::move(fs), std::move(root), at, flags, std::move(source));
}

Result<MountRef> MountNamespace::bind(OpContext&, const Path& from, const Path& where,
                                      bool recursive, uint32_t flags) {
  const Path at = topmost(where);
  if (at.dentry->unlinked() || from.dentry->unlinked()) return Errno{ENOENT};
  if (!from.mount || std::find(mounts_.begin(), mounts_.end(), from.mount) == mounts_.end()) {
    return Errno{EINVAL};
  }
  if (from.inode()->is_dir() != at.inode()->is_dir()) return Errno{ENOTDIR};
  // The list of what to copy first: the copy itself may land inside of it.
  std::vector<MountRef> tree{from.mount};
  if (recursive) tree = tree_of(from.mount);
  std::map<const Mount*, MountRef> copies;
  MountRef top = attach(from.mount->fs, from.dentry, at, from.mount->flags | flags,
                        from.mount->source);
  copies[from.mount.get()] = top;
  for (size_t i = 1; i < tree.size(); ++i) {
    const Mount& m = *tree[i];
    auto parent = copies.find(m.mountpoint.mount.get());
    if (parent == copies.end()) continue;  // its parent was outside of `from`
    if (m.mountpoint.mount == from.mount && !m.mountpoint.dentry->is_under(*from.dentry)) continue;
    copies[&m] = attach(m.fs, m.root, Path{parent->second, m.mountpoint.dentry}, m.flags | flags,
                        m.source);
  }
  return top;
}

Result<void> MountNamespace::umount(OpContext&, const Path& where, uint32_t umount2_flags) {
  const bool lazy = (umount2_flags & MNT_DETACH) != 0;
  if ((umount2_flags & MNT_EXPIRE) != 0) return Errno{lazy ? EINVAL : EAGAIN};
  Path at = topmost(where);
  const MountRef m = std::move(at.mount);
  if (at.dentry != m->root) return Errno{EINVAL};
  if (std::find(mounts_.begin(), mounts_.end(), m) == mounts_.end()) return Errno{EINVAL};
  if (!m->mountpoint) return Errno{lazy ? EINVAL : EBUSY};
  const auto tree = tree_of(m);
  shared_->told.drop();  // it keeps mounts
  if (!lazy) {
    // Ours: the table, `m`, `tree`, and `where` if it was not below the top.
    const long ours = where.mount == m ? 4 : 3;
    if (tree.size() > 1 || m.use_count() > ours) return Errno{EBUSY};
  }
  for (auto it = tree.rbegin(); it != tree.rend(); ++it) detach(*it);
  return ok();
}

Result<void> MountNamespace::move(OpContext&, const Path& from, const Path& where) {
  const Path at = topmost(where);
  if (from.dentry != from.mount->root || !from.mount->mountpoint) return Errno{EINVAL};
  if (at.dentry->unlinked()) return Errno{ENOENT};
  if (from.inode()->is_dir() != at.inode()->is_dir()) return Errno{ENOTDIR};
  for (MountRef m = at.mount; m; m = m->mountpoint.mount) {
    if (m == from.mount) return Errno{ELOOP};
  }
  const MountRef moved = from.mount;
  set_mountpoint(*moved, at);
  mounts_.remove(moved);
  mounts_.push_back(moved);
  return ok();
}

Result<void> MountNamespace::pivot_root(OpContext&, FsContext& fs, const Path& new_root,
                                        const Path& put_old) {
  const MountRef old_mount = fs.root.mount;
  const MountRef new_mount = new_root.mount;
  if (!new_root.inode()->is_dir() || !put_old.inode()->is_dir()) return Errno{ENOTDIR};
  if (new_root.dentry->unlinked() || put_old.dentry->unlinked()) return Errno{ENOENT};
  if (old_mount == new_mount || put_old.mount == old_mount) return Errno{EBUSY};
  if (fs.root.dentry != old_mount->root || new_root.dentry != new_mount->root) {
    return Errno{EINVAL};
  }
  if (!new_mount->mountpoint) return Errno{EINVAL};
  // put_old must lie in the new root.
  Path up = put_old;
  while (up.mount != new_mount) {
    if (!up.mount->mountpoint) return Errno{EINVAL};
    up = Path(up.mount->mountpoint);
  }
  if (!up.dentry->is_under(*new_root.dentry)) return Errno{EINVAL};

  const Path old_place = old_mount->mountpoint;
  const Path put_old_top = topmost(put_old);
  set_mountpoint(*new_mount, Path{});
  set_mountpoint(*old_mount, put_old_top);
  set_mountpoint(*new_mount, old_place);
  if (root_mount_ == old_mount) root_mount_ = new_mount;
  const Path old_root = fs.root;
  if (fs.cwd == old_root) fs.cwd = new_root;
  fs.root = new_root;
  return ok();
}

std::shared_ptr<MountNamespace> MountNamespace::clone(FsContext& translate) {
  std::shared_ptr<MountNamespace> copy(new MountNamespace(shared_));
  std::map<const Mount*, MountRef> copies;
  for (const auto& m : mounts_) {
    copies[m.get()] = copy->attach(m->fs, m->root, Path{}, m->flags, m->source);
  }
  // Afterwards, because a mount may stand in the table before the one it is attached to.
  for (const auto& m : mounts_) {
    if (!m->mountpoint) continue;
    auto parent = copies.find(m->mountpoint.mount.get());
    if (parent == copies.end()) continue;
    copy->set_mountpoint(*copies[m.get()], Path{parent->second, m->mountpoint.dentry});
  }
  copy->root_mount_ = copies[root_mount_.get()];
  copy->special_ = special_;
  for (Path* p : {&translate.root, &translate.cwd}) {
    if (auto it = copies.find(p->mount.get()); it != copies.end()) p->mount = it->second;
  }
  return copy;
}

}  // namespace run9::vfs
