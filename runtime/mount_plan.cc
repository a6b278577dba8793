#include "runtime/mount_plan.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

#include "runtime/hidden_paths.h"

namespace run9::runtime {
namespace {

bool is_directory(const std::string& path) {
  struct stat st {};
  return stat(path.c_str(), &st) == 0 && S_ISDIR(st.st_mode);
}

// "/dev/" and "//dev" are "/dev"; the Sentry resolves the rest.
std::string normal(std::string_view path) {
  std::string out;
  for (size_t at = 0; at < path.size();) {
    const size_t end = std::min(path.find('/', at), path.size());
    const std::string_view part = path.substr(at, end - at);
    if (!part.empty() && part != ".") out += "/" + std::string(part);
    at = end + 1;
  }
  return out.empty() ? "/" : out;
}

// As the container sees the path, which the host's links do not lead astray.
bool exists_below(const std::string& root, const std::string& path) {
  const UniqueFd dir(open(root.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  open_how how{};
  how.flags = O_PATH | O_CLOEXEC;
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
  const UniqueFd fd(static_cast<int>(syscall(SYS_openat2, dir.get(), path.c_str() + 1, &how, sizeof how)));
  return fd.valid();
}

// The root lacks a mount point, and nobody may make it there. runc makes it on the host all the same where it can, and fails on a read-only
// file system; an image would otherwise have to know all mounts of later.
bool needs_mount_points(const Config& config) {
  struct statvfs fs {};
  if (!config.root_readonly && (statvfs(config.root_path.c_str(), &fs) != 0 || (fs.f_flag & ST_RDONLY) == 0)) return false;
  std::vector<std::string> mounted;
  for (const ConfigMount& m : config.mounts) {
    std::string destination = normal(m.destination);
    if (destination == "/") continue;
    const bool in_root = std::none_of(mounted.begin(), mounted.end(), [&](const auto& dir) { return is_below(destination, dir); });
    if (in_root && !exists_below(config.root_path, destination)) return true;
    mounted.push_back(std::move(destination));
  }
  return false;
}

}  // namespace

void add_gofer_mount(MountPlan& plan, const std::string& host_path, const std::string& destination,
                     uint32_t flags, Overlay overlay) {
  sentry::MountSpec m;
  m.type = "gofer";
  m.destination = destination;
  m.source = host_path;
  m.aname = fmt::format("m{}", plan.exports.size());
  m.overlay = overlay == Overlay::kYes;
  m.is_file = !is_directory(host_path);
  m.flags = flags;
  const bool read_only = m.overlay || (flags & ST_RDONLY) != 0;
  plan.exports.push_back({.dir = host_path, .name = m.aname, .read_only = read_only,
                          .leases = !m.overlay});
  plan.mounts.push_back(std::move(m));
}

void add_mount(MountPlan& plan, std::string type, std::string destination, uint32_t flags,
               std::string data) {
  sentry::MountSpec m;
  m.source = type == "devtmpfs" ? "tmpfs" : type;
  m.type = std::move(type);
  m.destination = std::move(destination);
  m.flags = flags;
  m.data = std::move(data);
  plan.mounts.push_back(std::move(m));
}

MountPlan plan_mounts(const Config& config, Overlay root_overlay) {
  MountPlan plan;
  plan.root_readonly = config.root_readonly;
  plan.host_sockets = config.host_sockets;
  if (root_overlay == Overlay::kNo && needs_mount_points(config)) {
    root_overlay = Overlay::kYes;
    plan.root_readonly = true;
  }
  add_gofer_mount(plan, config.root_path, "/", kRelatime | (config.root_readonly ? ST_RDONLY : 0), root_overlay);
  // The container alone uses its root: that is the meaning of a bundle.
  plan.mounts[0].exclusive = true;
  plan.exports[0].leases = false;
  const bool has_dev = std::any_of(config.mounts.begin(), config.mounts.end(), [](const auto& m) {
    return normal(m.destination) == "/dev";
  });
  // runc makes the usual devices in root.path when nothing is mounted at /dev.
  if (!has_dev) add_mount(plan, "devtmpfs", "/dev", kRelatime | ST_NOSUID | ST_NOEXEC, "mode=755");
  for (const ConfigMount& m : config.mounts) {
    const std::string destination = normal(m.destination);
    if (m.type == "bind") {
      add_gofer_mount(plan, m.source, destination, m.flags, Overlay::kNo);
      continue;
    }
    // A tmpfs at /dev is where runc puts its devices; ours come with the file system.
    const bool devices = m.type == "tmpfs" && destination == "/dev";
    add_mount(plan, devices ? "devtmpfs" : m.type, destination, m.flags, m.data);
    if (!m.source.empty()) plan.mounts.back().source = m.source;
    plan.mounts.back().copy_up = m.copy_up;
  }
  return plan;
}

}  // namespace run9::runtime
