// Calls about the machine and the process as a whole: uname, prctl, limits, memory policy.
#pragma once
#include "sentry/syscalls/syscall.h"
#include "sentry/syscalls/sysv.h"  // part of this family, for the table

namespace run9::sentry {

Result<uint64_t> sys_uname(Task& task, uint64_t out);
Result<uint64_t> sys_sethostname(Task& task, uint64_t name, int length);
Result<uint64_t> sys_setdomainname(Task& task, uint64_t name, int length);
Result<uint64_t> sys_sysinfo(Task& task, uint64_t out);
Result<uint64_t> sys_syslog(Task& task, int type, uint64_t buffer, int length);
Result<uint64_t> sys_getcpu(Task& task, UserPtr<uint32_t> cpu, UserPtr<uint32_t> node);
Result<uint64_t> sys_getrandom(Task& task, uint64_t buffer, uint64_t count, uint32_t flags);
Result<uint64_t> sys_set_tid_address(Task& task, uint64_t address);
Result<uint64_t> sys_personality(Task& task, uint32_t persona);
Result<uint64_t> sys_unshare(Task& task, uint64_t flags);
Result<uint64_t> sys_setns(Task& task, GuestFd fd, int type);
Result<uint64_t> sys_kcmp(Task& task, int32_t pid1, int32_t pid2, int type, uint64_t a,
                          uint64_t b);
// Calls no sandbox gives: EPERM without the capability, as Linux, ENOSYS with it.
Result<uint64_t> sys_acct(Task& task);
Result<uint64_t> sys_swapon(Task& task);
Result<uint64_t> sys_swapoff(Task& task);
Result<uint64_t> sys_reboot(Task& task);
Result<uint64_t> sys_kexec_load(Task& task);
Result<uint64_t> sys_init_module(Task& task);
Result<uint64_t> sys_delete_module(Task& task);
Result<uint64_t> sys_finit_module(Task& task);
Result<uint64_t> sys_iopl(Task& task);
Result<uint64_t> sys_ioperm(Task& task);
// The caller's own terminal hangs up.
Result<uint64_t> sys_vhangup(Task& task);

// system_prctl.cc
Result<uint64_t> sys_prctl(Task& task, int option, uint64_t a2, uint64_t a3, uint64_t a4,
                           uint64_t a5);
Result<uint64_t> sys_arch_prctl(Task& task, int option, uint64_t address);

// system_limits.cc
Result<uint64_t> sys_getrlimit(Task& task, uint32_t which, UserPtr<rlimit> out);
Result<uint64_t> sys_setrlimit(Task& task, uint32_t which, UserPtr<rlimit> in);
Result<uint64_t> sys_prlimit64(Task& task, int32_t pid, uint32_t which, UserPtr<rlimit> in,
                               UserPtr<rlimit> out);

// system_memory.cc
Result<uint64_t> sys_mlock(Task& task, uint64_t address, uint64_t length);
Result<uint64_t> sys_mlock2(Task& task, uint64_t address, uint64_t length, int flags);
Result<uint64_t> sys_munlock(Task& task, uint64_t address, uint64_t length);
Result<uint64_t> sys_mlockall(Task& task, int flags);
Result<uint64_t> sys_munlockall(Task& task);
Result<uint64_t> sys_mincore(Task& task, uint64_t address, uint64_t length, uint64_t out);
Result<uint64_t> sys_membarrier(Task& task, int command, uint32_t flags, int cpu);
Result<uint64_t> sys_pkey_alloc(Task& task, uint64_t flags, uint64_t rights);
Result<uint64_t> sys_pkey_free(Task& task, int key);
Result<uint64_t> sys_mbind(Task& task, uint64_t address, uint64_t length, uint64_t mode,
                           uint64_t nodes, uint64_t max_node, uint32_t flags);
Result<uint64_t> sys_set_mempolicy(Task& task, int mode, uint64_t nodes, uint64_t max_node);
Result<uint64_t> sys_get_mempolicy(Task& task, UserPtr<int> mode, uint64_t nodes,
                                   uint64_t max_node, uint64_t address, uint64_t flags);

}  // namespace run9::sentry
