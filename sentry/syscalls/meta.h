// Calls that show and change attributes: stat, access, chmod, chown, utimes, statfs.
#pragma once
#include "sentry/platform/told_stat.h"
#include "sentry/syscalls/syscall.h"

namespace run9::sentry {

Result<uint64_t> sys_stat(Task& task, UserString path, uint64_t buf);
Result<uint64_t> sys_lstat(Task& task, UserString path, uint64_t buf);
Result<uint64_t> sys_fstat(Task& task, GuestFd fd, uint64_t buf);
Result<uint64_t> sys_newfstatat(Task& task, GuestFd dirfd, UserString path, uint64_t buf,
                                int flags);
Result<uint64_t> sys_statx(Task& task, GuestFd dirfd, UserString path, int flags, uint32_t mask,
                           uint64_t buf);
Result<uint64_t> sys_statfs(Task& task, UserString path, uint64_t buf);
Result<uint64_t> sys_fstatfs(Task& task, GuestFd fd, uint64_t buf);

// What fstat(2) gives.
Result<LinuxStat> stat_of(Task& task, vfs::File& file);
// What stat(2) and statx(2) give of this place.
Result<ToldStat> told_stat(Task& task, const vfs::Path& path);

Result<uint64_t> sys_access(Task& task, UserString path, int mode);
Result<uint64_t> sys_faccessat(Task& task, GuestFd dirfd, UserString path, int mode);
Result<uint64_t> sys_faccessat2(Task& task, GuestFd dirfd, UserString path, int mode, int flags);

Result<uint64_t> sys_chmod(Task& task, UserString path, uint32_t mode);
Result<uint64_t> sys_fchmod(Task& task, GuestFd fd, uint32_t mode);
Result<uint64_t> sys_fchmodat(Task& task, GuestFd dirfd, UserString path, uint32_t mode);
Result<uint64_t> sys_fchmodat2(Task& task, GuestFd dirfd, UserString path, uint32_t mode,
                               int flags);
Result<uint64_t> sys_chown(Task& task, UserString path, uint32_t uid, uint32_t gid);
Result<uint64_t> sys_lchown(Task& task, UserString path, uint32_t uid, uint32_t gid);
Result<uint64_t> sys_fchown(Task& task, GuestFd fd, uint32_t uid, uint32_t gid);
Result<uint64_t> sys_fchownat(Task& task, GuestFd dirfd, UserString path, uint32_t uid,
                              uint32_t gid, int flags);

Result<uint64_t> sys_utime(Task& task, UserString path, uint64_t times);
Result<uint64_t> sys_utimes(Task& task, UserString path, uint64_t times);
Result<uint64_t> sys_futimesat(Task& task, GuestFd dirfd, UserString path, uint64_t times);
Result<uint64_t> sys_utimensat(Task& task, GuestFd dirfd, UserString path, uint64_t times,
                               int flags);

}  // namespace run9::sentry
