// OpContext: on whose behalf an operation runs. The kernel's Task is one; tests and tools have simple
// ones. An operation that has to wait does so here and nowhere else.
#pragma once
#include <cstdint>
#include <functional>
#include <optional>

#include "base/result.h"
#include "base/wait_queue.h"
#include "vfs/credentials.h"
#include "vfs/types.h"

namespace run9::vfs {

class OpContext {
 public:
  virtual ~OpContext() = default;
  virtual const Credentials& creds() const = 0;
  virtual Timespec now() const = 0;  // CLOCK_REALTIME
  // Thread group id of the caller; 0 for the kernel itself. Owner of POSIX locks.
  virtual int32_t tgid() const = 0;
  // RLIMIT_FSIZE of the caller in bytes.
  virtual uint64_t file_size_limit() const { return ~uint64_t{0}; }
  // A number that is another one in each call of the guest's and after each wait, never 0: what a file system was told by the
  // host at a moment serves to the end of it. 0, for callers who do not count: everything is asked for anew.
  virtual uint64_t moment() const { return 0; }
  // Blocks until `q` is notified of one of `events` (poll bits). Gives kErestartsys when a signal is
  // pending, ETIMEDOUT after `deadline_ns` (CLOCK_MONOTONIC). The caller checks its condition again.
  virtual Result<void> wait(WaitQueue& q, uint32_t events,
                            std::optional<uint64_t> deadline_ns = {}) = 0;
  // Makes a call of the host's that may wait for a disk, where others need not wait with it: beside them, if the kernel has threads for that.
  // `call` touches no object that others can reach meanwhile.
  virtual void host_call(const std::function<void()>& call) { call(); }
  // Around a host call of some length (StepAside): other kernel code may run meanwhile. False: there is nobody to run it.
  virtual bool step_aside() { return false; }
  virtual void step_back() {}
  // The bytes of a file whose File::read_source has been used lie elsewhere from here on, before anything is written there.
  virtual void copied_up() {}
};

// While one lives others may run kernel code, as they do where an operation waits: what it does meanwhile touches no object that they can reach.
class StepAside {
 public:
  explicit StepAside(OpContext& ctx) : ctx_(ctx.step_aside() ? &ctx : nullptr) {}
  ~StepAside() {
    if (ctx_ != nullptr) ctx_->step_back();
  }
  StepAside(const StepAside&) = delete;
  StepAside& operator=(const StepAside&) = delete;

 private:
  OpContext* const ctx_;
};

}  // namespace run9::vfs
