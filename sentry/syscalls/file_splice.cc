// splice(2), tee(2), vmsplice(2): to and from pipes. The pages are copied, not moved.
#include <poll.h>

#include "base/copy.h"
#include "sentry/fs/pipe_control.h"
#include "sentry/syscalls/file_io.h"
#include "sentry/syscalls/file_transfer.h"
#include "sentry/syscalls/file_util.h"
#include "vfs/watch.h"

namespace run9::sentry {
namespace {

constexpr uint32_t kSpliceFlags =
    SPLICE_F_MOVE | SPLICE_F_NONBLOCK | SPLICE_F_MORE | SPLICE_F_GIFT;
constexpr size_t kChunk = 64 * 1024;  // a pipe's usual capacity: callers loop

PipeControl* pipe_of(vfs::File& file) { return dynamic_cast<PipeControl*>(&file); }

// Until one of `bits` or an end holds.
Result<void> wait_for(Task& task, vfs::File& file, uint32_t bits, bool nonblocking) {
  while ((file.poll(task) & (bits | POLLHUP | POLLERR)) == 0) {
    if (nonblocking || file.nonblocking()) return Errno{EAGAIN};
    WaitQueue* queue = file.wait_queue();
    if (queue == nullptr) return ok();
    TRY(task.wait(*queue, bits));
  }
  return ok();
}

// Bytes already taken from a pipe must not get lost on a full socket.
template <typename Write>
Result<uint64_t> write_all(Task& task, vfs::File& out, ByteSpan bytes, Write write) {
  uint64_t done = 0;
  while (done < bytes.size()) {
    auto n = write(bytes.subspan(done), done);
    if (!n.has_value() && n.error() == Errno{EAGAIN} && out.wait_queue() != nullptr) {
      auto waited = task.wait(*out.wait_queue(), POLLOUT);
      if (waited.has_value()) continue;
      n = waited.error();
    }
    if (!n.has_value()) {
      if (done > 0) return done;
      return n.error();
    }
    if (n.value() == 0) break;
    done += n.value();
  }
  return done;
}

// One side's explicit offset; none: the file's position, or a stream.
Result<std::optional<uint64_t>> read_offset(Task& task, vfs::File& file, uint64_t addr) {
  if (addr == 0) return std::optional<uint64_t>{};
  if (pipe_of(file) != nullptr) return Errno{ESPIPE};
  if (file.is_stream()) return Errno{EINVAL};
  const int64_t at = TRY(task.memory().read(UserPtr<int64_t>{addr}));
  if (at < 0) return Errno{EINVAL};
  return std::optional<uint64_t>(at);
}

Result<void> store_offset(Task& task, uint64_t addr, std::optional<uint64_t> at, uint64_t moved) {
  if (!at) return ok();
  return task.memory().write(UserPtr<int64_t>{addr}, static_cast<int64_t>(*at + moved));
}

// How much to move at once, after waiting for both sides.
Result<size_t> prepare(Task& task, vfs::File& in, vfs::File& out, uint64_t count, uint32_t flags) {
  const bool nonblocking = (flags & SPLICE_F_NONBLOCK) != 0;
  do {
    if (in.is_stream()) TRY(wait_for(task, in, POLLIN, nonblocking));
    if (out.is_stream()) TRY(wait_for(task, out, POLLOUT, nonblocking));
    // While we waited for one side, somebody may have drained the other.
  } while (in.is_stream() && (in.poll(task) & (POLLIN | POLLHUP | POLLERR)) == 0);
  size_t n = std::min<uint64_t>(count, kChunk);
  if (auto* pipe = pipe_of(in)) n = std::min(n, pipe->queued());
  // No space although it is "writable": nobody reads, and the write is to say so.
  if (auto* pipe = pipe_of(out); pipe != nullptr && pipe->space() != 0) n = std::min(n, pipe->space());
  return n;
}

Result<uint64_t> move_bytes(Task& task, vfs::File& in, std::optional<uint64_t> in_at,
                            vfs::File& out, std::optional<uint64_t> out_at, size_t n) {
  const TransferBuffer buffer(n);
  const auto room = buffer.bytes();
  PositionLock in_lock(task, in);
  if (!in.is_stream() && !in_at) TRY(in_lock.acquire());
  const size_t got = TRY(in_at ? in.pread(task, room, *in_at) : in.read(task, room));
  PositionLock out_lock(task, out);
  if (!out.is_stream() && !out_at) TRY(out_lock.acquire());
  uint64_t allowed = got;
  if (!out.is_stream()) {
    allowed = TRY(clip_to_file_size_limit(task, out, out_at.value_or(out.position()), got));
  }
  return write_all(task, out, room.first(allowed), [&](ByteSpan b, uint64_t done) {
    return out_at ? out.pwrite(task, b, *out_at + done) : out.write(task, b);
  });
}

}  // namespace

Result<uint64_t> sys_splice(Task& task, GuestFd in_fd, uint64_t in_offset, GuestFd out_fd,
                            uint64_t out_offset, uint64_t count, uint32_t flags) {
  if (count == 0) return 0;
  if ((flags & ~kSpliceFlags) != 0) return Errno{EINVAL};
  const auto in = TRY(task.fds().get_not_path(in_fd));
  const auto out = TRY(task.fds().get_not_path(out_fd));
  if (!in->readable() || !out->writable()) return Errno{EBADF};
  PipeControl* from = pipe_of(*in);
  PipeControl* to = pipe_of(*out);
  if (from == nullptr && to == nullptr) return Errno{EINVAL};
  const auto in_at = TRY(read_offset(task, *in, in_offset));
  const auto out_at = TRY(read_offset(task, *out, out_offset));
  if (from != nullptr && to != nullptr && from->identity() == to->identity()) return Errno{EINVAL};
  if (to == nullptr && !out->is_stream() && (out->flags() & O_APPEND) != 0) return Errno{EINVAL};
  if (in->inode().is_dir()) return Errno{EINVAL};
  const size_t n = TRY(prepare(task, *in, *out, count, flags));
  if (n == 0) return 0;
  const uint64_t moved = TRY(move_bytes(task, *in, in_at, *out, out_at, n));
  if (moved > 0) {
    vfs::notify_path(in->path(), IN_ACCESS);
    vfs::notify_path(out->path(), IN_MODIFY);
  }
  TRY(store_offset(task, in_offset, in_at, moved));
  TRY(store_offset(task, out_offset, out_at, moved));
  return moved;
}

Result<uint64_t> sys_tee(Task& task, GuestFd in_fd, GuestFd out_fd, uint64_t count,
                         uint32_t flags) {
  if ((flags & ~kSpliceFlags) != 0) return Errno{EINVAL};
  if (count == 0) return 0;
  const auto in = TRY(task.fds().get_not_path(in_fd));
  const auto out = TRY(task.fds().get_not_path(out_fd));
  if (!in->readable() || !out->writable()) return Errno{EBADF};
  PipeControl* from = pipe_of(*in);
  PipeControl* to = pipe_of(*out);
  if (from == nullptr || to == nullptr || from->identity() == to->identity()) return Errno{EINVAL};
  const size_t n = TRY(prepare(task, *in, *out, count, flags));
  if (n == 0) return 0;
  const TransferBuffer buffer(n);
  const size_t got = from->peek(buffer.bytes());
  return TRY(out->write(task, buffer.first(got)));
}

Result<uint64_t> sys_vmsplice(Task& task, GuestFd fd, uint64_t iov, uint64_t count,
                              uint32_t flags) {
  if ((flags & ~kSpliceFlags) != 0) return Errno{EINVAL};
  const auto file = TRY(task.fds().get_not_path(fd));
  if (pipe_of(*file) == nullptr) return Errno{EBADF};
  const IoVec vec = TRY(task.memory().read_iovec(iov, count));
  auto segments = TRY(GuestSegments::create(task.memory(), vec));
  if (segments.remaining() == 0) return 0;
  const bool nonblocking = (flags & SPLICE_F_NONBLOCK) != 0;
  if (file->writable()) {
    TRY(wait_for(task, *file, POLLOUT, nonblocking));
    segments.limit(std::max<size_t>(pipe_of(*file)->space(), 1));  // what fits: it does not wait a second time
    return write_file(task, *file, segments, {});
  }
  TRY(wait_for(task, *file, POLLIN, nonblocking));
  return read_file(task, *file, segments, {});
}

}  // namespace run9::sentry
