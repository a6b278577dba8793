#include "sentry/sched/event_loop.h"

#include <sched.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/layer_clock.h"
#include "sentry/platform/platform.h"
#include "sentry/sched/fiber.h"
#include "sentry/sched/workers.h"

namespace run9::sentry {
namespace {

// While each core has one guest thread: what sleeping and being woken cost.
constexpr uint64_t kShortSpinNs = 10'000;
constexpr int kBurst = 32;

}  // namespace

Timer::Timer(EventLoop& loop, std::function<void()> fire) : loop_(loop), fire_(std::move(fire)) {}
Timer::~Timer() { disarm(); }

void Timer::arm(uint64_t deadline_ns) {
  disarm();
  deadline_ = std::max<uint64_t>(deadline_ns, 1);
  loop_.timers_.insert(this);
}

void Timer::disarm() {
  if (deadline_ == 0) return;
  loop_.timers_.erase(this);
  deadline_ = 0;
}

Result<std::unique_ptr<EventLoop>> EventLoop::create() {
  std::unique_ptr<EventLoop> loop(new EventLoop);
  loop->epoll_ = TRY(take_fd(epoll_create1(EPOLL_CLOEXEC)));
  cpu_set_t cpus;
  if (sched_getaffinity(0, sizeof cpus, &cpus) == 0) loop->cores_ = loop->online_cpus_ = CPU_COUNT(&cpus);
  return loop;
}

EventLoop::~EventLoop() {
  workers_.reset();
  for (Fiber* f : idle_) delete f;
}

uint64_t EventLoop::now_ns() {
  timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return static_cast<uint64_t>(ts.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(ts.tv_nsec);
}

Fiber* EventLoop::take_fiber() {
  if (idle_.empty()) return new Fiber;
  Fiber* const f = idle_.back();
  idle_.pop_back();
  return f;
}

void EventLoop::switch_to(Fiber* fiber) {
  Fiber* const outer = current_;
  CHECK(outer == nullptr);
  current_ = fiber;
  fiber->run();
  current_ = nullptr;
  if (!fiber->done) return;
  if (idle_.size() < 64) {
    idle_.push_back(fiber);
  } else {
    delete fiber;
  }
}

void EventLoop::spawn(std::function<void()> body) {
  Fiber* const f = take_fiber();
  f->body = std::move(body);
  ready(f);
}

void EventLoop::enter(void (*body)(void*, int), void* object, int value) {
  Fiber* const f = take_fiber();
  f->call = {body, object, value};
  switch_to(f);
}

void EventLoop::park() {
  CHECK(current_ != nullptr);
  if (current_->context != nullptr) platform_->on_park(current_->context);
  const LayerPause pause;
  current_->leave();
}

// Who has stepped aside looks for itself what has come meanwhile.
void EventLoop::ready(Fiber* fiber) {
  if (fiber->queued || fiber->aside) return;
  fiber->queued = true;
  ready_.push_back(fiber);
}

void EventLoop::yield() {
  ready(current_);
  park();
}

void EventLoop::set_workers(unsigned most) {
  if (most > 1 && online_cpus_ > 1) workers_ = std::make_unique<Workers>(*this, most - 1);
}

bool EventLoop::step_aside() {
  if (workers_ == nullptr) return false;
  if (Fiber* const f = std::exchange(current_, nullptr); f != nullptr) {
    f->aside = true;
    f->span = std::exchange(LayerClock::running, nullptr);
  }
  const bool behind = !ready_.empty() || (platform_ != nullptr && platform_->waiting());
  workers_->leave(behind, spin_limit_ns == kSpinNs ? cores_ - 1 - running() : 0);
  return true;
}

void EventLoop::step_back(Fiber* fiber) {
  workers_->come_back();
  current_ = fiber;
  if (fiber == nullptr) return;
  fiber->aside = false;
  if (LayerClock::started != 0) LayerClock::running = fiber->span;
}

void EventLoop::pause() {
  Fiber* const self = current_;
  const bool aside = step_aside();
  for (int i = aside ? 40 : 1; i > 0; --i) __builtin_ia32_pause();
  if (aside) step_back(self);
}

uint64_t EventLoop::serve_requests() {
  for (uint64_t rounds = 0;; ++rounds) {
    bool busy = platform_ != nullptr && platform_->poll();
    if (!ready_.empty()) {
      run_ready();
      busy = true;
    }
    if (!busy || stopping_ || workers_->wanted()) return rounds + (busy ? 1 : 0);
  }
}

void EventLoop::run_ready() {
  // Those that become ready meanwhile wait for the next round: events and timers come first.
  for (size_t n = ready_.size(); n > 0 && !ready_.empty(); --n) {
    Fiber* const f = ready_.front();
    ready_.pop_front();
    f->queued = false;
    switch_to(f);
  }
}

void EventLoop::fire_timers(uint64_t now) {
  while (!timers_.empty()) {
    Timer* t = *timers_.begin();
    if (t->deadline_ > now) return;
    t->disarm();
    t->fire_();
  }
}

Result<void> EventLoop::watch(BorrowedFd fd, uint32_t epoll_events, FdHandler& handler) {
  epoll_event ev{.events = epoll_events, .data = {.ptr = &handler}};
  if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd.get(), &ev) != 0) return last_errno();
  return ok();
}

Result<void> EventLoop::rewatch(BorrowedFd fd, uint32_t epoll_events, FdHandler& handler) {
  epoll_event ev{.events = epoll_events, .data = {.ptr = &handler}};
  if (epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd.get(), &ev) != 0) return last_errno();
  return ok();
}

void EventLoop::unwatch(BorrowedFd fd) {
  epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd.get(), nullptr);
}

bool EventLoop::poll_fds(int64_t timeout_ns) {
  // One event at a time: a handler may end the owner of the next one's handler.
  epoll_event ev;
  timespec ts{.tv_sec = timeout_ns / 1'000'000'000, .tv_nsec = timeout_ns % 1'000'000'000};
  const timespec now{};
  bool any = false;
  int n = epoll_pwait2(epoll_.get(), &ev, 1, timeout_ns < 0 ? nullptr : &ts, nullptr);
  for (int budget = 64; n == 1; --budget) {
    any = true;
    static_cast<FdHandler*>(ev.data.ptr)->on_ready(ev.events);
    if (budget == 0) break;
    n = epoll_pwait2(epoll_.get(), &ev, 1, &now, nullptr);
  }
  return any;
}

int EventLoop::running() const { return platform_ == nullptr ? 0 : platform_->running_contexts(); }

bool EventLoop::core_to_spare() const { return cores_ > 1 && running() < cores_; }

bool EventLoop::may_spin() const {
  if (core_to_spare()) return true;
  return cores_ > 1 && running() == cores_ && now_ns() - last_activity_ < kShortSpinNs;
}

// Lets others run on this core. Whoever takes a whole slice of the host's scheduler is no guest that we have woken: the
// cores are somebody else's too, and to give way is to wait for them. For a while, longer each time, we keep the core while we
// wait, or sleep if one of our own needs it: a sleeper that is woken is given the core at once.
void EventLoop::give_way() {
  constexpr uint64_t kSlice = 2'000'000, kFirst = 20'000'000, kLongest = 200'000'000, kSoon = 50'000'000;
  const uint64_t before = now_ns();
  const bool aside = step_aside();
  sched_yield();
  if (aside) step_back(nullptr);
  const uint64_t now = now_ns();
  if (now - before < kSlice) return;
  crowded_for_ = now < crowded_until_ + kSoon ? std::min(crowded_for_ * 2, kLongest) : kFirst;
  crowded_until_ = now + crowded_for_;
  crowded_ = true;
}

bool EventLoop::core_wanted(bool woken) const {
  return woken || descriptors_expected_ > 0 || (platform_ != nullptr && platform_->wants_core());
}

bool EventLoop::core_for_peer() const {
  return cores_ >= 3 + running();
}

void EventLoop::run() {
  uint64_t next_fd_poll = 0;
  int burst = 0;
  last_activity_ = now_ns();
  while (!stopping_) {
    if (workers_ != nullptr) workers_->let_in();
    bool busy = platform_ != nullptr && platform_->poll();
    // The time, timers and descriptors can wait for a few calls.
    if (busy && ready_.empty() && ++burst < kBurst) {
      // The next one is likely to come before the clock has been read.
      if (spin_limit_ns != 0 && descriptors_expected_ == 0 && core_to_spare()) platform_->spin();
      continue;
    }
    busy |= burst != 0;
    burst = 0;
    if (!ready_.empty()) {
      run_ready();
      busy = true;
    }
    const uint64_t now = now_ns();
    if (crowded_ && now >= crowded_until_) crowded_ = false;
    if (!timers_.empty() && (*timers_.begin())->deadline_ <= now) {
      fire_timers(now);
      busy = true;
    }
    const bool poll_now = now >= next_fd_poll || descriptors_expected_ > 0;
    if (poll_now) {
      if (poll_fds(0)) busy = true;
      next_fd_poll = now + 5'000;
    }
    if (busy) {
      last_activity_ = now;
      if (descriptors_expected_ > 0 && !crowded_ && !core_for_peer()) give_way();
      continue;
    }
    if (workers_ != nullptr && workers_->away()) {
      workers_->make_room();
      continue;
    }
    // Spin while an answer is likely soon and a core is to spare: a guest that computes on another
    // core, and none that waits for ours.
    if (may_spin() && now - last_activity_ < spin_limit_ns) {
      // The host tends to queue whom we have woken on our own core, even if another is idle: let them run.
      const bool woken = platform_ != nullptr && platform_->take_woken();
      if ((woken || poll_now) && !crowded_) give_way();
      if (!crowded_ || !core_wanted(woken)) {
        if (platform_ != nullptr) platform_->spin();
        continue;
      }
    }
    sleep_until_event();
  }
}

void EventLoop::sleep_until_event() {
  if (platform_ != nullptr) {
    platform_->before_sleep();
    if (platform_->poll()) {
      platform_->after_sleep();
      last_activity_ = now_ns();
      return;
    }
  }
  int64_t timeout = -1;
  if (!ready_.empty() || (workers_ != nullptr && workers_->away())) {
    timeout = 0;
  } else if (!timers_.empty()) {
    const uint64_t at = (*timers_.begin())->deadline_;
    const uint64_t t = now_ns();
    timeout = at > t ? static_cast<int64_t>(at - t) : 0;
  }
  if (poll_fds(timeout)) last_activity_ = now_ns();
  if (platform_ != nullptr) platform_->after_sleep();
}

}  // namespace run9::sentry
