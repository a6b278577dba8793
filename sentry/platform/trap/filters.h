// The seccomp program of the stubs, one for all their threads: each new process inherits it, where installing another one
// would make the host translate it and interrupt all its cores. What the agent alone may do, at its gate, needs
// the key that only agents hold; a call there without it ends the process. All else that is not allowed is RET_TRAP: a
// guest's system call must come out as its SIGSYS.
#pragma once
#include <sched.h>
#include <signal.h>

#include <cstdint>

#include "sentry/platform/bpf.h"

namespace run9::sentry::trap {

// The agent's clones: a process, and in it that process's agent, by its first thread, or its first thread, by the agent. An agent's
// descriptors are not those of the guest threads: no guest can touch its socket.
inline constexpr uint32_t kForkFlags = CLONE_PARENT | CLONE_CHILD_CLEARTID | SIGCHLD;
inline constexpr uint32_t kAgentFlags = CLONE_VM | CLONE_FS | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | CLONE_PARENT_SETTID;
inline constexpr uint32_t kGuestFlags = kAgentFlags | CLONE_CHILD_CLEARTID;

BpfProgram make_filter(uint64_t agent_key);

}  // namespace run9::sentry::trap
