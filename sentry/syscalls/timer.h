// Interval timers, alarm, POSIX timers.
#pragma once
#include <sys/time.h>

#include "sentry/syscalls/syscall.h"

namespace run9::sentry {

Result<uint64_t> sys_getitimer(Task& task, int which, UserPtr<itimerval> out);
Result<uint64_t> sys_setitimer(Task& task, int which, UserPtr<itimerval> in,
                               UserPtr<itimerval> old);
Result<uint64_t> sys_alarm(Task& task, uint32_t seconds);
Result<uint64_t> sys_timer_create(Task& task, int32_t clock, uint64_t event, UserPtr<int32_t> id);
Result<uint64_t> sys_timer_settime(Task& task, int32_t id, int flags, UserPtr<itimerspec> in,
                                   UserPtr<itimerspec> old);
Result<uint64_t> sys_timer_gettime(Task& task, int32_t id, UserPtr<itimerspec> out);
Result<uint64_t> sys_timer_getoverrun(Task& task, int32_t id);
Result<uint64_t> sys_timer_delete(Task& task, int32_t id);

}  // namespace run9::sentry
