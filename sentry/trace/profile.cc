#include "sentry/trace/profile.h"

#include <asm/unistd.h>
#include <time.h>

#include "sentry/syscalls/syscall.h"
#include "sentry/task/kernel.h"

namespace run9::sentry {
namespace {

// Behind the calls. The first is what a thread did before its first call.
constexpr std::string_view kOthers[] = {"(start)", "(unknown call)", "(fault)", "(signal)", "(order failed)", "(gone)"};
constexpr size_t kStart = kSyscallCount, kUnknown = kStart + 1, kFault = kStart + 2, kSignal = kStart + 3,
                 kOrderFailed = kStart + 4, kGone = kStart + 5;
static_assert(kGone + 1 == kSyscallCount + std::size(kOthers));

size_t row_number(EventKind kind, uint64_t number) {
  switch (kind) {
    case EventKind::kSyscall:
      return number < kSyscallCount && !syscall_table()[number].name.empty() ? number : kUnknown;
    case EventKind::kFault: return kFault;
    case EventKind::kInterrupted: return kSignal;
    case EventKind::kOrderFailed: return kOrderFailed;
    case EventKind::kGone: return kGone;
  }
  return kUnknown;
}

uint64_t own_cpu_ns() {
  timespec ts{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
  return static_cast<uint64_t>(ts.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(ts.tv_nsec);
}

}  // namespace

Profile::Profile(Kernel& kernel) : kernel_(kernel) {}

LayerTimes* Profile::start_row() { return &rows_[kStart]; }
LayerTimes* Profile::row_of(EventKind kind, uint64_t number) { return &rows_[row_number(kind, number)]; }

void Profile::start() {
  rows_.assign(kSyscallCount + std::size(kOthers), {});
  kernel_.each_task([this](Task& task) {
    const auto last = static_cast<uint64_t>(task.last_syscall);
    LayerSpan& span = task.layer_span();
    span.row = task.in_call() ? row_of(EventKind::kSyscall, last) : start_row();
    // Where exactly a call stands that began before is not known: most of those wait.
    span.layer = task.in_call() ? Layer::kWait : Layer::kGuest;
  });
  started_ns_ = EventLoop::now_ns();
  started_cpu_ns_ = own_cpu_ns();
  LayerClock::started = layer_ticks();
  kernel_.platform().set_profiling(true);
}

ProfileResult Profile::stop() {
  // Threads that compute or wait since long have to be counted up to now.
  kernel_.each_task([this](Task& task) {
    LayerSpan& span = task.layer_span();
    if (span.row == nullptr) return;
    const bool rests = span.layer == Layer::kGuest && task.via() != nullptr && task.via()->resting();
    if (rests) span = {.row = &rows_[__NR_futex], .since = span.since, .layer = Layer::kWait};
    span.enter(span.layer);
  });
  kernel_.platform().set_profiling(false);
  ProfileResult out;
  out.wall_ns = EventLoop::now_ns() - started_ns_;
  out.sentry_ns = own_cpu_ns() - started_cpu_ns_;
  const uint64_t ticks = layer_ticks() - LayerClock::started;
  out.ns_per_tick = ticks != 0 ? static_cast<double>(out.wall_ns) / static_cast<double>(ticks) : 0;
  LayerClock::started = 0;
  LayerClock::running = nullptr;
  for (size_t i = 0; i < rows_.size(); ++i) {
    const LayerTimes& r = rows_[i];
    if (std::ranges::all_of(r.ticks, [](uint64_t t) { return t == 0; })) continue;
    out.rows.push_back({i < kSyscallCount ? syscall_table()[i].name : kOthers[i - kSyscallCount], r});
  }
  return out;
}

void Profile::take(LayerSpan& span, const ThreadTimes& times, LayerTimes* row) {
  const uint64_t now = layer_ticks();
  if (span.row == nullptr) born(span);
  const uint64_t let_go = std::min(std::max(span.since, LayerClock::started), now);
  const uint64_t answered = std::clamp(times.answered, let_go, now);
  const uint64_t resumed = std::clamp(times.resumed, answered, now);
  const uint64_t asked = times.asked != 0 ? std::clamp(times.asked, resumed, now) : now;
  span.add(Layer::kHandOver, answered - let_go);
  span.add(Layer::kHost, resumed - answered);
  const uint64_t rested = std::min(times.rested, asked - resumed);
  span.add(Layer::kGuest, asked - resumed - rested - add_own_calls(times, asked - resumed - rested));
  rows_[__NR_futex].ticks[static_cast<size_t>(Layer::kWait)] += rested;
  span = {.row = row, .since = now, .layer = Layer::kHandOver};
  span.add(Layer::kHandOver, now - asked);
  ++row->count;
}

// Of at most `most` ticks; gives how many.
uint64_t Profile::add_own_calls(const ThreadTimes& times, uint64_t most) {
  constexpr uint64_t kQuickest = 16;  // ticks, of one
  uint64_t left = most;
  for (size_t i = 0; i < kOwnCallKinds; ++i) {
    const auto& [count, ticks] = times.own_calls[i];
    const uint64_t spent = std::min(ticks, left);
    rows_[kOwnCalls[i]].count += std::min(count, spent / kQuickest);
    rows_[kOwnCalls[i]].ticks[static_cast<size_t>(Layer::kHost)] += spent;
    left -= spent;
  }
  return most - left;
}

void Profile::begin(LayerSpan& span) {
  if (span.row == nullptr) born(span);
  span.enter(Layer::kKernel);
  LayerClock::running = &span;
}

void Profile::end(LayerSpan& span) {
  span.enter(Layer::kGuest);
  LayerClock::running = nullptr;
}

}  // namespace run9::sentry
