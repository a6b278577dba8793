#include "runtime/confine.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <poll.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <vector>

#include "base/sanitizer.h"

namespace run9::runtime {
namespace {

// Set once by main, read in the child: where the kernel shows our command line.
struct ArgumentArea {
  char* begin = nullptr;
  char* end = nullptr;
} g_arguments;

Expected<void> become_sandbox_id() {
  // An ordinary user's supplementary groups cannot be dropped (setgroups is denied); no file is reachable
  // with them any more.
  if (setgroups(0, nullptr) != 0) log_debug("setgroups: {}", describe(last_errno()));
  TRY(check(setresgid(kSandboxId, kSandboxId, kSandboxId), "setting the group id"));
  TRY(check(setresuid(kSandboxId, kSandboxId, kSandboxId), "setting the user id"));
  return ok();
}

// An empty, read-only tmpfs is all there is.
Expected<void> enter_empty_root() {
  TRY(check(mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr), "private mounts"));
  const char* at = nullptr;
  for (const char* candidate : {"/tmp", "/mnt", "/usr", "/etc"}) {
    if (mount("none", candidate, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "size=4k,nr_inodes=2,mode=0555") == 0) {
      at = candidate;
      break;
    }
  }
  if (at == nullptr) return fail("mounting an empty root: {}", describe(last_errno()));
  TRY(check(chdir(at), "entering the empty root"));
  TRY(check(static_cast<int>(syscall(SYS_pivot_root, ".", ".")), "pivot_root"));
  // The old root now lies on top of the new one.
  TRY(check(umount2(".", MNT_DETACH), "leaving the host's root"));
  TRY(check(chdir("/"), "chdir"));
  TRY(check(mount(nullptr, "/", nullptr,
                  MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr),
            "read-only root"));
  return ok();
}

Expected<void> drop_capabilities() {
  for (int cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; ++cap) {
    TRY(check(prctl(PR_CAPBSET_DROP, cap, 0, 0, 0), "dropping capability {}", cap));
  }
  prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  __user_cap_data_struct none[2]{};
  TRY(check(static_cast<int>(syscall(SYS_capset, &header, none)), "dropping capabilities"));
  TRY(check(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs"));
  // Changing ids cleared it, and process_vm_readv of our own stubs needs it.
  TRY(check(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0), "dumpable"));
  return ok();
}

void set_limits() {
  rlimit files{};
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  // 1, not 0: the one value that also keeps a piped core_pattern from being run.
  const rlimit core{1, 1};
  setrlimit(RLIMIT_CORE, &core);
}

void keep(const UniqueFd& fd, std::vector<unsigned>& out) {
  if (fd.valid()) out.push_back(static_cast<unsigned>(fd.get()));
}

Expected<void> close_others(const sentry::BootSpec& spec) {
  std::vector<unsigned> kept;
  for (const auto& m : spec.mounts) keep(m.gofer, kept);
  for (const auto& fd : spec.init.stdio) keep(fd, kept);
  for (const auto& fd : spec.init.extra) keep(fd, kept);
  for (const auto& h : spec.start_hooks) {
    for (const auto& fd : h.process.stdio) keep(fd, kept);
  }
  keep(spec.control, kept);
  keep(spec.log, kept);
  keep(spec.sync, kept);
  std::sort(kept.begin(), kept.end());
  unsigned next = 3;
  for (const unsigned fd : kept) {
    if (fd > next) TRY(check(close_range(next, fd - 1, 0), "close_range"));
    next = std::max(next, fd + 1);
  }
  TRY(check(close_range(next, ~0u, 0), "close_range"));
  return ok();
}

Expected<void> set_standard_streams(const sentry::BootSpec& spec) {
  const UniqueFd null = TRY(explain(take_fd(open("/dev/null", O_RDWR | O_CLOEXEC)), "/dev/null"));
  const int log = spec.log.valid() ? spec.log.get() : null.get();
  TRY(check(dup2(null.get(), 0), "standard input"));
  TRY(check(dup2(log, 1), "standard output"));
  TRY(check(dup2(log, 2), "standard error"));
  return ok();
}

// The signal is forgotten when ids change, so it is asked for after that; a parent that died before
// shows as the end of `sync`.
Expected<void> die_with_parent(const sentry::BootSpec& spec) {
  TRY(check(prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0), "parent-death signal"));
  pollfd p{.fd = spec.sync.get(), .events = 0, .revents = 0};
  if (poll(&p, 1, 0) == 1 && (p.revents & POLLHUP) != 0) _exit(kStartFailed);
  return ok();
}

void hide_arguments(const std::string& id) {
  prctl(PR_SET_NAME, "run9-sentry", 0, 0, 0);
  if (g_arguments.begin == nullptr) return;
  const size_t size = static_cast<size_t>(g_arguments.end - g_arguments.begin);
  std::memset(g_arguments.begin, 0, size);
  const std::string name = "run9-sentry " + id;
  std::memcpy(g_arguments.begin, name.data(), std::min(name.size(), size - 1));
}

}  // namespace

bool prctl_get_tid_address(int** address) {
  return prctl(PR_GET_TID_ADDRESS, address, 0, 0, 0) == 0 && *address != nullptr;
}

void remember_arguments(int argc, char** argv) {
  if (argc == 0) return;
  g_arguments = {argv[0], argv[argc - 1] + std::strlen(argv[argc - 1]) + 1};
  // The environment follows the arguments in one piece, unless somebody moved it.
  for (char** e = environ; *e != nullptr; ++e) {
    if (*e == g_arguments.end) g_arguments.end += std::strlen(*e) + 1;
  }
}

Expected<void> confine(const sentry::BootSpec& spec, const ConfineOptions& options) {
  sanitizer::before_jail();
  hide_arguments(spec.container_id);
  TRY(set_standard_streams(spec));
  TRY(become_sandbox_id());
  // Now that our cgroup is the one we stay in. A second wall; old kernels may refuse.
  if (unshare(CLONE_NEWCGROUP) != 0) log_debug("cgroup namespace: {}", describe(last_errno()));
  TRY(enter_empty_root());
  set_limits();
  TRY(close_others(spec));
  TRY(drop_capabilities());
  if (options.die_with_parent) TRY(die_with_parent(spec));
  return ok();
}

}  // namespace run9::runtime
