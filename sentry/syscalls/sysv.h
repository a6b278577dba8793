// System V IPC (svipc(7)).
#pragma once
#include "sentry/syscalls/syscall.h"

namespace run9::sentry {

struct SysvLimits;  // ipc/sysv.h
const SysvLimits& sysv_limits(Task& task);

Result<uint64_t> sys_shmget(Task& task, int32_t key, uint64_t size, int flags);
Result<uint64_t> sys_shmat(Task& task, int32_t id, uint64_t address, int flags);
Result<uint64_t> sys_shmdt(Task& task, uint64_t address);
Result<uint64_t> sys_shmctl(Task& task, int32_t id, int command, uint64_t buffer);
Result<uint64_t> sys_semget(Task& task, int32_t key, int count, int flags);
Result<uint64_t> sys_semop(Task& task, int32_t id, uint64_t ops, uint32_t count);
Result<uint64_t> sys_semtimedop(Task& task, int32_t id, uint64_t ops, uint32_t count, uint64_t timeout);
Result<uint64_t> sys_semctl(Task& task, int32_t id, int number, int command, uint64_t arg);
Result<uint64_t> sys_msgget(Task& task, int32_t key, int flags);
Result<uint64_t> sys_msgsnd(Task& task, int32_t id, uint64_t message, uint64_t size, int flags);
Result<uint64_t> sys_msgrcv(Task& task, int32_t id, uint64_t message, uint64_t size, int64_t type, int flags);
Result<uint64_t> sys_msgctl(Task& task, int32_t id, int command, uint64_t buffer);

}  // namespace run9::sentry
