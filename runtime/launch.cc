#include "runtime/launch.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <csignal>
#include <ctime>

#include "runtime/cgroup.h"
#include "runtime/gofer_process.h"
#include "runtime/hooks.h"

namespace run9::runtime {
namespace {

// The log of gofer and Sentry: --log if it is for text, else our standard error while we stay (by way of
// a relay if that is a terminal, which is not handed on), else a file in the state directory.
Expected<UniqueFd> open_log(const StateDir& dir, const LaunchRequest& request) {
  const GlobalOptions& o = request.options;
  constexpr int kFlags = O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY;
  if (!o.log.empty() && o.log_format == "text") {
    return explain(take_fd(open(o.log.c_str(), kFlags, 0640)), "--log {}", o.log);
  }
  if (!request.foreground) {
    return explain(take_fd(open(dir.log_path().c_str(), kFlags, 0600)), "{}", dir.log_path());
  }
  if (isatty(STDERR_FILENO) == 0) {
    return explain(take_fd(fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3)), "standard error");
  }
  int ends[2];
  TRY(check(pipe2(ends, O_CLOEXEC), "pipe"));
  request.stdio.relays.emplace_back(UniqueFd(ends[0]), BorrowedFd(STDERR_FILENO));
  return UniqueFd(ends[1]);
}

std::optional<uint64_t> smaller(std::optional<uint64_t> a, uint64_t b) {
  if (b == 0) return a;
  return a ? std::min(*a, b) : b;
}

// Standard error is the user's: what is of use to those who look for it alone does not go there.
LogLevel log_level(const LaunchRequest& request) {
  if (request.options.debug || request.options.strace) return LogLevel::kDebug;
  const bool has_file = !request.foreground || (!request.options.log.empty() && request.options.log_format == "text");
  return has_file ? LogLevel::kInfo : LogLevel::kWarn;
}

sentry::DeviceSpec to_device_spec(const ConfigDevice& d) {
  const uint32_t type = d.type == 'b' ? S_IFBLK : d.type == 'p' ? S_IFIFO : S_IFCHR;
  return {.path = d.path,
          .mode = type | d.mode,
          .major = static_cast<uint32_t>(d.major),
          .minor = static_cast<uint32_t>(d.minor),
          .uid = d.uid,
          .gid = d.gid};
}

// A file that holds `text`, at its beginning.
Expected<UniqueFd> file_with(const std::string& text) {
  UniqueFd fd = TRY(explain(take_fd(memfd_create("state", MFD_CLOEXEC)), "memfd"));
  TRY(check(static_cast<int>(pwrite(fd.get(), text.data(), text.size(), 0)), "memfd"));
  return fd;
}

// They run in the container, as root, with the state on their standard input. What they print goes where
// the container's own errors go.
Expected<std::vector<sentry::StartHook>> start_hooks(const LaunchRequest& request, const ContainerState& state,
                                                     const sentry::ProcessSpec& init) {
  std::vector<sentry::StartHook> out;
  const auto at = request.config.hooks.find("startContainer");
  if (at == request.config.hooks.end()) return out;
  for (const ConfigHook& h : at->second) {
    sentry::StartHook& hook = out.emplace_back();
    hook.timeout_s = h.timeout_s;
    sentry::ProcessSpec& p = hook.process;
    p.args = h.args.empty() ? std::vector{h.path} : h.args;
    p.program = h.path;
    p.env = h.env;
    p.caps_bounding = init.caps_bounding;
    p.caps_effective = init.caps_effective;
    p.caps_permitted = init.caps_permitted;
    p.no_new_privs = init.no_new_privs;
    p.stdio.push_back(TRY(file_with(oci_state(state))));
    const bool shared = !init.terminal && init.stdio.size() > 2 && init.stdio[2].valid();
    for (int n = 1; n < 3; ++n) {
      p.stdio.push_back(TRY(explain(shared ? init.stdio[2].dup() : take_fd(open("/dev/null", O_WRONLY | O_CLOEXEC)),
                                    "/dev/null")));
    }
  }
  return out;
}

Expected<sentry::BootSpec> boot_spec(LaunchRequest& request, const ContainerState& state) {
  const Config& c = request.config;
  const GlobalOptions& o = request.options;
  sentry::BootSpec spec;
  spec.container_id = state.id;
  spec.hostname = c.hostname.empty() ? "run9" : c.hostname;
  spec.domainname = c.domainname;
  spec.platform = o.platform;
  spec.strace = o.strace;
  spec.strict = o.strict;
  spec.host_threads = o.host_threads;
  spec.workers = o.workers;
  spec.eager_workers = o.eager_workers;
  spec.log_level = log_level(request);
  spec.memory_limit = smaller(c.resources.memory, o.memory).value_or(0);
  if (c.resources.pids) spec.task_limit = task_limit(*c.resources.pids);
  spec.root_readonly = request.plan.root_readonly;
  spec.masked_paths = c.masked_paths;
  spec.readonly_paths = c.readonly_paths;
  spec.sysctl = c.sysctl;
  for (const ConfigDevice& d : c.devices) spec.devices.push_back(to_device_spec(d));
  spec.init = to_process_spec(c.process);
  spec.init.stdio = std::move(request.stdio.guest);
  spec.init.rows = request.stdio.size.rows;
  spec.init.columns = request.stdio.size.columns;
  spec.init.extra = std::move(request.extra);
  spec.start_hooks = TRY(start_hooks(request, state, spec.init));
  return spec;
}

Expected<void> run_create_hooks(const Config& config, const ContainerState& state) {
  // createContainer ones too run on the host, as we have no other place: the sandbox's root is not one of
  // the host's.
  for (const char* kind : {"prestart", "createRuntime", "createContainer"}) {
    const auto at = config.hooks.find(kind);
    if (at != config.hooks.end()) TRY(run_hooks(kind, at->second, state.bundle, oci_state(state)));
  }
  return ok();
}

Expected<void> write_pid_file(const std::string& path, pid_t pid) {
  if (path.empty()) return ok();
  const size_t slash = path.rfind('/');
  const std::string directory = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  const UniqueFd dir = TRY(explain(take_fd(open(directory.c_str(), O_DIRECTORY | O_CLOEXEC)), "--pid-file {}", path));
  return write_atomically(dir.borrow(), path.substr(slash == std::string::npos ? 0 : slash + 1), std::to_string(pid));
}

void end_child(pid_t pid) {
  if (pid <= 0) return;
  kill(pid, SIGKILL);
  waitpid(pid, nullptr, 0);
}

// The state is saved before the first thing is made that would outlive us.
Expected<void> make_cgroups_for(const StateDir& dir, ContainerState& state, const LaunchRequest& request) {
  if (!request.cgroup) return dir.save(state);
  const CgroupRequest wanted{
      .path = request.config.cgroups_path, .id = state.id, .resources = request.config.resources};
  state.cgroups = plan_cgroups(wanted);
  TRY(dir.save(state));
  state.cgroups = TRY(make_cgroups(wanted, state.cgroups));
  return ok();
}

std::string namespace_path(const Config& config, std::string_view type) {
  for (const auto& [name, path] : config.namespaces) {
    if (name == type) return path;
  }
  return "";
}

// Whose files the container's ids are on the host. An ordinary user's bundle without mappings: the
// container's user is the caller.
GoferIds gofer_ids(const LaunchRequest& request) {
  const Config& config = request.config;
  GoferIds ids{config.uid_mappings, config.gid_mappings};
  if (request.ids == HostIds::kSame) return ids;
  if (geteuid() != 0 && ids.uids.empty()) {
    ids.uids.push_back({.container = config.process.uid, .host = geteuid(), .size = 1});
  }
  if (geteuid() != 0 && ids.gids.empty()) {
    ids.gids.push_back({.container = config.process.gid, .host = getegid(), .size = 1});
  }
  return ids;
}

// What start_sandbox calls between the fork and the child's first step.
Expected<void> prepare(pid_t sentry, const StateDir& dir, ContainerState& state, const LaunchRequest& request) {
  state.sentry = identify(sentry);
  TRY(dir.save(state));
  TRY(dir.save_processes(state));
  join_cgroups(state.cgroups, sentry);
  if (state.gofer.pid != 0) join_cgroups(state.cgroups, state.gofer.pid);
  return run_create_hooks(request.config, state);
}

Expected<Launched> start_processes(const StateDir& dir, ContainerState& state, LaunchRequest& request) {
  TRY(make_cgroups_for(dir, state, request));
  sentry::BootSpec spec = TRY(boot_spec(request, state));
  spec.log = TRY(open_log(dir, request));
  spec.control = TRY(dir.listen("control.sock"));
  spec.cpu_bound = static_cast<uint32_t>(cpu_bound(state.cgroups).value_or(0));
  StartedGofer gofer;
  if (!request.plan.exports.empty()) {
    const UniqueFd control = TRY(dir.listen("gofer.sock"));
    gofer = TRY(start_gofer(request.plan, request.options, gofer_ids(request), spec.log.borrow(), control.borrow()));
  }
  state.gofer = identify(gofer.pid);
  spec.mounts = std::move(request.plan.mounts);
  auto sandbox = start_sandbox({.spec = std::move(spec),
                                .foreground = request.foreground,
                                .oom_score_adj = request.config.process.oom_score_adj,
                                .network = namespace_path(request.config, "network"),
                                .prepare = [&](pid_t pid) { return prepare(pid, dir, state, request); }});
  if (!sandbox) {
    end_child(gofer.pid);
    return sandbox.error();
  }
  Launched out{.sentry = sandbox.assume_value().pid, .gofer = gofer.pid};
  auto ready = await_gofer(gofer);
  if (ready) ready = await_sandbox(sandbox.assume_value());
  if (!ready) {
    end_child(out.sentry);
    end_child(out.gofer);
    return ready.error();
  }
  out.sync = std::move(sandbox.assume_value().sync);
  return out;
}

}  // namespace

std::string timestamp() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  tm t{};
  gmtime_r(&now.tv_sec, &t);
  char text[40];
  const size_t n = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &t);
  return fmt::format("{}.{:09}Z", std::string_view(text, n), now.tv_nsec);
}

uint32_t task_limit(uint64_t pids) { return static_cast<uint32_t>(std::min<uint64_t>(pids, 4 << 20)); }

sentry::ProcessSpec to_process_spec(const ConfigProcess& p) {
  sentry::ProcessSpec s;
  s.args = p.args;
  s.env = p.env;
  s.cwd = p.cwd;
  s.uid = p.uid;
  s.gid = p.gid;
  s.groups = p.groups;
  s.user = p.user;
  s.umask = p.umask;
  s.caps_bounding = p.caps.bounding;
  s.caps_effective = p.caps.effective;
  s.caps_permitted = p.caps.permitted;
  s.caps_inheritable = p.caps.inheritable;
  s.caps_ambient = p.caps.ambient;
  s.no_new_privs = p.no_new_privs;
  s.terminal = p.terminal;
  s.rows = p.rows;
  s.columns = p.columns;
  s.rlimits = p.rlimits;
  s.oom_score_adj = p.oom_score_adj;
  return s;
}

std::string oci_state(const ContainerState& state) {
  boost::json::object annotations;
  for (const auto& [k, v] : state.annotations) annotations[k] = v;
  const Status status = current_status(state);
  boost::json::object o{{"ociVersion", state.oci_version},
                        {"id", state.id},
                        {"pid", status == Status::kStopped ? 0 : state.sentry.pid},
                        {"status", status_name(status)},
                        {"bundle", state.bundle},
                        {"rootfs", state.rootfs},
                        {"created", state.created}};
  if (!annotations.empty()) o["annotations"] = annotations;
  o["owner"] = state.owner;
  return boost::json::serialize(o);
}

Expected<Launched> launch(const StateDir& dir, ContainerState& state, LaunchRequest request) {
  state.created = timestamp();
  state.rootfs = request.config.root_path;
  state.oci_version = request.config.oci_version;
  state.annotations = request.config.annotations;
  state.terminal = request.config.process.terminal;
  auto launched = start_processes(dir, state, request);
  if (launched) {
    state.status = Status::kCreated;
    auto saved = dir.save(state);
    if (saved) saved = write_pid_file(request.pid_file, state.sentry.pid);
    if (saved) return launched;
    end_child(launched.assume_value().sentry);
    end_child(launched.assume_value().gofer);
    launched = saved.error();
  }
  remove_cgroups(state.cgroups);
  return launched;
}

}  // namespace run9::runtime
