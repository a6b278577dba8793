// ptrace(2).
#pragma once
#include "sentry/syscalls/syscall.h"

namespace run9::sentry {

Result<uint64_t> sys_ptrace(Task& task, int64_t request, int32_t pid, uint64_t address, uint64_t data);

}  // namespace run9::sentry
