// Resource limits (getrlimit(2)).
#include "sentry/syscalls/system.h"
#include "sentry/task/kernel.h"
#include "sentry/time/cpu_limit.h"

namespace run9::sentry {
namespace {

constexpr uint64_t kMaxOpenFiles = 1 << 20;  // fs.nr_open

// check_prlimit_permission().
bool may_change(Task& task, Process& target) {
  if (&target == &task.process()) return true;
  const auto& c = task.creds();
  if (c.has_cap(CAP_SYS_RESOURCE)) return true;
  if (target.leader == nullptr) return false;
  const auto& t = target.leader->creds();
  return c.ruid == t.ruid && c.ruid == t.euid && c.ruid == t.suid && c.rgid == t.rgid &&
         c.rgid == t.egid && c.rgid == t.sgid;
}

Result<void> set_limit(Task& task, Process& p, uint32_t which, const rlimit& next) {
  rlimit& now = p.limits[which];
  if (next.rlim_cur > next.rlim_max) return Errno{EINVAL};
  if (which == RLIMIT_NOFILE && next.rlim_max > kMaxOpenFiles) return Errno{EPERM};
  if (next.rlim_max > now.rlim_max && !task.creds().has_cap(CAP_SYS_RESOURCE)) {
    return Errno{EPERM};
  }
  now = next;
  if (which == RLIMIT_CPU) CpuLimit::update(p);
  for (Task* t : p.tasks) {
    if (t->memory_ref() == nullptr) continue;
    if (which == RLIMIT_AS || which == RLIMIT_DATA) t->memory().stop_offers();
    t->memory().limits_changed(p);
  }
  if (which == RLIMIT_FSIZE && next.rlim_cur != RLIM_INFINITY) {
    for (Task* t : p.tasks) task.kernel().own_files().stop(*t);
  }
  return ok();
}

}  // namespace

Result<uint64_t> sys_getrlimit(Task& task, uint32_t which, UserPtr<rlimit> out) {
  if (which >= RLIM_NLIMITS) return Errno{EINVAL};
  TRY(task.memory().write(out, task.process().limits[which]));
  return 0;
}

Result<uint64_t> sys_setrlimit(Task& task, uint32_t which, UserPtr<rlimit> in) {
  const rlimit next = TRY(task.memory().read(in));
  if (which >= RLIM_NLIMITS) return Errno{EINVAL};
  TRY(set_limit(task, task.process(), which, next));
  return 0;
}

Result<uint64_t> sys_prlimit64(Task& task, int32_t pid, uint32_t which, UserPtr<rlimit> in,
                               UserPtr<rlimit> out) {
  rlimit next{};
  if (!in.is_null()) next = TRY(task.memory().read(in));
  Task* target = pid == 0 ? &task : task.kernel().find_task(pid);
  if (target == nullptr) return Errno{ESRCH};
  const auto process = target->process_ref();
  if (!may_change(task, *process)) return Errno{EPERM};
  if (which >= RLIM_NLIMITS) return Errno{EINVAL};
  const rlimit old = process->limits[which];
  if (!in.is_null()) TRY(set_limit(task, *process, which, next));
  if (!out.is_null()) TRY(task.memory().write(out, old));
  return 0;
}

}  // namespace run9::sentry
