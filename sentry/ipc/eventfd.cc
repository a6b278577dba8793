#include "sentry/ipc/eventfd.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>

#include <cstring>

namespace run9::sentry {
namespace {
constexpr uint64_t kMax = ~uint64_t{0} - 1;   // that write(2) reaches
constexpr uint64_t kOverflow = ~uint64_t{0};  // that signal() reaches: an error for poll(2)
}  // namespace

EventFile::EventFile(vfs::Path path, uint64_t count, int flags)
    : File(std::move(path), O_RDWR | ((flags & EFD_NONBLOCK) != 0 ? O_NONBLOCK : 0)),
      count_(count),
      semaphore_((flags & EFD_SEMAPHORE) != 0) {}

Result<size_t> EventFile::read(vfs::OpContext& ctx, std::span<std::byte> dst) {
  if (dst.size() < sizeof count_) return Errno{EINVAL};
  const auto keep = shared_from_this();
  while (count_ == 0) {
    if (nonblocking()) return Errno{EAGAIN};
    TRY(ctx.wait(queue_, POLLIN));
  }
  const uint64_t value = semaphore_ ? 1 : count_;
  count_ -= value;
  std::memcpy(dst.data(), &value, sizeof value);
  queue_.notify(POLLOUT | POLLWRNORM);
  return sizeof value;
}

Result<size_t> EventFile::write(vfs::OpContext& ctx, ByteSpan src) {
  uint64_t value = 0;
  if (src.size() < sizeof value) return Errno{EINVAL};
  std::memcpy(&value, src.data(), sizeof value);
  if (value > kMax) return Errno{EINVAL};
  const auto keep = shared_from_this();
  while (count_ == kOverflow || value > kMax - count_) {
    if (nonblocking()) return Errno{EAGAIN};
    TRY(ctx.wait(queue_, POLLOUT));
  }
  count_ += value;
  queue_.notify(POLLIN | POLLRDNORM);
  return sizeof value;
}

void EventFile::signal() {
  if (count_ < kOverflow) ++count_;
  queue_.notify(POLLIN | POLLRDNORM | (count_ == kOverflow ? POLLERR : 0));
}

uint32_t EventFile::poll(vfs::OpContext&) {
  return (count_ > 0 ? POLLIN | POLLRDNORM : 0) | (count_ < kMax ? POLLOUT | POLLWRNORM : 0) | (count_ == kOverflow ? POLLERR : 0);
}

std::string EventFile::fdinfo() const { return fmt::format("eventfd-count: {:16x}\n", count_); }

}  // namespace run9::sentry
