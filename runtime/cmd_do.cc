// do: a command of the host in a sandbox that sees the host's root, read-only underneath, through the
// gofer. What it writes is gone afterwards.
#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <cstdlib>

#include "runtime/commands.h"
#include "runtime/hidden_paths.h"
#include "runtime/lifecycle.h"
#include "runtime/profile.h"

namespace run9::runtime {
namespace {

constexpr uint64_t kAllCapabilities = (uint64_t{1} << 41) - 1;

Expected<std::string> current_directory() {
  char buffer[PATH_MAX];
  if (getcwd(buffer, sizeof buffer) == nullptr) return fail("the working directory: {}", describe(last_errno()));
  if (buffer[0] != '/') return fail("the working directory is not below the root; change to one that is");
  return std::string(buffer);
}

std::vector<std::pair<int, rlimit>> own_limits() {
  std::vector<std::pair<int, rlimit>> out;
  for (int n = 0; n < RLIM_NLIMITS; ++n) {
    rlimit value{};
    if (getrlimit(static_cast<__rlimit_resource>(n), &value) == 0) out.emplace_back(n, value);
  }
  return out;
}

// The caller as the guest: root keeps its capabilities (over the sandbox), others have none.
Expected<ConfigProcess> caller_process(const DoArgs& args) {
  ConfigProcess p;
  p.args = args.command;
  for (char** e = environ; *e != nullptr; ++e) p.env.emplace_back(*e);
  p.cwd = args.cwd.empty() ? TRY(current_directory()) : args.cwd;
  p.uid = geteuid();
  p.gid = getegid();
  std::vector<gid_t> groups(static_cast<size_t>(std::max(getgroups(0, nullptr), 0)));
  const int n = getgroups(static_cast<int>(groups.size()), groups.data());
  p.groups.assign(groups.begin(), groups.begin() + std::max(n, 0));
  const mode_t mask = umask(0);
  umask(mask);
  p.umask = mask;
  p.rlimits = own_limits();
  p.terminal = on_terminal();
  if (p.uid == 0) {
    p.caps = {kAllCapabilities, kAllCapabilities, kAllCapabilities, 0, 0};
  } else {
    p.no_new_privs = true;
  }
  return p;
}

void add_own_mounts(MountPlan& plan) {
  using enum_flags = uint32_t;
  constexpr enum_flags kNoSuid = 2, kNoDev = 4, kNoExec = 8;
  add_mount(plan, "proc", "/proc", kNoSuid | kNoDev | kNoExec);
  add_mount(plan, "sysfs", "/sys", 1 | kNoSuid | kNoDev | kNoExec);
  add_mount(plan, "devtmpfs", "/dev", kNoSuid | kNoExec, "mode=755");
  add_mount(plan, "devpts", "/dev/pts", kNoSuid | kNoExec, "mode=620,ptmxmode=666,gid=5");
  add_mount(plan, "tmpfs", "/dev/shm", kNoSuid | kNoDev, "mode=1777");
  add_mount(plan, "mqueue", "/dev/mqueue", kNoSuid | kNoDev | kNoExec);
  add_mount(plan, "tmpfs", "/run", kNoSuid | kNoDev, "mode=755");
  add_mount(plan, "tmpfs", "/tmp", kNoSuid | kNoDev, "mode=1777");
}

// What of the covered /tmp and /run stays visible: the working directory and --expose's paths, the
// outer ones first.
void add_exposed_mounts(MountPlan& plan, const std::vector<std::string>& expose, const std::string& cwd) {
  std::vector<std::string> paths = {cwd};
  paths.insert(paths.end(), expose.begin(), expose.end());
  std::sort(paths.begin(), paths.end());
  std::vector<std::string> added;
  for (const auto& path : paths) {
    if (!is_below(path, "/tmp") && !is_below(path, "/run")) continue;
    const bool inside = std::any_of(added.begin(), added.end(), [&](const auto& a) { return is_below(path, a); });
    struct stat st {};
    if (inside || stat(path.c_str(), &st) != 0) continue;
    add_gofer_mount(plan, path, path, 0, Overlay::kYes);
    added.push_back(path);
  }
}

MountPlan plan_do(const Config& config, const std::vector<std::string>& expose) {
  MountPlan plan;
  add_gofer_mount(plan, "/", "/", 0, Overlay::kYes);
  add_own_mounts(plan);
  add_exposed_mounts(plan, expose, config.process.cwd);
  const HiddenPaths hidden = hidden_paths(config.process.cwd, expose);
  plan.hide = hidden.files;
  plan.empty = hidden.directories;
  return plan;
}

constexpr std::string_view kIdStart = "do-";

// What a killed `do` left: its lock is free. One that has made its directory a moment ago may not have locked it yet, but it lives.
void sweep(const std::string& root) {
  for (const auto& id : list_containers(root)) {
    if (!id.starts_with(kIdStart)) continue;
    const int pid = std::atoi(id.c_str() + kIdStart.size());
    if (pid > 0 && (kill(pid, 0) == 0 || errno != ESRCH)) continue;
    const auto dir = StateDir::open(root, id);
    if (!dir) continue;
    const auto lock = dir.assume_value().lock(0);
    if (!lock) continue;
    const auto state = dir.assume_value().load();
    ContainerState gone = state ? state.assume_value() : ContainerState{.id = id};
    if (auto r = destroy(dir.assume_value(), gone); !r) log_debug("{}", r.error().text);
  }
}

}  // namespace

Expected<int> cmd_do(GlobalOptions options, const DoArgs& args) {
  if (args.command.empty()) return fail("do: no command was given; say: run9 do -- COMMAND");
  Config config;
  config.oci_version = "1.0.2";
  config.root_path = "/";
  config.process = TRY(caller_process(args));
  std::vector<std::string> expose;
  for (const auto& path : args.expose) {
    char buffer[PATH_MAX];
    if (realpath(path.c_str(), buffer) == nullptr) return fail("--expose {}: {}", path, describe(last_errno()));
    expose.emplace_back(buffer);
  }
  if (args.root_is_default) options.root += "-do";
  sweep(options.root);
  ContainerState state;
  state.id = fmt::format("{}{}", kIdStart, getpid());
  state.owner = std::to_string(geteuid());
  const StateDir dir = TRY(StateDir::create(options.root, state.id));
  const UniqueFd lock = TRY(dir.lock());  // held to the end: see sweep()
  const SignalGuard signals;
  Stdio stdio = TRY(make_stdio({.terminal = config.process.terminal, .separate_errors = true}));
  auto launched = launch(dir, state,
                         {.options = options,
                          .config = config,
                          .plan = plan_do(config, expose),
                          .stdio = stdio,
                          .foreground = true,
                          .cgroup = false,
                          .ids = HostIds::kSame});
  RunProfile profile(args.profile);
  if (launched) {
    if (auto r = profile.begin(dir); !r) launched = r.error();
  }
  if (launched) {
    if (auto r = release_sandbox(launched.assume_value().sync.borrow()); !r) launched = r.error();
  }
  if (!launched) {
    stdio.raw.leave();
    if (auto r = destroy(dir, state); !r) log_warn("{}", r.error().text);
    return launched.error();
  }
  const int status = wait_for_sandbox(signals, dir, launched.assume_value(), stdio);
  stdio.raw.leave();
  profile.show(args.command[0]);
  if (auto r = destroy(dir, state); !r) log_warn("{}", r.error().text);
  return sandbox_exit_code(status);
}

}  // namespace run9::runtime
