// mq_overview(7)'s calls. Names are without the leading slash, which libc takes off.
#pragma once
#include "sentry/syscalls/syscall.h"

namespace run9::sentry {

Result<uint64_t> sys_mq_open(Task& task, UserString name, int flags, uint32_t mode, uint64_t attributes);
Result<uint64_t> sys_mq_unlink(Task& task, UserString name);
Result<uint64_t> sys_mq_timedsend(Task& task, GuestFd fd, uint64_t text, uint64_t size, uint32_t priority,
                                  uint64_t timeout);
Result<uint64_t> sys_mq_timedreceive(Task& task, GuestFd fd, uint64_t text, uint64_t size, UserPtr<uint32_t> priority,
                                     uint64_t timeout);
Result<uint64_t> sys_mq_notify(Task& task, GuestFd fd, uint64_t event);
Result<uint64_t> sys_mq_getsetattr(Task& task, GuestFd fd, uint64_t next, uint64_t old);

}  // namespace run9::sentry
