// clone, exec, exit, wait.
#pragma once
#include "sentry/syscalls/syscall.h"

namespace run9::sentry {

Result<uint64_t> sys_clone(Task&, uint64_t flags, uint64_t stack, uint64_t parent_tid, uint64_t child_tid,
                           uint64_t tls);
Result<uint64_t> sys_clone3(Task&, UserPtr<void> args, uint64_t size);
Result<uint64_t> sys_fork(Task&);
Result<uint64_t> sys_vfork(Task&);
Result<uint64_t> sys_execve(Task&, UserString path, UserPtr<uint64_t> argv, UserPtr<uint64_t> envp);
Result<uint64_t> sys_execveat(Task&, GuestFd dirfd, UserString path, UserPtr<uint64_t> argv,
                              UserPtr<uint64_t> envp, int flags);
Result<uint64_t> sys_exit(Task&, int status);
Result<uint64_t> sys_exit_group(Task&, int status);
Result<uint64_t> sys_wait4(Task&, int32_t pid, UserPtr<int32_t> status, int options, UserPtr<void> usage);
Result<uint64_t> sys_waitid(Task&, int type, int32_t id, UserPtr<SigInfo> info, int options,
                            UserPtr<void> usage);
Result<uint64_t> sys_restart_syscall(Task&);

}  // namespace run9::sentry
