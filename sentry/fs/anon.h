// AnonFs: the tiny file system behind files that have no name: pipes, sockets, eventfds, inherited host
// descriptors. Its inodes are reached through descriptors and /proc/PID/fd only. One for each kernel,
// owned by SpecialFiles.
#pragma once
#include <string>
#include <string_view>

#include "vfs/dentry.h"

namespace run9::sentry {

class Kernel;

class AnonFs final : public vfs::FileSystem {
 public:
  static std::shared_ptr<AnonFs> create(uint64_t dev);
  std::string_view type() const override { return "anon_inodefs"; }
  vfs::InodeRef root() override { return root_; }
  Result<vfs::StatFs> statfs(vfs::OpContext&) override;

 private:
  AnonFs() = default;
  vfs::InodeRef root_;
};

// Keeps its attributes in memory; fchmod, fchown and utimes on it work as on Linux' pipefs.
class AnonInode : public vfs::Inode {
 public:
  AnonInode(vfs::FileSystem& fs, uint64_t ino, uint32_t mode, const vfs::OpContext& owner);
  Result<vfs::Stat> getattr(vfs::OpContext&) override;
  Result<void> setattr(vfs::OpContext&, const vfs::SetAttr&) override;
  vfs::Stat& attributes() { return stat_; }

 private:
  vfs::Stat stat_;
};

// A place for a new nameless file. `name` is what /proc/PID/fd shows: "anon_inode:[eventfd]"; one that
// ends in ':' gets the inode number, "pipe:" becomes "pipe:[17]". mode: type and permissions, S_IFIFO |
// 0600 for a pipe, S_IFSOCK | 0777 for a socket, 0600 without a type for an anon_inode. `owner` gives
// uid, gid and times: the calling task, or kernel.context().
vfs::Path make_anon_path(Kernel& kernel, std::string name, uint32_t mode,
                         const vfs::OpContext& owner);
// The same around an inode of the caller's own class, made with anon_fs(kernel) as its file system.
AnonFs& anon_fs(Kernel& kernel);
vfs::Path make_anon_path(Kernel& kernel, std::string name, vfs::InodeRef inode);
bool is_anon(const vfs::Path& path);
// d_path: MountNamespace::path_name, the name above for a nameless file, "/memfd:x (deleted)" for one of
// the internal tmpfs.
std::string display_name(Kernel& kernel, const vfs::Path& path, const vfs::Path& root);

}  // namespace run9::sentry
