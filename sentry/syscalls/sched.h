// Scheduling calls: the host schedules; policies, priorities and masks are kept and shown.
#pragma once
#include "sentry/syscalls/syscall.h"

namespace run9::sentry {

Result<uint64_t> sys_sched_yield(Task& task);
Result<uint64_t> sys_rseq(Task& task);
Result<uint64_t> sys_sched_setaffinity(Task& task, int32_t tid, uint32_t length, uint64_t mask);
Result<uint64_t> sys_sched_getaffinity(Task& task, int32_t tid, uint32_t length, uint64_t mask);
Result<uint64_t> sys_sched_setscheduler(Task& task, int32_t tid, int policy, UserPtr<int> param);
Result<uint64_t> sys_sched_getscheduler(Task& task, int32_t tid);
Result<uint64_t> sys_sched_setparam(Task& task, int32_t tid, UserPtr<int> param);
Result<uint64_t> sys_sched_getparam(Task& task, int32_t tid, UserPtr<int> param);
Result<uint64_t> sys_sched_get_priority_max(Task& task, int policy);
Result<uint64_t> sys_sched_get_priority_min(Task& task, int policy);
Result<uint64_t> sys_sched_rr_get_interval(Task& task, int32_t tid, uint64_t out);
Result<uint64_t> sys_sched_setattr(Task& task, int32_t tid, uint64_t attr, uint32_t flags);
Result<uint64_t> sys_sched_getattr(Task& task, int32_t tid, uint64_t attr, uint32_t size,
                                   uint32_t flags);
Result<uint64_t> sys_getpriority(Task& task, int which, int32_t who);
Result<uint64_t> sys_setpriority(Task& task, int which, int32_t who, int nice);
Result<uint64_t> sys_ioprio_get(Task& task, int which, int32_t who);
Result<uint64_t> sys_ioprio_set(Task& task, int which, int32_t who, int value);

}  // namespace run9::sentry
