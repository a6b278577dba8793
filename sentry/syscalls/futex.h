// futex(2) and its family.
#pragma once
#include "sentry/syscalls/syscall.h"

namespace run9::sentry {

Result<uint64_t> sys_futex(Task& task, uint64_t addr, int op, uint32_t value, uint64_t timeout,
                           uint64_t addr2, uint32_t value3);
Result<uint64_t> sys_futex_waitv(Task& task, uint64_t waiters, uint32_t count, uint32_t flags,
                                 uint64_t timeout, int32_t clock);
Result<uint64_t> sys_set_robust_list(Task& task, uint64_t head, uint64_t length);
Result<uint64_t> sys_get_robust_list(Task& task, int32_t tid, UserPtr<uint64_t> head,
                                     UserPtr<uint64_t> length);

}  // namespace run9::sentry
