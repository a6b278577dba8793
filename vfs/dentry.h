// Dentry: one cached name. A child holds its parent strongly, a parent its children weakly; the cache
// (dentry_cache.h) keeps recently used ones alive. Mount: a file system attached at a place.
// Path: a place in the mount tree; what a descriptor, a working directory or a root refers to.
#pragma once
#include <list>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>

#include "vfs/inode.h"

namespace run9::vfs {

class Dentry;
class Mount;
using DentryRef = std::shared_ptr<Dentry>;
using MountRef = std::shared_ptr<Mount>;

class Dentry : public std::enable_shared_from_this<Dentry> {
 public:
  // inode null: a negative entry, the name is known not to exist.
  Dentry(DentryRef parent, std::string name, InodeRef inode);
  ~Dentry();

  const InodeRef& inode_ref() const { return inode_; }
  Inode* inode() const { return inode_.get(); }
  bool negative() const { return inode_ == nullptr; }
  const DentryRef& parent() const { return parent_; }  // null for the root of a file system
  const std::string& name() const { return name_; }
  bool unlinked() const { return unlinked_; }  // "(deleted)"

  // The file system of the name, for a negative entry that of its directory.
  FileSystem& fs() const { return inode_ ? inode_->fs() : parent_->fs(); }
  bool is_under(const Dentry& ancestor) const;  // true for itself

  DentryRef child(std::string_view name) const;
  // Adds under this directory, replacing an entry of that name.
  DentryRef add_child(std::string_view name, InodeRef inode);
  void drop_child(std::string_view name);       // forget: the next walk looks it up
  void mark_unlinked();                         // the name is gone, holders keep the inode
  void move_to(DentryRef new_parent, std::string new_name);
  // Exchanges places with `other`.
  void swap_with(Dentry& other);
  void make_positive(InodeRef inode) { inode_ = std::move(inode); }
  // Number of mounts on this dentry; the walk asks the mount table only if it is not 0.
  int mounts = 0;

 private:
  friend class DentryCache;
  void leave_parent();
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view s) const { return std::hash<std::string_view>{}(s); }
  };
  DentryRef parent_;
  std::string name_;
  InodeRef inode_;
  bool unlinked_ = false;
  bool cached_ = false;    // DentryCache holds it
  std::list<DentryRef>::iterator cache_slot_;  // valid if cached_
  bool recent_ = false;    // used since the cache last looked
  std::unordered_map<std::string, std::weak_ptr<Dentry>, Hash, std::equal_to<>> children_;
};

struct Path {
  MountRef mount;
  DentryRef dentry;
  explicit operator bool() const { return dentry != nullptr; }
  bool operator==(const Path&) const = default;
  Inode* inode() const { return dentry->inode(); }
};

enum MountFlags : uint32_t {
  kMntReadOnly = 1,  // the values are statfs(2) ST_*
  kMntNoSuid = 2,
  kMntNoDev = 4,
  kMntNoExec = 8,
  kMntNoAtime = 1024,
  kMntNoDirAtime = 2048,
  kMntRelAtime = 4096,
};

class Mount : public std::enable_shared_from_this<Mount> {
 public:
  Mount(int id, FileSystemRef fs, DentryRef root, uint32_t flags, std::string source)
      : id(id), fs(std::move(fs)), root(std::move(root)), flags(flags), source(std::move(source)) {}
  const int id;  // mnt_id of /proc/PID/mountinfo
  const FileSystemRef fs;
  const DentryRef root;
  uint32_t flags;  // MountFlags
  std::string source;
  Path mountpoint;  // where it is attached; empty for the root mount and for detached ones
};

}  // namespace run9::vfs
