// kill and delete: a container's end.
#include <csignal>

#include "runtime/cgroup.h"
#include "runtime/commands.h"
#include "runtime/control_client.h"
#include "runtime/lifecycle.h"
#include "runtime/names.h"

namespace run9::runtime {

Expected<int> cmd_kill(const GlobalOptions& options, const KillArgs& args) {
  const auto signo = signal_number(args.signal);
  if (!signo) return fail("{} is no signal; use a name such as TERM, or a number from 1 to 64", quoted(args.signal));
  const StateDir dir = TRY(StateDir::open(options.root, args.id));
  const ContainerState state = TRY(dir.load());
  const Status status = current_status(state);
  if (status == Status::kStopped) return fail("container not running: {} has ended", quoted(args.id));
  if (status == Status::kPaused && *signo != SIGKILL) {
    return fail("container {} is paused: it cannot get a signal; resume it first", quoted(args.id));
  }
  if (status == Status::kPaused) TRY(set_frozen(state.cgroups, Freeze::kNo));
  const bool final = *signo == SIGKILL || *signo == SIGTERM;
  if (status == Status::kRunning || status == Status::kPaused) {
    const auto sent = signal_guest(dir, 0, *signo, args.all);
    if (sent || *signo != SIGKILL) {
      TRY(sent);
      return 0;
    }
    log_debug("{}; killing the sandbox itself", sent.error().text);
  } else if (!final) {
    return fail("container {} is {}: it has no program yet that could get {}", quoted(args.id),
                status_name(status), args.signal);
  }
  // A sandbox that was never started, or that no longer listens.
  TRY(send_host_signal(state.sentry, SIGKILL));
  return 0;
}

Expected<int> cmd_delete(const GlobalOptions& options, const DeleteArgs& args) {
  auto dir = StateDir::open(options.root, args.id);
  if (!dir) {
    if (args.force && check_container_id(args.id)) return 0;
    return dir.error();
  }
  const StateDir& d = dir.assume_value();
  auto lock = d.lock(args.force ? 5000 : 30000);
  if (!lock && !args.force) return lock.error();
  auto loaded = d.load();
  if (!loaded && !args.force) return fail("{}; use --force", loaded.error().text);
  ContainerState state = loaded ? std::move(loaded).assume_value() : ContainerState{.id = args.id};
  if (state.sentry.pid == 0) d.load_processes(state);
  if (const Status s = current_status(state); s != Status::kStopped && !args.force) {
    return fail("container {} is {}; kill it first, or use --force", quoted(args.id), status_name(s));
  }
  TRY(destroy(d, state));
  return 0;
}

}  // namespace run9::runtime
