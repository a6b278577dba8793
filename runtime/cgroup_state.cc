// What a cgroup does and tells beside its limits: the freezer, and what was used.
#include <poll.h>

#include <charconv>

#include "runtime/cgroup.h"

namespace run9::runtime {
namespace {

constexpr int kFreezeTimeoutMs = 5000;

std::optional<std::string> read_value(const std::string& file) {
  auto text = read_text_file(file);
  if (!text) return {};
  std::string s = std::move(text).assume_value();
  while (s.ends_with('\n')) s.pop_back();
  return s;
}

std::optional<uint64_t> number(std::string_view text) {
  uint64_t v = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), v);
  if (error != std::errc{} || end != text.data() + text.size()) return {};
  return v;
}

std::optional<uint64_t> read_number(const std::string& file) {
  const auto text = read_value(file);
  return text ? number(*text) : std::nullopt;  // "max" is none
}

// The value behind `key` in a file of lines "key value".
std::optional<uint64_t> keyed(const std::optional<std::string>& text, std::string_view key) {
  if (!text) return {};
  std::string_view rest = *text;
  while (!rest.empty()) {
    const std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(line.size() + 1, rest.size()));
    if (line.size() > key.size() && line.starts_with(key) && line[key.size()] == ' ') {
      return number(line.substr(key.size() + 1));
    }
  }
  return {};
}

std::optional<uint64_t> times(std::optional<uint64_t> value, uint64_t factor) {
  return value ? std::optional(*value * factor) : std::nullopt;
}

void read_v2(const std::string& directory, CgroupStats& out) {
  const auto cpu = read_value(directory + "/cpu.stat");
  out.cpu_total = times(keyed(cpu, "usage_usec"), 1000);
  out.cpu_user = times(keyed(cpu, "user_usec"), 1000);
  out.cpu_kernel = times(keyed(cpu, "system_usec"), 1000);
  out.periods = keyed(cpu, "nr_periods");
  out.throttled_periods = keyed(cpu, "nr_throttled");
  out.throttled_time = times(keyed(cpu, "throttled_usec"), 1000);
  out.memory = read_number(directory + "/memory.current");
  out.memory_max = read_number(directory + "/memory.peak");
  out.memory_limit = read_number(directory + "/memory.max");
  out.memory_failures = keyed(read_value(directory + "/memory.events"), "max");
}

void read_v1(const CgroupDirs& directories, CgroupStats& out) {
  const std::string account = cgroup_directory(directories, "cpuacct");
  out.cpu_total = read_number(account + "/cpuacct.usage");
  out.cpu_user = read_number(account + "/cpuacct.usage_user");
  out.cpu_kernel = read_number(account + "/cpuacct.usage_sys");
  const auto cpu = read_value(cgroup_directory(directories, "cpu") + "/cpu.stat");
  out.periods = keyed(cpu, "nr_periods");
  out.throttled_periods = keyed(cpu, "nr_throttled");
  out.throttled_time = keyed(cpu, "throttled_time");
  const std::string memory = cgroup_directory(directories, "memory");
  out.memory = read_number(memory + "/memory.usage_in_bytes");
  out.memory_max = read_number(memory + "/memory.max_usage_in_bytes");
  out.memory_limit = read_number(memory + "/memory.limit_in_bytes");
  out.memory_failures = read_number(memory + "/memory.failcnt");
}

bool reached(const std::string& directory, Freeze freeze) {
  if (is_cgroup_v2()) {
    return keyed(read_value(directory + "/cgroup.events"), "frozen") == (freeze == Freeze::kYes ? 1 : 0);
  }
  return read_value(directory + "/freezer.state") == (freeze == Freeze::kYes ? "FROZEN" : "THAWED");
}

}  // namespace

// v2's cpu.max is "max 100000" or "QUOTA PERIOD", in microseconds, v1 has a file for each.
std::optional<uint64_t> cpu_bound_of(const std::string& directory, bool v2) {
  std::optional<uint64_t> quota, period;
  if (v2) {
    const std::string both = read_value(directory + "/cpu.max").value_or("");
    const size_t space = both.find(' ');
    quota = number(std::string_view(both).substr(0, space));
    if (space != std::string::npos) period = number(std::string_view(both).substr(space + 1));
  } else {
    quota = read_number(directory + "/cpu.cfs_quota_us");  // -1: none
    period = read_number(directory + "/cpu.cfs_period_us");
  }
  if (!quota || period.value_or(0) == 0) return {};
  return *quota * 1000 / *period;
}

std::optional<uint64_t> cpu_bound(const CgroupDirs& directories) {
  const bool v2 = is_cgroup_v2();
  const std::string top = std::string(kCgroupMount) + (v2 ? "" : "/cpu");
  std::string directory = cgroup_directory(directories, "cpu");
  if (directory.empty()) directory = top + own_group(v2 ? "" : "cpu");
  std::optional<uint64_t> least;
  for (; directory.size() > top.size() && directory.starts_with(top); directory.resize(directory.rfind('/'))) {
    if (const auto bound = cpu_bound_of(directory, v2)) least = std::min(*bound, least.value_or(*bound));
  }
  return least;
}

Expected<void> set_frozen(const CgroupDirs& directories, Freeze freeze) {
  const std::string directory = cgroup_directory(directories, "freezer");
  if (directory.empty()) {
    return fail("the container has no cgroup that could be frozen; run as root, with a cgroup hierarchy that "
                "may be written");
  }
  const bool v2 = is_cgroup_v2();
  const std::string file = directory + (v2 ? "/cgroup.freeze" : "/freezer.state");
  const bool yes = freeze == Freeze::kYes;
  if (!write_cgroup_value(file, v2 ? (yes ? "1" : "0") : (yes ? "FROZEN" : "THAWED"))) {
    return fail("{}: {}", file, describe(last_errno()));
  }
  for (int waited = 0; !reached(directory, freeze); ++waited) {
    if (waited >= kFreezeTimeoutMs) {
      write_cgroup_value(file, v2 ? "0" : "THAWED");
      return fail("{}: not every process was frozen after {} s", file, kFreezeTimeoutMs / 1000);
    }
    poll(nullptr, 0, 1);
  }
  return ok();
}

bool is_frozen(const CgroupDirs& directories) {
  const std::string directory = cgroup_directory(directories, "freezer");
  if (directory.empty()) return false;
  if (is_cgroup_v2()) return read_value(directory + "/cgroup.freeze") == "1";
  const auto state = read_value(directory + "/freezer.state");
  return state == "FROZEN" || state == "FREEZING";
}

CgroupStats read_cgroup_stats(const CgroupDirs& directories) {
  CgroupStats out;
  if (directories.empty()) return out;
  if (is_cgroup_v2()) {
    read_v2(directories.front(), out);
  } else {
    read_v1(directories, out);
  }
  return out;
}

}  // namespace run9::runtime
