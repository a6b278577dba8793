// Who a process is: ids, groups, sessions, capabilities (credentials(7), capabilities(7)).
#pragma once
#include "sentry/syscalls/syscall.h"

namespace run9::sentry {

// commit_creds(): a change of identity makes the process undumpable and forgets PDEATHSIG.
void commit_creds(Task& task, vfs::Credentials next);

Result<uint64_t> sys_getpid(Task& task);
Result<uint64_t> sys_gettid(Task& task);
Result<uint64_t> sys_getppid(Task& task);
Result<uint64_t> sys_getuid(Task& task);
Result<uint64_t> sys_geteuid(Task& task);
Result<uint64_t> sys_getgid(Task& task);
Result<uint64_t> sys_getegid(Task& task);
Result<uint64_t> sys_setuid(Task& task, uint32_t uid);
Result<uint64_t> sys_setgid(Task& task, uint32_t gid);
Result<uint64_t> sys_setreuid(Task& task, uint32_t ruid, uint32_t euid);
Result<uint64_t> sys_setregid(Task& task, uint32_t rgid, uint32_t egid);
Result<uint64_t> sys_setresuid(Task& task, uint32_t ruid, uint32_t euid, uint32_t suid);
Result<uint64_t> sys_setresgid(Task& task, uint32_t rgid, uint32_t egid, uint32_t sgid);
Result<uint64_t> sys_getresuid(Task& task, UserPtr<uint32_t> ruid, UserPtr<uint32_t> euid,
                               UserPtr<uint32_t> suid);
Result<uint64_t> sys_getresgid(Task& task, UserPtr<uint32_t> rgid, UserPtr<uint32_t> egid,
                               UserPtr<uint32_t> sgid);
Result<uint64_t> sys_setfsuid(Task& task, uint32_t uid);
Result<uint64_t> sys_setfsgid(Task& task, uint32_t gid);
Result<uint64_t> sys_getgroups(Task& task, int size, UserPtr<uint32_t> list);
Result<uint64_t> sys_setgroups(Task& task, int size, UserPtr<uint32_t> list);
Result<uint64_t> sys_setpgid(Task& task, int32_t pid, int32_t pgid);
Result<uint64_t> sys_getpgid(Task& task, int32_t pid);
Result<uint64_t> sys_getpgrp(Task& task);
Result<uint64_t> sys_setsid(Task& task);
Result<uint64_t> sys_getsid(Task& task, int32_t pid);
Result<uint64_t> sys_capget(Task& task, uint64_t header, uint64_t data);
Result<uint64_t> sys_capset(Task& task, uint64_t header, uint64_t data);

}  // namespace run9::sentry
