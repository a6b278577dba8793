// timerfd_create(2).
#pragma once
#include "base/wait_queue.h"
#include "sentry/time/interval_timer.h"
#include "vfs/file.h"

namespace run9::sentry {

class TimerFile final : public vfs::File {
 public:
  TimerFile(EventLoop& loop, vfs::Path path, uint32_t flags, int32_t clock_id, ClockRef clock);
  void set(uint64_t deadline, uint64_t interval);
  IntervalTimer& timer() { return timer_; }
  bool is_stream() const override { return true; }
  Result<size_t> read(vfs::OpContext&, std::span<std::byte> dst) override;
  uint32_t poll(vfs::OpContext&) override;
  WaitQueue* wait_queue() override { return &queue_; }
  std::string fdinfo() const override;

 private:
  const int32_t clock_id_;
  uint64_t ticks_ = 0;
  WaitQueue queue_;
  IntervalTimer timer_;
};

}  // namespace run9::sentry
