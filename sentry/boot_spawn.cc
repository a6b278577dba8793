#include "sentry/boot_spawn.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/log.h"
#include "sentry/boot_users.h"
#include "sentry/fs/devpts/console.h"
#include "sentry/fs/host_file.h"

namespace run9::sentry {
namespace {

// The kernel's own defaults (include/asm-generic/resource.h), with the descriptors of a container.
std::array<rlimit, RLIM_NLIMITS> default_limits() {
  std::array<rlimit, RLIM_NLIMITS> l;
  l.fill({RLIM_INFINITY, RLIM_INFINITY});
  l[RLIMIT_STACK] = {8 << 20, RLIM_INFINITY};
  l[RLIMIT_CORE] = {0, RLIM_INFINITY};
  l[RLIMIT_NOFILE] = {1024, 1048576};
  l[RLIMIT_MEMLOCK] = {8 << 20, 8 << 20};
  l[RLIMIT_SIGPENDING] = {4096, 4096};
  l[RLIMIT_MSGQUEUE] = {819200, 819200};
  l[RLIMIT_NICE] = {0, 0};
  l[RLIMIT_RTPRIO] = {0, 0};
  return l;
}

vfs::CredentialsRef make_credentials(const ProcessSpec& s) {
  vfs::Credentials c;
  c.ruid = c.euid = c.suid = c.fsuid = s.uid;
  c.rgid = c.egid = c.sgid = c.fsgid = s.gid;
  c.groups = s.groups;
  c.cap_bounding = s.caps_bounding & vfs::kAllCaps;
  c.cap_permitted = s.caps_permitted & vfs::kAllCaps;
  c.cap_effective = s.caps_effective & vfs::kAllCaps;
  c.cap_inheritable = s.caps_inheritable & vfs::kAllCaps;
  c.cap_ambient = s.caps_ambient & vfs::kAllCaps;
  c.no_new_privs = s.no_new_privs;
  return std::make_shared<const vfs::Credentials>(std::move(c));
}

std::string environment(const std::vector<std::string>& env, std::string_view name) {
  for (const auto& e : env) {
    if (e.starts_with(name) && e.size() > name.size() && e[name.size()] == '=') return e.substr(name.size() + 1);
  }
  return "";
}

// execvp's search, by the container's own PATH and with the process's own rights.
Result<std::string> find_program(Kernel& kernel, const ProcessSpec& s, vfs::OpContext& ctx) {
  const std::string& name = s.program.empty() ? s.args.front() : s.program;
  if (name.find('/') != name.npos) return name;
  std::string path = environment(s.env, "PATH");
  if (path.empty()) path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
  const auto root = kernel.mounts().root();
  const vfs::FsContext fs{root, root, 0};
  for (size_t at = 0; at <= path.size();) {
    const size_t end = std::min(path.find(':', at), path.size());
    const std::string candidate = path.substr(at, end - at) + "/" + name;
    at = end + 1;
    const auto found = kernel.mounts().walk(ctx, fs, root, candidate, vfs::kFollow);
    if (!found.has_value() || !found.value().inode()->is_regular()) continue;
    const auto st = kernel.mounts().stat(ctx, found.value());
    if (st.has_value() && (st.value().mode & 0111)) return candidate;
  }
  return Errno{ENOENT};
}

}  // namespace

Result<int32_t> spawn_process(Kernel& kernel, ProcessSpec spec, bool init,
                              std::function<void(int)> on_exit, std::string& error) {
  if (spec.args.empty()) {
    error = "process.args is empty: name a program";
    return Errno{EINVAL};
  }
  TRY(resolve_user(kernel, spec, error));
  Kernel::SpawnArgs a;
  a.creds = make_credentials(spec);
  a.cwd = spec.cwd.empty() ? "/" : spec.cwd;
  a.limits = default_limits();
  for (const auto& [which, limit] : spec.rlimits) {
    if (which >= 0 && which < RLIM_NLIMITS) a.limits[static_cast<size_t>(which)] = limit;
  }
  a.umask = spec.umask.value_or(022);
  a.init = init;
  a.on_exit = std::move(on_exit);
  if (spec.terminal) {
    UniqueFd errors;
    if (spec.stdio.size() > 1 + STDERR_FILENO) errors = std::move(spec.stdio[1 + STDERR_FILENO]);
    auto console = make_console(kernel, std::move(spec.stdio), spec.rows, spec.columns, spec.uid);
    if (!console.has_value()) {
      error = fmt::format("process.terminal: {}", describe(console.error()));
      return console.error();
    }
    a.tty = console.value().tty;
    a.stdio = {console.value().file, console.value().file, console.value().file};
    if (errors.valid()) {
      auto file = HostFile::create(kernel, std::move(errors), kernel.context());
      if (!file.has_value()) {
        error = fmt::format("standard error: {}", describe(file.error()));
        return file.error();
      }
      a.stdio[STDERR_FILENO] = std::move(file).value();
    }
  } else {
    for (auto& fd : spec.stdio) {
      if (!fd.valid()) {
        a.stdio.push_back(nullptr);
        continue;
      }
      auto file = HostFile::create(kernel, std::move(fd), kernel.context());
      if (!file.has_value()) {
        error = fmt::format("standard stream {}: {}", a.stdio.size(), describe(file.error()));
        return file.error();
      }
      a.stdio.push_back(std::move(file).value());
    }
  }
  for (size_t i = 0; i < spec.extra.size(); ++i) {
    if (!spec.extra[i].valid()) continue;
    auto file = HostFile::create(kernel, std::move(spec.extra[i]), kernel.context());
    if (!file.has_value()) {
      error = fmt::format("--preserve-fds: descriptor {}: {}; pass files, pipes and sockets alone", i + 3,
                          describe(file.error()));
      return file.error();
    }
    a.stdio.resize(std::max(a.stdio.size(), i + 4));
    a.stdio[i + 3] = std::move(file).value();
  }
  const auto program = find_program(kernel, spec, kernel.context());
  if (!program.has_value()) {
    error = fmt::format("process.args[0] {}: not found in the container's PATH", quoted(spec.args.front()));
    return program.error();
  }
  const auto root = kernel.mounts().root();
  const auto cwd = kernel.mounts().walk(kernel.context(), {root, root, 0}, root, a.cwd, vfs::kFollow | vfs::kDirectory);
  if (!cwd.has_value()) {
    error = fmt::format("process.cwd {}: {}", quoted(a.cwd), describe(cwd.error()));
    return cwd.error();
  }
  a.exec.path = program.value();
  a.exec.argv = spec.args;
  a.exec.envp = spec.env;
  auto pid = kernel.spawn(std::move(a));
  if (!pid.has_value()) {
    error = fmt::format("process.args[0] {}: {}", quoted(program.value()), describe(pid.error()));
    return pid;
  }
  if (const auto p = kernel.find_process(pid.value())) p->oom_score_adj = spec.oom_score_adj;
  return pid;
}

}  // namespace run9::sentry
