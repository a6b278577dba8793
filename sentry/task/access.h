// Who may look into another task: __ptrace_may_access() of Linux.
#pragma once
#include "sentry/task/task.h"

namespace run9::sentry {

// Which ids of the caller count: those of file access (/proc) or the real ones (ptrace, process_vm_readv).
enum class TraceIds { kFs, kReal };

// Same ids, dumpable and no capability that the caller lacks; or CAP_SYS_PTRACE; or the same process.
bool may_trace(Task& caller, Task& target, TraceIds ids);

}  // namespace run9::sentry
