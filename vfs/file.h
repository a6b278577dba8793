// File: an open file description (open(2)), shared by every descriptor that dup or fork made of it.
// Owned by descriptor tables and in-flight calls through FileRef; the last reference closes it.
//
// Data moves through spans of the caller's memory: the system-call layer copies to and from the guest.
#pragma once
#include <fcntl.h>

#include <memory>
#include <optional>

#include "vfs/dentry.h"
#include "vfs/inode.h"

namespace run9::vfs {

// What a mapping of a file maps on the host: a descriptor that stays open as long as the holder lives.
struct MapSource {
  std::shared_ptr<UniqueFd> fd;  // null: anonymous zero memory (/dev/zero)
  uint64_t offset = 0;           // added to the mapping's file offset
  // A memfd of the sandbox that nobody can seal: who may write the file may have the descriptor.
  bool is_memory = false;
};

// One who has a regular file open for writing, or executes it: as long as there is one of these, the others get ETXTBSY.
class WriteAccess {
 public:
  enum class Kind : int8_t { kNone = 0, kWrites = 1, kExecutes = -1 };
  WriteAccess() = default;
  WriteAccess(const WriteAccess&) = delete;
  WriteAccess& operator=(const WriteAccess&) = delete;
  ~WriteAccess() { release(); }
  Result<void> take(const InodeRef& inode, Kind kind);
  void release();

 private:
  InodeRef inode_;  // null: nothing was taken
  Kind kind_ = Kind::kNone;
};

class File : public std::enable_shared_from_this<File> {
 public:
  File(Path path, uint32_t flags) : path_(std::move(path)), flags_(flags) {}
  virtual ~File();  // drops the OFD and flock locks it holds
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  // What open(2) says of a file that it makes, or that is to be written.
  Result<void> hold_write_access();
  void mark_created() { created_ = true; }
  bool created() const { return created_; }  // F_CREATED_QUERY

  const Path& path() const { return path_; }
  Inode& inode() const { return *path_.dentry->inode(); }
  // Access mode and status flags, as F_GETFL shows them.
  uint32_t flags() const { return flags_; }
  virtual Result<void> set_flags(uint32_t flags);  // O_APPEND, O_NONBLOCK, O_DIRECT, O_NOATIME, O_ASYNC
  bool readable() const { return (flags_ & O_ACCMODE) != O_WRONLY && (flags_ & O_PATH) == 0; }
  bool writable() const { return (flags_ & O_ACCMODE) != O_RDONLY && (flags_ & O_PATH) == 0; }
  bool nonblocking() const { return (flags_ & O_NONBLOCK) != 0; }

  // Files with a position. Defaults: ESPIPE.
  virtual Result<size_t> pread(OpContext&, std::span<std::byte> dst, uint64_t offset);
  virtual Result<size_t> pwrite(OpContext&, ByteSpan src, uint64_t offset);
  // O_APPEND write: gives the count and moves `end` to the position after it. Default: size + pwrite.
  virtual Result<size_t> append(OpContext&, ByteSpan src, uint64_t& end);
  // Streams override these two; the defaults use position() and pread/pwrite/append.
  virtual Result<size_t> read(OpContext&, std::span<std::byte> dst);
  virtual Result<size_t> write(OpContext&, ByteSpan src);
  // True for streams (pipes, sockets, terminals): no position, pread gives ESPIPE.
  virtual bool is_stream() const { return false; }
  // Reads only put bytes into `dst`, writes only take them from `src`, and neither looks at them there: it may be memory that a guest changes meanwhile.
  virtual bool moves_bytes() const { return false; }
  virtual Result<uint64_t> seek(OpContext&, int64_t offset, int whence);
  // How much was read of it and written by whoever has it open: OwnFiles' to say, as soon as that is worth something.
  struct HostWorth {
    int reads = 0, writes = 0;
  };
  HostWorth& host_worth() { return host_worth_; }
  uint64_t position() {
    if (appends_unseen_) note_appends();
    return position_;
  }
  void set_position(uint64_t p) {
    if (appends_unseen_) note_appends();
    position_ = p;
  }

  // Directories: entries from position() on; moves it past those taken. "." and ".." included.
  virtual Result<void> readdir(OpContext&, DirSink&);

  // poll(2) bits that hold now, and the queue that is notified when they may have changed
  // (null: they never change). Default: always readable and writable.
  virtual uint32_t poll(OpContext&);
  virtual WaitQueue* wait_queue() { return nullptr; }

  virtual Result<uint64_t> ioctl(OpContext&, uint32_t request, uint64_t arg);  // default ENOTTY
  virtual Result<MapSource> map_source(OpContext&, bool shared, bool writable);  // default ENODEV
  // pread() at 0, if nobody can tell afterwards that it was read, and nobody writes to it at the moment without our hearing of it. Else nothing.
  virtual Result<std::optional<size_t>> read_unnoticed(OpContext&, std::span<std::byte> /*dst*/) { return std::nullopt; }
  // By which who has this file open may read it at the host: bytes, end and errors are what pread() gives, and it counts as read. The host's
  // descriptor is open for no more than this file is, but for `is_memory`. None: fd is null.
  virtual Result<MapSource> read_source(OpContext&) { return MapSource{}; }
  // Likewise for writing, and if it is open for both for reading; the host's descriptor may be open for both in any case. What pwrite() would do besides is not
  // done: not for O_DSYNC, RLIMIT_FSIZE or a file with set-id bits. With O_APPEND its user appends (RWF_APPEND of pwritev2(2)). None: fd or unseen is null.
  struct WriteSource {
    std::shared_ptr<UniqueFd> fd;
    std::unique_ptr<UnseenWrites> unseen;
  };
  virtual Result<WriteSource> write_source(OpContext&) { return WriteSource{}; }
  // Copies from another file without the caller's seeing the bytes: as many as it likes, at least one unless `from` is at the
  // end. Default: EOPNOTSUPP, which as any other failure may be taken for "do it yourself".
  virtual Result<uint64_t> copy_from(OpContext&, File& in, uint64_t from, uint64_t to, uint64_t length);
  virtual Result<void> fsync(OpContext&, bool data_only);  // default ok for regular, EINVAL for others
  virtual Result<void> fallocate(OpContext&, int mode, uint64_t offset, uint64_t length);
  // Attributes of the open file: default inode().
  virtual Result<Stat> getattr(OpContext& ctx) { return inode().getattr(ctx); }
  virtual Result<void> setattr(OpContext& ctx, const SetAttr& a) { return inode().setattr(ctx, a); }
  // Nobody can tell when that happens, but for locks and watches.
  virtual bool closes_quietly() const { return !writable() && (inode().is_regular() || inode().is_dir()); }
  // Called when one descriptor of it is closed (flush in FUSE terms).
  virtual void on_close(OpContext&) {}
  // Whom it shared memory with, so as not to be asked (ipc/pipe.h), has to ask again.
  virtual void take_back() {}
  // Lines added to /proc/PID/fdinfo/N after pos, flags and mnt_id.
  virtual std::string fdinfo() const { return ""; }

 protected:
  // Somebody may append by a descriptor of write_source(): the position is to be asked for.
  bool appends_unseen_ = false;
  // Moves the position to the end if somebody has appended since the last time.
  virtual void note_appends() {}
  void move_to(uint64_t p) { position_ = p; }

 private:
  Path path_;
  uint32_t flags_;
  bool created_ = false;
  HostWorth host_worth_;
  WriteAccess writes_;
  uint64_t position_ = 0;
};

// What O_PATH opens: names a place and does nothing else (EBADF).
class PathFile : public File {
 public:
  using File::File;
  Result<void> set_flags(uint32_t) override { return Errno{EBADF}; }
  Result<size_t> read(OpContext&, std::span<std::byte>) override { return Errno{EBADF}; }
  Result<size_t> write(OpContext&, ByteSpan) override { return Errno{EBADF}; }
  Result<size_t> pread(OpContext&, std::span<std::byte>, uint64_t) override { return Errno{EBADF}; }
  Result<size_t> pwrite(OpContext&, ByteSpan, uint64_t) override { return Errno{EBADF}; }
  Result<uint64_t> seek(OpContext&, int64_t, int) override { return Errno{EBADF}; }
  Result<void> readdir(OpContext&, DirSink&) override { return Errno{EBADF}; }
  uint32_t poll(OpContext&) override;
  Result<uint64_t> ioctl(OpContext&, uint32_t, uint64_t) override { return Errno{EBADF}; }
  Result<MapSource> map_source(OpContext&, bool, bool) override { return Errno{EBADF}; }
  Result<void> fsync(OpContext&, bool) override { return Errno{EBADF}; }
  Result<void> fallocate(OpContext&, int, uint64_t, uint64_t) override { return Errno{EBADF}; }
  Result<void> setattr(OpContext&, const SetAttr&) override { return Errno{EBADF}; }
};

}  // namespace run9::vfs
