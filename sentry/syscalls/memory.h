// Mappings.
#pragma once
#include "sentry/syscalls/syscall.h"

namespace run9::sentry {

Result<uint64_t> sys_mmap(Task&, uint64_t addr, uint64_t length, int prot, int flags, GuestFd fd,
                          uint64_t offset);
Result<uint64_t> sys_munmap(Task&, uint64_t addr, uint64_t length);
Result<uint64_t> sys_mprotect(Task&, uint64_t addr, uint64_t length, int prot);
Result<uint64_t> sys_pkey_mprotect(Task&, uint64_t addr, uint64_t length, int prot, int key);
Result<uint64_t> sys_mremap(Task&, uint64_t old_addr, uint64_t old_len, uint64_t new_len, int flags,
                            uint64_t new_addr);
Result<uint64_t> sys_brk(Task&, uint64_t addr);
Result<uint64_t> sys_madvise(Task&, uint64_t addr, uint64_t length, int advice);
Result<uint64_t> sys_msync(Task&, uint64_t addr, uint64_t length, int flags);

// process_vm.cc
Result<uint64_t> sys_process_vm_readv(Task& task, int32_t pid, uint64_t local, uint64_t local_count,
                                      uint64_t remote, uint64_t remote_count, uint64_t flags);
Result<uint64_t> sys_process_vm_writev(Task& task, int32_t pid, uint64_t local, uint64_t local_count,
                                       uint64_t remote, uint64_t remote_count, uint64_t flags);

}  // namespace run9::sentry
