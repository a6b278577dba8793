#include "sentry/fs/host_file.h"

#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/layer_clock.h"
#include "sentry/task/kernel.h"
#include "vfs/host_sync.h"

namespace run9::sentry {
namespace {

constexpr uint64_t kNullDevice = 0x103;          // 1:3 in makedev form
constexpr size_t kKernelTermiosSize = 36;  // struct termios of the kernel, shorter than libc's

// The guest sees what kind of file it is and, for a regular one, how long. Owner, times and place stay
// the host's secret.
class HostInode final : public AnonInode {
 public:
  HostInode(vfs::FileSystem& fs, uint64_t ino, uint32_t mode, const vfs::OpContext& owner,
            std::shared_ptr<HostStream> stream)
      : AnonInode(fs, ino, mode, owner), stream_(std::move(stream)) {}

  Result<vfs::Stat> getattr(vfs::OpContext& ctx) override {
    vfs::Stat st = TRY(AnonInode::getattr(ctx));
    if (!stream_->regular()) return st;
    struct ::stat host {};
    if (host_fstat(stream_->fd(), &host) != 0) return last_errno();
    st.size = static_cast<uint64_t>(host.st_size);
    st.blocks = static_cast<uint64_t>(host.st_blocks);
    return st;
  }

  Result<void> setattr(vfs::OpContext& ctx, const vfs::SetAttr& a) override {
    vfs::SetAttr rest = a;
    if ((a.valid & vfs::kSetSize) != 0) {
      if (!stream_->regular()) return Errno{EINVAL};
      if (::ftruncate(stream_->fd(), static_cast<off_t>(a.size)) != 0) return last_errno();
      rest.valid &= ~uint32_t{vfs::kSetSize};
    }
    return AnonInode::setattr(ctx, rest);
  }

  // /dev/stdout and /proc/self/fd/1: another file around the same descriptor.
  Result<vfs::FileRef> open(vfs::OpContext&, const vfs::Path& self, uint32_t flags) override {
    if (stream_->type() == S_IFSOCK) return Errno{ENXIO};
    const uint32_t have = stream_->host_flags() & O_ACCMODE;
    if (have != O_RDWR && have != (flags & O_ACCMODE)) return Errno{EACCES};
    return vfs::FileRef(std::make_shared<HostFile>(self, flags, stream_));
  }

 private:
  std::shared_ptr<HostStream> stream_;
};

std::string shown_name(const struct ::stat& host) {
  switch (host.st_mode & S_IFMT) {
    case S_IFIFO: return "pipe:";
    case S_IFSOCK: return "socket:";
    case S_IFCHR: return host.st_rdev == kNullDevice ? "/dev/null" : "host:";
    default: return "host:";
  }
}

Result<size_t> count_or_errno(ssize_t n) {
  if (n < 0) return last_errno();
  return static_cast<size_t>(n);
}

void raise_sigpipe(vfs::OpContext& ctx) {
  Task* task = task_of(ctx);
  if (task == nullptr) return;
  const SigInfo info = SigInfo::user(SIGPIPE, SI_USER, task->tgid(), task->creds().ruid);
  (void)task->kernel().send_task_signal(*task, info).has_value();
}

}  // namespace

Result<vfs::FileRef> HostFile::create(Kernel& kernel, UniqueFd fd, const vfs::OpContext& owner,
                                      HostTerminal terminal) {
  struct ::stat host {};
  if (host_fstat(fd.get(), &host) != 0) return last_errno();
  const int host_flags = ::fcntl(fd.get(), F_GETFL);
  if (host_flags < 0) return last_errno();
  const uint32_t type = host.st_mode & S_IFMT;
  if (type == S_IFDIR || type == S_IFBLK) return Errno{EINVAL};
  const auto flags = static_cast<uint32_t>(host_flags) & uint32_t{O_ACCMODE | O_APPEND};
  auto stream = std::make_shared<HostStream>(kernel, std::move(fd), type, flags, terminal);
  const uint32_t mode = type | (type == S_IFCHR ? 0666u : 0600u);
  auto inode = std::make_shared<HostInode>(anon_fs(kernel), kernel.next_anon_inode(), mode, owner,
                                           stream);
  if (type == S_IFCHR && host.st_rdev == kNullDevice) inode->attributes().rdev = kNullDevice;
  auto path = make_anon_path(kernel, shown_name(host), std::move(inode));
  return vfs::FileRef(std::make_shared<HostFile>(std::move(path), flags, std::move(stream)));
}

bool HostFile::closes_quietly() const {
  return File::closes_quietly() || static_cast<HostInode&>(inode()).attributes().rdev == kNullDevice;
}

// Whoever else has the description moves its offset too: fdinfo shows where it was last.
void HostFile::follow_host_offset() {
  const off_t at = ::lseek(stream_->fd(), 0, SEEK_CUR);
  if (at >= 0) set_position(static_cast<uint64_t>(at));
}

Result<size_t> HostFile::pread(vfs::OpContext&, std::span<std::byte> dst, uint64_t offset) {
  if (is_stream()) return Errno{ESPIPE};
  const LayerScope time(Layer::kHost);
  return count_or_errno(
      ::pread(stream_->fd(), dst.data(), dst.size(), static_cast<off_t>(offset)));
}

Result<size_t> HostFile::pwrite(vfs::OpContext&, ByteSpan src, uint64_t offset) {
  if (is_stream()) return Errno{ESPIPE};
  const LayerScope time(Layer::kHost);
  return count_or_errno(
      ::pwrite(stream_->fd(), src.data(), src.size(), static_cast<off_t>(offset)));
}

Result<size_t> HostFile::append(vfs::OpContext&, ByteSpan src, uint64_t& end) {
  if ((stream_->host_flags() & O_APPEND) == 0 && ::lseek(stream_->fd(), 0, SEEK_END) < 0) {
    return last_errno();
  }
  const LayerScope time(Layer::kHost);
  const size_t n = TRY(count_or_errno(::write(stream_->fd(), src.data(), src.size())));
  follow_host_offset();
  end = position();
  return n;
}

Result<size_t> HostFile::read(vfs::OpContext& ctx, std::span<std::byte> dst) {
  if (stream_->regular()) {
    const LayerScope time(Layer::kHost);
    const size_t n = TRY(count_or_errno(::read(stream_->fd(), dst.data(), dst.size())));
    follow_host_offset();
    return n;
  }
  while (true) {
    auto n = stream_->read_once(dst);
    if (n.has_value() || n.error() != Errno{EAGAIN} || nonblocking()) return n;
    TRY(wait_ready(ctx, POLLIN));
  }
}

Result<size_t> HostFile::write(vfs::OpContext& ctx, ByteSpan src) {
  if (!stream_->regular()) return write_stream(ctx, src);
  if ((flags() & O_APPEND) != 0) {
    uint64_t end = 0;
    return append(ctx, src, end);
  }
  const LayerScope time(Layer::kHost);
  const size_t n = TRY(count_or_errno(::write(stream_->fd(), src.data(), src.size())));
  follow_host_offset();
  return n;
}

// After an EAGAIN. Ready all the same means that another process was faster, or that a datagram socket
// has room, but not for this one: those are asked again in a moment.
Result<void> HostFile::wait_ready(vfs::OpContext& ctx, uint32_t bits) {
  constexpr uint64_t kMoment = 1'000'000;
  if ((stream_->poll(bits) & (bits | POLLHUP | POLLERR)) == 0) {
    return ctx.wait(stream_->queue(), bits);
  }
  auto waited = ctx.wait(stream_->queue(), bits, EventLoop::now_ns() + kMoment);
  if (!waited.has_value() && waited.error() != Errno{ETIMEDOUT}) return waited;
  return ok();
}

Result<size_t> HostFile::write_stream(vfs::OpContext& ctx, ByteSpan src) {
  size_t done = 0;
  while (done < src.size()) {
    auto n = stream_->write_once(src.subspan(done));
    if (n.has_value()) {
      done += n.value();
      continue;
    }
    if (n.error() == Errno{EPIPE}) raise_sigpipe(ctx);
    if (n.error() != Errno{EAGAIN} || nonblocking()) {
      if (done > 0) return done;
      return n.error();
    }
    auto waited = wait_ready(ctx, POLLOUT);
    if (!waited.has_value()) {
      if (done > 0) return done;
      return waited.error();
    }
  }
  return done;
}

Result<uint64_t> HostFile::seek(vfs::OpContext&, int64_t offset, int whence) {
  if (is_stream()) return Errno{ESPIPE};
  const off_t at = ::lseek(stream_->fd(), offset, whence);
  if (at < 0) return last_errno();
  set_position(static_cast<uint64_t>(at));
  return position();
}

uint32_t HostFile::poll(vfs::OpContext&) {
  uint32_t wanted = 0;
  if (readable()) wanted |= POLLIN | POLLRDNORM;
  if (writable()) wanted |= POLLOUT | POLLWRNORM;
  return stream_->poll(wanted);
}

Result<uint64_t> HostFile::ioctl(vfs::OpContext& ctx, uint32_t request, uint64_t arg) {
  Task* task = task_of(ctx);
  if (task == nullptr) return Errno{ENOTTY};
  std::byte buffer[64] = {};
  switch (request) {
    case FIONREAD: {
      int left = 0;
      if (::ioctl(stream_->fd(), FIONREAD, &left) != 0) return last_errno();
      TRY(task->memory().write(UserPtr<int>{arg}, left));
      return 0;
    }
    case TCGETS:
    case TIOCGWINSZ: {
      if (!stream_->terminal()) return Errno{ENOTTY};
      if (::ioctl(stream_->fd(), request, buffer) != 0) return last_errno();
      const size_t n = request == TCGETS ? kKernelTermiosSize : sizeof(winsize);
      TRY(task->memory().copy_out(arg, buffer, n));
      return 0;
    }
    case TCSETS:
    case TCSETSW:
    case TCSETSF:
      if (!stream_->terminal()) return Errno{ENOTTY};
      TRY(task->memory().copy_in(buffer, arg, kKernelTermiosSize));
      if (::ioctl(stream_->fd(), request, buffer) != 0) return last_errno();
      return 0;
    default: return Errno{ENOTTY};
  }
}

Result<vfs::MapSource> HostFile::map_source(vfs::OpContext&, bool, bool) {
  if (!stream_->regular()) return Errno{ENODEV};
  return vfs::MapSource{.fd = stream_->shared_fd()};
}

Result<void> HostFile::fsync(vfs::OpContext& ctx, bool data_only) {
  if (!stream_->regular()) return Errno{EINVAL};
  return vfs::sync_host(ctx, BorrowedFd{stream_->fd()}, data_only);
}

}  // namespace run9::sentry
