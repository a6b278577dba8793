#include "runtime/lifecycle.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <sstream>

#include "runtime/cgroup.h"
#include "runtime/control_client.h"
#include "runtime/hooks.h"

namespace run9::runtime {
namespace {

constexpr char kKeeperSocket[] = "start.sock";

[[noreturn]] void keeper_main(UniqueFd sync, UniqueFd listener) {
  reset_signals();
  setsid();
  (void)!chdir("/");
  const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  for (int fd = 0; fd < 3; ++fd) dup2(null, fd);
  // Everything else of the caller's is closed: pipes that somebody reads to their end, the lock.
  const int first = std::min(sync.get(), listener.get());
  const int second = std::max(sync.get(), listener.get());
  if (first > 3) close_range(3, static_cast<unsigned>(first - 1), 0);
  if (second > first + 1) close_range(static_cast<unsigned>(first + 1), static_cast<unsigned>(second - 1), 0);
  close_range(static_cast<unsigned>(second + 1), ~0u, 0);
  for (;;) {
    pollfd waits[] = {{.fd = sync.get(), .events = POLLIN, .revents = 0},
                      {.fd = listener.get(), .events = POLLIN, .revents = 0}};
    if (poll(waits, 2, -1) < 0) continue;
    if (waits[0].revents != 0) _exit(0);  // the sandbox is gone
    const UniqueFd client(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!client.valid()) continue;
    const auto started = release_sandbox(sync.borrow());
    const std::string answer = started ? "S" : "E" + started.error().text;
    send(client.get(), answer.data(), answer.size(), MSG_NOSIGNAL);
    _exit(0);
  }
}

// Root of a user namespace (rootless podman) is an ordinary user of the host.
uint32_t host_user() {
  const auto map = read_text_file("/proc/self/uid_map");
  unsigned inside = 0, outside = 0, count = 0;
  std::istringstream lines(map ? map.assume_value() : "");
  while (lines >> inside >> outside >> count) {
    if (geteuid() >= inside && geteuid() - inside < count) return outside + (geteuid() - inside);
  }
  return geteuid();
}

void run_poststop(const ContainerState& state) {
  const auto text = read_text_file(state.bundle + "/config.json");
  if (!text) return;
  const auto config = parse_config("config.json", text.assume_value());
  if (!config) return;
  const auto at = config.assume_value().hooks.find("poststop");
  if (at == config.assume_value().hooks.end()) return;
  if (auto r = run_hooks("poststop", at->second, state.bundle, oci_state(state)); !r) {
    log_warn("{}", r.error().text);
  }
}

}  // namespace

int wait_for_sandbox(const SignalGuard& signals, const StateDir& dir, const Launched& launched, Stdio& stdio) {
  const UniqueFd pidfd(static_cast<int>(syscall(SYS_pidfd_open, launched.sentry, 0)));
  SuperviseHooks hooks;
  hooks.forward = [&](int signo) {
    if (auto r = signal_guest(dir, 0, signo, false); !r) log_debug("{}", r.error().text);
  };
  hooks.resize = [&](WindowSize w) { resize_guest(dir, 0, w.rows, w.columns); };
  hooks.ended = [&]() -> std::optional<int> {
    int status = 0;
    if (waitpid(launched.sentry, &status, WNOHANG) == launched.sentry) return status;
    return {};
  };
  const int status = supervise(signals, pidfd.borrow(), stdio, hooks);
  // The gofer's sockets have closed with the Sentry; it leaves by itself.
  if (launched.gofer > 0) waitpid(launched.gofer, nullptr, 0);
  return status;
}

Expected<void> destroy(const StateDir& dir, const ContainerState& state) {
  // What is frozen cannot end.
  if (is_frozen(state.cgroups)) {
    if (auto r = set_frozen(state.cgroups, Freeze::kNo); !r) log_warn("{}", r.error().text);
  }
  kill_and_wait(state.sentry);
  kill_and_wait(state.keeper);
  kill_and_wait(state.gofer);
  remove_cgroups(state.cgroups);
  if (!state.bundle.empty()) run_poststop(state);
  return dir.remove();
}

Expected<HostProcess> start_keeper(const StateDir& dir, UniqueFd sync) {
  UniqueFd listener = TRY(dir.listen(kKeeperSocket));
  const pid_t pid = TRY(check(fork(), "fork"));
  if (pid == 0) keeper_main(std::move(sync), std::move(listener));
  return identify(pid);
}

Expected<void> ask_keeper(const StateDir& dir) {
  const UniqueFd socket = TRY(dir.connect(kKeeperSocket));
  char answer[4096];
  ssize_t n = -1;
  do {
    n = recv(socket.get(), answer, sizeof answer, 0);
  } while (n < 0 && errno == EINTR);
  if (n == 1 && answer[0] == 'S') return ok();
  if (n > 1 && answer[0] == 'E') return Failure{std::string(answer + 1, static_cast<size_t>(n - 1))};
  return fail("the sandbox ended before it was started; its log says why");
}

std::string default_root() {
  const uint32_t user = host_user();
  if (user == 0) return "/run/run9";
  if (const char* runtime = getenv("XDG_RUNTIME_DIR"); runtime != nullptr && runtime[0] == '/' &&
                                                      access(runtime, W_OK) == 0) {
    return std::string(runtime) + "/run9";
  }
  return fmt::format("/tmp/run9-{}", user);
}

}  // namespace run9::runtime
