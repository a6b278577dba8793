// Calls on descriptors: close, dup, fcntl, flock, ioctl.
#pragma once
#include "sentry/syscalls/syscall.h"

namespace run9::sentry {

Result<uint64_t> sys_close(Task& task, GuestFd fd);
Result<uint64_t> sys_close_range(Task& task, uint32_t first, uint32_t last, uint32_t flags);
Result<uint64_t> sys_dup(Task& task, GuestFd fd);
Result<uint64_t> sys_dup2(Task& task, GuestFd from, GuestFd to);
Result<uint64_t> sys_dup3(Task& task, GuestFd from, GuestFd to, int flags);
Result<uint64_t> sys_fcntl(Task& task, GuestFd fd, int command, uint64_t arg);
Result<uint64_t> sys_flock(Task& task, GuestFd fd, int operation);
Result<uint64_t> sys_ioctl(Task& task, GuestFd fd, uint32_t request, uint64_t arg);

// What F_GETFL gives.
uint64_t shown_flags(const vfs::File& file);

// Turns O_ASYNC on or off (F_SETFL, FIOASYNC) besides the flag itself.
Result<void> set_status_flags(Task& task, const vfs::FileRef& file, uint32_t flags);

}  // namespace run9::sentry
