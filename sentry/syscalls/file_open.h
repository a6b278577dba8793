// open(2) and its family, creat(2), memfd_create(2), name_to_handle_at(2).
#pragma once
#include "sentry/syscalls/syscall.h"

namespace run9::sentry {

Result<uint64_t> sys_open(Task& task, UserString path, int flags, uint32_t mode);
Result<uint64_t> sys_openat(Task& task, GuestFd dirfd, UserString path, int flags, uint32_t mode);
Result<uint64_t> sys_openat2(Task& task, GuestFd dirfd, UserString path, uint64_t how,
                             uint64_t size);
Result<uint64_t> sys_creat(Task& task, UserString path, uint32_t mode);
Result<uint64_t> sys_memfd_create(Task& task, UserString name, uint32_t flags);
Result<uint64_t> sys_name_to_handle_at(Task& task, GuestFd dirfd, UserString path, uint64_t handle,
                                       uint64_t mount_id, int flags);

}  // namespace run9::sentry
