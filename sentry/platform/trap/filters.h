// The seccomp program of the stubs, one for all their threads: each new process inherits it, where installing another one
// would make the host translate it and interrupt all its cores. What the agent alone may do, at its gate, needs
// the key that only agents hold; a call there without it ends the process. All else that is not allowed is RET_TRAP: a
// guest's system call must come out as its SIGSYS.
#pragma once
#include "sentry/platform/bpf.h"

namespace run9::sentry::trap {

BpfProgram make_filter(uint64_t agent_key);

}  // namespace run9::sentry::trap
