// pipe(2).
#pragma once
#include "sentry/syscalls/syscall.h"

namespace run9::sentry {

Result<uint64_t> sys_pipe(Task& task, UserPtr<int> out);
Result<uint64_t> sys_pipe2(Task& task, UserPtr<int> out, int flags);

// Installs two files and tells the guest their numbers (pipe, socketpair).
Result<uint64_t> install_and_tell(Task& task, vfs::FileRef a, vfs::FileRef b, bool cloexec,
                                  UserPtr<int> out);

}  // namespace run9::sentry
