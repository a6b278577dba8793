// Reading clocks, sleeping, CPU usage.
#pragma once
#include <sys/resource.h>
#include <time.h>

#include "sentry/syscalls/syscall.h"

namespace run9::sentry {

Result<uint64_t> sys_clock_gettime(Task& task, int32_t clock, UserPtr<timespec> out);
Result<uint64_t> sys_clock_getres(Task& task, int32_t clock, UserPtr<timespec> out);
Result<uint64_t> sys_clock_settime(Task& task, int32_t clock, UserPtr<timespec> in);
Result<uint64_t> sys_clock_nanosleep(Task& task, int32_t clock, int flags, UserPtr<timespec> in,
                                     UserPtr<timespec> remaining);
Result<uint64_t> sys_nanosleep(Task& task, UserPtr<timespec> in, UserPtr<timespec> remaining);
Result<uint64_t> sys_gettimeofday(Task& task, uint64_t tv, uint64_t tz);
Result<uint64_t> sys_settimeofday(Task& task, uint64_t tv, uint64_t tz);
Result<uint64_t> sys_time(Task& task, UserPtr<int64_t> out);
Result<uint64_t> sys_times(Task& task, uint64_t out);
Result<uint64_t> sys_getrusage(Task& task, int who, uint64_t out);
Result<uint64_t> sys_adjtimex(Task& task, uint64_t buffer);
Result<uint64_t> sys_clock_adjtime(Task& task, int32_t clock, uint64_t buffer);

// What getrusage shows of a running process (RUSAGE_SELF) and what wait4 adds to the parent's.
rusage to_rusage(const Rusage& usage);
Rusage usage_of(const Process& process);

}  // namespace run9::sentry
