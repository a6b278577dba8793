#include "runtime/gofer_process.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <climits>

#include "runtime/supervise.h"

namespace run9::runtime {
namespace {

// Beside our own program: both come from one build, and speak one dialect.
Expected<std::string> gofer_path() {
  char self[PATH_MAX];
  const ssize_t n = readlink("/proc/self/exe", self, sizeof self);
  if (n <= 0) return fail("/proc/self/exe: {}; is /proc mounted?", describe(last_errno()));
  std::string path(self, static_cast<size_t>(n));
  path.resize(path.rfind('/') + 1);
  path += "run9-gofer";
  if (access(path.c_str(), X_OK) != 0) {
    return fail("{}: {}; install run9-gofer beside run9", path, describe(last_errno()));
  }
  return path;
}

struct Connections {
  std::vector<UniqueFd> theirs;  // in the order of the exports
};

Expected<Connections> connect_mounts(MountPlan& plan) {
  Connections out;
  for (sentry::MountSpec& m : plan.mounts) {
    if (m.type != "gofer") continue;
    int ends[2];
    TRY(check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), "socketpair"));
    m.gofer = UniqueFd(ends[0]);
    out.theirs.emplace_back(ends[1]);
  }
  return out;
}

std::vector<std::string> arguments(const MountPlan& plan, const GlobalOptions& options,
                                   const Connections& connections, int log_fd, int ready_fd) {
  std::vector<std::string> args = {"run9-gofer", "--log-fd", std::to_string(log_fd), "--ready-fd",
                                   std::to_string(ready_fd)};
  for (size_t i = 0; i < plan.exports.size(); ++i) {
    const GoferExport& e = plan.exports[i];
    std::string text = e.dir + ":" + e.name + ":xdev";
    if (e.read_only) text += ":ro";
    if (e.leases) text += ":lease";
    if (e.whiteout) text += ":whiteout";
    args.insert(args.end(), {"--export", text, "--listen",
                             fmt::format("fd:{}={}", connections.theirs[i].get(), e.name)});
  }
  for (const auto& path : plan.hide) args.insert(args.end(), {"--hide", path});
  for (const auto& path : plan.empty) args.insert(args.end(), {"--empty", path});
  if (options.debug) args.emplace_back("--debug");
  if (options.log_9p) args.emplace_back("--log-9p");
  return args;
}

void keep_on_exec(int fd) { fcntl(fd, F_SETFD, 0); }

[[noreturn]] void exec_gofer(const std::string& path, std::vector<std::string>& args) {
  reset_signals();
  setsid();  // the terminal's ^C is not for us
  const int null = open("/dev/null", O_RDWR);
  for (int fd = 0; fd < 3; ++fd) dup2(null, fd);
  std::vector<char*> argv;
  for (auto& a : args) argv.push_back(a.data());
  argv.push_back(nullptr);
  char* no_environment[] = {nullptr};
  execve(path.c_str(), argv.data(), no_environment);
  _exit(127);
}

}  // namespace

Expected<StartedGofer> start_gofer(MountPlan& plan, const GlobalOptions& options, BorrowedFd log) {
  if (plan.exports.empty()) return StartedGofer{};
  const std::string path = TRY(gofer_path());
  const Connections connections = TRY(connect_mounts(plan));
  int ends[2];
  TRY(check(pipe2(ends, O_CLOEXEC), "pipe"));
  UniqueFd ready(ends[0]), ready_theirs(ends[1]);
  auto args = arguments(plan, options, connections, log.get(), ready_theirs.get());
  const pid_t pid = TRY(check(fork(), "fork"));
  if (pid == 0) {
    for (const UniqueFd& c : connections.theirs) keep_on_exec(c.get());
    keep_on_exec(log.get());
    keep_on_exec(ready_theirs.get());
    exec_gofer(path, args);
  }
  return StartedGofer{.pid = pid, .ready = std::move(ready)};
}

Expected<void> await_gofer(StartedGofer& gofer) {
  if (gofer.pid == 0) return ok();
  char byte = 0;
  ssize_t n = -1;
  do {
    n = read(gofer.ready.get(), &byte, 1);
  } while (n < 0 && errno == EINTR);
  gofer.ready.reset();
  if (n == 1) return ok();
  int status = 0;
  waitpid(gofer.pid, &status, 0);
  return fail("run9-gofer did not start (exit status {}); its log says why (see --log)", exit_code(status));
}

}  // namespace run9::runtime
