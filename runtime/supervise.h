// Supervisor: what the CLI does while a container or an exec'ed program runs in the foreground: relays
// terminals, forwards the signals it gets, passes on window sizes, and waits for the end.
#pragma once
#include <functional>
#include <optional>

#include "base/unique_fd.h"
#include "runtime/stdio.h"

namespace run9::runtime {

// Blocks the signals that supervise() reads; before the first child, whose mask must be given back.
class SignalGuard {
 public:
  SignalGuard();
  BorrowedFd fd() const { return fd_.borrow(); }

 private:
  UniqueFd fd_;
};
// In a forked child: every signal as a new program expects it.
void reset_signals();

struct SuperviseHooks {
  std::function<void(int signo)> forward;
  std::function<void(WindowSize)> resize;
  // Asked when `watched` is readable: wait4's status, or none if it goes on.
  std::function<std::optional<int>()> ended;
};

// wait4's status of what was watched.
int supervise(const SignalGuard& signals, BorrowedFd watched, Stdio& stdio, const SuperviseHooks& hooks);

// What a shell would show: the exit code, or 128 + signal.
int exit_code(int wait_status);
// The same of a sandbox's first process, the Sentry, which ends by itself with its guest's code. Says why if it did not.
int sandbox_exit_code(int wait_status);

}  // namespace run9::runtime
