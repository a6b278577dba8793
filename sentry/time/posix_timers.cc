#include "sentry/time/posix_timers.h"

#include <sys/time.h>

#include <algorithm>

#include "sentry/task/kernel.h"

namespace run9::sentry {
namespace {
constexpr size_t kMaxTimers = 8192;
}  // namespace

PosixTimer::PosixTimer(Process& process, int32_t id, ClockRef clock, Spec spec)
    : process_(process),
      id_(id),
      spec_(spec),
      timer_(process.kernel.loop(), std::move(clock), [this](uint64_t n) { fire(n); }) {}

void PosixTimer::fire(uint64_t ticks) {
  if (spec_.notify == Notify::kNone) return;
  Task* target = nullptr;
  if (spec_.notify == Notify::kThread) {
    target = process_.kernel.find_task(spec_.tid);
    if (target == nullptr || &target->process() != &process_) return;
  }
  constexpr uint64_t kMost = INT32_MAX;  // DELAYTIMER_MAX
  const uint64_t count = std::min(ticks, kMost);
  auto& pending = target != nullptr ? target->pending() : process_.pending;
  // One signal of a timer is queued at a time; what expires meanwhile is its overrun.
  if (SigInfo* queued = pending.find_timer(spec_.signo, id_)) {
    overrun_ = static_cast<int32_t>(std::min(static_cast<uint64_t>(overrun_) + count, kMost));
    queued->timer.overrun = overrun_;
    return;
  }
  delivered_overrun_ = overrun_;
  overrun_ = static_cast<int32_t>(std::min(ticks - 1, kMost));
  SigInfo info;
  info.signo = spec_.signo;
  info.code = SI_TIMER;
  info.timer.timerid = id_;
  info.timer.overrun = overrun_;
  info.timer.value = spec_.value;
  // A process that is gone has nobody to tell.
  if (target != nullptr) {
    (void)process_.kernel.send_task_signal(*target, info).has_value();
  } else {
    (void)process_.kernel.send_signal(process_, info).has_value();
  }
}

int32_t PosixTimer::overrun() const {
  Task* target = spec_.notify == Notify::kThread ? process_.kernel.find_task(spec_.tid) : nullptr;
  auto& pending = target != nullptr ? target->pending() : process_.pending;
  return pending.find_timer(spec_.signo, id_) != nullptr ? delivered_overrun_ : overrun_;
}

PosixTimers& PosixTimers::of(Process& process) {
  if (process.timers == nullptr) process.timers = std::make_shared<PosixTimers>();
  return *process.timers;
}

Result<int32_t> PosixTimers::create(Process& process, ClockRef clock, PosixTimer::Spec spec) {
  if (timers_.size() >= kMaxTimers) return Errno{EAGAIN};
  while (timers_.contains(next_id_)) next_id_ = next_id_ == INT32_MAX ? 0 : next_id_ + 1;
  const int32_t id = next_id_;
  next_id_ = next_id_ == INT32_MAX ? 0 : next_id_ + 1;
  timers_[id] = std::make_unique<PosixTimer>(process, id, std::move(clock), spec);
  return id;
}

Result<PosixTimer*> PosixTimers::find(int32_t id) {
  const auto it = timers_.find(id);
  if (it == timers_.end()) return Errno{EINVAL};
  return it->second.get();
}

Result<void> PosixTimers::remove(int32_t id) {
  if (timers_.erase(id) == 0) return Errno{EINVAL};
  return ok();
}

IntervalTimer& PosixTimers::cpu_timer(const ProcessRef& process, int which) {
  auto& slot = cpu_timers_[which == ITIMER_PROF];
  if (slot == nullptr) {
    const int signo = which == ITIMER_PROF ? SIGPROF : SIGVTALRM;
    slot = std::make_unique<IntervalTimer>(
        process->kernel.loop(), ClockRef::cpu_of(process), [p = process.get(), signo](uint64_t) {
          (void)p->kernel.send_signal(*p, SigInfo::kernel(signo)).has_value();
        });
  }
  return *slot;
}

}  // namespace run9::sentry
