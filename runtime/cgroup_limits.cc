// linux.resources as the files of a cgroup (cgroup-v1/*.rst, cgroup-v2.rst of the Linux documentation).
#include <algorithm>

#include "runtime/cgroup.h"

namespace run9::runtime {
namespace {

constexpr uint64_t kDefaultPeriod = 100000;
// Processes of the sandbox that are not the guest's: Sentry, gofer with a thread for each mount, the stubs
// that are kept ready.
constexpr uint64_t kOwnTasks = 256;

// A guest task is a host thread, and each guest process has an agent beside its own. The Sentry counts
// guest tasks exactly; the cgroup is the wall behind it.
uint64_t host_tasks(uint64_t guest_tasks) { return 2 * std::min<uint64_t>(guest_tasks, 1 << 21) + kOwnTasks; }

// cpu.shares 2..262144 as cpu.weight 1..10000, as runc and crun convert it.
uint64_t weight_of(uint64_t shares) {
  return 1 + (std::clamp<uint64_t>(shares, 2, 262144) - 2) * 9999 / 262142;
}

// Writes what is set; remembers the first failure.
class Writer {
 public:
  explicit Writer(std::string directory) : directory_(std::move(directory)) {}
  void set(const char* file, const std::string& value) {
    if (result_ && !write_cgroup_value(directory_ + "/" + file, value)) {
      const Errno e = directory_.empty() ? Errno{ENOENT} : last_errno();
      result_ = fail("cgroup file {}/{} = {}: {}", directory_, file, value, describe(e));
    }
  }
  void set(const char* file, const std::optional<uint64_t>& value) {
    if (value) set(file, std::to_string(*value));
  }
  void set_list(const char* file, const std::string& value) {
    if (!value.empty()) set(file, value);
  }
  Expected<void> result() { return std::move(result_); }

 private:
  std::string directory_;
  Expected<void> result_ = ok();
};

Expected<void> set_v2(const std::string& directory, const ConfigResources& r) {
  Writer w(directory);
  w.set("memory.max", r.memory);
  w.set("memory.low", r.memory_reservation);
  if (r.memory_swap && r.memory) w.set("memory.swap.max", std::to_string(*r.memory_swap - std::min(*r.memory, *r.memory_swap)));
  if (r.pids) w.set("pids.max", std::to_string(host_tasks(*r.pids)));
  if (r.cpu_shares) w.set("cpu.weight", std::to_string(weight_of(*r.cpu_shares)));
  if (r.cpu_quota || r.cpu_period) {
    const int64_t quota = r.cpu_quota.value_or(-1);
    w.set("cpu.max", fmt::format("{} {}", quota < 0 ? "max" : std::to_string(quota), r.cpu_period.value_or(kDefaultPeriod)));
  }
  w.set_list("cpuset.cpus", r.cpus);
  w.set_list("cpuset.mems", r.mems);
  for (const auto& [file, value] : r.unified) w.set(file.c_str(), value);
  return w.result();
}

// memory.limit_in_bytes may not exceed memsw's, which may not lie below it: which one goes first depends
// on the direction of the change.
Expected<void> set_v1_memory(const CgroupDirs& directories, const ConfigResources& r) {
  if (!r.memory && !r.memory_reservation && !r.memory_swap) return ok();
  const std::string directory = cgroup_directory(directories, "memory");
  const std::string swap = directory + "/memory.memsw.limit_in_bytes";
  // Kernels without swap accounting have no such file.
  const bool swap_first = r.memory_swap && write_cgroup_value(swap, std::to_string(*r.memory_swap));
  Writer w(directory);
  w.set("memory.limit_in_bytes", r.memory);
  w.set("memory.soft_limit_in_bytes", r.memory_reservation);
  TRY(w.result());
  if (r.memory_swap && !swap_first && !write_cgroup_value(swap, std::to_string(*r.memory_swap))) {
    log_debug("{}: {}", swap, describe(last_errno()));
  }
  return ok();
}

Expected<void> set_v1(const CgroupDirs& directories, const ConfigResources& r) {
  TRY(set_v1_memory(directories, r));
  if (r.pids) {
    Writer w(cgroup_directory(directories, "pids"));
    w.set("pids.max", std::to_string(host_tasks(*r.pids)));
    TRY(w.result());
  }
  if (r.cpu_shares || r.cpu_period || r.cpu_quota) {
    Writer w(cgroup_directory(directories, "cpu"));
    w.set("cpu.shares", r.cpu_shares);
    w.set("cpu.cfs_period_us", r.cpu_period);
    if (r.cpu_quota) w.set("cpu.cfs_quota_us", std::to_string(*r.cpu_quota));
    TRY(w.result());
  }
  if (!r.cpus.empty() || !r.mems.empty()) {
    Writer w(cgroup_directory(directories, "cpuset"));
    w.set_list("cpuset.cpus", r.cpus);
    w.set_list("cpuset.mems", r.mems);
    TRY(w.result());
  }
  return ok();
}

}  // namespace

Expected<void> set_cgroup_limits(const CgroupDirs& directories, const ConfigResources& resources) {
  if (is_cgroup_v2()) return set_v2(cgroup_directory(directories, ""), resources);
  return set_v1(directories, resources);
}

}  // namespace run9::runtime
