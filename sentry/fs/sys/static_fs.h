// StaticFs: a tree of directories, links and read-only texts that is made once, at mount: sysfs, cgroup2.
// It owns its inodes.
#pragma once
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "vfs/file.h"
#include "vfs/inode.h"

namespace run9::sentry {

class StaticFs final : public vfs::FileSystem {
 public:
  using TextFn = std::function<std::string()>;
  static std::shared_ptr<StaticFs> create(std::string_view type, uint64_t magic, uint64_t dev,
                                          vfs::Timespec now);
  // Paths are relative to the root; missing directories are made.
  void add_dir(std::string_view path);
  void add_file(std::string_view path, TextFn text, uint32_t mode = 0444);
  void add_file(std::string_view path, std::string text, uint32_t mode = 0444);
  void add_link(std::string_view path, std::string target);

  std::string_view type() const override { return type_; }
  vfs::InodeRef root() override;
  Result<vfs::StatFs> statfs(vfs::OpContext&) override { return vfs::StatFs{.type = magic_}; }

 private:
  friend class StaticInode;
  friend class StaticDir;
  StaticFs() = default;
  class StaticDir& dir_of(std::string_view path, std::string_view& name);
  std::string type_;
  uint64_t magic_ = 0;
  vfs::Timespec made_;
  uint64_t next_ino_ = 1;
  std::shared_ptr<class StaticDir> root_;
};

}  // namespace run9::sentry
