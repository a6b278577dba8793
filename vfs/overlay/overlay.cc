#include "vfs/overlay/overlay.h"

#include <linux/magic.h>

#include "vfs/overlay/inodes.h"

namespace run9::vfs {
namespace {

MountRef layer_mount(OverlayLayer layer, uint32_t flags) {
  auto root = std::make_shared<Dentry>(nullptr, "", std::move(layer.root));
  return std::make_shared<Mount>(0, std::move(layer.fs), std::move(root), flags, "overlay");
}

}  // namespace

Result<FileSystemRef> make_overlay(OverlayLayer upper, std::vector<OverlayLayer> lowers) {
  if (lowers.empty()) return Errno{EINVAL};
  for (const auto& l : lowers) {
    if (!l.fs || !l.root || !l.root->is_dir()) return Errno{EINVAL};
  }
  if (upper.root && !upper.root->is_dir()) return Errno{EINVAL};
  return FileSystemRef(std::make_shared<Overlay>(std::move(upper), std::move(lowers)));
}

Overlay::Overlay(OverlayLayer upper, std::vector<OverlayLayer> lowers) {
  Real top;
  if (upper.root) {
    top.inode = upper.root;
    top.mount = upper_ = layer_mount(std::move(upper), kMntRelAtime);
  }
  std::vector<Real> below;
  for (auto& l : lowers) {
    Real r{l.root, nullptr, static_cast<uint32_t>(below.size() + 1)};
    r.mount = layer_mount(std::move(l), kMntReadOnly | kMntNoAtime);
    lowers_.push_back(r.mount);
    below.push_back(std::move(r));
  }
  const uint64_t ino = below.front().ino();
  root_ = std::make_shared<OvlDir>(*this, ino, S_IFDIR, KeepFs::kNo, std::move(top),
                                   std::move(below), nullptr, "");
}

InodeRef Overlay::root() { return root_; }

Result<StatFs> Overlay::statfs(OpContext& ctx) {
  StatFs s = TRY((upper_ ? upper_ : lowers_.front())->fs->statfs(ctx));
  s.type = OVERLAYFS_SUPER_MAGIC;
  return s;
}

Result<void> Overlay::sync(OpContext& ctx) {
  if (!upper_) return ok();
  return upper_->fs->sync(ctx);
}

std::shared_ptr<OvlInode> Overlay::known(const Inode& upper) {
  auto it = by_upper_.find(&upper);
  return it == by_upper_.end() ? nullptr : it->second.lock();
}

void Overlay::remember(const Inode& upper, std::shared_ptr<OvlInode> inode) {
  by_upper_.insert_or_assign(&upper, inode);
}

bool is_whiteout(OpContext& ctx, Inode& inode) {
  if (inode.type() != S_IFCHR) return false;
  auto st = inode.getattr(ctx);
  return st && st.assume_value().rdev == 0;
}

bool is_opaque(OpContext& ctx, Inode& inode) {
  auto value = inode.getxattr(ctx, kOpaque);
  return value && as_chars(value.assume_value()) == "y";
}

}  // namespace run9::vfs
