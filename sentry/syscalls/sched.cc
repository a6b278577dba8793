#include "sentry/syscalls/sched.h"

#include <sched.h>
#include <sys/resource.h>
#include <time.h>

#include <algorithm>
#include <optional>

#include "sentry/task/kernel.h"

namespace run9::sentry {
namespace {

constexpr int kResetOnFork = 0x40000000;
constexpr int kDeadline = 6;
constexpr int kExtended = 7;  // SCHED_EXT; newer than our headers

Result<Task*> find(Task& task, int32_t tid) {
  if (tid < 0) return Errno{EINVAL};
  Task* t = tid == 0 ? &task : task.kernel().find_task(tid);
  if (t == nullptr) return Errno{ESRCH};
  return t;
}

bool same_owner(const Task& task, const Task& target) {
  return task.creds().euid == target.creds().ruid || task.creds().euid == target.creds().euid;
}

bool real_time(int policy) { return policy == SCHED_FIFO || policy == SCHED_RR; }
bool fair(int policy) {
  return policy == SCHED_OTHER || policy == SCHED_BATCH || policy == SCHED_IDLE;
}

// __sched_setscheduler(), its checks.
Result<void> set_policy(Task& task, Task& target, int policy, int priority) {
  const bool reset_on_fork = (policy & kResetOnFork) != 0;
  policy &= ~kResetOnFork;
  if (!real_time(policy) && !fair(policy)) return Errno{EINVAL};
  if (real_time(policy) ? priority < 1 || priority > 99 : priority != 0) return Errno{EINVAL};
  if (!task.creds().has_cap(CAP_SYS_NICE)) {
    if (!same_owner(task, target) || (target.sched_reset_on_fork && !reset_on_fork)) return Errno{EPERM};
    if (real_time(policy)) {
      const auto limit = target.process().limit(RLIMIT_RTPRIO);
      if (policy != target.sched_policy && limit == 0) return Errno{EPERM};
      if (priority > target.sched_priority && static_cast<uint64_t>(priority) > limit) {
        return Errno{EPERM};
      }
    }
  }
  target.sched_policy = policy;
  target.sched_priority = priority;
  target.sched_reset_on_fork = reset_on_fork;
  return ok();
}

int reset_bit(const Task& t) { return t.sched_reset_on_fork ? kResetOnFork : 0; }

// do_sched_setscheduler(): the parameter is read before the task is looked for. No policy: the one it has.
Result<uint64_t> set_scheduler(Task& task, int32_t tid, std::optional<int> policy, UserPtr<int> param) {
  if (param.is_null() || tid < 0) return Errno{EINVAL};
  const int priority = TRY(task.memory().read(param));
  Task* target = TRY(find(task, tid));
  TRY(set_policy(task, *target, policy.value_or(target->sched_policy | reset_bit(*target)), priority));
  return 0;
}

uint64_t online(Task& task) {
  const int n = std::clamp(task.kernel().options().cpus, 1, 64);
  return n == 64 ? ~uint64_t{0} : (uint64_t{1} << n) - 1;
}

// The processes that (which, who) of getpriority(2) names.
Result<std::vector<ProcessRef>> selected(Task& task, int which, int32_t who) {
  std::vector<ProcessRef> found;
  Kernel& k = task.kernel();
  switch (which) {
    case PRIO_PROCESS: {
      Task* t = who == 0 ? &task : k.find_task(who);
      if (t != nullptr) found.push_back(t->process_ref());
      break;
    }
    case PRIO_PGRP:
      for (const auto& [pid, p] : k.processes()) {
        if (p->pgid() == (who == 0 ? task.process().pgid() : who)) found.push_back(p);
      }
      break;
    case PRIO_USER:
      for (const auto& [pid, p] : k.processes()) {
        const uint32_t uid = who == 0 ? task.creds().ruid : static_cast<uint32_t>(who);
        if (p->leader != nullptr && p->leader->creds().ruid == uid) found.push_back(p);
      }
      break;
    default: return Errno{EINVAL};
  }
  if (found.empty()) return Errno{ESRCH};
  return found;
}

struct SchedAttr {
  uint32_t size, policy;
  uint64_t flags;
  int32_t nice;
  uint32_t priority;
  uint64_t runtime, deadline, period;
};
static_assert(sizeof(SchedAttr) == 48);

Result<void> set_nice(Task& task, Process& p, int nice) {
  if (p.leader != nullptr && !same_owner(task, *p.leader) && !task.creds().has_cap(CAP_SYS_NICE)) {
    return Errno{EPERM};
  }
  if (nice < p.nice && !task.creds().has_cap(CAP_SYS_NICE) &&
      static_cast<uint64_t>(20 - nice) > p.limit(RLIMIT_NICE)) {
    return Errno{EACCES};
  }
  p.nice = nice;
  return ok();
}

}  // namespace

Result<uint64_t> sys_sched_yield(Task& task) {
  task.kernel().loop().yield();
  return 0;
}

// The area would have to be written at each move from CPU to CPU, and each preemption. A call that is known, as
// glibc asks in every process and goes on without: --strict is about what nobody thought of.
Result<uint64_t> sys_rseq(Task&) { return Errno{ENOSYS}; }

Result<uint64_t> sys_sched_setaffinity(Task& task, int32_t tid, uint32_t length, uint64_t mask) {
  if (tid < 0) return Errno{ESRCH};  // unlike the other calls of the family
  uint64_t bits = 0;
  if (length > 0) TRY(task.memory().copy_in(&bits, mask, std::min<size_t>(length, sizeof bits)));
  Task* target = TRY(find(task, tid));
  if (!same_owner(task, *target) && !task.creds().has_cap(CAP_SYS_NICE)) return Errno{EPERM};
  bits &= online(task);
  if (bits == 0) return Errno{EINVAL};
  target->cpu_affinity[0] = bits;
  return 0;
}

Result<uint64_t> sys_sched_getaffinity(Task& task, int32_t tid, uint32_t length, uint64_t mask) {
  if (length * uint64_t{8} < static_cast<uint64_t>(task.kernel().options().cpus) ||
      length % sizeof(uint64_t) != 0 || length == 0) {
    return Errno{EINVAL};
  }
  if (tid < 0) return Errno{ESRCH};
  const Task* target = TRY(find(task, tid));
  const uint64_t bits = target->cpu_affinity[0] & online(task);
  TRY(task.memory().write(UserPtr<uint64_t>{mask}, bits));
  return sizeof bits;
}

Result<uint64_t> sys_sched_setscheduler(Task& task, int32_t tid, int policy, UserPtr<int> param) {
  if (policy < 0) return Errno{EINVAL};
  return set_scheduler(task, tid, policy, param);
}

Result<uint64_t> sys_sched_getscheduler(Task& task, int32_t tid) {
  const Task* target = TRY(find(task, tid));
  return static_cast<uint64_t>(target->sched_policy | reset_bit(*target));
}

Result<uint64_t> sys_sched_setparam(Task& task, int32_t tid, UserPtr<int> param) {
  return set_scheduler(task, tid, {}, param);
}

Result<uint64_t> sys_sched_getparam(Task& task, int32_t tid, UserPtr<int> param) {
  if (param.is_null()) return Errno{EINVAL};
  const Task* target = TRY(find(task, tid));
  TRY(task.memory().write(param, target->sched_priority));
  return 0;
}

Result<uint64_t> sys_sched_get_priority_max(Task&, int policy) {
  if (real_time(policy)) return 99;
  if (fair(policy) || policy == kDeadline || policy == kExtended) return 0;
  return Errno{EINVAL};
}

Result<uint64_t> sys_sched_get_priority_min(Task&, int policy) {
  if (real_time(policy)) return 1;
  if (fair(policy) || policy == kDeadline || policy == kExtended) return 0;
  return Errno{EINVAL};
}

Result<uint64_t> sys_sched_rr_get_interval(Task& task, int32_t tid, uint64_t out) {
  const Task* target = TRY(find(task, tid));
  const timespec quantum{0, target->sched_policy == SCHED_FIFO ? 0 : 100'000'000};
  TRY(task.memory().copy_out(out, &quantum, sizeof quantum));
  return 0;
}

Result<uint64_t> sys_sched_setattr(Task& task, int32_t tid, uint64_t attr, uint32_t flags) {
  if (attr == 0 || tid < 0 || flags != 0) return Errno{EINVAL};
  const uint32_t size = TRY(task.memory().read(UserPtr<uint32_t>{attr}));
  if (size != 0 && size < sizeof(SchedAttr)) return Errno{E2BIG};
  SchedAttr a{};
  TRY(task.memory().copy_in(&a, attr, sizeof a));
  Task* target = TRY(find(task, tid));
  TRY(set_policy(task, *target, static_cast<int>(a.policy), static_cast<int>(a.priority)));
  if (fair(static_cast<int>(a.policy))) {
    TRY(set_nice(task, target->process(), std::clamp(a.nice, -20, 19)));
  }
  return 0;
}

Result<uint64_t> sys_sched_getattr(Task& task, int32_t tid, uint64_t attr, uint32_t size,
                                   uint32_t flags) {
  if (attr == 0 || tid < 0 || flags != 0 || size < sizeof(SchedAttr) || size > 4096) {
    return Errno{EINVAL};
  }
  const Task* target = TRY(find(task, tid));
  SchedAttr a{};
  a.size = sizeof a;
  a.policy = static_cast<uint32_t>(target->sched_policy);
  a.priority = static_cast<uint32_t>(target->sched_priority);
  a.nice = real_time(target->sched_policy) ? 0 : target->process().nice;
  TRY(task.memory().copy_out(attr, &a, sizeof a));
  return 0;
}

Result<uint64_t> sys_getpriority(Task& task, int which, int32_t who) {
  int lowest = 19;
  for (const auto& p : TRY(selected(task, which, who))) lowest = std::min(lowest, p->nice);
  return static_cast<uint64_t>(20 - lowest);
}

Result<uint64_t> sys_setpriority(Task& task, int which, int32_t who, int nice) {
  nice = std::clamp(nice, -20, 19);
  Result<void> worst = ok();
  for (const auto& p : TRY(selected(task, which, who))) {
    auto r = set_nice(task, *p, nice);
    if (!r.has_value()) worst = r;
  }
  TRY(worst);
  return 0;
}

// ioprio_get(2) and ioprio_set(2): a thread's own number, which nobody reads but these. The one of a group is its leader's.
Result<uint64_t> sys_ioprio_get(Task& task, int which, int32_t who) {
  if (which < 1 || which > 3) return Errno{EINVAL};
  if (which == 1) return static_cast<uint64_t>(TRY(find(task, who))->io_priority);
  int best = 0;
  for (const auto& p : TRY(selected(task, which - 1, who))) {
    const int value = p->leader != nullptr ? p->leader->io_priority : 0;
    if (best == 0 || (value != 0 && value < best)) best = value;
  }
  return static_cast<uint64_t>(best);
}

Result<uint64_t> sys_ioprio_set(Task& task, int which, int32_t who, int value) {
  constexpr int kNone = 0, kRealTime = 1, kIdle = 3, kLevels = 8;
  const int io_class = value >> 13, level = value & (kLevels - 1);
  if (which < 1 || which > 3 || io_class < kNone || io_class > kIdle) return Errno{EINVAL};
  if (io_class == kNone && level != 0) return Errno{EINVAL};
  if (io_class == kRealTime && !task.creds().has_cap(CAP_SYS_NICE) && !task.creds().has_cap(CAP_SYS_ADMIN)) {
    return Errno{EPERM};
  }
  if (which == 1) {
    Task* const target = TRY(find(task, who));
    if (!same_owner(task, *target) && !task.creds().has_cap(CAP_SYS_NICE)) return Errno{EPERM};
    target->io_priority = value;
    return 0;
  }
  for (const auto& p : TRY(selected(task, which - 1, who))) {
    if (p->leader == nullptr) continue;
    if (!same_owner(task, *p->leader) && !task.creds().has_cap(CAP_SYS_NICE)) return Errno{EPERM};
    p->leader->io_priority = value;
  }
  return 0;
}

}  // namespace run9::sentry
