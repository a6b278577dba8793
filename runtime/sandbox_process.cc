#include "runtime/sandbox_process.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "runtime/confine.h"
#include "runtime/supervise.h"

namespace run9::runtime {
namespace {

constexpr uint64_t kNamespaces = CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS;

// fork(2) into new namespaces. glibc has no such call; the one thing of its own fork that matters to a
// single-threaded program is the cached thread id, whose place the kernel knows.
pid_t fork_into_namespaces(uint64_t namespaces) {
  int* tid_address = nullptr;
  clone_args args{};
  args.flags = namespaces;
  args.exit_signal = SIGCHLD;
  if (prctl_get_tid_address(&tid_address)) {
    args.flags |= CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID;
    args.child_tid = reinterpret_cast<uint64_t>(tid_address);
  }
  return static_cast<pid_t>(syscall(SYS_clone3, &args, sizeof args));
}

// We are in another network namespace as long as this lives: a child is born into it. (It could not go
// there by itself, as its user namespace has no say over that of another.)
class NetworkGuard {
 public:
  static Expected<NetworkGuard> enter(const std::string& path) {
    NetworkGuard g;
    if (path.empty()) return g;
    const UniqueFd there = TRY(explain(take_fd(open(path.c_str(), O_RDONLY | O_CLOEXEC)),
                                       "/linux/namespaces: network {}", path));
    g.own_ = TRY(explain(take_fd(open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC)), "/proc/self/ns/net"));
    TRY(check(setns(there.get(), CLONE_NEWNET),
              "/linux/namespaces: joining the network namespace {}; run as root, or remove the path", path));
    return g;
  }
  NetworkGuard(NetworkGuard&&) = default;
  ~NetworkGuard() {
    if (own_.valid() && setns(own_.get(), CLONE_NEWNET) != 0) {
      log_warn("going back to the own network namespace: {}", describe(last_errno()));
    }
  }
  bool entered() const { return own_.valid(); }

 private:
  NetworkGuard() = default;
  UniqueFd own_;
};

Failure explain_clone(Errno e) {
  if (e == Errno{ENOSPC} || e == Errno{EPERM}) {
    return fail("making namespaces: {}; allow user namespaces (sysctl user.max_user_namespaces and "
                "kernel.unprivileged_userns_clone), or run as root", describe(e));
  }
  return fail("making namespaces: {}", describe(e));
}

bool write_proc(pid_t pid, const char* name, const std::string& text) {
  const UniqueFd fd(open(fmt::format("/proc/{}/{}", pid, name).c_str(), O_WRONLY | O_CLOEXEC));
  return fd.valid() && write(fd.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size());
}

// One id in the sandbox, kSandboxId, is `host_id` outside. As root that is an id of the sandbox's own;
// where root may not map it (a container of somebody else's), or for an ordinary user, the caller's.
Expected<void> map_ids(pid_t pid, std::string_view container_id) {
  const auto line = [](uint32_t host) { return fmt::format("{} {} 1", kSandboxId, host); };
  if (geteuid() == 0) {
    const std::string own = line(sandbox_host_id(container_id));
    if (write_proc(pid, "gid_map", own) && write_proc(pid, "uid_map", own)) return ok();
  }
  if (write_proc(pid, "setgroups", "deny") && write_proc(pid, "gid_map", line(getegid())) &&
      write_proc(pid, "uid_map", line(geteuid()))) {
    return ok();
  }
  return fail("mapping ids into the sandbox: {}; are user namespaces allowed here?", describe(last_errno()));
}

struct Channels {
  UniqueFd sync_ours, sync_theirs;
  UniqueFd go_ours, go_theirs;  // a byte: the parent has prepared everything
};

Expected<Channels> make_channels() {
  int sync[2], go[2];
  TRY(check(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sync), "socketpair"));
  Channels c;
  c.sync_ours = UniqueFd(sync[0]);
  c.sync_theirs = UniqueFd(sync[1]);
  TRY(check(pipe2(go, O_CLOEXEC), "pipe"));
  c.go_theirs = UniqueFd(go[0]);
  c.go_ours = UniqueFd(go[1]);
  return c;
}

[[noreturn]] void report_and_exit(int sync, const std::string& text) {
  const std::string message = "E" + text;
  send(sync, message.data(), message.size(), MSG_NOSIGNAL);
  _exit(kStartFailed);
}

[[noreturn]] void child_main(SandboxRequest request, Channels channels) {
  channels.sync_ours.reset();
  channels.go_ours.reset();
  reset_signals();
  setsid();
  char byte = 0;
  if (read(channels.go_theirs.get(), &byte, 1) != 1) _exit(kStartFailed);  // the parent gave up
  channels.go_theirs.reset();
  request.spec.sync = std::move(channels.sync_theirs);
  const ConfineOptions options{.die_with_parent = request.foreground};
  if (auto r = confine(request.spec, options); !r) {
    report_and_exit(request.spec.sync.get(), r.error().text);
  }
  sentry::sentry_main(std::move(request.spec));
}

// A program's path may be anything: one line, please.
std::string one_line(std::string_view words) {
  std::string line;
  for (const char c : words) line += static_cast<unsigned char>(c) < 0x20 ? '?' : c;
  return line;
}

// What a child that ended before it spoke has to say.
Failure describe_end(pid_t pid) {
  int status = 0;
  if (waitpid(pid, &status, 0) != pid) return fail("the sandbox ended before it was ready");
  if (WIFSIGNALED(status)) {
    return fail("the sandbox was ended by signal {} before it was ready", WTERMSIG(status));
  }
  return fail("the sandbox ended with status {} before it was ready; its log says why (see --log, --debug)",
              WEXITSTATUS(status));
}

}  // namespace

uint32_t sandbox_host_id(std::string_view container_id) {
  // systemd's list of ids (UIDS-GIDS.md) leaves 0x70000000 to 0x7fffffff to nobody.
  uint32_t hash = 2166136261u;
  for (const unsigned char c : container_id) hash = (hash ^ c) * 16777619u;
  return 0x70000000u | (hash & 0x0fffffffu);
}

Expected<StartedSandbox> start_sandbox(SandboxRequest request) {
  Channels channels = TRY(make_channels());
  pid_t pid = -1;
  {
    const NetworkGuard network = TRY(NetworkGuard::enter(request.network));
    pid = fork_into_namespaces(kNamespaces | (network.entered() ? 0 : CLONE_NEWNET));
    if (pid < 0) return explain_clone(last_errno());
  }
  if (pid == 0) child_main(std::move(request), std::move(channels));
  StartedSandbox out{.pid = pid, .sync = std::move(channels.sync_ours)};
  const auto prepare = [&]() -> Expected<void> {
    TRY(map_ids(pid, request.spec.container_id));
    if (request.oom_score_adj != 0 &&
        !write_proc(pid, "oom_score_adj", std::to_string(request.oom_score_adj))) {
      log_debug("oom_score_adj {}: {}", request.oom_score_adj, describe(last_errno()));
    }
    if (request.prepare) TRY(request.prepare(pid));
    TRY(check(static_cast<int>(write(channels.go_ours.get(), "", 1)), "starting the sandbox"));
    return ok();
  };
  if (auto r = prepare(); !r) {
    kill(pid, SIGKILL);
    waitpid(pid, nullptr, 0);
    return r.error();
  }
  return out;
}

Expected<void> await_sandbox(const StartedSandbox& sandbox) {
  char text[4096];
  ssize_t n = -1;
  do {
    n = recv(sandbox.sync.get(), text, sizeof text, 0);
  } while (n < 0 && errno == EINTR);
  if (n == 1 && text[0] == 'R') return ok();
  if (n > 1 && text[0] == 'E') {
    const std::string_view words(text + 1, static_cast<size_t>(n - 1));
    waitpid(sandbox.pid, nullptr, 0);
    return Failure{one_line(words)};
  }
  return describe_end(sandbox.pid);
}

Expected<void> release_sandbox(BorrowedFd sync) {
  TRY(check(static_cast<int>(send(sync.get(), "S", 1, MSG_NOSIGNAL)), "starting the container's program"));
  char text[4096];
  ssize_t n = -1;
  do {
    n = recv(sync.get(), text, sizeof text, 0);
  } while (n < 0 && errno == EINTR);
  if (n == 1 && text[0] == 'D') return ok();
  if (n > 1 && text[0] == 'E') return Failure{one_line({text + 1, static_cast<size_t>(n - 1)})};
  return fail("the sandbox ended before the container's program began; its log says why (see --log)");
}

}  // namespace run9::runtime
