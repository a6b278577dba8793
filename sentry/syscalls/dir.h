// Calls on directories and on a task's place in the tree: getdents, getcwd, chdir, chroot, umask.
#pragma once
#include "sentry/syscalls/syscall.h"

namespace run9::sentry {

Result<uint64_t> sys_getdents(Task& task, GuestFd fd, uint64_t buf, uint32_t count);
Result<uint64_t> sys_getdents64(Task& task, GuestFd fd, uint64_t buf, uint32_t count);
Result<uint64_t> sys_getcwd(Task& task, uint64_t buf, uint64_t size);
Result<uint64_t> sys_chdir(Task& task, UserString path);
Result<uint64_t> sys_fchdir(Task& task, GuestFd fd);
Result<uint64_t> sys_chroot(Task& task, UserString path);
Result<uint64_t> sys_umask(Task& task, uint32_t mask);

}  // namespace run9::sentry
