// sendfile(2) and copy_file_range(2): from a file with a position.
#include "base/copy.h"
#include "sentry/syscalls/file_io.h"
#include "sentry/syscalls/file_transfer.h"
#include "sentry/syscalls/file_util.h"
#include "vfs/watch.h"

namespace run9::sentry {
namespace {

constexpr size_t kChunk = 128 * 1024;

// The position a call works at: the guest's variable, or the file's own, moved at the end.
class Cursor {
 public:
  Cursor(Task& task, vfs::File& file, uint64_t user_offset)
      : task_(task), file_(file), user_(user_offset), lock_(task, file) {}

  Result<void> load() {
    if (user_ != 0) {
      at_ = TRY(task_.memory().read(UserPtr<int64_t>{user_}));
    } else {
      TRY(lock_.acquire());
      at_ = static_cast<int64_t>(TRY(file_.seek(task_, 0, SEEK_CUR)));
    }
    if (at_ < 0) return Errno{EINVAL};
    return ok();
  }
  uint64_t at() const { return static_cast<uint64_t>(at_); }
  Result<void> store(uint64_t moved) {
    at_ += static_cast<int64_t>(moved);
    if (user_ != 0) return task_.memory().write(UserPtr<int64_t>{user_}, at_);
    if (moved != 0) TRY(file_.seek(task_, at_, SEEK_SET));
    return ok();
  }

 private:
  Task& task_;
  vfs::File& file_;
  uint64_t user_;
  PositionLock lock_;
  int64_t at_ = 0;
};

void tell(const vfs::File& in, const vfs::File& out, uint64_t n) {
  if (n == 0) return;
  vfs::notify_path(in.path(), IN_ACCESS);
  vfs::notify_path(out.path(), IN_MODIFY);
}

// Reads from `in` at a place and hands on by `write`, until an end or a short write.
template <typename Write>
Result<uint64_t> pump(Task& task, vfs::File& in, uint64_t from, uint64_t count, Write write) {
  const size_t size = std::min<uint64_t>(count, kChunk);
  const TransferBuffer buffer(size);
  uint64_t done = 0;
  while (done < count) {
    const auto room = buffer.first(std::min<uint64_t>(size, count - done));
    auto got = in.pread(task, room, from + done);
    if (!got.has_value() || got.value() == 0) {
      if (done > 0 || got.has_value()) return done;
      return got.error();
    }
    auto put = write(ByteSpan(room.first(got.value())), done);
    if (!put.has_value()) {
      if (done > 0) return done;
      return put.error();
    }
    done += put.value();
    if (put.value() < got.value()) break;
  }
  return done;
}

// By the file system of both, as far as that gets: for less it is not worth asking.
uint64_t copy_below(Task& task, vfs::File& in, uint64_t from, vfs::File& out, uint64_t to, uint64_t count) {
  uint64_t done = 0;
  while (done < count) {
    const auto n = out.copy_from(task, in, from + done, to + done, count - done);
    if (!n || n.assume_value() == 0) break;
    done += n.assume_value();
  }
  return done;
}

Result<void> check_copy_range(const vfs::File& in, const vfs::File& out, uint32_t flags) {
  if (flags != 0) return Errno{EINVAL};
  if (in.inode().is_dir() || out.inode().is_dir()) return Errno{EISDIR};
  if (!in.inode().is_regular() || !out.inode().is_regular()) return Errno{EINVAL};
  if (!in.readable() || !out.writable() || (out.flags() & O_APPEND) != 0) return Errno{EBADF};
  return ok();
}

}  // namespace

Result<uint64_t> sys_sendfile(Task& task, GuestFd out_fd, GuestFd in_fd, uint64_t offset,
                              uint64_t count) {
  if (offset != 0) (void)TRY(task.memory().read(UserPtr<int64_t>{offset}));
  const auto in = TRY(task.fds().get_not_path(in_fd));
  if (!in->readable()) return Errno{EBADF};
  if (in->is_stream() && offset != 0) return Errno{ESPIPE};
  const auto out = TRY(task.fds().get_not_path(out_fd));
  if (!out->writable()) return Errno{EBADF};
  if (in->is_stream()) return Errno{EINVAL};
  if (in->inode().is_dir() || (!out->is_stream() && (out->flags() & O_APPEND) != 0)) {
    return Errno{EINVAL};
  }
  Cursor from(task, *in, offset);
  TRY(from.load());
  count = std::min(count, kMaxTransfer);
  if (count == 0) return 0;
  PositionLock out_lock(task, *out);
  if (!out->is_stream() && out != in) {
    TRY(out_lock.acquire());
    count = TRY(clip_to_file_size_limit(task, *out, out->position(), count));
  }
  const uint64_t n = TRY(pump(task, *in, from.at(), count,
                              [&](ByteSpan b, uint64_t) { return out->write(task, b); }));
  TRY(from.store(n));
  tell(*in, *out, n);
  return n;
}

Result<uint64_t> sys_copy_file_range(Task& task, GuestFd in_fd, uint64_t in_offset,
                                     GuestFd out_fd, uint64_t out_offset, uint64_t count,
                                     uint32_t flags) {
  const auto in = TRY(task.fds().get_not_path(in_fd));
  const auto out = TRY(task.fds().get_not_path(out_fd));
  for (const uint64_t offset : {in_offset, out_offset}) {
    if (offset != 0) (void)TRY(task.memory().read(UserPtr<int64_t>{offset}));
  }
  Cursor from(task, *in, in_offset);
  TRY(check_copy_range(*in, *out, flags));
  // One position for both sides: the ranges overlap or are empty.
  if (in == out && in_offset == 0 && out_offset == 0) {
    if (count == 0) return 0;
    return Errno{EINVAL};
  }
  TRY(from.load());
  Cursor to(task, *out, out_offset);
  TRY(to.load());
  count = std::min(count, kMaxTransfer);
  uint64_t in_end = 0, out_end = 0;
  if (__builtin_add_overflow(from.at(), count, &in_end) || in_end > INT64_MAX ||
      __builtin_add_overflow(to.at(), count, &out_end) || out_end > INT64_MAX) {
    return Errno{EOVERFLOW};
  }
  count = TRY(clip_to_file_size_limit(task, *out, to.at(), count));
  const uint64_t size = TRY(in->getattr(task)).size;
  count = from.at() >= size ? 0 : std::min(count, size - from.at());
  if (&in->inode() == &out->inode() && from.at() < to.at() + count && to.at() < from.at() + count) {
    return Errno{EINVAL};
  }
  if (count == 0) return 0;
  uint64_t n = count > kChunk ? copy_below(task, *in, from.at(), *out, to.at(), count) : 0;
  if (n == 0) {
    n = TRY(pump(task, *in, from.at(), count, [&](ByteSpan b, uint64_t done) {
      return out->pwrite(task, b, to.at() + done);
    }));
  }
  TRY(from.store(n));
  TRY(to.store(n));
  tell(*in, *out, n);
  return n;
}

}  // namespace run9::sentry
