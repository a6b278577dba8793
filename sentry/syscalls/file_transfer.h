// Calls that move data from one descriptor to another: sendfile, copy_file_range, splice, tee, vmsplice.
#pragma once
#include "sentry/syscalls/syscall.h"

namespace run9::sentry {

Result<uint64_t> sys_sendfile(Task& task, GuestFd out, GuestFd in, uint64_t offset,
                              uint64_t count);
Result<uint64_t> sys_copy_file_range(Task& task, GuestFd in, uint64_t in_offset, GuestFd out,
                                     uint64_t out_offset, uint64_t count, uint32_t flags);
Result<uint64_t> sys_splice(Task& task, GuestFd in, uint64_t in_offset, GuestFd out,
                            uint64_t out_offset, uint64_t count, uint32_t flags);
Result<uint64_t> sys_tee(Task& task, GuestFd in, GuestFd out, uint64_t count, uint32_t flags);
Result<uint64_t> sys_vmsplice(Task& task, GuestFd fd, uint64_t iov, uint64_t count,
                              uint32_t flags);

}  // namespace run9::sentry
