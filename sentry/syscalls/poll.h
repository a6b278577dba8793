// poll, select and their variants.
#pragma once
#include <sys/time.h>

#include "sentry/syscalls/syscall.h"

namespace run9::sentry {

Result<uint64_t> sys_poll(Task& task, uint64_t fds, uint32_t count, int timeout_ms);
Result<uint64_t> sys_ppoll(Task& task, uint64_t fds, uint32_t count, uint64_t timeout,
                           uint64_t mask, uint64_t size);
Result<uint64_t> sys_select(Task& task, int count, uint64_t in, uint64_t out, uint64_t except,
                            UserPtr<timeval> timeout);
Result<uint64_t> sys_pselect6(Task& task, int count, uint64_t in, uint64_t out, uint64_t except,
                              uint64_t timeout, uint64_t mask_and_size);

}  // namespace run9::sentry
