// Inode and FileSystem: what a file system implements. Everything has a default that refuses, so a
// file system overrides only what it supports. Permission checks, symlink limits, mounts and names
// ("." and "..", length) are the path walk's (vfs/path_walk.h): an inode may rely on them.
//
// Threads: one. An operation may block (a 9P round trip), and another fiber may then run others on the
// same inode; state must be consistent whenever it does.
#pragma once
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/unique_fd.h"
#include "base/wait_queue.h"
#include "vfs/context.h"
#include "vfs/types.h"

namespace run9::vfs {

class Inode;
class File;
class FileSystem;
class Dentry;
class LockTable;
class LockWaits;
class OuterLocks;
class OuterEvents;
class WatchList;
struct Path;
using InodeRef = std::shared_ptr<Inode>;
using FileRef = std::shared_ptr<File>;
using FileSystemRef = std::shared_ptr<FileSystem>;

// How the dentry cache may treat the names of a file system.
enum class Caching {
  kAuthoritative,  // nobody else changes it: positive and negative entries stay until we change them
  kRevalidate,     // ask Inode::revalidate before each use; negatives are not kept
  kNone,           // look up each time (proc)
};

class FileSystem : public std::enable_shared_from_this<FileSystem> {
 public:
  FileSystem();
  virtual ~FileSystem();
  FileSystem(const FileSystem&) = delete;
  FileSystem& operator=(const FileSystem&) = delete;
  virtual std::string_view type() const = 0;  // "tmpfs", as /proc/filesystems names it
  virtual InodeRef root() = 0;
  virtual Caching caching() const { return Caching::kAuthoritative; }
  virtual Result<StatFs> statfs(OpContext&) { return StatFs{}; }
  virtual Result<void> sync(OpContext&) { return ok(); }
  virtual bool read_only() const { return false; }
  // Options as /proc/mounts shows them after rw/ro, "" or ",size=4k".
  virtual std::string show_options() const { return ""; }
  uint64_t dev() const { return dev_; }  // st_dev, unique in the sandbox
  void set_dev(uint64_t dev) { dev_ = dev; }
  // The one root dentry that all mounts of it share; made on first use.
  std::shared_ptr<Dentry> root_dentry();
  LockWaits& lock_waits() { return *lock_waits_; }

 private:
  uint64_t dev_ = 0;
  std::weak_ptr<Dentry> root_dentry_;
  std::unique_ptr<LockWaits> lock_waits_;
};

struct RenameFlags {
  static constexpr uint32_t kNoReplace = 1, kExchange = 2, kWhiteout = 4;
};

// What the walk is for: kRead, to open the last name for reading; kStat, for its attributes alone. A hint.
enum class Intent { kLook, kRead, kStat };

// A name that the dentry cache holds, and what it led to.
struct CachedName {
  std::string_view name;
  Inode* inode;
};

// What decides who may do what to a file.
struct FileRights {
  uint32_t mode, uid, gid;
};

// Whether an inode owns a share of its file system. kNo where the file system owns the inode (always
// its root, all of them in tmpfs): a place (Path) keeps both alive through its mount.
enum class KeepFs { kYes, kNo };

// Of a descriptor of the host's by which somebody may write without our hearing of it. One that goes without over() is taken for one that is still there.
class UnseenWrites {
 public:
  virtual ~UnseenWrites() = default;
  virtual void over() = 0;  // it is closed, and nothing is under way by it
};

class Inode : public std::enable_shared_from_this<Inode> {
  friend class WriteAccess;

 public:
  explicit Inode(FileSystem& fs, uint64_t ino, uint32_t mode, KeepFs keep = KeepFs::kYes);
  virtual ~Inode();
  Inode(const Inode&) = delete;
  Inode& operator=(const Inode&) = delete;

  FileSystem& fs() const { return *fs_; }
  uint64_t ino() const { return ino_; }
  uint32_t type() const { return mode_ & S_IFMT; }  // never changes
  bool is_dir() const { return type() == S_IFDIR; }
  bool is_symlink() const { return type() == S_IFLNK; }
  bool is_regular() const { return type() == S_IFREG; }

  virtual Result<Stat> getattr(OpContext&) = 0;
  // Default EPERM.
  virtual Result<void> setattr(OpContext&, const SetAttr&);
  // Mode and owner, as permission() goes by them. Default: of getattr.
  virtual Result<FileRights> rights(OpContext&);

  // Directories with Caching::kRevalidate: is `child` still what the name stands for? Nothing if that has to be asked for.
  virtual std::optional<bool> known_name(OpContext&, std::string_view name, const Inode& child, Intent intent);
  // Asks for names[0] of this directory: true if it still stands for that. The others are those that come behind it in the
  // path: what is heard of them as well is known for the moment (OpContext).
  virtual Result<bool> revalidate(OpContext&, std::span<const CachedName> names, Intent intent);

  // Directories. `name` is a single component. Defaults: ENOTDIR for lookup, EPERM for changes.
  virtual Result<InodeRef> lookup(OpContext&, std::string_view name);
  // Walks several components at once and gives the inodes found, in order: fewer than asked when one is
  // missing or is not a directory. At least one, or an error. Default: lookup of the first.
  virtual Result<std::vector<InodeRef>> lookup_many(OpContext&,
                                                    std::span<const std::string_view> names,
                                                    Intent intent = Intent::kLook);
  // Regular file; mode has no type bits, umask applied. EEXIST if the name exists.
  virtual Result<InodeRef> create(OpContext&, std::string_view name, uint32_t mode);
  virtual Result<InodeRef> mkdir(OpContext&, std::string_view name, uint32_t mode);
  // FIFO, socket, device (mode has the type bits), rdev in makedev form.
  virtual Result<InodeRef> mknod(OpContext&, std::string_view name, uint32_t mode, uint64_t rdev);
  virtual Result<InodeRef> symlink(OpContext&, std::string_view name, std::string_view target);
  virtual Result<void> link(OpContext&, std::string_view name, Inode& target);
  // O_TMPFILE: a regular file without a name; link() may give it one if `linkable` (no O_EXCL).
  // Default EOPNOTSUPP.
  virtual Result<InodeRef> tmpfile(OpContext&, uint32_t mode, bool linkable);
  virtual Result<void> unlink(OpContext&, std::string_view name, Inode& victim);
  virtual Result<void> rmdir(OpContext&, std::string_view name, Inode& victim);
  // Both directories are of this file system; flags RenameFlags. `target` may be null.
  virtual Result<void> rename(OpContext&, std::string_view name, Inode& victim, Inode& new_dir,
                              std::string_view new_name, Inode* target, uint32_t flags);

  // Symbolic links. readlink gives the text; follow may give a place instead (magic links of
  // /proc/PID/fd) by filling `jump` and returning "".
  virtual Result<std::string> readlink(OpContext&);
  virtual Result<std::string> follow(OpContext&, Path& jump);

  // flags: open(2) access mode and status flags (O_TRUNC was done by setattr). `self`: the place
  // it was opened at. Default for FIFO, socket and device inodes: ENXIO (the kernel opens those).
  virtual Result<FileRef> open(OpContext&, const Path& self, uint32_t flags);

  // Extended attributes; names were length-checked. Defaults EOPNOTSUPP.
  virtual Result<std::vector<std::byte>> getxattr(OpContext&, std::string_view name);
  virtual Result<void> setxattr(OpContext&, std::string_view name, ByteSpan value, int flags);
  virtual Result<void> removexattr(OpContext&, std::string_view name);
  virtual Result<std::vector<std::string>> listxattr(OpContext&);

  // access(2)-like check of `mask` (4 read, 2 write, 1 execute/search) against creds' fs ids.
  // Default: mode bits and capabilities from getattr.
  virtual Result<void> permission(OpContext&, uint32_t mask);

  // A socket file that somebody outside listens on: a connection to him, whose descriptor does not block, of type
  // SOCK_STREAM and its like. EAGAIN: his queue is full. Default: ECONNREFUSED.
  virtual Result<UniqueFd> connect(OpContext&, int type);
  // Who else locks the file, for its LockTable; null: nobody.
  virtual std::unique_ptr<OuterLocks> outer_locks();
  // POSIX, OFD and flock locks of this inode (vfs/locks.h); made on first use.
  LockTable& locks();
  LockTable* locks_if_any() const { return locks_.get(); }
  // Who else tells of it, of the file system; null: nobody.
  virtual OuterEvents* outer_events() { return nullptr; }
  // Who is told of what happens to it (vfs/watch.h); made on first use.
  WatchList& watches();
  WatchList* watches_if_any() const { return watches_.get(); }
  // Who writes and who executes it exclude each other (i_writecount of Linux): ETXTBSY. Taken by WriteAccess alone.
  bool written() const { return writers_ > 0; }
  // Somebody may write to it at the host without our hearing of that (File::write_source).
  virtual bool written_unseen() const { return false; }
  // What stat(2) gives may change without our hearing of it: somebody writes to it at the host, or reads, or has mapped it.
  virtual bool moves_unseen() const { return false; }
  // Whose attributes these are, and who hears of kAttributesMoved (vfs/watch.h): itself, or who lies below it.
  virtual Inode& holder() { return *this; }
  bool executed() const { return writers_ < 0; }
  // A slot for the kernel's own object behind a FIFO or bound socket inode.
  std::shared_ptr<void>& attachment() { return attachment_; }

 private:
  FileSystemRef keep_alive_;  // empty for KeepFs::kNo
  FileSystem* fs_;
  uint64_t ino_;
  uint32_t mode_;
  int32_t writers_ = 0;  // less than 0: how many execute it
  std::unique_ptr<LockTable> locks_;
  std::unique_ptr<WatchList> watches_;
  std::shared_ptr<void> attachment_;
};

}  // namespace run9::vfs
