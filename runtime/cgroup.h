// A cgroup for each container, where the hierarchy lets us: v2, or v1's memory and pids. The Sentry
// enforces the guest's limits itself; the cgroup bounds what the sandbox's host processes use.
#pragma once
#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "runtime/failure.h"

namespace run9::runtime {

struct CgroupRequest {
  std::string path;  // linux.cgroupsPath; empty: run9/ID below our own
  std::string id;
  std::optional<uint64_t> memory, pids;
};

// The directories that make_cgroups will make: written down before, so that a killed command's can be removed.
std::vector<std::string> plan_cgroups(const CgroupRequest& request);
// The directories made, for join and remove. A failure counts only if limits were asked for.
Expected<std::vector<std::string>> make_cgroups(const CgroupRequest& request,
                                                const std::vector<std::string>& planned);
void join_cgroups(const std::vector<std::string>& directories, pid_t pid);
void remove_cgroups(const std::vector<std::string>& directories);

// "slice:prefix:name", as --systemd-cgroup has it, as a path; others as they are.
std::string cgroup_path(const CgroupRequest& request);

}  // namespace run9::runtime
