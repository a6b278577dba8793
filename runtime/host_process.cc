// Processes of the host by number and start time (state_store.h).
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <charconv>
#include <csignal>
#include <cstring>

#include "runtime/cgroup.h"
#include "runtime/config.h"
#include "runtime/state_store.h"

namespace run9::runtime {
namespace {

struct StatLine {
  char state = 0;  // 0: no such process
  uint64_t start_time = 0;
};

StatLine read_stat(pid_t pid) {
  const auto text = read_text_file(fmt::format("/proc/{}/stat", pid));
  if (!text) return {};
  // The command may hold spaces and brackets; what follows the last one does not.
  std::string_view rest = text.assume_value();
  const size_t at = rest.rfind(')');
  if (at == std::string_view::npos || at + 2 >= rest.size()) return {};
  rest.remove_prefix(at + 2);
  StatLine out{.state = rest[0]};
  for (int field = 3; field < 22; ++field) {
    const size_t space = rest.find(' ');
    if (space == std::string_view::npos) return {};
    rest.remove_prefix(space + 1);
  }
  std::from_chars(rest.data(), rest.data() + rest.size(), out.start_time);
  return out;
}

}  // namespace

HostProcess identify(pid_t pid) {
  const StatLine s = read_stat(pid);
  if (s.state == 0) return {};
  return {pid, s.start_time};
}

bool alive(const HostProcess& p) {
  if (p.pid <= 0) return false;
  const StatLine s = read_stat(p.pid);
  return s.state != 0 && s.state != 'Z' && s.state != 'X' && s.start_time == p.start_time;
}

Expected<void> send_host_signal(const HostProcess& p, int signo) {
  if (p.pid <= 0) return fail("there is no process");
  // The descriptor pins the number; only then is it checked whose it is.
  const UniqueFd fd = TRY(explain(take_fd(static_cast<int>(syscall(SYS_pidfd_open, p.pid, 0))), "process {}", p.pid));
  if (!alive(p)) return fail("process {} has ended", p.pid);
  TRY(check(static_cast<int>(syscall(SYS_pidfd_send_signal, fd.get(), signo, nullptr, 0)),
            "signalling process {}", p.pid));
  return ok();
}

void kill_and_wait(const HostProcess& p, int timeout_ms) {
  if (p.pid <= 0) return;
  const UniqueFd fd(static_cast<int>(syscall(SYS_pidfd_open, p.pid, 0)));
  if (!fd.valid() || !alive(p)) return;
  syscall(SYS_pidfd_send_signal, fd.get(), SIGKILL, nullptr, 0);
  pollfd poll_for{.fd = fd.get(), .events = POLLIN, .revents = 0};
  poll(&poll_for, 1, timeout_ms);
}

Status current_status(const ContainerState& s) {
  if (s.status == Status::kCreating && s.sentry.pid == 0) return Status::kCreating;
  if (!alive(s.sentry)) return Status::kStopped;
  return s.status == Status::kRunning && is_frozen(s.cgroups) ? Status::kPaused : s.status;
}

}  // namespace run9::runtime
