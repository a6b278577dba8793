#include "sentry/ipc/pipe.h"

#include <limits.h>
#include <poll.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <bit>

#include "sentry/fs/anon.h"
#include "sentry/task/kernel.h"

namespace run9::sentry {
namespace {

constexpr size_t kMaxCapacity = 1 << 20;  // fs.pipe-max-size
constexpr size_t kKeptRing = 64 * 1024;   // an empty pipe keeps no more
constexpr uint32_t kIn = POLLIN | POLLRDNORM, kOut = POLLOUT | POLLWRNORM;

}  // namespace

Errno broken_pipe(vfs::OpContext& ctx) {
  if (Task* task = task_of(ctx)) {
    const auto info = SigInfo::user(SIGPIPE, SI_USER, task->tgid(), task->creds().ruid);
    (void)task->kernel().send_task_signal(*task, info).has_value();  // the errno says it, too
  }
  return Errno{EPIPE};
}

Result<uint64_t> answer_int(vfs::OpContext& ctx, uint64_t arg, int value) {
  Task* task = task_of(ctx);
  if (task == nullptr) return Errno{ENOTTY};
  TRY(task->memory().write(UserPtr<int>{arg}, value));
  return 0;
}

size_t Pipe::peek(std::span<std::byte> dst) const {
  size_t n = std::min(dst.size(), used_);
  if (packets_on_ && !packets_.empty()) n = std::min<size_t>(n, packets_.front());
  if (n == 0) return 0;
  const size_t first = std::min(n, ring_size_ - head_);
  copy_bytes(dst.data(), ring() + head_, first);
  copy_bytes(dst.data() + first, ring(), n - first);
  return n;
}

size_t Pipe::read(std::span<std::byte> dst) {
  const size_t n = peek(dst);
  size_t gone = n;
  if (packets_on_ && n > 0) {
    gone = packets_.front();  // the rest of a packet is lost
    packets_.pop_front();
  }
  used_ -= gone;
  head_ = used_ == 0 ? 0 : (head_ + gone) & (ring_size_ - 1);
  if (used_ == 0 && ring_size_ > kKeptRing) {
    ring_ = {};
    ring_size_ = 0;
  }
  return n;
}

void Pipe::grow(size_t needed) {
  const size_t size = std::bit_ceil(std::max<size_t>(needed, PIPE_BUF));
  TransferBuffer next(size);
  const size_t first = std::min(used_, ring_size_ - head_);
  if (used_ > 0) {
    copy_bytes(next.bytes().data(), ring() + head_, first);
    copy_bytes(next.bytes().data() + first, ring(), used_ - first);
  }
  ring_ = std::move(next);
  ring_size_ = size;
  head_ = 0;
}

void Pipe::write(ByteSpan src) {
  if (used_ + src.size() > ring_size_) grow(used_ + src.size());
  const size_t at = (head_ + used_) & (ring_size_ - 1);
  const size_t first = std::min(src.size(), ring_size_ - at);
  copy_bytes(ring() + at, src.data(), first);
  copy_bytes(ring(), src.data() + first, src.size() - first);
  used_ += src.size();
  if (packets_on_) packets_.push_back(static_cast<uint32_t>(src.size()));
}

void Pipe::set_capacity(size_t bytes) {
  const bool more = bytes > capacity_;
  capacity_ = bytes;
  if (more) queue.notify(kOut);
}

// ---------------------------------------------------------------- memory of both sides

bool Pipe::Side::is(const Task& task) const {
  return who == task.memory().space_ref().get() && creds == task.creds_ref() && table.lock() == task.fds_ref();
}

void Pipe::used_by(Task& task, bool reads) {
  if (uses_wanted_ == kNever || shared_ != nullptr) return;
  if (task.memory().descriptors.lock() != task.fds_ref()) return;  // a vfork child's
  Side& side = reads ? reader_ : writer_;
  if (!side.is(task)) {
    side = {task.memory().space_ref(), task.fds_ref(), task.creds_ref(), task.memory().space_ref().get(), nullptr};
    prepared_.reset();
    uses_ = 0;
  }
  if (++uses_ < uses_wanted_ || !may_share()) return;
  uses_ = 0;
  share();
}

// FIFOs may be watched (inotify(7)) by anybody who knows the name. Packets have bounds, which a ring has not.
bool Pipe::may_share() const {
  return anonymous && !packets_on_ && capacity_ == RingWord::kSize && used_ <= capacity_ && readers > 0 && writers > 0 && queue.empty() &&
         reader_.creds != nullptr && writer_.creds != nullptr && *reader_.creds == *writer_.creds && shared_ == nullptr;
}

std::vector<int> Pipe::offers_for(const Side& side, bool reads) const {
  std::vector<int> out;
  const auto table = side.table.lock();
  for (size_t n = 0; table != nullptr && n < std::min<size_t>(AddressSpace::kRingDescriptors, table->size()); ++n) {
    const auto* entry = table->entry(n);
    if (entry == nullptr || entry->file->nonblocking() || (entry->file->flags() & O_ASYNC) != 0) continue;
    const auto* end = dynamic_cast<const PipeFile*>(entry->file.get());
    if (end == nullptr || end->identity() != this || (reads ? !end->readable() || end->writable() : !end->writable() || end->readable())) continue;
    out.push_back(static_cast<int>(n));
  }
  return out;
}

void Pipe::share() {
  const auto reader = reader_.space.lock(), writer = writer_.space.lock();
  if (reader == nullptr || writer == nullptr) return;
  if (!reader->has_rings() || !writer->has_rings()) {
    uses_wanted_ = kNever;
    return;
  }
  if (offers_for(reader_, true).empty() || offers_for(writer_, false).empty()) return;
  if (prepared_ == nullptr && !prepare().has_value()) {
    expect_less();
    return;
  }
  // All may have changed meanwhile; then the next time may find it prepared.
  const auto reads = offers_for(reader_, true), writes = offers_for(writer_, false);
  if (!may_share() || prepared_ == nullptr || reads.empty() || writes.empty()) return;
  std::vector<std::byte> queued(used_);
  peek(queued);
  prepared_->begin(queued);
  used_ = head_ = 0;
  shared_ = std::move(prepared_);
  for (const int fd : reads) reader_.ring->offer(fd, true);
  for (const int fd : writes) writer_.ring->offer(fd, false);
}

// Blocks. prepared_ is still null if one side has become another meanwhile.
Result<void> Pipe::prepare() {
  if (preparing_) return ok();
  preparing_ = true;
  struct Done {
    bool& preparing;
    ~Done() { preparing = false; }
  } done{preparing_};
  const auto reader = reader_.space.lock(), writer = writer_.space.lock();
  auto memory = TRY(SharedRing::create());
  auto read_end = TRY(MappedRing::create(reader, *memory));
  auto write_end = reader == writer ? read_end : TRY(MappedRing::create(writer, *memory));
  if (reader_.space.lock() != reader || writer_.space.lock() != writer) return ok();
  reader_.ring = std::move(read_end);
  writer_.ring = std::move(write_end);
  prepared_ = std::move(memory);
  return ok();
}

// It was in vain, perhaps.
void Pipe::expect_less() { uses_wanted_ = std::min<uint32_t>(uses_wanted_ * 4, 1 << 20); }

void Pipe::take_back() {
  if (shared_ == nullptr) return;
  for (const Side* side : {&reader_, &writer_}) side->ring->withdraw();
  const SharedRing::Rest rest = shared_->end();
  reader_.ring = writer_.ring = nullptr;
  for (const ByteSpan part : {rest.first, rest.second}) {
    if (!part.empty()) write(part);
  }
  shared_.reset();
  uses_ = 0;
  expect_less();
}

void Pipe::closed_in(const FdTable& table) {
  if (reader_.table.lock().get() == &table || writer_.table.lock().get() == &table) take_back();
}

void Pipe::open_end(bool reads, bool writes) {
  readers += reads;
  writers += writes;
  reader_opens += reads;
  writer_opens += writes;
  queue.notify((reads ? kOut : 0) | (writes ? kIn : 0));
}

void Pipe::close_end(bool reads, bool writes) {
  if (readers - reads <= 0 || writers - writes <= 0) take_back();
  readers -= reads;
  writers -= writes;
  if (reads && readers == 0) queue.notify_all(kOut | POLLERR);
  if (writes && writers == 0) queue.notify_all(kIn | POLLHUP);
}

PipeFile::PipeFile(vfs::Path path, uint32_t flags, std::shared_ptr<Pipe> pipe)
    : File(std::move(path), flags), pipe_(std::move(pipe)) {
  pipe_->open_end(readable(), writable());
}

PipeFile::~PipeFile() { pipe_->close_end(readable(), writable()); }

Result<size_t> PipeFile::read(vfs::OpContext& ctx, std::span<std::byte> dst) {
  if (dst.empty()) return size_t{0};
  const auto keep = shared_from_this();  // a close by another thread while we sleep
  while (ours().queued() == 0) {
    if (pipe_->writers == 0) return size_t{0};
    if (nonblocking()) return Errno{EAGAIN};
    TRY(ctx.wait(pipe_->queue, kIn));
  }
  const size_t n = pipe_->read(dst);
  pipe_->queue.notify(kOut);
  if (Task* task = task_of(ctx)) pipe_->used_by(*task, true);
  return n;
}

Result<size_t> PipeFile::write(vfs::OpContext& ctx, ByteSpan src) {
  const auto keep = shared_from_this();
  Task* const task = task_of(ctx);
  size_t done = 0;
  if (task != nullptr && task->via() != nullptr) {
    done = std::min<uint64_t>(src.size(), task->via()->already);
    task->via()->already -= done;
  }
  while (done < src.size()) {
    if (ours().readers == 0) {
      const Errno e = broken_pipe(ctx);
      if (done > 0) return done;
      return e;
    }
    const size_t left = src.size() - done;
    size_t n = std::min(left, pipe_->space());
    // Up to PIPE_BUF bytes go in at once or not at all.
    if (left <= PIPE_BUF && done == 0 && n < left) n = 0;
    if (pipe_->packets_on()) n = std::min(left, size_t{PIPE_BUF}) <= n ? std::min(left, size_t{PIPE_BUF}) : 0;
    if (n > 0) {
      pipe_->write(src.subspan(done, n));
      done += n;
      pipe_->queue.notify(kIn);
      continue;
    }
    if (nonblocking()) {
      if (done > 0) return done;
      return Errno{EAGAIN};
    }
    const auto waited = ctx.wait(pipe_->queue, kOut);
    if (!waited.has_value()) {
      if (done > 0) return done;
      return waited.error();
    }
  }
  if (task != nullptr) pipe_->used_by(*task, false);
  return done;
}

uint32_t PipeFile::poll(vfs::OpContext&) {
  uint32_t bits = 0;
  if (readable()) {
    if (ours().queued() > 0) bits |= kIn;
    if (pipe_->writers == 0 && pipe_->writer_opens != overlooked_) bits |= POLLHUP;
  }
  if (writable()) {
    if (ours().space() >= PIPE_BUF) bits |= kOut;
    if (pipe_->readers == 0) bits |= POLLERR;
  }
  return bits;
}

Result<void> PipeFile::set_flags(uint32_t flags) {
  pipe_->take_back();
  return File::set_flags(flags);
}

void PipeFile::on_close(vfs::OpContext& ctx) {
  if (const Task* task = task_of(ctx); task != nullptr && task->fds_ref()) pipe_->closed_in(task->fds());
}

Result<uint64_t> PipeFile::ioctl(vfs::OpContext& ctx, uint32_t request, uint64_t arg) {
  if (request == FIONREAD) return answer_int(ctx, arg, static_cast<int>(ours().queued()));
  return Errno{ENOTTY};
}

Result<size_t> PipeFile::set_capacity(vfs::OpContext& ctx, size_t bytes) {
  if (bytes > (size_t{1} << 31)) return Errno{EINVAL};
  bytes = std::bit_ceil(std::max<size_t>(bytes, PIPE_BUF));
  if (bytes > pipe_->capacity() && bytes > kMaxCapacity && !ctx.creds().has_cap(CAP_SYS_RESOURCE)) {
    return Errno{EPERM};
  }
  if (bytes < ours().queued()) return Errno{EBUSY};
  pipe_->set_capacity(bytes);
  return bytes;
}

PipeEnds make_pipe(Kernel& kernel, const vfs::OpContext& owner, uint32_t flags) {
  auto pipe = std::make_shared<Pipe>((flags & O_DIRECT) != 0);
  const auto path = make_anon_path(kernel, "pipe:", S_IFIFO | 0600, owner);
  PipeEnds ends;
  // /proc/PID/fd/N opens it again, without waiting for a peer.
  pipe->anonymous = true;
  path.inode()->attachment() = std::make_shared<std::weak_ptr<Pipe>>(pipe);
  ends.reader = std::make_shared<PipeFile>(path, O_RDONLY | flags, pipe);
  ends.writer = std::make_shared<PipeFile>(path, O_WRONLY | flags, pipe);
  return ends;
}

// fifo_open().
Result<vfs::FileRef> open_fifo(Kernel&, vfs::OpContext& ctx, const vfs::Path& path, uint32_t flags) {
  auto& slot = path.inode()->attachment();
  if (slot == nullptr) slot = std::make_shared<std::weak_ptr<Pipe>>();
  auto& weak = *static_cast<std::weak_ptr<Pipe>*>(slot.get());
  auto pipe = weak.lock();
  if (pipe == nullptr) {
    pipe = std::make_shared<Pipe>(false);
    weak = pipe;
  }
  const uint32_t mode = flags & O_ACCMODE;
  const bool nonblocking = (flags & O_NONBLOCK) != 0;
  if (mode == O_WRONLY && nonblocking && pipe->readers == 0) return Errno{ENXIO};
  // Counts at once: it is what the other side's open waits for. Given back if we are interrupted.
  auto file = std::make_shared<PipeFile>(path, flags & ~O_DIRECT, pipe);
  if (pipe->anonymous) return vfs::FileRef(std::move(file));
  if (mode == O_RDONLY && nonblocking && pipe->writers == 0) file->overlook_past_writers();
  if (mode == O_RDONLY && !nonblocking && pipe->writers == 0) {
    const uint64_t seen = pipe->writer_opens;
    while (pipe->writer_opens == seen) TRY(ctx.wait(pipe->queue, kIn));
  } else if (mode == O_WRONLY && pipe->readers == 0) {
    const uint64_t seen = pipe->reader_opens;
    while (pipe->reader_opens == seen) TRY(ctx.wait(pipe->queue, kOut));
  }
  return vfs::FileRef(std::move(file));
}

}  // namespace run9::sentry
