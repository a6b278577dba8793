#include "runtime/stdio.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

namespace run9::runtime {
namespace {

Expected<std::pair<UniqueFd, UniqueFd>> socket_pair() {
  int ends[2];
  TRY(check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), "socketpair"));
  return std::pair(UniqueFd(ends[0]), UniqueFd(ends[1]));
}

void set_nonblocking(const UniqueFd& fd) { fcntl(fd.get(), F_SETFL, fcntl(fd.get(), F_GETFL) | O_NONBLOCK); }

// A terminal's two directions over one socket.
Expected<void> join_terminal(Stdio& out, bool separate_errors) {
  auto [ours, theirs] = TRY(socket_pair());
  set_nonblocking(ours);
  UniqueFd reading = TRY(explain(ours.dup(), "dup"));
  out.guest.push_back(std::move(theirs));
  out.relays.emplace_back(BorrowedFd(STDIN_FILENO), std::move(ours));
  out.relays.emplace_back(std::move(reading), BorrowedFd(STDOUT_FILENO));
  if (separate_errors && isatty(STDERR_FILENO) == 0) {
    out.guest.resize(1 + STDERR_FILENO);
    out.guest.push_back(
        TRY(explain(take_fd(fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3)), "standard error")));
  }
  if (isatty(STDIN_FILENO) != 0) out.raw = RawTerminal::enter(BorrowedFd(STDIN_FILENO));
  return ok();
}

// Descriptor `n` by way of a pipe that we relay.
Expected<void> join_pipe(Stdio& out, int n) {
  int ends[2];
  TRY(check(pipe2(ends, O_CLOEXEC), "pipe"));
  UniqueFd reading(ends[0]), writing(ends[1]);
  if (n == STDIN_FILENO) {
    set_nonblocking(writing);
    out.guest.push_back(std::move(reading));
    out.relays.emplace_back(BorrowedFd(n), std::move(writing));
  } else {
    set_nonblocking(reading);
    out.guest.push_back(std::move(writing));
    out.relays.emplace_back(std::move(reading), BorrowedFd(n));
  }
  return ok();
}

}  // namespace

Expected<std::vector<UniqueFd>> preserved_descriptors(int count) {
  constexpr int kFirst = 3;
  constexpr int kMost = 32;
  if (count < 0 || count > kMost) return fail("--preserve-fds {}: not a number from 0 to {}", count, kMost);
  std::vector<UniqueFd> out;
  for (int n = kFirst; n < kFirst + count; ++n) {
    out.push_back(TRY(explain(take_fd(fcntl(n, F_DUPFD_CLOEXEC, kFirst)), "--preserve-fds: descriptor {}", n)));
  }
  return out;
}

bool on_terminal() { return isatty(STDIN_FILENO) != 0 && isatty(STDOUT_FILENO) != 0; }

Expected<Stdio> make_stdio(const StdioRequest& request) {
  Stdio out;
  out.size = request.size;
  if (out.size.rows == 0 && out.size.columns == 0) out.size = window_size(BorrowedFd(STDIN_FILENO));
  if (request.terminal && !request.console_socket.empty()) {
    out.guest.push_back(TRY(open_console(request.console_socket, out.size)));
    out.console = TRY(explain(out.guest.front().dup(), "dup"));
    return out;
  }
  if (request.terminal) {
    if (!request.foreground) {
      return fail("/process/terminal is true, and nobody stays to serve the terminal; give "
                  "--console-socket, or set it to false");
    }
    TRY(join_terminal(out, request.separate_errors));
    return out;
  }
  for (int n = 0; n < 3; ++n) {
    if (request.foreground && isatty(n) != 0) {
      TRY(join_pipe(out, n));
    } else {
      out.guest.push_back(TRY(explain(take_fd(fcntl(n, F_DUPFD_CLOEXEC, 3)), "descriptor {}", n)));
    }
  }
  return out;
}

}  // namespace run9::runtime
