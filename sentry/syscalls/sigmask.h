// The calls that wait under another signal mask: ppoll, pselect6, epoll_pwait.
#pragma once
#include <optional>

#include "sentry/task/task.h"

namespace run9::sentry {

// A guest's mask argument; none if the pointer is null. EINVAL for a wrong size.
inline Result<std::optional<SignalSet>> read_sigmask(Task& task, uint64_t address, uint64_t size) {
  if (address == 0) return std::optional<SignalSet>();
  if (size != sizeof(SignalSet)) return Errno{EINVAL};
  return std::optional(TRY(task.memory().read(UserPtr<SignalSet>{address})));
}

// Runs wait() under `mask`. When a signal cut it short, the mask stays until the signal is delivered, and
// the old one is put back then (Task::saved_mask).
template <typename F>
Result<uint64_t> with_sigmask(Task& task, const std::optional<SignalSet>& mask, F wait) {
  if (!mask) return wait();
  const SignalSet old = task.mask();
  task.set_mask(*mask);
  Result<uint64_t> r = wait();
  if (!r.has_value() && (r.error() == Errno{EINTR} || r.error() == kErestartsys ||
                         r.error() == kErestartnohand || r.error() == kErestartRestartblock)) {
    task.saved_mask = old;
  } else {
    task.set_mask(old);
  }
  return r;
}

}  // namespace run9::sentry
