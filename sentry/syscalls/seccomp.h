// seccomp(2), and its part of prctl(2).
#pragma once
#include "sentry/syscalls/syscall.h"

namespace run9::sentry {

Result<uint64_t> sys_seccomp(Task& task, uint32_t operation, uint32_t flags, uint64_t args);
// PR_SET_SECCOMP.
Result<uint64_t> prctl_set_seccomp(Task& task, uint64_t mode, uint64_t program);

}  // namespace run9::sentry
