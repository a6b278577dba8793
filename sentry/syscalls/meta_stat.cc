// stat, statx, statfs, access.
#include <linux/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>

#include "sentry/syscalls/file_util.h"
#include "sentry/syscalls/meta.h"
#include "vfs/permission.h"

namespace run9::sentry {
namespace {

constexpr uint64_t kStatfsValid = 0x20;  // ST_VALID
constexpr int kAtStatxSyncType = 0x6000;
constexpr uint32_t kStatxMntIdUnique = 0x4000;

Result<vfs::Stat> stat_file(Task& task, vfs::File& file) {
  if ((file.flags() & O_PATH) != 0) return task.mounts().stat(task, file.path());
  vfs::Stat st = TRY(file.getattr(task));
  if (st.dev == 0) st.dev = file.inode().fs().dev();
  return st;
}

Result<vfs::Stat> stat_place(Task& task, const Place& place) {
  if (place.file != nullptr) return stat_file(task, *place.file);
  return task.mounts().stat(task, place.path);
}

ToldStat to_told(const vfs::Stat& st) {
  const auto stamp = [](vfs::Timespec t) { return ToldStat::Time{t.sec, t.nsec}; };
  return {.dev_major = gnu_dev_major(st.dev), .dev_minor = gnu_dev_minor(st.dev), .rdev_major = gnu_dev_major(st.rdev), .rdev_minor = gnu_dev_minor(st.rdev),
          .mode = st.mode, .nlink = st.nlink, .uid = st.uid, .gid = st.gid,
          .blksize = st.blksize, .mask = st.mask,
          .atime = stamp(st.atime), .mtime = stamp(st.mtime), .ctime = stamp(st.ctime), .btime = (st.mask & STATX_BTIME) != 0 ? stamp(st.btime) : ToldStat::Time{},
          .ino = st.ino, .size = st.size, .blocks = st.blocks, .attributes = 0, .mount_id = 0};
}

LinuxStat to_stat(const vfs::Stat& st) {
  LinuxStat out;
  to_linux(to_told(st), out);
  return out;
}

ToldStat to_told(const vfs::Stat& st, const vfs::Path& path) {
  ToldStat out = to_told(st);
  if (path.mount != nullptr) {
    if (path.dentry == path.mount->root) out.attributes = STATX_ATTR_MOUNT_ROOT;
    out.mask |= STATX_MNT_ID;
    out.mount_id = static_cast<uint64_t>(path.mount->id);
  }
  return out;
}

Result<uint64_t> write_stat(Task& task, const vfs::Stat& st, uint64_t buf) {
  const LinuxStat out = to_stat(st);
  TRY(task.memory().copy_out(buf, &out, sizeof out));
  return 0;
}

// From the root or the working directory: who asks for it again may find it by himself.
void was_found(Task& task, GuestFd dirfd, std::string_view path, uint32_t lookup, const Place& place) {
  if (dirfd == kAtFdcwd || path.starts_with('/')) task.kernel().names().found(task, path, (lookup & vfs::kFollow) != 0, *place.path.inode());
}

Result<uint64_t> stat_path(Task& task, GuestFd dirfd, UserString path, uint64_t buf,
                           uint32_t lookup) {
  const std::string name = TRY(task.memory().read_path(path));
  const Place place = TRY(resolve(task, dirfd, name, lookup | vfs::kStatOnly));
  TRY(write_stat(task, TRY(stat_place(task, place)), buf));
  was_found(task, dirfd, name, lookup, place);
  return 0;
}

Result<uint64_t> statfs_place(Task& task, const vfs::Path& path, uint64_t buf) {
  const vfs::StatFs s = TRY(task.mounts().statfs(task, path));
  struct ::statfs out {};
  out.f_type = static_cast<long>(s.type);
  out.f_bsize = static_cast<long>(s.bsize);
  out.f_blocks = s.blocks;
  out.f_bfree = s.bfree;
  out.f_bavail = s.bavail;
  out.f_files = s.files;
  out.f_ffree = s.ffree;
  std::memcpy(&out.f_fsid, &s.fsid, sizeof out.f_fsid);
  out.f_namelen = s.namelen;
  out.f_frsize = static_cast<long>(s.bsize);
  uint64_t flags = kStatfsValid;
  if (path.mount != nullptr) flags |= path.mount->flags;
  if (path.inode()->fs().read_only()) flags |= vfs::kMntReadOnly;
  out.f_flags = static_cast<long>(flags);
  TRY(task.memory().copy_out(buf, &out, sizeof out));
  return 0;
}

Result<void> check_access(Task& task, vfs::OpContext& ctx, GuestFd dirfd, std::string_view name,
                          uint32_t mode, uint32_t lookup) {
  vfs::Path path;
  if (name.empty() && (lookup & vfs::kEmptyPath) != 0) {
    path = TRY(resolve(task, dirfd, name, lookup | vfs::kStatOnly)).path;
  } else {
    if (name.empty()) return Errno{ENOENT};
    const vfs::Path start = TRY(task.start_of(dirfd, name));
    path = TRY(task.mounts().walk(ctx, task.fs(), start, name, lookup));
  }
  return task.mounts().access(ctx, path, mode);
}

}  // namespace

Result<LinuxStat> stat_of(Task& task, vfs::File& file) { return to_stat(TRY(stat_file(task, file))); }
Result<ToldStat> told_stat(Task& task, const vfs::Path& path) { return to_told(TRY(task.mounts().stat(task, path)), path); }

Result<uint64_t> sys_stat(Task& task, UserString path, uint64_t buf) {
  return stat_path(task, kAtFdcwd, path, buf, vfs::kFollow);
}

Result<uint64_t> sys_lstat(Task& task, UserString path, uint64_t buf) {
  return stat_path(task, kAtFdcwd, path, buf, 0);
}

Result<uint64_t> sys_fstat(Task& task, GuestFd fd, uint64_t buf) {
  const auto file = TRY(task.fds().get(fd));
  return write_stat(task, TRY(stat_file(task, *file)), buf);
}

Result<uint64_t> sys_newfstatat(Task& task, GuestFd dirfd, UserString path, uint64_t buf,
                                int flags) {
  constexpr int kKnown = AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH | AT_NO_AUTOMOUNT | kAtStatxSyncType;
  if ((flags & ~kKnown) != 0) return Errno{EINVAL};
  if (path.is_null() && (flags & AT_EMPTY_PATH) != 0 && dirfd != kAtFdcwd) {
    return sys_fstat(task, dirfd, buf);
  }
  return stat_path(task, dirfd, path, buf, lookup_flags(flags));
}

Result<uint64_t> sys_statx(Task& task, GuestFd dirfd, UserString path, int flags, uint32_t mask,
                           uint64_t buf) {
  constexpr int kKnown = AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH | AT_NO_AUTOMOUNT | kAtStatxSyncType;
  if ((mask & STATX__RESERVED) != 0) return Errno{EINVAL};
  if ((flags & kAtStatxSyncType) == kAtStatxSyncType) return Errno{EINVAL};
  if ((flags & ~kKnown) != 0) return Errno{EINVAL};
  const bool no_path = path.is_null() && (flags & AT_EMPTY_PATH) != 0;
  const std::string name = no_path ? std::string() : TRY(task.memory().read_path(path));
  const uint32_t lookup = no_path ? vfs::kEmptyPath : lookup_flags(flags);
  const Place place = TRY(resolve(task, dirfd, name, lookup | vfs::kStatOnly));
  struct ::statx out;
  to_linux(to_told(TRY(stat_place(task, place)), place.path), out);
  if ((mask & kStatxMntIdUnique) != 0 && (out.stx_mask & STATX_MNT_ID) != 0) {
    out.stx_mask = (out.stx_mask & ~STATX_MNT_ID) | kStatxMntIdUnique;
  }
  TRY(task.memory().copy_out(buf, &out, sizeof out));
  was_found(task, dirfd, name, lookup, place);
  return 0;
}

Result<uint64_t> sys_statfs(Task& task, UserString path, uint64_t buf) {
  return statfs_place(task, TRY(resolve(task, kAtFdcwd, path, vfs::kFollow)).path, buf);
}

Result<uint64_t> sys_fstatfs(Task& task, GuestFd fd, uint64_t buf) {
  return statfs_place(task, TRY(task.fds().get(fd))->path(), buf);
}

Result<uint64_t> sys_access(Task& task, UserString path, int mode) {
  return sys_faccessat2(task, kAtFdcwd, path, mode, 0);
}

Result<uint64_t> sys_faccessat(Task& task, GuestFd dirfd, UserString path, int mode) {
  return sys_faccessat2(task, dirfd, path, mode, 0);
}

Result<uint64_t> sys_faccessat2(Task& task, GuestFd dirfd, UserString user_path, int mode,
                                int flags) {
  if ((mode & ~(R_OK | W_OK | X_OK)) != 0) return Errno{EINVAL};
  if ((flags & ~(AT_EACCESS | AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)) != 0) return Errno{EINVAL};
  const std::string path = TRY(task.memory().read_path(user_path));
  const uint32_t lookup = lookup_flags(flags);
  const auto wanted = static_cast<uint32_t>(mode);
  if (vfs::acts_by_real_ids(task.creds()) || (flags & AT_EACCESS) != 0) {
    TRY(check_access(task, task, dirfd, path, wanted, lookup));
    return 0;
  }
  ContextWithCreds ctx(task, vfs::real_credentials(task.creds()));
  TRY(check_access(task, ctx, dirfd, path, wanted, lookup));
  return 0;
}

}  // namespace run9::sentry
