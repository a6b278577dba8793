// Serves a Bridge to the kernel at a mount point, until it is unmounted.
#pragma once
#include <string>

#include "fuse-bridge/bridge.h"

namespace run9::fuse {

struct MountOptions {
  std::string mount_point;
  std::string fuse_options;  // for mount(8)'s -o: allow_other, ro ...
  double cache_seconds = 1;  // for how long the kernel believes names and attributes
  bool foreground = false;
  bool debug = false;
};

// The process's exit status.
int serve(Bridge& bridge, const MountOptions& options);

}  // namespace run9::fuse
