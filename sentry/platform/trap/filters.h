// The seccomp programs of the stubs. A: every thread of a stub (the agent has only this one). B: guest
// threads, on top of A. Both end in RET_TRAP, never KILL: the strictest answer of all filters wins, and a
// guest's system call must come out as its SIGSYS.
#pragma once
#include "sentry/platform/bpf.h"

namespace run9::sentry::trap {

BpfProgram make_filter_a();
BpfProgram make_filter_b();

}  // namespace run9::sentry::trap
