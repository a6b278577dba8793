#include "vfs/gofer/gofer_file.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <limits>

#include "base/copy.h"
#include "base/layer_clock.h"
#include "vfs/gofer/gofer_fs.h"
#include "vfs/host_sync.h"

namespace run9::vfs::gofer {

namespace {

// What of `src` the caller's RLIMIT_FSIZE lets it write at `offset`.
Result<ByteSpan> within_limit(OpContext& ctx, ByteSpan src, uint64_t offset) {
  const uint64_t limit = ctx.file_size_limit();
  if (src.empty() || src.size() <= limit - std::min(limit, offset)) return src;
  if (offset >= limit) return Errno{EFBIG};
  return src.first(limit - offset);
}

Result<uint64_t> host_size(const HostFd& host) {
  struct stat st;
  if (host_fstat(host->get(), &st) != 0) return last_errno();
  return static_cast<uint64_t>(st.st_size);
}

Result<off_t> to_off(uint64_t offset) {
  if (offset > static_cast<uint64_t>(std::numeric_limits<off_t>::max())) return Errno{EINVAL};
  return static_cast<off_t>(offset);
}

}  // namespace

GoferFile::~GoferFile() {
  stop_appends();
  wire().drop(open_.fid);
}

Wire& GoferFile::wire() const { return static_cast<GoferFs&>(node_->fs()).wire(); }

Result<size_t> GoferFile::pread(OpContext& ctx, std::span<std::byte> dst, uint64_t offset) {
  if (host_ == nullptr) return wire().read(open_, offset, dst);
  const LayerScope time(Layer::kHost);
  const size_t n = TRY(reads_.read(ctx, static_cast<GoferFs&>(node_->fs()).cold_reads(), host_->get(), dst, TRY(to_off(offset))));
  if (n > 0 && (flags() & O_NOATIME) == 0) node_->was_read();
  return n;
}

Result<std::optional<size_t>> GoferFile::read_unnoticed(OpContext& ctx, std::span<std::byte> dst) {
  if (host_ == nullptr || !readable() || (flags() & O_DIRECT) != 0 || !node_->reads_leave_no_trace()) return std::nullopt;
  return std::optional<size_t>(TRY(pread(ctx, dst, 0)));
}

Result<size_t> GoferFile::write_host(OpContext& ctx, ByteSpan src, uint64_t offset, int extra) {
  int how = extra;
  if ((flags() & O_SYNC) == O_SYNC) {
    how |= RWF_SYNC;
  } else if ((flags() & O_DSYNC) != 0) {
    how |= RWF_DSYNC;
  }
  const off_t at = TRY(to_off(offset));
  const iovec v{const_cast<std::byte*>(src.data()), src.size()};
  const LayerScope time(Layer::kHost);
  ssize_t n = 0;
  int error = 0;
  const auto write = [&] {
    n = how == 0 ? ::pwrite(host_->get(), src.data(), src.size(), at) : ::pwritev2(host_->get(), &v, 1, at, how);
    if (n < 0) error = host_errno();
  };
  if ((how & (RWF_SYNC | RWF_DSYNC)) == 0) {
    const StepAside aside(ctx);
    write();
  } else {
    ctx.host_call(write);
  }
  if (n < 0) return Errno{error};
  node_->touched();
  return static_cast<size_t>(n);
}

Result<size_t> GoferFile::pwrite(OpContext& ctx, ByteSpan src, uint64_t offset) {
  const GoferInode::SizeChange change(*node_);
  src = TRY(within_limit(ctx, src, offset));
  if (src.empty()) return 0;
  size_t n = 0;
  if (host_ != nullptr) {
    n = TRY(write_host(ctx, src, offset, 0));
  } else {
    n = TRY(wire().write(open_, offset, src));
    node_->touched();
    if ((flags() & O_DSYNC) != 0) TRY(fsync(ctx, (flags() & O_SYNC) != O_SYNC));
  }
  TRY(node_->clear_set_ids(ctx));
  return n;
}

Result<size_t> GoferFile::append(OpContext& ctx, ByteSpan src, uint64_t& end) {
  if (host_ == nullptr) return File::append(ctx, src, end);
  const GoferInode::SizeChange change(*node_);
  const auto known = node_->known_end();
  const uint64_t size = known ? *known : TRY(host_size(host_));
  src = TRY(within_limit(ctx, src, size));
  if (src.empty()) return 0;
  // RWF_APPEND finds the end under the host's lock: others may write to a shared tree.
  const size_t n = TRY(write_host(ctx, src, 0, RWF_APPEND));
  end = known ? size + n : TRY(host_size(host_));
  node_->ends_at(end);
  TRY(node_->clear_set_ids(ctx));
  return n;
}

Result<uint64_t> GoferFile::seek(OpContext& ctx, int64_t offset, int whence) {
  if (whence != SEEK_DATA && whence != SEEK_HOLE) return File::seek(ctx, offset, whence);
  if (offset < 0) return Errno{ENXIO};
  uint64_t found = 0;
  if (host_ != nullptr) {
    // The descriptor's own position means nothing to anyone.
    const off_t at = ::lseek(host_->get(), offset, whence);
    if (at < 0) return last_errno();
    found = static_cast<uint64_t>(at);
  } else if (wire().has(p9::kCapSeek)) {
    found = TRY(wire().seek(open_.fid, static_cast<uint64_t>(offset),
                            static_cast<uint8_t>(whence)));
  } else {
    return File::seek(ctx, offset, whence);
  }
  set_position(found);
  return found;
}

Result<HostFd> GoferFile::private_copy(OpContext& ctx) {
  if (copy_ != nullptr) return copy_;
  const uint64_t size = TRY(getattr(ctx)).size;
  auto copy = std::make_shared<UniqueFd>(
      TRY(take_fd(memfd_create("run9-file", MFD_CLOEXEC))));
  const TransferBuffer buffer(std::min<uint64_t>(size, 1 << 20));
  for (uint64_t at = 0; at < size;) {
    const size_t n = TRY(wire().read(open_, at, buffer.bytes()));
    if (n == 0) break;
    const ssize_t written = ::pwrite(copy->get(), buffer.bytes().data(), n, static_cast<off_t>(at));
    if (written != static_cast<ssize_t>(n)) return Errno{ENOMEM};
    at += n;
  }
  copy_ = std::move(copy);
  return copy_;
}

Result<MapSource> GoferFile::map_source(OpContext& ctx, bool shared, bool writable) {
  if (host_ == nullptr) {
    if (shared && writable) return Errno{ENODEV};
    return MapSource{.fd = TRY(private_copy(ctx))};
  }
  if (shared && writable) {
    node_->mapped_writable();
    node_->touched();
    return MapSource{.fd = host_};
  }
  // A shared mapping of a read-only open gets a descriptor that the host too lets nobody write by.
  if (shared && !this->writable()) {
    return MapSource{.fd = TRY(node_->host_file(Access::kRead, /*exact=*/true))};
  }
  return MapSource{.fd = host_};
}

Result<MapSource> GoferFile::read_source(OpContext&) {
  if (host_ == nullptr || !readable()) return MapSource{};
  MapSource source{.fd = writable() ? host_ : TRY(node_->host_file(Access::kRead, /*exact=*/true))};
  node_->read_by_others();
  return source;
}

Result<File::WriteSource> GoferFile::write_source(OpContext&) {
  if (host_ == nullptr || !writable() || node_->has_set_ids()) return WriteSource{};
  if ((flags() & O_APPEND) != 0) {
    if (readable() || !node_->may_append_unseen(*this)) return WriteSource{};
    if (!appends_unseen_) {
      end_seen_ = TRY(host_size(host_));
      appends_unseen_ = true;
      node_->set_appender(this);
    }
  } else if (node_->appender() != nullptr) {
    return WriteSource{};
  }
  if (readable()) node_->read_by_others();
  return WriteSource{host_, node_->write_unseen(host_)};
}

void GoferFile::note_appends() {
  const auto size = host_size(host_);
  if (!size.has_value() || size.assume_value() == end_seen_) return;
  end_seen_ = size.assume_value();
  move_to(end_seen_);
}

void GoferFile::skip_appends() {
  if (const auto size = host_size(host_); size.has_value()) end_seen_ = size.assume_value();
}

void GoferFile::stop_appends() {
  if (!appends_unseen_) return;
  note_appends();
  appends_unseen_ = false;
  node_->set_appender(nullptr);
}

Result<void> GoferFile::fsync(OpContext& ctx, bool data_only) {
  if (host_ == nullptr) return wire().fsync(open_.fid, data_only);
  const LayerScope time(Layer::kHost);
  return sync_host(ctx, host_->borrow(), data_only);
}

Result<void> GoferFile::fallocate(OpContext& ctx, int mode, uint64_t offset, uint64_t length) {
  if (!writable()) return Errno{EBADF};
  const GoferInode::SizeChange change(*node_);
  const uint64_t limit = ctx.file_size_limit();
  if ((mode & FALLOC_FL_KEEP_SIZE) == 0 && length > limit - std::min(limit, offset)) {
    return Errno{EFBIG};
  }
  if (host_ == nullptr) {
    TRY(wire().allocate(open_.fid, static_cast<uint32_t>(mode), offset, length));
  } else if (::fallocate(host_->get(), mode, TRY(to_off(offset)), TRY(to_off(length))) != 0) {
    return last_errno();
  }
  node_->touched();
  return node_->clear_set_ids(ctx);
}

Result<uint64_t> GoferFile::copy_from(OpContext& ctx, File& in, uint64_t from, uint64_t to, uint64_t length) {
  auto* const source = dynamic_cast<GoferFile*>(&in);
  if (source == nullptr || &source->node_->fs() != &node_->fs()) return Errno{EXDEV};
  const GoferInode::SizeChange change(*node_);
  const Fid from_fid = TRY(source->any_fid()), to_fid = TRY(any_fid());
  const uint64_t copied = TRY(wire().copy(from_fid, from, to_fid, to, length));
  node_->touched();
  source->node_->touched();
  TRY(node_->clear_set_ids(ctx));
  return copied;
}

Result<void> GoferDir::readdir(OpContext& ctx, DirSink& sink) {
  if (position() == 0) node_->read_from_the_start();
  if (listing_ == nullptr || position() == 0) {
    listing_ = TRY(node_->listing(ctx));
    node_->listed_at(*path().dentry);
    node_->about_to_be_told();
  }
  if (position() < 1) {
    if (!sink.add({.ino = node_->ino(), .next = 1, .type = DT_DIR, .name = "."})) return ok();
    set_position(1);
  }
  if (position() < 2) {
    const uint64_t ino = listing_->parent_ino();
    if (!sink.add({.ino = ino, .next = 2, .type = DT_DIR, .name = ".."})) return ok();
    set_position(2);
  }
  for (const Listing::Entry& e : listing_->after(position())) {
    if (!sink.add({.ino = e.qid.path, .next = e.position, .type = e.type(), .name = e.name()})) return ok();
    set_position(e.position);
  }
  return ok();
}

Result<void> GoferDir::fsync(OpContext&, bool data_only) {
  const Fid dir = TRY(node_->fid());
  Wire& wire = static_cast<GoferFs&>(node_->fs()).wire();
  const OpenFid open = TRY(wire.open(dir, p9::kORdonly | p9::kODirectory));
  auto synced = wire.fsync(open.fid, data_only);
  wire.drop(open.fid);
  return synced;
}

}  // namespace run9::vfs::gofer
