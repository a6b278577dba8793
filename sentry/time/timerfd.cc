#include "sentry/time/timerfd.h"

#include <fmt/format.h>
#include <poll.h>

#include <cstring>

namespace run9::sentry {

TimerFile::TimerFile(EventLoop& loop, vfs::Path path, uint32_t flags, int32_t clock_id,
                     ClockRef clock)
    : File(std::move(path), O_RDWR | flags),
      clock_id_(clock_id),
      timer_(loop, std::move(clock), [this](uint64_t n) {
        ticks_ += n;
        queue_.notify(POLLIN | POLLRDNORM);
      }) {}

void TimerFile::set(uint64_t deadline, uint64_t interval) {
  ticks_ = 0;
  timer_.set(deadline, interval);
}

Result<size_t> TimerFile::read(vfs::OpContext& ctx, std::span<std::byte> dst) {
  if (dst.size() < sizeof ticks_) return Errno{EINVAL};
  const auto keep = shared_from_this();
  while (ticks_ == 0) {
    if (nonblocking()) return Errno{EAGAIN};
    TRY(ctx.wait(queue_, POLLIN));
  }
  std::memcpy(dst.data(), &ticks_, sizeof ticks_);
  ticks_ = 0;
  return sizeof ticks_;
}

uint32_t TimerFile::poll(vfs::OpContext&) { return ticks_ > 0 ? POLLIN | POLLRDNORM : 0; }

std::string TimerFile::fdinfo() const {
  const auto left = to_timespec(timer_.remaining()), every = to_timespec(timer_.interval());
  return fmt::format(
      "clockid: {}\nticks: {}\nsettime flags: 00\nit_value: ({}, {})\nit_interval: ({}, {})\n",
      clock_id_, ticks_, left.tv_sec, left.tv_nsec, every.tv_sec, every.tv_nsec);
}

}  // namespace run9::sentry
