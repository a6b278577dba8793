#include "runtime/gofer_process.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <climits>
#include <csignal>

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
  std::vector<UniqueFd> trees;   // as well, where the gofer cannot reach them by path; or none
};

// The mapped ids are nobody on the host: a volume behind a private directory is opened by us.
Expected<void> open_trees(const MountPlan& plan, Connections& out) {
  for (const GoferExport& e : plan.exports) {
    out.trees.push_back(TRY(explain(take_fd(open_tree(AT_FDCWD, e.dir.c_str(),
                                                      OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE)),
                                    "{}", e.dir)));
  }
  return ok();
}

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
                                   const Connections& connections, int log_fd, int ready_fd, int control_fd) {
  std::vector<std::string> args = {"run9-gofer", "--log-fd", std::to_string(log_fd), "--ready-fd",
                                   std::to_string(ready_fd), "--control", fmt::format("fd:{}", control_fd)};
  for (size_t i = 0; i < plan.exports.size(); ++i) {
    const GoferExport& e = plan.exports[i];
    std::string text = e.dir + ":" + e.name + ":xdev";
    if (e.read_only) text += ":ro";
    if (e.leases) text += ":lease";
    if (e.whiteout) text += ":whiteout";
    if (!connections.trees.empty()) text += fmt::format(":tree={}", connections.trees[i].get());
    args.insert(args.end(), {"--export", text, "--listen",
                             fmt::format("fd:{}={}", connections.theirs[i].get(), e.name)});
  }
  for (const auto& path : plan.hide) args.insert(args.end(), {"--hide", path});
  for (const auto& path : plan.empty) args.insert(args.end(), {"--empty", path});
  if (plan.host_sockets) args.emplace_back("--host-sockets");
  if (options.debug) args.emplace_back("--debug");
  if (options.log_9p) args.emplace_back("--log-9p");
  return args;
}

void keep_on_exec(int fd) { fcntl(fd, F_SETFD, 0); }

// In the child: a user namespace in which the container's ids are the host's that its files shall have.
// `go` ends when the parent has written the mappings. Capabilities over the namespace last through the exec.
bool enter_mapped_ids(const GoferIds& ids, int unshared, int go) {
  char byte = 0;
  if (unshare(CLONE_NEWUSER) != 0 || write(unshared, "", 1) != 1 || read(go, &byte, 1) != 1) return false;
  const uint32_t uid = ids.uids.front().container;
  const uint32_t gid = ids.gids.front().container;
  prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0);
  (void)!setgroups(0, nullptr);  // denied where the mapping is an ordinary user's
  if (setresgid(gid, gid, gid) != 0 || setresuid(uid, uid, uid) != 0) return false;
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  __user_cap_data_struct caps[2]{};
  if (syscall(SYS_capget, &header, caps) != 0) return false;
  for (auto& c : caps) c.effective = c.inheritable = c.permitted;
  if (syscall(SYS_capset, &header, caps) != 0) return false;
  for (int cap = 0; cap < 64; ++cap) prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0);
  return true;
}

std::string map_text(const std::vector<ConfigIdMapping>& mappings) {
  std::string out;
  for (const auto& m : mappings) out += fmt::format("{} {} {}\n", m.container, m.host, m.size);
  return out;
}

Expected<void> write_map(pid_t pid, const char* file, const std::string& text) {
  const std::string path = fmt::format("/proc/{}/{}", pid, file);
  const UniqueFd fd = TRY(explain(take_fd(open(path.c_str(), O_WRONLY | O_CLOEXEC)), "{}", path));
  if (write(fd.get(), text.data(), text.size()) >= 0) return ok();
  return fail("linux.{}appings: {}; an ordinary user can map one id, the own one ({})",
              std::string_view(file).starts_with("uid") ? "uidM" : "gidM", describe(last_errno()),
              std::string_view(file).starts_with("uid") ? geteuid() : getegid());
}

Expected<void> map_gofer_ids(pid_t pid, const GoferIds& ids) {
  if (geteuid() != 0) TRY(write_map(pid, "setgroups", "deny"));
  TRY(write_map(pid, "gid_map", map_text(ids.gids)));
  return write_map(pid, "uid_map", map_text(ids.uids));
}

[[noreturn]] void exec_gofer(const UniqueFd& program, std::vector<std::string>& args) {
  reset_signals();
  setsid();  // the terminal's ^C is not for us
  const int null = open("/dev/null", O_RDWR);
  for (int fd = 0; fd < 3; ++fd) dup2(null, fd);
  std::vector<char*> argv;
  for (auto& a : args) argv.push_back(a.data());
  argv.push_back(nullptr);
  char* no_environment[] = {nullptr};
  // By descriptor: mapped ids may not reach its directory.
  syscall(SYS_execveat, program.get(), "", argv.data(), no_environment, AT_EMPTY_PATH);
  _exit(127);
}

}  // namespace

Expected<StartedGofer> start_gofer(MountPlan& plan, const GlobalOptions& options, const GoferIds& ids,
                                   BorrowedFd log, BorrowedFd control) {
  const std::string path = TRY(gofer_path());
  const UniqueFd program = TRY(explain(take_fd(open(path.c_str(), O_PATH | O_CLOEXEC)), "{}", path));
  Connections connections = TRY(connect_mounts(plan));
  const bool mapped = !ids.uids.empty() && !ids.gids.empty();
  if (mapped && geteuid() == 0) TRY(open_trees(plan, connections));
  int ends[2];
  TRY(check(pipe2(ends, O_CLOEXEC), "pipe"));
  UniqueFd ready(ends[0]), ready_theirs(ends[1]);
  auto args = arguments(plan, options, connections, log.get(), ready_theirs.get(), control.get());
  int unshared[2], go[2];
  TRY(check(pipe2(unshared, O_CLOEXEC), "pipe"));
  UniqueFd unshared_ours(unshared[0]), unshared_theirs(unshared[1]);
  TRY(check(pipe2(go, O_CLOEXEC), "pipe"));
  UniqueFd go_theirs(go[0]), go_ours(go[1]);
  // fork() without handlers: tsan's would start a thread, and a user namespace is for processes of one.
  const pid_t pid = TRY(check(_Fork(), "fork"));
  if (pid == 0) {
    go_ours.reset();
    if (mapped && !enter_mapped_ids(ids, unshared_theirs.get(), go_theirs.get())) _exit(126);
    for (const UniqueFd& c : connections.theirs) keep_on_exec(c.get());
    for (const UniqueFd& t : connections.trees) keep_on_exec(t.get());
    keep_on_exec(log.get());
    keep_on_exec(control.get());
    keep_on_exec(ready_theirs.get());
    exec_gofer(program, args);
  }
  if (mapped) {
    unshared_theirs.reset();
    char byte = 0;
    Expected<void> done = ok();
    if (read(unshared_ours.get(), &byte, 1) == 1) done = map_gofer_ids(pid, ids);
    if (done) {
      (void)!write(go_ours.get(), "", 1);
    } else {
      kill(pid, SIGKILL);
      waitpid(pid, nullptr, 0);
      return done.error();
    }
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
