// HostThreads: host calls that may wait for a disk, made where the worker does not wait with them. There is a thread for each such call that
// is under way, up to a number; one that has had nothing to do for a while ends. They run no kernel code (docs/decisions/0001-one-worker.md):
// what they are given touches a descriptor and memory that the parked fiber keeps.
#pragma once
#include <pthread.h>

#include <cstdint>
#include <functional>

#include "base/unique_fd.h"
#include "sentry/sched/event_loop.h"
#include "sentry/sched/host_thread.h"

namespace run9::sentry {

class HostThreads final : public FdHandler {
 public:
  // `most`: of threads; 0: each call is made by the worker.
  HostThreads(EventLoop& loop, unsigned most);
  ~HostThreads() override;
  HostThreads(const HostThreads&) = delete;
  HostThreads& operator=(const HostThreads&) = delete;

  // Parks the running fiber until `call` has returned. Not interrupted by signals, as a wait for a disk is not. Calls beyond `most` wait for
  // their turn; if the host makes no thread, the worker makes the call. `call` allocates nothing and logs nothing.
  void run(const std::function<void()>& call);

  unsigned threads();  // now

  uint64_t idle_ns = 2'000'000'000;  // after which a thread ends

 private:
  struct Job {
    const std::function<void()>& call;
    Fiber* fiber;
    bool done = false;
    Job* next = nullptr;
  };
  // First in, first out. Threads allocate nothing: each would get a heap of its own.
  class Queue {
   public:
    bool empty() const { return first_ == nullptr; }
    void push(Job& job);
    Job* pop();  // null: none

   private:
    Job *first_ = nullptr, *last_ = nullptr;
  };
  void on_ready(uint32_t) override;
  bool hand_over(Job& job);
  static void* enter(void* self);
  void serve();
  // Null: nothing came for `idle_ns`, or it is over.
  Job* next();

  EventLoop& loop_;
  const unsigned most_;
  UniqueFd news_;       // readable: some are done
  pthread_mutex_t lock_ = PTHREAD_MUTEX_INITIALIZER;
  Condition more_;
  // Under the lock.
  Queue waiting_, done_;
  unsigned threads_ = 0, idle_ = 0, queued_ = 0;
  bool over_ = false;
};

}  // namespace run9::sentry
