#include <limits.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/host_poll.h"
#include "base/layer_clock.h"
#include "base/log.h"
#include "sentry/fs/host_file.h"
#include "sentry/task/kernel.h"

namespace run9::sentry {
namespace {

// A terminal that says it is writable may have room for little.
constexpr size_t kTerminalChunk = 256;

Result<size_t> count_or_errno(ssize_t n) {
  if (n < 0) return Errno{errno == EINTR ? EAGAIN : errno};
  return static_cast<size_t>(n);
}

}  // namespace

HostStream::HostStream(Kernel& kernel, UniqueFd fd, uint32_t type, uint32_t host_flags,
                       HostTerminal terminal)
    : kernel_(kernel),
      fd_(std::make_shared<UniqueFd>(std::move(fd))),
      type_(type),
      host_flags_(host_flags),
      terminal_(terminal) {}

HostStream::~HostStream() {
  if (watched_ != 0) kernel_.loop().unwatch(fd_->borrow());
}

uint32_t HostStream::poll(uint32_t wanted) {
  constexpr uint32_t kBoth = POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM;
  if (regular()) return wanted & kBoth;
  const auto now = static_cast<uint16_t>(host_poll(fd(), static_cast<short>(wanted | POLLPRI)));
  // After a hangup nothing changes any more, and a watch on it would fire for ever.
  if ((now & (POLLHUP | POLLERR | POLLNVAL)) != 0) return now;
  const uint32_t missing = wanted & ~now & (POLLIN | POLLOUT);
  if ((missing & ~watched_) != 0) {
    const uint32_t before = watched_;
    watched_ |= missing;
    auto watching = before == 0 ? kernel_.loop().watch(fd_->borrow(), watched_, *this)
                                : kernel_.loop().rewatch(fd_->borrow(), watched_, *this);
    if (!watching.has_value()) {
      watched_ = before;
      // EPERM: what epoll does not know is always ready (/dev/null).
      if (watching.error() == Errno{EPERM}) return wanted & kBoth;
      log_warn("host descriptor cannot be watched: {}", describe(watching.error()));
    }
  }
  return now;
}

// Once for each arming: whoever still waits asks poll() again, and that arms it anew.
void HostStream::on_ready(uint32_t epoll_events) {
  kernel_.loop().unwatch(fd_->borrow());
  watched_ = 0;
  queue_.notify_all(epoll_events | ((epoll_events & POLLIN) != 0 ? POLLRDNORM : 0u) |
                    ((epoll_events & POLLOUT) != 0 ? POLLWRNORM : 0u));
}

Result<size_t> HostStream::read_once(std::span<std::byte> dst) {
  const LayerScope time(Layer::kHost);
  if (type_ == S_IFSOCK) return count_or_errno(::recv(fd(), dst.data(), dst.size(), MSG_DONTWAIT));
  if ((poll(POLLIN) & (POLLIN | POLLHUP | POLLERR)) == 0) return Errno{EAGAIN};
  if (nowait_) {
    iovec v{dst.data(), dst.size()};
    const ssize_t n = ::preadv2(fd(), &v, 1, -1, RWF_NOWAIT);
    if (n >= 0 || (errno != EOPNOTSUPP && errno != ENOSYS)) return count_or_errno(n);
    nowait_ = false;
  }
  // Somebody who shares the pipe may have emptied it since: the one case in which this blocks.
  return count_or_errno(::read(fd(), dst.data(), dst.size()));
}

Result<size_t> HostStream::write_once(ByteSpan src) {
  const LayerScope time(Layer::kHost);
  if (type_ == S_IFSOCK) {
    return count_or_errno(::send(fd(), src.data(), src.size(), MSG_DONTWAIT | MSG_NOSIGNAL));
  }
  if ((poll(POLLOUT) & (POLLOUT | POLLHUP | POLLERR)) == 0) return Errno{EAGAIN};
  if (nowait_) {
    iovec v{const_cast<std::byte*>(src.data()), src.size()};
    const ssize_t n = ::pwritev2(fd(), &v, 1, -1, RWF_NOWAIT);
    if (n >= 0 || (errno != EOPNOTSUPP && errno != ENOSYS)) return count_or_errno(n);
    nowait_ = false;
  }
  // A writable pipe takes PIPE_BUF bytes without blocking, not more.
  const size_t most = type_ == S_IFIFO ? PIPE_BUF : type_ == S_IFCHR ? kTerminalChunk : src.size();
  return count_or_errno(::write(fd(), src.data(), std::min(src.size(), most)));
}

}  // namespace run9::sentry
