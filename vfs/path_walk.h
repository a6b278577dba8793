// Path walk and the operations on names that system calls ask for: permissions, symlinks
// (path_resolution(7)), mounts, sticky directories, read-only mounts, umask. A MountNamespace owns the
// mount table; FsContext is the caller's root, working directory and umask.
#pragma once
#include <list>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "vfs/dentry.h"
#include "vfs/file.h"

namespace run9::vfs {

struct FsContext {
  Path root;
  Path cwd;
  uint32_t umask = 022;
};

enum LookupFlags : uint32_t {
  kFollow = 1,      // follow a symlink in the last component
  kDirectory = 2,   // the result must be a directory (ENOTDIR)
  kEmptyPath = 4,   // "" means the start (AT_EMPTY_PATH)
  // openat2(2) RESOLVE_*
  kNoXdev = 16,
  kNoMagicLinks = 32,
  kNoSymlinks = 64,
  kBeneath = 128,
  kInRoot = 256,
  kOpenRead = 512,  // a hint: what the path names is opened for reading next
  kStatOnly = 1024, // a hint: nothing but the attributes of what it names is wanted
};

// The directory that holds the last component, and that component.
struct Parent {
  Path dir;
  std::string name;        // never empty; may be "." or ".."; "/" when the path is the root itself
  bool trailing_slash = false;
};

struct OpenHow {
  uint32_t flags = 0;  // open(2)
  uint32_t mode = 0;   // for O_CREAT and O_TMPFILE
  uint32_t lookup = 0; // RESOLVE bits as LookupFlags
};

// How files that are not the file system's own are opened (FIFOs, devices); the kernel implements it.
class SpecialOpener {
 public:
  virtual ~SpecialOpener() = default;
  virtual Result<FileRef> open_special(OpContext&, const Path&, uint32_t flags) = 0;
};

class DentryCache;
class ToldNames;

class MountNamespace {
 public:
  explicit MountNamespace(FileSystemRef root_fs, uint32_t root_flags, std::string root_source);
  ~MountNamespace();
  MountNamespace(const MountNamespace&) = delete;
  MountNamespace& operator=(const MountNamespace&) = delete;
  Path root() const;

  // Every `start` below is where a relative path begins (the cwd or a directory descriptor).
  Result<Path> walk(OpContext&, const FsContext&, const Path& start, std::string_view path,
                    uint32_t lookup_flags);
  ToldNames& told();
  // walk(), where each step is noted in told() before it is made. ESTALE: one that cannot be told. `record`: what it leads to is told as that, and nothing else
  // is by the last name.
  Result<Path> walk_told(OpContext&, const FsContext&, const Path& start, std::string_view path, uint32_t lookup_flags, std::optional<uint32_t> record);
  Result<Parent> walk_parent(OpContext&, const FsContext&, const Path& start, std::string_view path,
                             uint32_t lookup_flags = 0);
  Result<FileRef> open(OpContext&, const FsContext&, const Path& start, std::string_view path,
                       const OpenHow&);
  // Opens a place already found (exec, /proc/PID/fd, O_PATH reopening). The caller checked permissions.
  Result<FileRef> open_path(OpContext&, const Path&, uint32_t flags);
  Result<void> mkdir(OpContext&, const FsContext&, const Path& start, std::string_view path,
                     uint32_t mode);
  // mode with type bits; S_IFREG allowed. Gives the new place (unix socket bind attaches to it).
  Result<Path> mknod(OpContext&, const FsContext&, const Path& start, std::string_view path,
                     uint32_t mode, uint64_t rdev);
  Result<void> symlink(OpContext&, const FsContext&, const Path& start, std::string_view path,
                       std::string_view target);
  Result<void> link(OpContext&, const FsContext&, const Path& existing, const Path& start,
                    std::string_view path);
  Result<void> unlink(OpContext&, const FsContext&, const Path& start, std::string_view path);
  Result<void> rmdir(OpContext&, const FsContext&, const Path& start, std::string_view path);
  Result<void> rename(OpContext&, const FsContext&, const Path& start, std::string_view path,
                      const Path& new_start, std::string_view new_path, uint32_t flags);
  // chmod, chown, utimes, truncate with the checks of their man pages (owner, CAP_FOWNER, EROFS,
  // setuid clearing). `file`: the open file when called through a descriptor.
  Result<void> setattr(OpContext&, const Path&, SetAttr, File* file = nullptr);
  Result<std::string> readlink(OpContext&, const Path&);
  // getattr with st_dev of the mount's file system.
  Result<Stat> stat(OpContext&, const Path&);
  Result<void> access(OpContext&, const Path&, uint32_t mask);  // and EROFS
  Result<StatFs> statfs(OpContext&, const Path&);                // with the mount's flags unsaid
  // Extended attributes with the checks of xattr(7); trusted.* is hidden without CAP_SYS_ADMIN.
  Result<std::vector<std::byte>> getxattr(OpContext&, const Path&, std::string_view name);
  Result<void> setxattr(OpContext&, const Path&, std::string_view name, ByteSpan value, int flags);
  Result<void> removexattr(OpContext&, const Path&, std::string_view name);
  Result<std::vector<std::string>> listxattr(OpContext&, const Path&);

  // The mount table. CAP_SYS_ADMIN is the caller's to check.
  Result<MountRef> mount(OpContext&, FileSystemRef fs, const Path& where, uint32_t flags,
                         std::string source);
  // The new mount has the flags of the one it copies, and `flags`.
  Result<MountRef> bind(OpContext&, const Path& from, const Path& where, bool recursive,
                        uint32_t flags);
  // EBUSY unless MNT_DETACH while anything but `where` refers to the mount.
  Result<void> umount(OpContext&, const Path& where, uint32_t umount2_flags);
  Result<void> move(OpContext&, const Path& from, const Path& where);
  // Moves root and cwd of the FsContext given; those of other tasks are the kernel's.
  Result<void> pivot_root(OpContext&, FsContext&, const Path& new_root, const Path& put_old);
  const std::list<MountRef>& mounts() const { return mounts_; }
  // unshare(CLONE_NEWNS): a copy of the table; `translate` is moved to the copies of its mounts.
  std::shared_ptr<MountNamespace> clone(FsContext& translate);

  // Absolute path as seen from `root`; "(unreachable)" prefix and " (deleted)" suffix as d_path.
  std::string path_name(const Path&, const Path& root) const;

  void set_special_opener(SpecialOpener* o) { special_ = o; }
  // How many unused dentries the cache keeps alive.
  void set_cache_limit(size_t dentries);
  // Lets go of unused dentries, those used longest ago.
  void forget_names(size_t count);

 private:
  friend class Walk;
  struct Shared;
  explicit MountNamespace(std::shared_ptr<Shared> shared) : shared_(std::move(shared)) {}

  MountRef mounted_at(const Path& at) const;
  Path topmost(Path at) const;  // through the mounts stacked there
  MountRef attach(FileSystemRef fs, DentryRef root, const Path& where, uint32_t flags,
                  std::string source);
  void detach(const MountRef& m);
  std::vector<MountRef> tree_of(const MountRef& top) const;  // parents first
  void set_mountpoint(Mount& m, const Path& where);
  // Where a new name goes: filename_create of Linux.
  struct NewName {
    Path dir;
    std::string name;
    DentryRef dentry;  // negative
  };
  Result<NewName> new_name(OpContext&, const FsContext&, const Path& start, std::string_view path,
                           bool directory);
  struct OldName {
    Path dir;
    DentryRef dentry;
  };
  Result<OldName> old_name(OpContext&, const FsContext&, const Path& start, std::string_view path,
                           int dot_error, int dotdot_error, int root_error, bool& trailing_slash);
  Path created(const NewName&, InodeRef inode);
  void removed(const Path& dir, Dentry& victim);
  Result<FileRef> open_create(OpContext&, const FsContext&, const Path& start,
                              std::string_view path, const OpenHow&);
  Result<FileRef> open_tmpfile(OpContext&, const FsContext&, const Path& start,
                               std::string_view path, const OpenHow&);
  Result<FileRef> open_existing(OpContext&, const Path&, uint32_t flags);
  Result<void> rename_checks(OpContext&, const OldName& from, const OldName& to, uint32_t flags);

  std::list<MountRef> mounts_;
  MountRef root_mount_;
  SpecialOpener* special_ = nullptr;
  std::shared_ptr<Shared> shared_;  // with the clones: dentry cache, mount and device numbers
};

}  // namespace run9::vfs
