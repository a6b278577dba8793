#include "runtime/cgroup.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>

#include "base/unique_fd.h"

namespace run9::runtime {
namespace {

constexpr std::string_view kOwnParent = "/run9";  // of those that config.json gives no path

// Of v1, those that limit, freeze or count. Its "devices" would add nothing: no process of a sandbox
// opens a device.
constexpr std::string_view kControllers[] = {"memory", "pids",    "cpu",  "cpuacct",
                                             "cpuset", "freezer", "blkio"};
constexpr const char* kV2Controllers[] = {"+memory", "+pids", "+cpu", "+cpuset", "+io"};

bool has_word(std::string_view list, std::string_view word) {
  for (;;) {
    const std::string_view one = list.substr(0, list.find(','));
    if (one == word) return true;
    if (one.size() == list.size()) return false;
    list.remove_prefix(one.size() + 1);
  }
}

// A new v1 cpuset has neither CPUs nor memory, and takes no process until it has.
void fill_cpuset(const std::string& directory) {
  const std::string parent = directory.substr(0, directory.rfind('/'));
  for (const char* name : {"/cpuset.cpus", "/cpuset.mems"}) {
    const auto now = read_text_file(directory + name);
    if (now && now.assume_value().size() > 1) continue;
    if (const auto above = read_text_file(parent + name)) write_cgroup_value(directory + name, above.assume_value());
  }
}

// mkdir -p; the deepest is made by us or it is an error.
Expected<void> make_group(const std::string& directory, std::string_view controller) {
  int again = 100;
  for (size_t at = kCgroupMount.size() + 1; at != std::string::npos;) {
    at = directory.find('/', at + 1);
    const std::string part = directory.substr(0, at);
    if (mkdir(part.c_str(), 0755) != 0 && errno != EEXIST) {
      if (errno == ENOENT && --again > 0) {  // the last container below kOwnParent has just ended
        at = kCgroupMount.size() + 1;
        continue;
      }
      return fail("cgroup {}: {}", part, describe(last_errno()));
    }
    if (controller == "cpuset") fill_cpuset(part);
    if (!controller.empty() || at == std::string::npos) continue;
    for (const char* c : kV2Controllers) write_cgroup_value(part + "/cgroup.subtree_control", c);
  }
  return ok();
}

// Of a v1 directory: the name behind the mount's.
std::string_view controller_of(std::string_view directory) {
  directory.remove_prefix(kCgroupMount.size() + 1);
  return directory.substr(0, directory.find('/'));
}

bool asks_for_limits(const ConfigResources& r) {
  return r.memory || r.memory_reservation || r.memory_swap || r.pids || r.cpu_shares || r.cpu_quota ||
         r.cpu_period || !r.cpus.empty() || !r.mems.empty() || !r.unified.empty();
}

}  // namespace

bool is_cgroup_v2() {
  struct statfs fs {};
  return statfs(std::string(kCgroupMount).c_str(), &fs) == 0 && fs.f_type == CGROUP2_SUPER_MAGIC;
}

bool write_cgroup_value(const std::string& file, const std::string& value) {
  const UniqueFd fd(open(file.c_str(), O_WRONLY | O_CLOEXEC));
  return fd.valid() && write(fd.get(), value.data(), value.size()) >= 0;
}

std::string own_group(std::string_view controller) {
  const auto text = read_text_file("/proc/self/cgroup");
  if (!text) return "/";
  std::string_view rest = text.assume_value();
  while (!rest.empty()) {
    const std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(line.size() + 1, rest.size()));
    const size_t first = line.find(':');
    const size_t second = line.find(':', first + 1);
    if (second == std::string_view::npos) continue;
    if (has_word(line.substr(first + 1, second - first - 1), controller)) return std::string(line.substr(second + 1));
  }
  return "/";
}

std::string cgroup_directory(const CgroupDirs& directories, std::string_view controller) {
  if (is_cgroup_v2()) return directories.empty() ? "" : directories.front();
  const std::string prefix = fmt::format("{}/{}/", kCgroupMount, controller);
  for (const auto& d : directories) {
    if (d.starts_with(prefix)) return d;
  }
  return "";
}

std::string cgroup_path(const CgroupRequest& request) {
  std::string path = request.path;
  const size_t first = path.find(':');
  const size_t second = first == std::string::npos ? first : path.find(':', first + 1);
  if (second != std::string::npos && path[0] != '/') {
    const std::string slice = first == 0 ? "system.slice" : path.substr(0, first);
    path = "/" + slice + "/" + path.substr(first + 1, second - first - 1) + "-" + path.substr(second + 1) +
           ".scope";
  }
  if (path.empty()) path = fmt::format("{}/{}", kOwnParent, request.id);
  if (!path.starts_with('/')) path = "/" + path;
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  // A ".." would leave the hierarchy's part that we were given.
  for (size_t at = 0; (at = path.find("/..", at)) != std::string::npos;) path.replace(at, 3, "/__");
  return path;
}

CgroupDirs plan_cgroups(const CgroupRequest& request) {
  if (is_cgroup_v2()) return {std::string(kCgroupMount) + cgroup_path(request)};
  CgroupDirs out;
  for (const std::string_view controller : kControllers) {
    const std::string base = fmt::format("{}/{}", kCgroupMount, controller);
    if (access(base.c_str(), F_OK) != 0) continue;
    const std::string own = request.path.starts_with('/') ? "" : own_group(controller);
    out.push_back(base + (own == "/" ? "" : own) + cgroup_path(request));
  }
  return out;
}

Expected<CgroupDirs> make_cgroups(const CgroupRequest& request, const CgroupDirs& planned) {
  const bool v2 = is_cgroup_v2();
  if (v2) {
    for (const char* c : kV2Controllers) write_cgroup_value(std::string(kCgroupMount) + "/cgroup.subtree_control", c);
  }
  CgroupDirs made;
  Expected<void> result = ok();
  for (const std::string& directory : planned) {
    if (auto r = make_group(directory, v2 ? "" : controller_of(directory)); r) {
      made.push_back(directory);
    } else {
      result = r.error();
    }
  }
  if (auto limits = set_cgroup_limits(made, request.resources); !limits) result = limits.error();
  if (result) return made;
  if (geteuid() == 0 && asks_for_limits(request.resources)) {
    remove_cgroups(planned);
    return fail("{}; linux.resources asks for limits: make the cgroup hierarchy writable, or remove them",
                result.error().text);
  }
  log_debug("no cgroup: {}", result.error().text);
  return made;
}

void join_cgroups(const CgroupDirs& directories, pid_t pid) {
  for (const auto& d : directories) {
    if (!write_cgroup_value(d + "/cgroup.procs", std::to_string(pid))) {
      log_warn("process {} into {}: {}", pid, d, describe(last_errno()));
    }
  }
}

void remove_cgroups(const CgroupDirs& directories) {
  for (const auto& d : directories) {
    if (!d.starts_with(kCgroupMount) || d.find("/..") != std::string::npos) continue;
    // Busy until the kernel has let go of the last process, which takes a moment after its end.
    for (int tries = 0; rmdir(d.c_str()) != 0 && errno == EBUSY && tries < 100; ++tries) {
      poll(nullptr, 0, 10);
    }
    const std::string parent = d.substr(0, d.rfind('/'));
    if (parent.ends_with(kOwnParent)) rmdir(parent.c_str());  // unless others are in it
  }
}

}  // namespace run9::runtime
