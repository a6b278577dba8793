// Calls that make, remove and rename names.
#pragma once
#include "sentry/syscalls/syscall.h"

namespace run9::sentry {

Result<uint64_t> sys_mkdir(Task& task, UserString path, uint32_t mode);
Result<uint64_t> sys_mkdirat(Task& task, GuestFd dirfd, UserString path, uint32_t mode);
Result<uint64_t> sys_rmdir(Task& task, UserString path);
Result<uint64_t> sys_unlink(Task& task, UserString path);
Result<uint64_t> sys_unlinkat(Task& task, GuestFd dirfd, UserString path, int flags);
Result<uint64_t> sys_link(Task& task, UserString from, UserString to);
Result<uint64_t> sys_linkat(Task& task, GuestFd from_dir, UserString from, GuestFd to_dir,
                            UserString to, int flags);
Result<uint64_t> sys_symlink(Task& task, UserString target, UserString path);
Result<uint64_t> sys_symlinkat(Task& task, UserString target, GuestFd dirfd, UserString path);
Result<uint64_t> sys_readlink(Task& task, UserString path, uint64_t buf, int size);
Result<uint64_t> sys_readlinkat(Task& task, GuestFd dirfd, UserString path, uint64_t buf,
                                int size);
Result<uint64_t> sys_rename(Task& task, UserString from, UserString to);
Result<uint64_t> sys_renameat(Task& task, GuestFd from_dir, UserString from, GuestFd to_dir,
                              UserString to);
Result<uint64_t> sys_renameat2(Task& task, GuestFd from_dir, UserString from, GuestFd to_dir,
                               UserString to, uint32_t flags);
Result<uint64_t> sys_mknod(Task& task, UserString path, uint32_t mode, uint32_t dev);
Result<uint64_t> sys_mknodat(Task& task, GuestFd dirfd, UserString path, uint32_t mode,
                             uint32_t dev);

}  // namespace run9::sentry
