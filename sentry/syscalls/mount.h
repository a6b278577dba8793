// Calls that change the mount table.
#pragma once
#include "sentry/syscalls/syscall.h"

namespace run9::sentry {

Result<uint64_t> sys_mount(Task& task, UserString source, UserString target, UserString type,
                           uint64_t flags, uint64_t data);
Result<uint64_t> sys_umount2(Task& task, UserString target, int flags);
Result<uint64_t> sys_pivot_root(Task& task, UserString new_root, UserString put_old);

}  // namespace run9::sentry
