// The inodes of tmpfs. Private to this folder.
#pragma once
#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "vfs/permission.h"
#include "vfs/tmpfs/content.h"
#include "vfs/tmpfs/tmpfs.h"

namespace run9::vfs {

class TmpDir;

class Tmpfs : public FileSystem {
 public:
  Tmpfs(const TmpfsOptions&, Timespec now);
  ~Tmpfs() override;
  std::string_view type() const override { return "tmpfs"; }
  InodeRef root() override;
  Result<StatFs> statfs(OpContext&) override;
  std::string show_options() const override;

  const std::shared_ptr<TmpQuota>& quota() { return quota_; }
  uint64_t new_ino() { return next_ino_++; }

 private:
  TmpfsOptions options_;
  std::shared_ptr<TmpQuota> quota_;
  uint64_t next_ino_ = 1;
  std::shared_ptr<TmpDir> root_;
};

class TmpInode : public Inode {
 public:
  TmpInode(Tmpfs& fs, const NewOwner& owner, uint64_t rdev, Timespec now);
  ~TmpInode() override;

  Result<Stat> getattr(OpContext&) override;
  Result<void> setattr(OpContext&, const SetAttr&) override;
  Result<void> permission(OpContext&, uint32_t mask) override;
  Result<std::vector<std::byte>> getxattr(OpContext&, std::string_view name) override;
  Result<void> setxattr(OpContext&, std::string_view name, ByteSpan value, int flags) override;
  Result<void> removexattr(OpContext&, std::string_view name) override;
  Result<std::vector<std::string>> listxattr(OpContext&) override;

  Tmpfs& tmpfs() const { return static_cast<Tmpfs&>(fs()); }
  const Stat& attributes() const { return st_; }
  void changed(Timespec now);
  void modified(Timespec now);
  void accessed(const Path& at, uint32_t open_flags, Timespec now);
  void accessed(uint32_t mount_flags, Timespec now);
  bool access_moves(uint32_t mount_flags, Timespec now) const;  // the access time
  uint32_t nlink() const { return st_.nlink; }
  void add_links(int n) { st_.nlink += static_cast<uint32_t>(n); }
  // What a write does to set-id bits and file capabilities.
  void drop_privileges(OpContext&);

 protected:
  virtual Result<void> set_size(OpContext&, uint64_t) { return Errno{EINVAL}; }
  Stat st_;

 private:
  std::shared_ptr<TmpQuota> quota_;
  std::map<std::string, std::vector<std::byte>, std::less<>> xattrs_;
};

class TmpRegular : public TmpInode {
 public:
  TmpRegular(Tmpfs& fs, const NewOwner& owner, Timespec now)
      : TmpInode(fs, owner, 0, now), content(fs.quota()) {}
  Result<Stat> getattr(OpContext&) override;
  Result<void> setattr(OpContext&, const SetAttr&) override;
  Result<FileRef> open(OpContext&, const Path& self, uint32_t flags) override;
  // `quietly`: it does not count as read.
  Result<size_t> read(std::span<std::byte> dst, uint64_t offset, bool quietly);
  // Somebody reads the memfd by itself, from now on.
  void read_at_host(const Path& at);
  bool moves_unseen() const override;
  // Somebody has mapped it.
  void map_at_host();

  TmpContent content;
  bool linkable = false;  // made by O_TMPFILE, and no link yet

 protected:
  Result<void> set_size(OpContext&, uint64_t) override;

 private:
  void note_host_reads();
  struct HostReads {
    uint32_t mount_flags;
    Timespec last;  // the memfd's access time, as far as has been noted
  };
  std::optional<HostReads> host_reads_;
  bool mapped_ = false;
};

class TmpSymlink : public TmpInode {
 public:
  TmpSymlink(Tmpfs& fs, const NewOwner& owner, std::string_view target, Timespec now)
      : TmpInode(fs, owner, 0, now), target_(target) {
    st_.size = target_.size();
  }
  Result<std::string> readlink(OpContext&) override { return target_; }

 private:
  std::string target_;
};

// Entries have positions that never change while they stay, so that a directory can be read while it
// is changed: position 0 is ".", 1 is "..", and each new name takes the next number.
class TmpDir : public TmpInode {
 public:
  TmpDir(Tmpfs& fs, const NewOwner& owner, Timespec now);
  Result<Stat> getattr(OpContext&) override;
  Result<InodeRef> lookup(OpContext&, std::string_view name) override;
  Result<std::vector<InodeRef>> lookup_many(OpContext&,
                                            std::span<const std::string_view> names,
                                            Intent) override;
  Result<InodeRef> create(OpContext&, std::string_view name, uint32_t mode) override;
  Result<InodeRef> mkdir(OpContext&, std::string_view name, uint32_t mode) override;
  Result<InodeRef> mknod(OpContext&, std::string_view name, uint32_t mode, uint64_t rdev) override;
  Result<InodeRef> symlink(OpContext&, std::string_view name, std::string_view target) override;
  Result<void> link(OpContext&, std::string_view name, Inode& target) override;
  Result<InodeRef> tmpfile(OpContext&, uint32_t mode, bool linkable) override;
  Result<void> unlink(OpContext&, std::string_view name, Inode& victim) override;
  Result<void> rmdir(OpContext&, std::string_view name, Inode& victim) override;
  Result<void> rename(OpContext&, std::string_view name, Inode& victim, Inode& new_dir,
                      std::string_view new_name, Inode* target, uint32_t flags) override;
  Result<FileRef> open(OpContext&, const Path& self, uint32_t flags) override;

  // From `position` on, names before `end` only; ".." is shown with `parent_ino`.
  void list(uint64_t& position, uint64_t end, uint64_t parent_ino, DirSink&) const;
  uint64_t end_position() const { return next_; }
  // Gives the children up, for the destructor of the file system.
  std::vector<InodeRef> take_children();

 private:
  struct Entry {
    std::string name;
    std::shared_ptr<TmpInode> inode;
  };
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view s) const { return std::hash<std::string_view>{}(s); }
  };
  Result<void> may_add(std::string_view name) const;
  Entry* find(std::string_view name);
  void insert(std::string_view name, std::shared_ptr<TmpInode> inode, Timespec now);
  void erase(std::string_view name, Timespec now);
  void drop(TmpInode& victim, Timespec now);
  void rename_entry(std::string_view name, std::string_view new_name);
  template <typename Make>
  Result<InodeRef> add(OpContext&, std::string_view name, uint32_t mode, Make make);

  std::map<uint64_t, Entry> entries_;
  std::unordered_map<std::string, uint64_t, Hash, std::equal_to<>> by_name_;
  uint64_t next_ = 2;
  bool removed_ = false;
};

}  // namespace run9::vfs
