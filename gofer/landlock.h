// Landlock (landlock(7)): a second fence inside the jail. The mount namespace has nothing but the exports in it, and this
// lets the process open and change files below the exports' roots alone, whatever other directory it might hold.
#pragma once
#include "gofer/host_server.h"

namespace run9::gofer {

// For the calling thread and those that it makes; after no_new_privs. ENOSYS or EOPNOTSUPP: the kernel has none, or one
// that forbids renames between directories (before Linux 5.19).
Result<void> fence_exports(const Exports& exports);

}  // namespace run9::gofer
