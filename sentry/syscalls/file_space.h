// Calls on a file's position, size and storage: lseek, truncate, fallocate, fsync, advice.
#pragma once
#include "sentry/syscalls/syscall.h"

namespace run9::sentry {

Result<uint64_t> sys_lseek(Task& task, GuestFd fd, int64_t offset, uint32_t whence);
Result<uint64_t> sys_truncate(Task& task, UserString path, int64_t length);
Result<uint64_t> sys_ftruncate(Task& task, GuestFd fd, int64_t length);
Result<uint64_t> sys_fallocate(Task& task, GuestFd fd, int mode, int64_t offset, int64_t length);
Result<uint64_t> sys_fsync(Task& task, GuestFd fd);
Result<uint64_t> sys_fdatasync(Task& task, GuestFd fd);
Result<uint64_t> sys_sync(Task& task);
Result<uint64_t> sys_syncfs(Task& task, GuestFd fd);
Result<uint64_t> sys_sync_file_range(Task& task, GuestFd fd, int64_t offset, int64_t length,
                                     uint32_t flags);
Result<uint64_t> sys_readahead(Task& task, GuestFd fd, int64_t offset, int64_t length);
Result<uint64_t> sys_fadvise64(Task& task, GuestFd fd, int64_t offset, int64_t length,
                               int advice);

}  // namespace run9::sentry
