// Makes the host process that becomes the Sentry: a child in namespaces of its own, with an empty root,
// an unprivileged id, no capabilities, and no descriptor but those of its BootSpec.
#pragma once
#include <sys/types.h>

#include <functional>
#include <string>

#include "runtime/failure.h"
#include "sentry/boot.h"

namespace run9::runtime {

struct SandboxRequest {
  sentry::BootSpec spec;   // all descriptors but `sync`
  bool foreground = false;  // ends when we end
  int oom_score_adj = 0;
  std::string network;  // a network namespace to be in; empty: one of its own
  // With the child's pid, before it runs anything: state file, cgroup, hooks.
  std::function<Expected<void>(pid_t)> prepare;
};

struct StartedSandbox {
  pid_t pid = 0;  // our child
  UniqueFd sync;  // our end; boot.h has the protocol
};

// Does not wait for the sandbox to be ready.
Expected<StartedSandbox> start_sandbox(SandboxRequest request);
// Until the Sentry says that it is ready; its own words if it failed.
Expected<void> await_sandbox(const StartedSandbox& sandbox);
// Runs the startContainer hooks and starts the container's program.
Expected<void> release_sandbox(BorrowedFd sync);

// The host's id of a sandbox that root starts: one that nothing else uses.
uint32_t sandbox_host_id(std::string_view container_id);

}  // namespace run9::runtime
