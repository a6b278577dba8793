// Pieces that several commands share: waiting for a sandbox in the foreground, and its end.
#pragma once
#include "runtime/launch.h"
#include "runtime/state_store.h"
#include "runtime/supervise.h"

namespace run9::runtime {

// Waits for the container's end, relaying and forwarding meanwhile; wait4's status.
int wait_for_sandbox(const SignalGuard& signals, const StateDir& dir, const Launched& launched, Stdio& stdio);

// Ends every process of the container, removes cgroups and the state directory; runs poststop hooks.
Expected<void> destroy(const StateDir& dir, const ContainerState& state);

// A process that holds `sync` between create and start, and says "start" to the sandbox when `run9 start`
// comes by. It ends with the sandbox.
Expected<HostProcess> start_keeper(const StateDir& dir, UniqueFd sync);
Expected<void> ask_keeper(const StateDir& dir);

// "/run/run9", or the user's own.
std::string default_root();

}  // namespace run9::runtime
