// Launch: from a checked configuration to a sandbox that waits for its start. What create, run and do
// have in common.
#pragma once
#include <sys/types.h>

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "runtime/config.h"
#include "runtime/mount_plan.h"
#include "runtime/options.h"
#include "runtime/sandbox_process.h"
#include "runtime/state_store.h"
#include "runtime/stdio.h"

namespace run9::runtime {

// kSame (`do`): the guest's ids are the host's.
enum class HostIds { kMapped, kSame };

struct LaunchRequest {
  const GlobalOptions& options;
  const Config& config;
  MountPlan plan;
  Stdio& stdio;              // its guest side is taken
  bool foreground = false;
  bool cgroup = true;
  HostIds ids = HostIds::kMapped;
  std::string pid_file;
  std::vector<UniqueFd> extra;  // --preserve-fds
};

struct Launched {
  pid_t sentry = 0, gofer = 0;  // our children
  UniqueFd sync;
};

// On success `state` was saved with status "created". On failure nothing of it runs any more; the state
// directory is the caller's to remove.
Expected<Launched> launch(const StateDir& dir, ContainerState& state, LaunchRequest request);

sentry::ProcessSpec to_process_spec(const ConfigProcess& process);
// OCI's state document, as hooks get it and `run9 state` prints it.
std::string oci_state(const ContainerState& state);
uint32_t task_limit(uint64_t pids);
std::string timestamp();  // now, RFC 3339

}  // namespace run9::runtime
