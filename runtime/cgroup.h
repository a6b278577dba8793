// A cgroup for each container, where the hierarchy lets us: v2, or v1's controllers. The Sentry enforces
// the guest's limits itself; the cgroup bounds what the sandbox's host processes use, freezes them, and
// counts.
#pragma once
#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "runtime/config.h"
#include "runtime/failure.h"

namespace run9::runtime {

// The directories that make up one container's cgroup: one under v2, one for each controller under v1.
using CgroupDirs = std::vector<std::string>;

struct CgroupRequest {
  std::string path;  // linux.cgroupsPath; empty: run9/ID below our own
  std::string id;
  ConfigResources resources;
};

// The directories that make_cgroups will make: written down before, so that a killed command's can be removed.
CgroupDirs plan_cgroups(const CgroupRequest& request);
// Those that were made, for what follows. A failure counts only if limits were asked for.
Expected<CgroupDirs> make_cgroups(const CgroupRequest& request, const CgroupDirs& planned);
// Fails only where a limit that is asked for cannot be had (cgroup_limits.cc).
Expected<void> set_cgroup_limits(const CgroupDirs& directories, const ConfigResources& resources);
// How much of all CPUs its processes get, in thousandths of one: the least that the group and those above it allow, where no group was
// made our own. Nothing: no bound, or none that can be read.
std::optional<uint64_t> cpu_bound(const CgroupDirs& directories);
void join_cgroups(const CgroupDirs& directories, pid_t pid);
void remove_cgroups(const CgroupDirs& directories);

// The freezer: `run9 pause` and `resume`.
enum class Freeze { kNo, kYes };
Expected<void> set_frozen(const CgroupDirs& directories, Freeze freeze);
bool is_frozen(const CgroupDirs& directories);

// What `run9 events` shows. Nothing: the hierarchy does not say.
struct CgroupStats {
  std::optional<uint64_t> cpu_total, cpu_user, cpu_kernel;  // nanoseconds
  std::optional<uint64_t> periods, throttled_periods, throttled_time;
  std::optional<uint64_t> memory, memory_max, memory_limit, memory_failures;
};
CgroupStats read_cgroup_stats(const CgroupDirs& directories);

// "slice:prefix:name", as --systemd-cgroup has it, as a path; others as they are.
std::string cgroup_path(const CgroupRequest& request);

// Shared by the cgroup_*.cc files.
inline constexpr std::string_view kCgroupMount = "/sys/fs/cgroup";
bool is_cgroup_v2();
bool write_cgroup_value(const std::string& file, const std::string& value);
// What the files of one group allow, as cpu_bound() gives it.
std::optional<uint64_t> cpu_bound_of(const std::string& directory, bool v2);
// Our own group in a hierarchy: "/a/b". v2's has no name.
std::string own_group(std::string_view controller);
// The directory of one controller; v2 has one for all. Empty: there is none.
std::string cgroup_directory(const CgroupDirs& directories, std::string_view controller);

}  // namespace run9::runtime
