// Linux native AIO (io_submit(2)).
#pragma once
#include <linux/aio_abi.h>

#include "sentry/syscalls/syscall.h"

namespace run9::sentry {

Result<uint64_t> sys_io_setup(Task& task, uint32_t events, UserPtr<uint64_t> id);
Result<uint64_t> sys_io_destroy(Task& task, uint64_t id);
Result<uint64_t> sys_io_submit(Task& task, uint64_t id, int64_t count, uint64_t list);
Result<uint64_t> sys_io_cancel(Task& task, uint64_t id, uint64_t operation, uint64_t event);
Result<uint64_t> sys_io_getevents(Task& task, uint64_t id, int64_t min, int64_t most, uint64_t events, uint64_t timeout);
Result<uint64_t> sys_io_pgetevents(Task& task, uint64_t id, int64_t min, int64_t most, uint64_t events,
                                   uint64_t timeout, uint64_t mask_and_size);

}  // namespace run9::sentry
