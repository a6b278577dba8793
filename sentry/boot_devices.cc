#include "sentry/boot_devices.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>

#include "base/log.h"

namespace run9::sentry {
namespace {

vfs::FsContext at_root(Kernel& kernel) {
  const auto root = kernel.mounts().root();
  return {root, root, 0};
}

Result<void> add_device(Kernel& kernel, const DeviceSpec& d) {
  auto& ns = kernel.mounts();
  auto& ctx = kernel.context();
  const vfs::FsContext fs = at_root(kernel);
  for (size_t slash = d.path.find('/', 1); slash != d.path.npos; slash = d.path.find('/', slash + 1)) {
    const auto made = ns.mkdir(ctx, fs, fs.root, d.path.substr(0, slash), 0755);
    if (!made.has_value() && made.error() != Errno{EEXIST}) return made.error();
  }
  const auto node = ns.mknod(ctx, fs, fs.root, d.path, d.mode, makedev(d.major, d.minor));
  // One of ours, or of the image.
  if (!node.has_value() && node.error() == Errno{EEXIST}) return ok();
  if (!node.has_value()) return node.error();
  return ns.setattr(ctx, node.value(), {.valid = vfs::kSetUid | vfs::kSetGid, .uid = d.uid, .gid = d.gid});
}

Result<void> set_sysctl(Kernel& kernel, const std::string& path, std::string_view value) {
  const vfs::FsContext fs = at_root(kernel);
  auto& ctx = kernel.context();
  const auto file = TRY(kernel.mounts().open(ctx, fs, fs.root, path, {.flags = O_WRONLY}));
  TRY(file->write(ctx, std::as_bytes(std::span(value))));
  return ok();
}

}  // namespace

Result<void> make_devices(Kernel& kernel, HasConsole console) {
  auto& ns = kernel.mounts();
  auto& ctx = kernel.context();
  const vfs::FsContext fs = at_root(kernel);
  // Only where /dev is a file system of ours: an image's own /dev on the gofer holds inert nodes.
  const auto dev = ns.walk(ctx, fs, fs.root, "/dev", vfs::kFollow | vfs::kDirectory);
  if (!dev.has_value() || dev.value().mount->fs->type() != "tmpfs") return ok();
  struct Node {
    const char* path;
    unsigned major, minor, mode;
  };
  std::vector<Node> nodes = {{"/dev/null", 1, 3, 0666},   {"/dev/zero", 1, 5, 0666},    {"/dev/full", 1, 7, 0666},
                             {"/dev/random", 1, 8, 0666}, {"/dev/urandom", 1, 9, 0666}, {"/dev/tty", 5, 0, 0666}};
  if (console == HasConsole::kYes) nodes.push_back({"/dev/console", 5, 1, 0620});
  for (const Node& n : nodes) {
    const auto made = ns.mknod(ctx, fs, fs.root, n.path, S_IFCHR | n.mode, makedev(n.major, n.minor));
    if (!made.has_value() && made.error() != Errno{EEXIST}) return made.error();
  }
  const std::pair<const char*, const char*> links[] = {{"/dev/ptmx", "pts/ptmx"},
                                                       {"/dev/fd", "/proc/self/fd"},
                                                       {"/dev/stdin", "/proc/self/fd/0"},
                                                       {"/dev/stdout", "/proc/self/fd/1"},
                                                       {"/dev/stderr", "/proc/self/fd/2"}};
  for (const auto& [path, target] : links) (void)ns.symlink(ctx, fs, fs.root, path, target);
  return ok();
}

Result<void> add_devices(Kernel& kernel, const std::vector<DeviceSpec>& devices, std::string& error) {
  for (const DeviceSpec& d : devices) {
    const auto added = add_device(kernel, d);
    if (added.has_value()) continue;
    error = fmt::format("linux.devices: {}: {}; remove it, or choose a path below /dev", d.path,
                        describe(added.error()));
    return added.error();
  }
  return ok();
}

Result<void> set_sysctls(Kernel& kernel, const std::vector<std::pair<std::string, std::string>>& settings,
                         std::string& error) {
  for (const auto& [key, value] : settings) {
    std::string path = "/proc/sys/" + key;
    std::replace(path.begin(), path.end(), '.', '/');
    const auto set = path.find("//") == path.npos ? set_sysctl(kernel, path, value) : Result<void>(Errno{ENOENT});
    if (set.has_value()) continue;
    // There is no such network yet: what configures it has nothing to lose.
    if (key.starts_with("net.") && set.error() == Errno{ENOENT}) {
      log_warn("linux.sysctl: {}: there is none", quoted(key));
      continue;
    }
    error = fmt::format("linux.sysctl: {} = {}: {}; remove it, or correct the name and value", quoted(key),
                        quoted(value), describe(set.error()));
    return set.error();
  }
  return ok();
}

}  // namespace run9::sentry
