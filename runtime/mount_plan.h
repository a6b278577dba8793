// MountPlan: a container's file systems, as the gofer has to export them and the Sentry to mount them.
#pragma once
#include <string>
#include <vector>

#include "runtime/config.h"
#include "sentry/boot.h"

namespace run9::runtime {

struct GoferExport {
  std::string dir, name;
  bool read_only = false;
  bool leases = false;  // the sandbox asks about it again and again, unless it is told of changes
  bool whiteout = false;
};

struct MountPlan {
  // The n-th mount of type "gofer" is exports[n]; its socket is filled in when the gofer starts.
  std::vector<sentry::MountSpec> mounts;
  std::vector<GoferExport> exports;
  // Mount points that a read-only root lacks are made in memory, nothing else.
  bool root_readonly = false;
  bool host_sockets = false;  // Config's
  std::vector<std::string> hide, empty;  // host paths that the gofer shows as missing, or as empty
};

enum class Overlay { kNo, kYes };

MountPlan plan_mounts(const Config& config, Overlay root_overlay);

// Adds a host directory or file at `destination`.
void add_gofer_mount(MountPlan& plan, const std::string& host_path, const std::string& destination,
                     uint32_t flags, Overlay overlay);
void add_mount(MountPlan& plan, std::string type, std::string destination, uint32_t flags = 0,
               std::string data = "");

}  // namespace run9::runtime
