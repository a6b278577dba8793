// Tracer: ptrace(2) and wait4(2) as the ptrace platform uses them. The worker is the only tracer thread, so
// every request comes from it.
#pragma once
#include <sched.h>
#include <signal.h>

#include <array>
#include <cstdint>
#include <deque>
#include <optional>

#include "base/result.h"
#include "sentry/arch/x86_64/regs.h"

namespace run9::sentry::ptrace {

inline constexpr uint32_t kForkFlags = CLONE_PARENT | SIGCHLD;
inline constexpr uint32_t kThreadFlags =
    CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;

using CallArgs = std::array<uint64_t, 6>;

Result<Regs> get_regs(int tid);
Result<void> set_regs(int tid, const Regs& regs);

class Tracer {
 public:
  struct Change {
    int tid;
    int status;  // of wait4
  };

  // Takes over a child that has stopped in exec; its registers are those that injected calls start with.
  Result<void> adopt(int tid);
  // Any thread's change, if there is one.
  std::optional<Change> next();
  // Something that await() put aside is to be had from next().
  bool has_kept() const { return !kept_.empty(); }

  // One system call in a stopped thread, which is stopped again afterwards. EIO: it died.
  Result<uint64_t> inject(int tid, uint64_t nr, const CallArgs& args = {});
  // A stopped copy (kForkFlags, kThreadFlags) of a stopped thread.
  Result<int> inject_clone(int tid, uint32_t flags);
  // Lets a stopped thread end itself.
  void inject_exit(int tid);

 private:
  // Waits for `tid`; what others say meanwhile is kept for next(). Waiting for all of them is a must: the
  // host tells of a dead process's first thread only when its other threads have been reaped.
  Result<int> await(int tid);
  Result<void> point_at_gate(int tid, uint64_t nr, const CallArgs& args);

  Regs regs_{};
  std::deque<Change> kept_;
  int new_tid_ = 0;  // of the last injected clone
};

}  // namespace run9::sentry::ptrace
