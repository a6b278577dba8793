#include "sentry/sched/host_threads.h"

#include <signal.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <utility>

#include "base/check.h"
#include "sentry/sched/fiber.h"

namespace run9::sentry {
namespace {

constexpr size_t kStack = 64 * 1024;

class Locked {
 public:
  explicit Locked(pthread_mutex_t& m) : mutex_(m) { pthread_mutex_lock(&mutex_); }
  ~Locked() { pthread_mutex_unlock(&mutex_); }
  Locked(const Locked&) = delete;
  Locked& operator=(const Locked&) = delete;

 private:
  pthread_mutex_t& mutex_;
};

timespec after(uint64_t ns) {
  const uint64_t at = EventLoop::now_ns() + ns;
  return {static_cast<time_t>(at / 1'000'000'000), static_cast<long>(at % 1'000'000'000)};
}

// Detached, and deaf: signals are the worker's.
bool make_thread(void* (*body)(void*), void* object) {
  pthread_attr_t how;
  CHECK(pthread_attr_init(&how) == 0);
  sigset_t all;
  sigfillset(&all);
  CHECK(pthread_attr_setstacksize(&how, kStack) == 0 && pthread_attr_setsigmask_np(&how, &all) == 0 &&
        pthread_attr_setdetachstate(&how, PTHREAD_CREATE_DETACHED) == 0);
  pthread_t thread;
  const bool made = pthread_create(&thread, &how, body, object) == 0;
  pthread_attr_destroy(&how);
  return made;
}

}  // namespace

void HostThreads::Queue::push(Job& job) {
  (first_ == nullptr ? first_ : last_->next) = &job;
  last_ = &job;
}

HostThreads::Job* HostThreads::Queue::pop() {
  Job* const job = first_;
  if (job != nullptr) first_ = std::exchange(job->next, nullptr);
  return job;
}

// All that the filter of a running Sentry forbids is done here.
HostThreads::HostThreads(EventLoop& loop, unsigned most) : loop_(loop), most_(most) {
  pthread_condattr_t by;
  pthread_condattr_init(&by);
  pthread_condattr_setclock(&by, CLOCK_MONOTONIC);
  pthread_cond_init(&more_, &by);
  pthread_condattr_destroy(&by);
  if (most_ == 0) return;
  news_ = UniqueFd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  CHECK(news_.valid() && loop_.watch(news_.borrow(), EPOLLIN, *this).has_value());
}

HostThreads::~HostThreads() {
  if (news_.valid()) loop_.unwatch(news_.borrow());
  const Locked held(lock_);
  over_ = true;
  pthread_cond_broadcast(&more_);
  while (threads_ != 0) pthread_cond_wait(&more_, &lock_);
}

// False: nobody will make it.
bool HostThreads::hand_over(Job& job) {
  const Locked held(lock_);
  if (idle_ <= queued_ && threads_ < most_ && make_thread(enter, this)) ++threads_;
  if (threads_ == 0) return false;
  waiting_.push(job);
  ++queued_;
  pthread_cond_signal(&more_);
  return true;
}

void HostThreads::run(const std::function<void()>& call) {
  Job job{call, loop_.current()};
  if (most_ == 0 || job.fiber == nullptr || !hand_over(job)) return call();
  loop_.expect_descriptor(1);
  while (!job.done) loop_.park();
  loop_.expect_descriptor(-1);
}

unsigned HostThreads::threads() {
  const Locked held(lock_);
  return threads_;
}

void HostThreads::on_ready(uint32_t) {
  uint64_t n = 0;
  [[maybe_unused]] const ssize_t got = read(news_.get(), &n, sizeof n);
  Queue done;
  {
    const Locked held(lock_);
    done = std::exchange(done_, {});
  }
  while (Job* const job = done.pop()) {
    job->done = true;
    loop_.ready(job->fiber);
  }
}

void* HostThreads::enter(void* self) {
  static_cast<HostThreads*>(self)->serve();
  return nullptr;
}

HostThreads::Job* HostThreads::next() {
  const timespec until = after(idle_ns);
  ++idle_;
  int r = 0;
  while (waiting_.empty() && !over_ && r == 0) r = pthread_cond_timedwait(&more_, &lock_, &until);
  --idle_;
  Job* const job = waiting_.pop();
  if (job != nullptr) --queued_;
  return job;
}

void HostThreads::serve() {
  pthread_mutex_lock(&lock_);
  while (Job* const job = next()) {
    pthread_mutex_unlock(&lock_);
    job->call();
    pthread_mutex_lock(&lock_);
    done_.push(*job);
    const uint64_t one = 1;
    CHECK(write(news_.get(), &one, sizeof one) == sizeof one);
  }
  --threads_;
  pthread_cond_broadcast(&more_);
  pthread_mutex_unlock(&lock_);
}

}  // namespace run9::sentry
