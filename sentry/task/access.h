// Who may look into another task (__ptrace_may_access() of Linux), and write a file by a descriptor that is handed to the stub.
#pragma once
#include "sentry/task/task.h"

namespace run9::sentry {

// Which ids of the caller count: those of file access (/proc) or the real ones (ptrace, process_vm_readv).
enum class TraceIds { kFs, kReal };

// Same ids, dumpable and no capability that the caller lacks; or CAP_SYS_PTRACE; or the same process.
bool may_trace(Task& caller, Task& target, TraceIds ids);

// A process that may be handed a descriptor that it could write the file by: it has one, or opening the file for writing (by its name, or in
// /proc/self/fd) would give it one. Who has a filter of system calls may not be able to.
bool may_write_by_descriptor(Task& task, const vfs::File& file);
// And may read by one. Blocks.
bool may_read_by_descriptor(Task& task, const vfs::File& file);

}  // namespace run9::sentry
