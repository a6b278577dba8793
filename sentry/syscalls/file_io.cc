#include "sentry/syscalls/file_io.h"

#include <linux/fs.h>
#include <poll.h>
#include <sys/mman.h>

#include <algorithm>
#include <utility>

#include "sentry/fs/dev/devices.h"
#include "sentry/mm/bounds.h"
#include "sentry/syscalls/bounce.h"
#include "sentry/syscalls/file_util.h"
#include "vfs/watch.h"

namespace run9::sentry {
namespace {

constexpr int kRwfNoAppend = 0x20;  // RWF_NOAPPEND; newer than our headers

// Between two parts of a long transfer: others have their turn, and who is to die does not finish it.
class Turns {
 public:
  explicit Turns(Task& task) : task_(task) {}
  // False: it is over.
  bool go_on(uint64_t done) {
    if (done - last_ < kTurn) return true;
    last_ = done;
    task_.kernel().loop().yield();
    return !task_.must_die();
  }

 private:
  static constexpr uint64_t kTurn = 1 << 20;
  Task& task_;
  uint64_t last_ = 0;
};

// What a file is read into: where the platform has room for it, the first part goes there, or each in its turn.
class ReadBuffer {
 public:
  ReadBuffer(Task& task, const vfs::File& file, GuestSegments& dst) : dst_(dst), bounce_(task, dst.remaining(), false) {
    if (!file.moves_bytes()) return;
    passage_ = dst.passage();
    if (passage_.empty()) room_ = dst.room();
  }
  std::span<std::byte> next() {
    if (!passage_.empty()) return passage_.first(std::min<uint64_t>(passage_.size(), dst_.remaining()));
    const auto room = std::exchange(room_, {});
    return room.empty() ? bounce_.first(dst_.remaining()) : room;
  }
  // Of what next() gave.
  Result<size_t> copy_out(ByteSpan bytes) { return passage_.empty() ? dst_.copy_out(bytes) : dst_.pass_out(bytes); }

 private:
  GuestSegments& dst_;
  Bounce bounce_;
  std::span<std::byte> room_, passage_;
};

Result<uint64_t> partial(uint64_t done, Errno e) {
  if (done > 0) return done;
  return e;
}

Result<uint64_t> read_stream(Task& task, vfs::File& file, GuestSegments& dst) {
  const bool ready = (file.poll(task) & (POLLIN | POLLHUP | POLLERR)) != 0;
  Bounce bounce(task, dst.remaining(), !ready);
  auto buffer = bounce.first(dst.remaining());
  if (ready) TRY(dst.check_writable());
  const size_t n = TRY(file.read(task, buffer));
  if (n == 0) return uint64_t{0};
  return TRY(dst.copy_out(buffer.first(n)));
}

Result<uint64_t> read_at(Task& task, vfs::File& file, GuestSegments& dst, uint64_t at) {
  ReadBuffer space(task, file, dst);
  Turns turns(task);
  uint64_t done = 0;
  while (dst.remaining() > 0 && turns.go_on(done)) {
    auto buffer = space.next();
    auto n = file.pread(task, buffer, at + done);
    if (!n.has_value()) return partial(done, n.error());
    if (n.value() == 0) break;
    auto copied = space.copy_out(buffer.first(n.value()));
    if (!copied.has_value()) return partial(done, copied.error());
    done += copied.value();
    if (copied.value() < buffer.size()) break;
  }
  return done;
}

Result<uint64_t> read_position(Task& task, vfs::File& file, GuestSegments& dst) {
  PositionLock lock(task, file);
  TRY(lock.acquire());
  ReadBuffer space(task, file, dst);
  Turns turns(task);
  uint64_t done = 0;
  while (dst.remaining() > 0 && turns.go_on(done)) {
    auto buffer = space.next();
    const uint64_t before = file.position();
    auto n = file.read(task, buffer);
    if (!n.has_value()) return partial(done, n.error());
    if (n.value() == 0) break;
    auto copied = space.copy_out(buffer.first(n.value()));
    const size_t taken = copied.has_value() ? copied.value() : 0;
    if (taken < n.value()) file.set_position(before + taken);
    if (!copied.has_value()) return partial(done, copied.error());
    done += taken;
    if (taken < buffer.size()) break;
  }
  return done;
}

// How a file takes what it is given. only_moves: it does not look at the bytes. unit: of a part that can only be read to its
// middle, it takes multiples of this.
struct Taking {
  bool only_moves = false;
  uint64_t unit = 1;
};
Taking taking_of(const vfs::File& file) {
  if (!file.is_stream()) return {.only_moves = file.moves_bytes()};
  return {.unit = file.inode().type() == S_IFIFO ? kPage : ~uint64_t{0}};
}

// Writes all of src by `write`, a buffer at a time, until it takes less than it was given.
template <typename Write>
Result<uint64_t> write_chunks(GuestSegments& src, uint64_t count, const Bounce& bounce, Taking how, Write write) {
  if (const ByteSpan all = how.only_moves ? src.given(count) : ByteSpan(); !all.empty()) return TRY(write(all, 0));
  const auto passage = how.only_moves ? src.passage() : std::span<std::byte>();
  uint64_t done = 0;
  while (done < count) {
    auto buffer = passage.empty() ? bounce.first(count - done) : passage.first(std::min<uint64_t>(passage.size(), count - done));
    auto copied = passage.empty() ? src.copy_in(buffer) : src.pass_in(buffer);
    if (!copied.has_value()) return partial(done, copied.error());
    const size_t whole = copied.value() == buffer.size() ? buffer.size() : copied.value() - copied.value() % how.unit;
    if (whole == 0) return partial(done, Errno{EFAULT});
    auto n = write(ByteSpan(buffer.first(whole)), done);
    if (!n.has_value()) return partial(done, n.error());
    done += n.value();
    if (n.value() < buffer.size()) break;
  }
  return done;
}

Result<uint64_t> write_positioned(Task& task, vfs::File& file, GuestSegments& src,
                                  std::optional<uint64_t> offset, bool append) {
  const bool own_position = !offset;
  PositionLock lock(task, file);
  if (own_position) TRY(lock.acquire());
  uint64_t at = offset.value_or(file.position());
  if (append && file.inode().is_regular() && task.file_size_limit() != RLIM_INFINITY) {
    at = TRY(file.getattr(task)).size;
  }
  const uint64_t count = TRY(clip_to_file_size_limit(task, file, at, src.remaining()));
  Bounce bounce(task, count, false);
  const Taking how = taking_of(file);
  if (append) {
    return write_chunks(src, count, bounce, how, [&](ByteSpan b, uint64_t) -> Result<size_t> {
      uint64_t end = 0;
      const size_t n = TRY(file.append(task, b, end));
      if (own_position) file.set_position(end);
      return n;
    });
  }
  Turns turns(task);  // not for what is appended: others would write into the midst of it
  // With O_APPEND set here, RWF_NOAPPEND was asked for, and File::write would append.
  if (own_position && (file.flags() & O_APPEND) == 0) {
    return write_chunks(src, count, bounce, how, [&](ByteSpan b, uint64_t done) -> Result<size_t> {
      if (!turns.go_on(done)) return Errno{EINTR};
      return file.write(task, b);
    });
  }
  return write_chunks(src, count, bounce, how, [&](ByteSpan b, uint64_t done) -> Result<size_t> {
    if (!turns.go_on(done)) return Errno{EINTR};
    const size_t n = TRY(file.pwrite(task, b, at + done));
    if (own_position) file.set_position(at + done + n);
    return n;
  });
}

// Which way a call moves bytes. Linux asks for the file's mode before it looks at the memory.
struct Direction {
  Result<uint64_t> (*transfer)(Task&, vfs::File&, GuestSegments&, std::optional<uint64_t>, int);
  bool (vfs::File::*allowed)() const;
  bool reads;
  Result<uint64_t> move(Task& task, GuestFd fd, const vfs::FileRef& file, GuestSegments& segments, std::optional<uint64_t> offset, int rwf) const {
    const uint64_t wanted = segments.remaining();
    // rw_verify_area(): whatever it is, it would end where no file can.
    const uint64_t at = offset ? *offset : file->position();
    if (file->moves_bytes() && at + wanted > INT64_MAX) return Errno{EINVAL};
    const uint64_t n = TRY(transfer(task, *file, segments, offset, rwf));
    if (reads) {
      task.kernel().own_files().was_read(task, fd, file, offset.has_value(), n, wanted);
    } else if (discards_writes(*file)) {
      task.kernel().own_files().was_discarded(task, fd, *file);
    } else {
      task.kernel().own_files().was_written(task, fd, file, offset.has_value(), n);
    }
    return n;
  }
};
constexpr Direction kRead{read_file, &vfs::File::readable, true};
constexpr Direction kWrite{write_file, &vfs::File::writable, false};

Result<uint64_t> one_segment(Task& task, GuestFd fd, uint64_t buf, uint64_t count,
                             std::optional<int64_t> offset, const Direction& way) {
  if (offset && *offset < 0) return Errno{EINVAL};
  const auto file = TRY(task.fds().get_not_path(fd));
  if (offset && file->is_stream()) return Errno{ESPIPE};
  if (!((*file).*way.allowed)()) return Errno{EBADF};
  const iovec one{reinterpret_cast<void*>(buf), count};
  auto segments = TRY(GuestSegments::create(task.memory(), std::span(&one, 1)));
  return way.move(task, fd, file, segments, offset, 0);
}

Result<uint64_t> many_segments(Task& task, GuestFd fd, uint64_t iov, uint64_t count,
                               std::optional<int64_t> offset, int rwf, const Direction& way) {
  if (offset && *offset < 0) return Errno{EINVAL};
  const auto file = TRY(task.fds().get_not_path(fd));
  if (offset && file->is_stream()) return Errno{ESPIPE};
  if (!((*file).*way.allowed)()) return Errno{EBADF};
  const IoVec vec = TRY(task.memory().read_iovec(iov, count));
  auto segments = TRY(GuestSegments::create(task.memory(), vec));
  if (segments.remaining() == 0) return 0;  // whatever else is wrong; an empty packet is sent by write alone
  TRY(check_rwf(rwf));
  return way.move(task, fd, file, segments, offset, rwf);
}

}  // namespace

Result<GuestSegments> GuestSegments::create(MemoryManager& memory,
                                            std::span<const iovec> segments) {
  GuestSegments s(memory, segments);
  uint64_t total = 0;
  for (const iovec& v : segments) {
    const auto start = reinterpret_cast<uint64_t>(v.iov_base);
    TRY(check_range(start, v.iov_len));
    total = std::min<uint64_t>(total + v.iov_len, kMaxTransfer);
  }
  s.remaining_ = total;
  return s;
}

template <typename Copy>
Result<size_t> GuestSegments::advance(size_t wanted, Copy copy) {
  size_t done = 0;
  while (done < wanted && remaining_ > 0) {
    const iovec& v = segments_.front();
    if (used_ == v.iov_len) {
      segments_ = segments_.subspan(1);
      used_ = 0;
      continue;
    }
    const size_t n = std::min({wanted - done, v.iov_len - used_, remaining_});
    Result<size_t> copied = copy(reinterpret_cast<uint64_t>(v.iov_base) + used_, done, n);
    if (!copied.has_value()) {
      if (done > 0) return done;
      return copied.error();
    }
    done += copied.value();
    used_ += copied.value();
    remaining_ -= copied.value();
    if (copied.value() < n) break;
  }
  return done;
}

Result<void> GuestSegments::check_writable() const {
  uint64_t skipped = used_;
  for (const iovec& v : segments_) {
    if (v.iov_len > skipped) {
      const auto addr = reinterpret_cast<uint64_t>(v.iov_base) + skipped;
      const auto vma = memory_->find(addr);
      if (vma != memory_->vmas().end()) {
        return (vma->second.prot & PROT_WRITE) != 0 ? Result<void>(ok()) : Errno{EFAULT};
      }
      std::byte probe[1];  // a stack that has not grown so far is in no mapping, but can be touched
      TRY(memory_->copy_in(probe, addr, sizeof probe));
      return ok();
    }
    skipped = 0;
  }
  return ok();
}

Result<size_t> GuestSegments::copy_out(ByteSpan src) {
  if (segments_.size() > 1 && used_ == 0 && memory_->copy_out_all(segments_, src)) {
    skip(src.size());
    return src.size();
  }
  return advance(src.size(), [&](uint64_t addr, size_t at, size_t n) {
    return memory_->copy_out_some(addr, src.subspan(at, n));
  });
}

void GuestSegments::skip(size_t bytes) {
  (void)advance(bytes, [](uint64_t, size_t, size_t n) -> Result<size_t> { return n; }).has_value();
}

ByteSpan GuestSegments::given(uint64_t n) const {
  if (segments_.size() != 1 || used_ != 0 || segments_.front().iov_len != n) return {};
  return memory_->given(reinterpret_cast<uint64_t>(segments_.front().iov_base), n);
}

std::span<std::byte> GuestSegments::room() const {
  if (used_ != 0 || segments_.empty()) return {};
  if (segments_.size() > 1) {
    const auto room = memory_->room_for_all(segments_);
    return room.first(std::min<uint64_t>(room.size(), remaining_));
  }
  return memory_->room_for(reinterpret_cast<uint64_t>(segments_.front().iov_base), remaining_);
}

Result<size_t> GuestSegments::copy_in(std::span<std::byte> dst) {
  return advance(dst.size(), [&](uint64_t addr, size_t at, size_t n) {
    return memory_->copy_in_some(dst.subspan(at, n), addr);
  });
}

std::span<std::byte> GuestSegments::passage() const {
  const auto room = segments_.size() == 1 ? memory_->passage() : std::span<std::byte>();
  return remaining_ > room.size() ? room : std::span<std::byte>();
}

Result<size_t> GuestSegments::pass_out(ByteSpan passage) {
  return advance(passage.size(), [&](uint64_t addr, size_t, size_t n) { return memory_->pass_out(addr, passage.first(n)); });
}

Result<size_t> GuestSegments::pass_in(std::span<std::byte> passage) {
  return advance(passage.size(), [&](uint64_t addr, size_t, size_t n) { return memory_->pass_in(passage.first(n), addr); });
}

Result<void> check_rwf(int flags) {
  constexpr int kKnown = RWF_HIPRI | RWF_DSYNC | RWF_SYNC | RWF_NOWAIT | RWF_APPEND | kRwfNoAppend;
  if ((flags & ~kKnown) != 0) return Errno{EOPNOTSUPP};
  if ((flags & RWF_APPEND) != 0 && (flags & kRwfNoAppend) != 0) return Errno{EINVAL};
  return ok();
}

Result<uint64_t> clip_to_file_size_limit(Task& task, vfs::File& file, uint64_t at,
                                         uint64_t count) {
  if (!file.inode().is_regular() || count == 0) return count;
  const uint64_t limit = task.file_size_limit();
  if (at >= limit) {
    const SigInfo info =
        SigInfo::user(SIGXFSZ, SI_USER, task.tgid(), task.creds().ruid);
    TRY(task.kernel().send_task_signal(task, info));
    return Errno{EFBIG};
  }
  const uint64_t end = std::min<uint64_t>(limit, INT64_MAX);
  if (at >= end) return Errno{EFBIG};
  return std::min(count, end - at);
}

Result<uint64_t> read_file(Task& task, vfs::File& file, GuestSegments& dst,
                           std::optional<uint64_t> offset, int rwf) {
  if (!file.readable()) return Errno{EBADF};
  if (file.inode().is_dir()) return Errno{EISDIR};
  if (dst.remaining() == 0) return uint64_t{0};
  if ((rwf & RWF_NOWAIT) != 0 && file.is_stream() &&
      (file.poll(task) & (POLLIN | POLLHUP | POLLERR)) == 0) {
    return Errno{EAGAIN};
  }
  const uint64_t n = TRY(offset              ? read_at(task, file, dst, *offset)
                         : file.is_stream() ? read_stream(task, file, dst)
                                            : read_position(task, file, dst));
  if (n > 0) vfs::notify_path(file.path(), IN_ACCESS);
  if (!offset && dst.remaining() > 0) task.kernel().files().read_to_end(task, file);
  return n;
}

Result<uint64_t> write_file(Task& task, vfs::File& file, GuestSegments& src,
                            std::optional<uint64_t> offset, int rwf) {
  if (!file.writable()) return Errno{EBADF};
  if (discards_writes(file)) return src.remaining();
  if (src.remaining() == 0) {
    // An empty packet is a packet.
    if (file.inode().type() == S_IFSOCK) return TRY(file.write(task, {}));
    return uint64_t{0};
  }
  if (file.is_stream()) {
    if ((rwf & RWF_NOWAIT) != 0 && (file.poll(task) & (POLLOUT | POLLERR)) == 0) {
      return Errno{EAGAIN};
    }
    Bounce bounce(task, src.remaining(), true);
    const uint64_t n =
        TRY(write_chunks(src, src.remaining(), bounce, taking_of(file), [&](ByteSpan b, uint64_t) { return file.write(task, b); }));
    vfs::notify_path(file.path(), IN_MODIFY);
    return n;
  }
  // O_APPEND wins over pwrite's offset (pwrite(2), BUGS), unless RWF_NOAPPEND.
  const bool append =
      ((file.flags() & O_APPEND) != 0 && (rwf & kRwfNoAppend) == 0) || (rwf & RWF_APPEND) != 0;
  const uint64_t n = TRY(write_positioned(task, file, src, offset, append));
  if (n > 0) vfs::notify_path(file.path(), IN_MODIFY);
  // A file that was opened with O_SYNC or O_DSYNC sees to that itself.
  if (n > 0 && (rwf & (RWF_SYNC | RWF_DSYNC)) != 0 && file.inode().is_regular()) TRY(file.fsync(task, (rwf & RWF_SYNC) == 0));
  return n;
}

Result<uint64_t> sys_read(Task& task, GuestFd fd, uint64_t buf, uint64_t count) {
  return one_segment(task, fd, buf, count, {}, kRead);
}

Result<uint64_t> sys_write(Task& task, GuestFd fd, uint64_t buf, uint64_t count) {
  return one_segment(task, fd, buf, count, {}, kWrite);
}

Result<uint64_t> sys_pread64(Task& task, GuestFd fd, uint64_t buf, uint64_t count,
                             int64_t offset) {
  return one_segment(task, fd, buf, count, offset, kRead);
}

Result<uint64_t> sys_pwrite64(Task& task, GuestFd fd, uint64_t buf, uint64_t count,
                              int64_t offset) {
  return one_segment(task, fd, buf, count, offset, kWrite);
}

Result<uint64_t> sys_readv(Task& task, GuestFd fd, uint64_t iov, uint64_t count) {
  return many_segments(task, fd, iov, count, {}, 0, kRead);
}

Result<uint64_t> sys_writev(Task& task, GuestFd fd, uint64_t iov, uint64_t count) {
  return many_segments(task, fd, iov, count, {}, 0, kWrite);
}

Result<uint64_t> sys_preadv(Task& task, GuestFd fd, uint64_t iov, uint64_t count,
                            int64_t offset) {
  return many_segments(task, fd, iov, count, offset, 0, kRead);
}

Result<uint64_t> sys_pwritev(Task& task, GuestFd fd, uint64_t iov, uint64_t count,
                             int64_t offset) {
  return many_segments(task, fd, iov, count, offset, 0, kWrite);
}

Result<uint64_t> sys_preadv2(Task& task, GuestFd fd, uint64_t iov, uint64_t count, int64_t offset,
                             uint64_t, int flags) {
  if (offset == -1) return many_segments(task, fd, iov, count, {}, flags, kRead);
  return many_segments(task, fd, iov, count, offset, flags, kRead);
}

Result<uint64_t> sys_pwritev2(Task& task, GuestFd fd, uint64_t iov, uint64_t count,
                              int64_t offset, uint64_t, int flags) {
  if (offset == -1) return many_segments(task, fd, iov, count, {}, flags, kWrite);
  return many_segments(task, fd, iov, count, offset, flags, kWrite);
}

}  // namespace run9::sentry
