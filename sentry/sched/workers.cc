#include "sentry/sched/workers.h"

#include <sched.h>

#include <algorithm>

#include "sentry/sched/event_loop.h"

namespace run9::sentry {
namespace {

constexpr size_t kStack = 256 * 1024;
constexpr int kBehind = 16;              // that often, before another worker is called
constexpr uint64_t kPatienceNs = 200'000;  // awake, with nothing to do
constexpr unsigned kAwake = 1'000;         // looks for the seat, before the core is given to others
constexpr int kMoment = 40;

void moment() {
  for (int i = 0; i < kMoment; ++i) __builtin_ia32_pause();
}

}  // namespace

void Seat::take() {
  if (try_take()) return;
  waiting_.fetch_add(1, std::memory_order_relaxed);
  for (unsigned n = 0; !try_take(); ++n) n < kAwake ? __builtin_ia32_pause() : static_cast<void>(sched_yield());
  waiting_.fetch_sub(1, std::memory_order_relaxed);
}

Workers::Workers(EventLoop& loop, unsigned more) : loop_(loop), more_(more) { seat_.take(); }

Workers::~Workers() {
  over_.store(true);
  seat_.give();
  {
    const Locked held(lock_);
    called_.tell_all();
    while (threads_ != 0) called_.wait(lock_);
  }
  seat_.take();
}

void Workers::leave(bool behind, int cores) {
  behind_ = behind ? behind_ + 1 : std::max(0, behind_ - 1);
  const unsigned awake = awake_.load(std::memory_order_relaxed);
  const bool call = eager ? behind && awake < more_ : behind_ >= kBehind && awake < more_ && cores > static_cast<int>(awake);
  if (call) call_one();
  away_.fetch_add(1, std::memory_order_relaxed);
  seat_.give();
}

void Workers::come_back() {
  seat_.take();
  away_.fetch_sub(1, std::memory_order_relaxed);
}

void Workers::make_room() {
  seat_.give();
  moment();
  seat_.take();
}

void Workers::call_one() {
  behind_ = 0;
  const Locked held(lock_);
  if (awake_.load(std::memory_order_relaxed) + calls_ == threads_) {
    if (!make_host_thread(enter, this, kStack)) return;
    ++threads_;
  }
  ++calls_;
  called_.tell_one();
}

unsigned Workers::threads() {
  const Locked held(lock_);
  return threads_;
}

void* Workers::enter(void* self) {
  static_cast<Workers*>(self)->serve();
  return nullptr;
}

void Workers::serve() {
  pthread_mutex_lock(&lock_);
  while (!over_) {
    const timespec until = after_ns(idle_ns);
    while (calls_ == 0 && !over_ && called_.wait_until(lock_, until)) {
    }
    if (calls_ == 0) break;
    --calls_;
    awake_.fetch_add(1);
    pthread_mutex_unlock(&lock_);
    work();
    pthread_mutex_lock(&lock_);
    awake_.fetch_sub(1);
  }
  --threads_;
  called_.tell_all();
  pthread_mutex_unlock(&lock_);
}

// As long as somebody makes a host call there may be requests that nobody takes.
void Workers::work() {
  for (uint64_t until = EventLoop::now_ns() + kPatienceNs; !over_ && EventLoop::now_ns() < until;) {
    if (!away() || !seat_.try_take()) {
      moment();
      continue;
    }
    const uint64_t rounds = over_ ? 0 : loop_.serve_requests();
    seat_.give();
    if (rounds == 0) {
      moment();
      continue;
    }
    rounds_.fetch_add(rounds, std::memory_order_relaxed);
    until = EventLoop::now_ns() + kPatienceNs;
  }
}

}  // namespace run9::sentry
