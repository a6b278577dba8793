// The calls of xattr(7), and their *at forms of Linux 6.13.
#pragma once
#include "sentry/syscalls/syscall.h"

namespace run9::sentry {

Result<uint64_t> sys_setxattr(Task& task, UserString path, UserString name, uint64_t value,
                              uint64_t size, int flags);
Result<uint64_t> sys_lsetxattr(Task& task, UserString path, UserString name, uint64_t value,
                               uint64_t size, int flags);
Result<uint64_t> sys_fsetxattr(Task& task, GuestFd fd, UserString name, uint64_t value,
                               uint64_t size, int flags);
Result<uint64_t> sys_setxattrat(Task& task, GuestFd dirfd, UserString path, uint32_t at_flags,
                                UserString name, uint64_t args, uint64_t args_size);
Result<uint64_t> sys_getxattr(Task& task, UserString path, UserString name, uint64_t value,
                              uint64_t size);
Result<uint64_t> sys_lgetxattr(Task& task, UserString path, UserString name, uint64_t value,
                               uint64_t size);
Result<uint64_t> sys_fgetxattr(Task& task, GuestFd fd, UserString name, uint64_t value,
                               uint64_t size);
Result<uint64_t> sys_getxattrat(Task& task, GuestFd dirfd, UserString path, uint32_t at_flags,
                                UserString name, uint64_t args, uint64_t args_size);
Result<uint64_t> sys_listxattr(Task& task, UserString path, uint64_t list, uint64_t size);
Result<uint64_t> sys_llistxattr(Task& task, UserString path, uint64_t list, uint64_t size);
Result<uint64_t> sys_flistxattr(Task& task, GuestFd fd, uint64_t list, uint64_t size);
Result<uint64_t> sys_listxattrat(Task& task, GuestFd dirfd, UserString path, uint32_t at_flags,
                                 uint64_t list, uint64_t size);
Result<uint64_t> sys_removexattr(Task& task, UserString path, UserString name);
Result<uint64_t> sys_lremovexattr(Task& task, UserString path, UserString name);
Result<uint64_t> sys_fremovexattr(Task& task, GuestFd fd, UserString name);
Result<uint64_t> sys_removexattrat(Task& task, GuestFd dirfd, UserString path, uint32_t at_flags,
                                   UserString name);

}  // namespace run9::sentry
