#include "sentry/syscalls/seccomp.h"

#include <linux/filter.h>
#include <linux/seccomp.h>

#include "sentry/task/kernel.h"
#include "sentry/task/seccomp.h"

namespace run9::sentry {
namespace {

// struct sock_fprog of the guest.
struct Program {
  uint16_t length;
  uint16_t pad[3];
  uint64_t code;
};

Result<uint64_t> set_strict(Task& task) {
  if (task.seccomp_mode != SECCOMP_MODE_DISABLED && task.seccomp_mode != SECCOMP_MODE_STRICT) return Errno{EINVAL};
  task.seccomp_mode = SECCOMP_MODE_STRICT;
  return 0;
}

// The other threads take the caller's chain (seccomp_sync_threads). Their ids are no secret of theirs.
Task* first_that_cannot_follow(Task& task) {
  for (Task* t : task.process().tasks) {
    if (t == &task || t->exiting() || t->seccomp_mode == SECCOMP_MODE_DISABLED) continue;
    const bool follows = t->seccomp_mode == SECCOMP_MODE_FILTER &&
                         is_ancestor(t->seccomp_filter.get(), task.seccomp_filter.get());
    if (!follows) return t;
  }
  return nullptr;
}

void synchronize(Task& task) {
  for (Task* t : task.process().tasks) {
    if (t == &task || t->exiting()) continue;
    t->seccomp_filter = task.seccomp_filter;
    t->seccomp_mode = SECCOMP_MODE_FILTER;
    t->publish_identity();
    if (!task.creds().no_new_privs || t->creds().no_new_privs) continue;
    vfs::Credentials c = t->creds();
    c.no_new_privs = true;
    t->set_creds(std::move(c));
  }
}

Result<uint64_t> set_filter(Task& task, uint32_t flags, uint64_t args) {
  constexpr uint32_t kTsync = SECCOMP_FILTER_FLAG_TSYNC, kTsyncEsrch = SECCOMP_FILTER_FLAG_TSYNC_ESRCH;
  // TODO(compat): SECCOMP_FILTER_FLAG_NEW_LISTENER, and with it SECCOMP_RET_USER_NOTIF.
  if ((flags & ~uint32_t{kTsync | kTsyncEsrch | SECCOMP_FILTER_FLAG_LOG | SECCOMP_FILTER_FLAG_SPEC_ALLOW}) != 0) {
    return Errno{EINVAL};
  }
  const auto program = TRY(task.memory().read(UserPtr<Program>{args}));
  if (program.length == 0 || program.length > BPF_MAXINSNS) return Errno{EINVAL};
  if (!task.creds().no_new_privs && !task.creds().has_cap(CAP_SYS_ADMIN)) return Errno{EACCES};
  auto code = TRY(task.memory().read_array(UserPtr<sock_filter>{program.code}, program.length));
  auto filter = TRY(make_seccomp_filter(std::move(code), task.seccomp_filter));
  if (task.seccomp_mode == SECCOMP_MODE_STRICT) return Errno{EINVAL};
  if ((flags & kTsync) != 0) {
    if (Task* other = first_that_cannot_follow(task)) {
      if ((flags & kTsyncEsrch) != 0) return Errno{ESRCH};
      return static_cast<uint64_t>(other->tid());
    }
  }
  task.seccomp_filter = std::move(filter);
  task.seccomp_mode = SECCOMP_MODE_FILTER;
  if ((flags & kTsync) != 0) synchronize(task);
  return 0;
}

Result<uint64_t> action_available(Task& task, uint64_t args) {
  switch (TRY(task.memory().read(UserPtr<uint32_t>{args}))) {
    case SECCOMP_RET_KILL_PROCESS: case SECCOMP_RET_KILL_THREAD: case SECCOMP_RET_TRAP: case SECCOMP_RET_ERRNO:
    case SECCOMP_RET_TRACE: case SECCOMP_RET_LOG: case SECCOMP_RET_ALLOW: return 0;
    default: return Errno{EOPNOTSUPP};
  }
}

}  // namespace

Result<uint64_t> sys_seccomp(Task& task, uint32_t operation, uint32_t flags, uint64_t args) {
  switch (operation) {
    case SECCOMP_SET_MODE_STRICT:
      if (flags != 0 || args != 0) return Errno{EINVAL};
      return set_strict(task);
    case SECCOMP_SET_MODE_FILTER: return set_filter(task, flags, args);
    case SECCOMP_GET_ACTION_AVAIL:
      if (flags != 0) return Errno{EINVAL};
      return action_available(task, args);
    default: return Errno{EINVAL};  // no listeners: SECCOMP_GET_NOTIF_SIZES too
  }
}

Result<uint64_t> prctl_set_seccomp(Task& task, uint64_t mode, uint64_t program) {
  if (mode == SECCOMP_MODE_STRICT) return set_strict(task);
  if (mode == SECCOMP_MODE_FILTER) return set_filter(task, 0, program);
  return Errno{EINVAL};
}

}  // namespace run9::sentry
