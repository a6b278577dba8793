// spec, create, start, run: a container's beginning.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <climits>
#include <cstdlib>

#include "runtime/commands.h"
#include "runtime/hooks.h"
#include "runtime/lifecycle.h"
#include "runtime/profile.h"
#include "runtime/window_watcher.h"

namespace run9::runtime {
namespace {

Expected<std::string> absolute(const std::string& path) {
  char buffer[PATH_MAX];
  if (realpath(path.c_str(), buffer) == nullptr) {
    return fail("--bundle {}: {}; name the directory that holds config.json", path, describe(last_errno()));
  }
  return std::string(buffer);
}

struct Prepared {
  StateDir dir;
  UniqueFd lock;
  ContainerState state;
};

Expected<Prepared> prepare_state(const GlobalOptions& options, const std::string& id, const std::string& bundle) {
  StateDir dir = TRY(StateDir::create(options.root, id));
  auto lock = dir.lock();
  if (!lock) return lock.error();
  ContainerState state;
  state.id = id;
  state.bundle = bundle;
  state.owner = geteuid() == 0 ? "root" : std::to_string(geteuid());
  return Prepared{std::move(dir), std::move(lock).assume_value(), std::move(state)};
}

enum class Stay { kNo, kYes };

Expected<Launched> launch_bundle(const GlobalOptions& options, const CreateArgs& args, const Config& config,
                                 Stay stay, Prepared& prepared, Stdio& stdio) {
  auto extra = preserved_descriptors(args.preserve_fds);
  const Overlay overlay = options.overlay == "tmpfs" ? Overlay::kYes : Overlay::kNo;
  auto streams = make_stdio({.terminal = config.process.terminal,
                             .console_socket = args.console_socket,
                             .foreground = stay == Stay::kYes,
                             .size = {config.process.rows, config.process.columns}});
  Expected<Launched> launched = Failure{};
  if (!extra) {
    launched = extra.error();
  } else if (streams) {
    stdio = std::move(streams).assume_value();
    launched = launch(prepared.dir, prepared.state,
                      {.options = options,
                       .config = config,
                       .plan = plan_mounts(config, overlay),
                       .stdio = stdio,
                       .foreground = stay == Stay::kYes,
                       .pid_file = args.pid_file,
                       .extra = std::move(extra).assume_value()});
  } else {
    launched = streams.error();
  }
  if (launched) watch_window(prepared.dir, 0, std::move(stdio.console), stdio.size);
  if (!launched) {
    stdio.raw.leave();
    if (auto r = prepared.dir.remove(); !r) log_warn("{}", r.error().text);
  }
  return launched;
}

void run_poststart(const Config& config, const ContainerState& state) {
  const auto at = config.hooks.find("poststart");
  if (at == config.hooks.end()) return;
  // The specification: a failure is logged, and the container goes on.
  if (auto r = run_hooks("poststart", at->second, state.bundle, oci_state(state)); !r) {
    log_warn("{}", r.error().text);
  }
}

Expected<void> mark_running(const StateDir& dir, ContainerState& state) {
  state.status = Status::kRunning;
  state.keeper = {};
  return dir.save(state);
}

}  // namespace

Expected<int> cmd_spec(const std::string& bundle) {
  const std::string path = bundle + "/config.json";
  const UniqueFd fd(open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
  if (!fd.valid()) return fail("{}: {}; remove it, or choose another --bundle", path, describe(last_errno()));
  const std::string text = default_config();
  TRY(check(static_cast<int>(write(fd.get(), text.data(), text.size())), "{}", path));
  return 0;
}

Expected<int> cmd_create(const GlobalOptions& options, const CreateArgs& args) {
  const std::string bundle = TRY(absolute(args.bundle));
  const Config config = TRY(load_config(bundle));
  Prepared p = TRY(prepare_state(options, args.id, bundle));
  Stdio stdio;
  Launched launched = TRY(launch_bundle(options, args, config, Stay::kNo, p, stdio));
  auto keeper = start_keeper(p.dir, std::move(launched.sync));
  if (!keeper) {
    TRY(destroy(p.dir, p.state));
    return keeper.error();
  }
  p.state.keeper = keeper.assume_value();
  TRY(p.dir.save(p.state));
  return 0;
}

Expected<int> cmd_start(const GlobalOptions& options, const std::string& id) {
  const StateDir dir = TRY(StateDir::open(options.root, id));
  const UniqueFd lock = TRY(dir.lock());
  ContainerState state = TRY(dir.load());
  if (const Status s = current_status(state); s != Status::kCreated) {
    return fail("container {} is {}, not created; only a created container can be started", quoted(id),
                status_name(s));
  }
  TRY(ask_keeper(dir));
  TRY(mark_running(dir, state));
  if (auto text = read_text_file(state.bundle + "/config.json")) {
    if (auto config = parse_config("config.json", text.assume_value())) {
      run_poststart(config.assume_value(), state);
    }
  }
  return 0;
}

Expected<int> cmd_run(const GlobalOptions& options, const CreateArgs& args) {
  if (args.detach && !args.profile.empty()) {
    return fail("--profile: nobody waits for a detached container; drop --detach, or use run9 profile {}", args.id);
  }
  const std::string bundle = TRY(absolute(args.bundle));
  const Config config = TRY(load_config(bundle));
  const Stay stay = args.detach ? Stay::kNo : Stay::kYes;
  Prepared p = TRY(prepare_state(options, args.id, bundle));
  std::optional<SignalGuard> signals;
  if (stay == Stay::kYes) signals.emplace();
  Stdio stdio;
  Launched launched = TRY(launch_bundle(options, args, config, stay, p, stdio));
  RunProfile profile(args.profile);
  auto started = profile.begin(p.dir);
  if (started) started = release_sandbox(launched.sync.borrow());
  if (started) started = mark_running(p.dir, p.state);
  if (!started) {
    TRY(destroy(p.dir, p.state));
    return started.error();
  }
  run_poststart(config, p.state);
  p.lock.reset();
  if (stay == Stay::kNo) return 0;
  const int status = wait_for_sandbox(*signals, p.dir, launched, stdio);
  stdio.raw.leave();
  profile.show(args.id);
  if (args.keep) return sandbox_exit_code(status);
  // `delete --force` may have been quicker.
  if (auto r = destroy(p.dir, p.state); !r) log_warn("{}", r.error().text);
  return sandbox_exit_code(status);
}

}  // namespace run9::runtime
