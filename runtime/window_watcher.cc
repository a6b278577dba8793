#include "runtime/window_watcher.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>

#include "runtime/control_client.h"
#include "runtime/supervise.h"

namespace run9::runtime {
namespace {

// A connection that is answered, or closed, when the program has ended.
Expected<UniqueFd> await_end(const StateDir& dir, int32_t guest_pid) {
  control::Request request;
  request.mutable_wait()->set_pid(guest_pid);
  return send_request(dir, request);
}

void close_all_but(std::vector<int> kept) {
  std::sort(kept.begin(), kept.end());
  unsigned next = 3;
  for (const int fd : kept) {
    if (static_cast<unsigned>(fd) > next) close_range(next, static_cast<unsigned>(fd) - 1, 0);
    next = std::max(next, static_cast<unsigned>(fd) + 1);
  }
  close_range(next, ~0u, 0);
}

[[noreturn]] void watcher_main(const StateDir& dir, int32_t guest_pid, UniqueFd slave, WindowSize known) {
  reset_signals();
  signal(SIGHUP, SIG_IGN);
  setsid();
  (void)!chdir("/");
  sigset_t winch;
  sigemptyset(&winch);
  sigaddset(&winch, SIGWINCH);
  sigprocmask(SIG_BLOCK, &winch, nullptr);
  const UniqueFd signals(signalfd(-1, &winch, SFD_CLOEXEC | SFD_NONBLOCK));
  if (ioctl(slave.get(), TIOCSCTTY, 0) != 0) _exit(1);
  auto end = await_end(dir, guest_pid);
  if (!end) _exit(1);
  const UniqueFd connection = std::move(end).assume_value();
  const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  for (int fd = 0; fd < 3; ++fd) dup2(null, fd);
  close_all_but({slave.get(), signals.get(), connection.get(), dir.descriptor()});
  for (;;) {
    const WindowSize size = window_size(slave.borrow());
    const bool changed = size.rows != known.rows || size.columns != known.columns;
    if (changed && size.rows != 0) resize_guest(dir, guest_pid, size.rows, size.columns);
    known = size;
    pollfd waits[] = {{.fd = signals.get(), .events = POLLIN, .revents = 0},
                      {.fd = connection.get(), .events = POLLIN, .revents = 0}};
    if (poll(waits, 2, -1) < 0) continue;
    if (waits[1].revents != 0) break;
    signalfd_siginfo info{};
    while (read(signals.get(), &info, sizeof info) == sizeof info) {}
  }
  // A session's leader that ends hangs its terminal up, with output that nobody has read yet.
  ioctl(slave.get(), TIOCNOTTY);
  _exit(0);
}

}  // namespace

void watch_window(const StateDir& dir, int32_t guest_pid, UniqueFd slave, WindowSize known) {
  if (!slave.valid()) return;
  const pid_t pid = fork();
  if (pid == 0) watcher_main(dir, guest_pid, std::move(slave), known);
  if (pid < 0) log_warn("window sizes will not reach the terminal: fork: {}", describe(last_errno()));
}

}  // namespace run9::runtime
