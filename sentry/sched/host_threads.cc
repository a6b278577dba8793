#include "sentry/sched/host_threads.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <utility>

#include "base/check.h"
#include "sentry/sched/fiber.h"

namespace run9::sentry {
namespace {

constexpr size_t kStack = 64 * 1024;

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
  if (most_ == 0) return;
  news_ = UniqueFd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  CHECK(news_.valid() && loop_.watch(news_.borrow(), EPOLLIN, *this).has_value());
}

HostThreads::~HostThreads() {
  if (news_.valid()) loop_.unwatch(news_.borrow());
  const Locked held(lock_);
  over_ = true;
  more_.tell_all();
  while (threads_ != 0) more_.wait(lock_);
}

// False: nobody will make it.
bool HostThreads::hand_over(Job& job) {
  const Locked held(lock_);
  if (idle_ <= queued_ && threads_ < most_ && make_host_thread(enter, this, kStack)) ++threads_;
  if (threads_ == 0) return false;
  waiting_.push(job);
  ++queued_;
  more_.tell_one();
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
  const timespec until = after_ns(idle_ns);
  ++idle_;
  while (waiting_.empty() && !over_ && more_.wait_until(lock_, until)) {
  }
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
  more_.tell_all();
  pthread_mutex_unlock(&lock_);
}

}  // namespace run9::sentry
