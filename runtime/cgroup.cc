#include "runtime/cgroup.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <csignal>

#include "base/unique_fd.h"
#include "runtime/config.h"

namespace run9::runtime {
namespace {

constexpr std::string_view kMount = "/sys/fs/cgroup";
constexpr std::string_view kControllers[] = {"memory", "pids"};  // of v1, each with a hierarchy of its own

bool write_value(const std::string& file, const std::string& value) {
  const UniqueFd fd(open(file.c_str(), O_WRONLY | O_CLOEXEC));
  return fd.valid() && write(fd.get(), value.data(), value.size()) >= 0;
}

bool is_v2() {
  struct statfs fs {};
  return statfs(std::string(kMount).c_str(), &fs) == 0 && fs.f_type == CGROUP2_SUPER_MAGIC;
}

// Our own group in a v1 hierarchy: "/a/b".
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
    if (line.substr(first + 1, second - first - 1) == controller) return std::string(line.substr(second + 1));
  }
  return "/";
}

// mkdir -p; the deepest is made by us or it is an error.
Expected<void> make_group(const std::string& directory) {
  for (size_t at = kMount.size() + 1; (at = directory.find('/', at)) != std::string::npos; ++at) {
    const std::string part = directory.substr(0, at);
    if (mkdir(part.c_str(), 0755) != 0 && errno != EEXIST) {
      return fail("cgroup {}: {}", part, describe(last_errno()));
    }
    if (is_v2()) write_value(part + "/cgroup.subtree_control", "+memory +pids");
  }
  if (mkdir(directory.c_str(), 0755) != 0 && errno != EEXIST) {
    return fail("cgroup {}: {}", directory, describe(last_errno()));
  }
  return ok();
}

Expected<void> set_limit(const std::string& file, uint64_t value) {
  if (write_value(file, std::to_string(value))) return ok();
  return fail("{} = {}: {}", file, value, describe(last_errno()));
}

Expected<void> make_v2(const CgroupRequest& request, const std::string& directory) {
  write_value(std::string(kMount) + "/cgroup.subtree_control", "+memory +pids");
  TRY(make_group(directory));
  if (request.memory) TRY(set_limit(directory + "/memory.max", *request.memory));
  if (request.pids) TRY(set_limit(directory + "/pids.max", *request.pids));
  return ok();
}

Expected<void> make_v1(const CgroupRequest& request, std::string_view controller, const std::string& directory) {
  TRY(make_group(directory));
  const bool memory = controller == "memory";
  if (memory && request.memory) TRY(set_limit(directory + "/memory.limit_in_bytes", *request.memory));
  if (!memory && request.pids) TRY(set_limit(directory + "/pids.max", *request.pids));
  return ok();
}

}  // namespace

std::string cgroup_path(const CgroupRequest& request) {
  std::string path = request.path;
  const size_t first = path.find(':');
  const size_t second = first == std::string::npos ? first : path.find(':', first + 1);
  if (second != std::string::npos && path[0] != '/') {
    const std::string slice = first == 0 ? "system.slice" : path.substr(0, first);
    path = "/" + slice + "/" + path.substr(first + 1, second - first - 1) + "-" + path.substr(second + 1) +
           ".scope";
  }
  if (path.empty()) path = "/run9/" + request.id;
  if (!path.starts_with('/')) path = "/" + path;
  // A ".." would leave the hierarchy's part that we were given.
  for (size_t at = 0; (at = path.find("/..", at)) != std::string::npos;) path.replace(at, 3, "/__");
  return path;
}

std::vector<std::string> plan_cgroups(const CgroupRequest& request) {
  if (is_v2()) return {std::string(kMount) + cgroup_path(request)};
  std::vector<std::string> out;
  for (const std::string_view controller : kControllers) {
    const std::string own = request.path.starts_with('/') ? "" : own_group(controller);
    out.push_back(fmt::format("{}/{}{}{}", kMount, controller, own == "/" ? "" : own, cgroup_path(request)));
  }
  return out;
}

Expected<std::vector<std::string>> make_cgroups(const CgroupRequest& request,
                                                const std::vector<std::string>& planned) {
  const bool v2 = is_v2();
  std::vector<std::string> made;
  for (size_t i = 0; i < planned.size(); ++i) {
    const auto r = v2 ? make_v2(request, planned[i]) : make_v1(request, kControllers[i], planned[i]);
    made.push_back(planned[i]);
    if (r) continue;
    if (geteuid() == 0 && (request.memory || request.pids)) {
      remove_cgroups(made);
      return fail("{}; linux.resources asks for limits: make the cgroup hierarchy writable, or remove them",
                  r.error().text);
    }
    made.pop_back();
    log_debug("no cgroup: {}", r.error().text);
  }
  return made;
}

void join_cgroups(const std::vector<std::string>& directories, pid_t pid) {
  for (const auto& d : directories) {
    if (!write_value(d + "/cgroup.procs", std::to_string(pid))) {
      log_warn("process {} into {}: {}", pid, d, describe(last_errno()));
    }
  }
}

void remove_cgroups(const std::vector<std::string>& directories) {
  for (const auto& d : directories) {
    if (!d.starts_with(kMount) || d.find("/..") != std::string::npos) continue;
    // Busy until the kernel has let go of the last process, which takes a moment after its end.
    for (int tries = 0; rmdir(d.c_str()) != 0 && errno == EBUSY && tries < 100; ++tries) {
      poll(nullptr, 0, 10);
    }
  }
}

}  // namespace run9::runtime
