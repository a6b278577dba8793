#include "sentry/fs/anon.h"

#include "sentry/fs/special.h"
#include "sentry/task/kernel.h"

namespace run9::sentry {

std::shared_ptr<AnonFs> AnonFs::create(uint64_t dev) {
  std::shared_ptr<AnonFs> fs(new AnonFs);
  fs->set_dev(dev);
  // Never shown: the root exists because a mount has one.
  class Root final : public vfs::Inode {
   public:
    explicit Root(vfs::FileSystem& fs) : Inode(fs, 1, S_IFDIR | 0500, vfs::KeepFs::kNo) {}
    Result<vfs::Stat> getattr(vfs::OpContext&) override {
      return vfs::Stat{.dev = fs().dev(), .ino = ino(), .mode = S_IFDIR | 0500, .nlink = 2};
    }
  };
  fs->root_ = std::make_shared<Root>(*fs);
  return fs;
}

Result<vfs::StatFs> AnonFs::statfs(vfs::OpContext&) {
  return vfs::StatFs{.type = 0x09041934};  // ANON_INODE_FS_MAGIC
}

AnonInode::AnonInode(vfs::FileSystem& fs, uint64_t ino, uint32_t mode, const vfs::OpContext& owner)
    : Inode(fs, ino, mode) {
  stat_.dev = fs.dev();
  stat_.ino = ino;
  stat_.mode = mode;
  stat_.uid = owner.creds().fsuid;
  stat_.gid = owner.creds().fsgid;
  stat_.atime = stat_.mtime = stat_.ctime = owner.now();
}

Result<vfs::Stat> AnonInode::getattr(vfs::OpContext&) { return stat_; }

Result<void> AnonInode::setattr(vfs::OpContext& ctx, const vfs::SetAttr& a) {
  if (a.valid & vfs::kSetSize) return Errno{EINVAL};
  const vfs::Timespec now = ctx.now();
  if (a.valid & vfs::kSetMode) stat_.mode = (stat_.mode & S_IFMT) | (a.mode & 07777);
  if (a.valid & vfs::kSetUid) stat_.uid = a.uid;
  if (a.valid & vfs::kSetGid) stat_.gid = a.gid;
  if (a.valid & vfs::kSetAtime) stat_.atime = a.atime;
  if (a.valid & vfs::kSetMtime) stat_.mtime = a.mtime;
  if (a.valid & vfs::kSetAtimeNow) stat_.atime = now;
  if (a.valid & vfs::kSetMtimeNow) stat_.mtime = now;
  stat_.ctime = now;
  return ok();
}

AnonFs& anon_fs(Kernel& kernel) { return kernel.special().anon(); }

vfs::Path make_anon_path(Kernel& kernel, std::string name, vfs::InodeRef inode) {
  if (name.ends_with(':')) name += "[" + std::to_string(inode->ino()) + "]";
  return {kernel.special().anon_mount(),
          std::make_shared<vfs::Dentry>(nullptr, std::move(name), std::move(inode))};
}

vfs::Path make_anon_path(Kernel& kernel, std::string name, uint32_t mode,
                         const vfs::OpContext& owner) {
  auto inode =
      std::make_shared<AnonInode>(anon_fs(kernel), kernel.next_anon_inode(), mode, owner);
  return make_anon_path(kernel, std::move(name), std::move(inode));
}

bool is_anon(const vfs::Path& path) {
  return dynamic_cast<const AnonFs*>(&path.inode()->fs()) != nullptr;
}

std::string display_name(Kernel& kernel, const vfs::Path& path, const vfs::Path& root) {
  if (is_anon(path)) return path.dentry->name();
  if (path.mount == kernel.special().internal_tmpfs()) {
    return kernel.mounts().path_name(path, {path.mount, path.mount->root});
  }
  return kernel.mounts().path_name(path, root);
}

}  // namespace run9::sentry
