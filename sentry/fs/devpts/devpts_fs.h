// devpts: the ptmx node and a numbered node for each pseudoterminal whose master is open. Every mount of
// it is an instance of its own (newinstance), as in Linux since 4.7.
#pragma once
#include <map>
#include <memory>

#include "sentry/fs/devpts/tty.h"
#include "vfs/dentry.h"
#include "vfs/inode.h"

namespace run9::sentry {

Result<vfs::FileSystemRef> make_devpts(Kernel&, vfs::OpContext&, std::string_view source,
                                       std::string_view data);

class DevptsFs final : public vfs::FileSystem {
 public:
  struct Options {
    int64_t uid = -1, gid = -1;  // -1: the opener's
    uint32_t mode = 0600, ptmx_mode = 0;
    uint32_t max = 4096;
  };
  static std::shared_ptr<DevptsFs> create(Kernel& kernel, const Options& options, vfs::OpContext&);

  std::string_view type() const override { return "devpts"; }
  vfs::InodeRef root() override { return root_; }
  vfs::Caching caching() const override { return vfs::Caching::kNone; }
  Result<vfs::StatFs> statfs(vfs::OpContext&) override;
  std::string show_options() const override;
  Kernel& kernel() const { return kernel_; }

  // A new terminal with the lowest free number; its node belongs to the caller, or to `uid`.
  Result<std::shared_ptr<Tty>> add(vfs::OpContext&, int64_t uid = -1);
  void remove(int index);
  vfs::InodeRef node(int index) const;
  // An open of ptmx: a new terminal's master.
  Result<vfs::FileRef> open_master(vfs::OpContext&, const vfs::Path&, uint32_t flags);
  const std::map<int, vfs::InodeRef>& nodes() const { return nodes_; }
  const vfs::InodeRef& ptmx() const { return ptmx_; }

 private:
  explicit DevptsFs(Kernel& kernel) : kernel_(kernel) {}
  Kernel& kernel_;
  Options options_;
  vfs::InodeRef root_, ptmx_;
  std::map<int, vfs::InodeRef> nodes_;
};

// The instance at /dev/pts, or any; null if none is mounted.
std::shared_ptr<DevptsFs> find_devpts(Kernel& kernel, vfs::MountRef* mount = nullptr);

}  // namespace run9::sentry
