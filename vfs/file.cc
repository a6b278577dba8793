#include "vfs/file.h"

#include <poll.h>

#include "vfs/locks.h"
#include "vfs/watch.h"

namespace run9::vfs {

Result<void> WriteAccess::take(const InodeRef& inode, Kind kind) {
  if (kind == Kind::kWrites ? inode->executed() : inode->written()) return Errno{ETXTBSY};
  inode->writers_ += static_cast<int32_t>(kind);
  inode_ = inode;
  kind_ = kind;
  return ok();
}

void WriteAccess::release() {
  if (inode_ == nullptr) return;
  inode_->writers_ -= static_cast<int32_t>(kind_);
  inode_.reset();
}

Result<void> File::hold_write_access() { return writes_.take(inode().shared_from_this(), WriteAccess::Kind::kWrites); }

File::~File() {
  if (!path_.dentry || path_.dentry->negative()) return;
  if ((flags_ & O_PATH) == 0) notify_path(path_, writable() ? IN_CLOSE_WRITE : IN_CLOSE_NOWRITE);
  if (auto* locks = path_.dentry->inode()->locks_if_any()) locks->release_file(*this);
}

Result<void> File::set_flags(uint32_t flags) {
  constexpr uint32_t kChangeable = O_APPEND | O_NONBLOCK | O_DIRECT | O_NOATIME | O_ASYNC;
  flags_ = (flags_ & ~kChangeable) | (flags & kChangeable);
  return ok();
}

Result<size_t> File::pread(OpContext&, std::span<std::byte>, uint64_t) { return Errno{ESPIPE}; }
Result<size_t> File::pwrite(OpContext&, ByteSpan, uint64_t) { return Errno{ESPIPE}; }

Result<size_t> File::append(OpContext& ctx, ByteSpan src, uint64_t& end) {
  const uint64_t size = TRY(getattr(ctx)).size;
  const size_t n = TRY(pwrite(ctx, src, size));
  end = size + n;
  return n;
}

Result<size_t> File::read(OpContext& ctx, std::span<std::byte> dst) {
  const size_t n = TRY(pread(ctx, dst, position_));
  position_ += n;
  return n;
}

Result<size_t> File::write(OpContext& ctx, ByteSpan src) {
  if ((flags_ & O_APPEND) != 0) return append(ctx, src, position_);
  const size_t n = TRY(pwrite(ctx, src, position_));
  position_ += n;
  return n;
}

Result<uint64_t> File::seek(OpContext& ctx, int64_t offset, int whence) {
  if (is_stream()) return Errno{ESPIPE};
  int64_t base = 0;
  switch (whence) {
    case SEEK_SET: break;
    case SEEK_CUR: base = static_cast<int64_t>(position()); break;
    case SEEK_END: base = static_cast<int64_t>(TRY(getattr(ctx)).size); break;
    case SEEK_DATA:
    case SEEK_HOLE: {
      // All data, and the one hole at the end.
      const uint64_t size = TRY(getattr(ctx)).size;
      if (offset < 0 || static_cast<uint64_t>(offset) >= size) return Errno{ENXIO};
      if (whence == SEEK_HOLE) offset = static_cast<int64_t>(size);
      break;
    }
    default: return Errno{EINVAL};
  }
  int64_t target = 0;
  if (__builtin_add_overflow(base, offset, &target)) return Errno{EINVAL};
  if (target < 0) return Errno{EINVAL};
  set_position(static_cast<uint64_t>(target));
  return static_cast<uint64_t>(target);
}

Result<void> File::readdir(OpContext&, DirSink&) { return Errno{ENOTDIR}; }

uint32_t File::poll(OpContext&) { return POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM; }

Result<uint64_t> File::ioctl(OpContext&, uint32_t, uint64_t) { return Errno{ENOTTY}; }
Result<MapSource> File::map_source(OpContext&, bool, bool) { return Errno{ENODEV}; }

Result<uint64_t> File::copy_from(OpContext&, File&, uint64_t, uint64_t, uint64_t) { return Errno{EOPNOTSUPP}; }
Result<void> File::fsync(OpContext&, bool) {
  const auto type = inode().type();
  if (type == S_IFREG || type == S_IFDIR || type == S_IFBLK) return ok();
  return Errno{EINVAL};
}

Result<void> File::fallocate(OpContext&, int, uint64_t, uint64_t) {
  switch (inode().type()) {
    case S_IFIFO: return Errno{ESPIPE};
    case S_IFREG: return Errno{EOPNOTSUPP};
    case S_IFDIR: return Errno{EISDIR};
    default: return Errno{ENODEV};
  }
}

uint32_t PathFile::poll(OpContext&) { return POLLNVAL; }

}  // namespace run9::vfs
