#include "runtime/supervise.h"

#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>

#include "base/check.h"
#include "base/log.h"

namespace run9::runtime {
namespace {

// Not among them: what the CLI itself needs as it is (STOP, CHLD, its own faults, TTIN, TTOU, TSTP).
constexpr int kForwarded[] = {SIGHUP,  SIGINT,  SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2,
                              SIGALRM, SIGCONT, SIGURG,  SIGPWR,  SIGWINCH};
constexpr int kDrainMs = 200;

void read_signals(BorrowedFd fd, Stdio& stdio, const SuperviseHooks& hooks) {
  signalfd_siginfo info{};
  while (read(fd.get(), &info, sizeof info) == sizeof info) {
    if (info.ssi_signo == SIGWINCH) {
      const WindowSize size = window_size(BorrowedFd(STDIN_FILENO));
      if (size.rows != 0) hooks.resize(size);
      continue;
    }
    if (info.ssi_signo == SIGCONT) {
      // Somebody's shell may have taken raw mode away while we were stopped.
      if (!stdio.relays.empty() && isatty(STDIN_FILENO) != 0) continue;
    }
    hooks.forward(static_cast<int>(info.ssi_signo));
  }
}

}  // namespace

SignalGuard::SignalGuard() {
  sigset_t set;
  sigemptyset(&set);
  for (const int s : kForwarded) sigaddset(&set, s);
  for (int s = SIGRTMIN; s <= SIGRTMAX; ++s) sigaddset(&set, s);
  sigprocmask(SIG_BLOCK, &set, nullptr);
  fd_ = UniqueFd(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  CHECK(fd_.valid());
}

void reset_signals() {
  struct sigaction plain {};
  plain.sa_handler = SIG_DFL;
  for (int s = 1; s < NSIG; ++s) sigaction(s, &plain, nullptr);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
}

int supervise(const SignalGuard& signals, BorrowedFd watched, Stdio& stdio, const SuperviseHooks& hooks) {
  for (;;) {
    std::vector<pollfd> waits = {{.fd = signals.fd().get(), .events = POLLIN, .revents = 0},
                                 {.fd = watched.get(), .events = POLLIN, .revents = 0}};
    for (Relay& r : stdio.relays) r.prepare(waits);
    if (poll(waits.data(), waits.size(), -1) < 0) continue;
    if (waits[0].revents != 0) read_signals(signals.fd(), stdio, hooks);
    for (size_t i = 0; i < stdio.relays.size(); ++i) stdio.relays[i].on_ready(waits[2 + i]);
    if (waits[1].revents == 0) continue;
    if (const auto status = hooks.ended()) {
      drain(stdio.relays, kDrainMs);
      return *status;
    }
  }
}

int exit_code(int wait_status) {
  return WIFSIGNALED(wait_status) ? 128 + WTERMSIG(wait_status) : WEXITSTATUS(wait_status);
}

int sandbox_exit_code(int wait_status) {
  if (WIFSIGNALED(wait_status)) {
    const int signal = WTERMSIG(wait_status);
    const char* const why =
        signal == SIGKILL  ? "somebody on the host killed it, or the host had no more memory (its dmesg says so then)"
        : signal == SIGSYS ? "it made a system call that its filter forbids (audit lines in the host's dmesg have the number); report it"
                           : "a fault of Run9's; report it, with what --debug --log FILE writes";
    log_error("the sandbox ended by signal {} ({}): {}", signal, strsignal(signal), why);
  }
  return exit_code(wait_status);
}

}  // namespace run9::runtime
