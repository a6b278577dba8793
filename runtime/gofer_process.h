// Starts run9-gofer for one container: one process, one connected socket for each mount.
#pragma once
#include <sys/types.h>

#include "runtime/failure.h"
#include "runtime/mount_plan.h"
#include "runtime/options.h"

namespace run9::runtime {

struct StartedGofer {
  pid_t pid = 0;   // our child; ends when the last of its sockets closes. 0: none was needed
  UniqueFd ready;  // a byte comes when it serves
};

// linux.uidMappings and gidMappings: which of the host's ids the container's are. Empty: the same ones.
struct GoferIds {
  std::vector<ConfigIdMapping> uids, gids;
};

// Fills in the plan's sockets. Does not wait: the Sentry is started meanwhile. `control`: a listening socket where the gofer
// tells its counters (spec/control.proto).
Expected<StartedGofer> start_gofer(MountPlan& plan, const GlobalOptions& options, const GoferIds& ids,
                                   BorrowedFd log, BorrowedFd control);
// A gofer that ended instead of serving has said why in the log.
Expected<void> await_gofer(StartedGofer& gofer);

}  // namespace run9::runtime
