// Pidfds (pidfd_open(2)): a file that stands for a process and becomes readable when it exits.
#pragma once
#include "sentry/task/process.h"
#include "vfs/file.h"

namespace run9::sentry {

// flags: O_NONBLOCK or 0.
vfs::FileRef make_pidfd(Kernel& kernel, ProcessRef process, uint32_t flags);
// Null if the file is no pidfd.
ProcessRef process_of_pidfd(vfs::File& file);

}  // namespace run9::sentry
