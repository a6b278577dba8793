#include "sentry/syscalls/names.h"

#include <sys/sysmacros.h>

#include "sentry/syscalls/file_util.h"

namespace run9::sentry {
namespace {

// A name to act on, and where a relative one begins.
struct Name {
  std::string path;
  vfs::Path start;
};

Result<Name> read_name(Task& task, GuestFd dirfd, UserString user_path) {
  std::string path = TRY(task.memory().read_path(user_path));
  if (path.empty()) return Errno{ENOENT};
  vfs::Path start = TRY(task.start_of(dirfd, path));
  return Name{std::move(path), std::move(start)};
}

// new_decode_dev(): the 32-bit form that mknod takes.
uint64_t decode_dev(uint32_t dev) {
  return gnu_dev_makedev((dev & 0xfff00) >> 8, (dev & 0xff) | ((dev >> 12) & 0xfff00));
}

// may_mknod(). Who may make a device is asked when the name is known to be free.
Result<uint32_t> check_mknod_mode(uint32_t mode) {
  switch (mode & S_IFMT) {
    case 0: return mode | S_IFREG;
    case S_IFREG:
    case S_IFIFO:
    case S_IFSOCK:
    case S_IFCHR:
    case S_IFBLK: return mode;
    case S_IFDIR: return Errno{EPERM};
    default: return Errno{EINVAL};
  }
}

}  // namespace

Result<uint64_t> sys_mkdir(Task& task, UserString path, uint32_t mode) {
  return sys_mkdirat(task, kAtFdcwd, path, mode);
}

Result<uint64_t> sys_mkdirat(Task& task, GuestFd dirfd, UserString path, uint32_t mode) {
  const Name name = TRY(read_name(task, dirfd, path));
  TRY(task.mounts().mkdir(task, task.fs(), name.start, name.path, mode & 01777));
  return 0;
}

Result<uint64_t> sys_rmdir(Task& task, UserString path) {
  return sys_unlinkat(task, kAtFdcwd, path, AT_REMOVEDIR);
}

Result<uint64_t> sys_unlink(Task& task, UserString path) {
  return sys_unlinkat(task, kAtFdcwd, path, 0);
}

Result<uint64_t> sys_unlinkat(Task& task, GuestFd dirfd, UserString path, int flags) {
  if ((flags & ~AT_REMOVEDIR) != 0) return Errno{EINVAL};
  const Name name = TRY(read_name(task, dirfd, path));
  if ((flags & AT_REMOVEDIR) != 0) {
    TRY(task.mounts().rmdir(task, task.fs(), name.start, name.path));
  } else {
    TRY(task.mounts().unlink(task, task.fs(), name.start, name.path));
  }
  return 0;
}

Result<uint64_t> sys_link(Task& task, UserString from, UserString to) {
  return sys_linkat(task, kAtFdcwd, from, kAtFdcwd, to, 0);
}

Result<uint64_t> sys_linkat(Task& task, GuestFd from_dir, UserString from, GuestFd to_dir,
                            UserString to, int flags) {
  if ((flags & ~(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH)) != 0) return Errno{EINVAL};
  // A descriptor somebody handed over must not become a name that outlives it.
  if ((flags & AT_EMPTY_PATH) != 0 && !task.creds().has_cap(CAP_DAC_READ_SEARCH)) {
    return Errno{ENOENT};
  }
  const Place existing = TRY(resolve(task, from_dir, from, lookup_flags(flags, false)));
  const Name name = TRY(read_name(task, to_dir, to));
  TRY(task.mounts().link(task, task.fs(), existing.path, name.start, name.path));
  return 0;
}

Result<uint64_t> sys_symlink(Task& task, UserString target, UserString path) {
  return sys_symlinkat(task, target, kAtFdcwd, path);
}

Result<uint64_t> sys_symlinkat(Task& task, UserString target, GuestFd dirfd, UserString path) {
  const std::string text = TRY(task.memory().read_path(target));
  if (text.empty()) return Errno{ENOENT};
  const Name name = TRY(read_name(task, dirfd, path));
  TRY(task.mounts().symlink(task, task.fs(), name.start, name.path, text));
  return 0;
}

Result<uint64_t> sys_readlink(Task& task, UserString path, uint64_t buf, int size) {
  return sys_readlinkat(task, kAtFdcwd, path, buf, size);
}

Result<uint64_t> sys_readlinkat(Task& task, GuestFd dirfd, UserString user_path, uint64_t buf,
                                int size) {
  if (size <= 0) return Errno{EINVAL};
  const std::string path = TRY(task.memory().read_path(user_path));
  // "" is for a symlink opened with O_PATH | O_NOFOLLOW.
  const Place place = TRY(resolve(task, dirfd, path, vfs::kEmptyPath));
  if (!place.path.inode()->is_symlink()) return Errno{path.empty() ? ENOENT : EINVAL};
  const std::string text = TRY(task.mounts().readlink(task, place.path));
  const size_t n = std::min<size_t>(text.size(), static_cast<size_t>(size));
  TRY(task.memory().copy_out(buf, text.data(), n));
  return n;
}

Result<uint64_t> sys_rename(Task& task, UserString from, UserString to) {
  return sys_renameat2(task, kAtFdcwd, from, kAtFdcwd, to, 0);
}

Result<uint64_t> sys_renameat(Task& task, GuestFd from_dir, UserString from, GuestFd to_dir,
                              UserString to) {
  return sys_renameat2(task, from_dir, from, to_dir, to, 0);
}

Result<uint64_t> sys_renameat2(Task& task, GuestFd from_dir, UserString from, GuestFd to_dir,
                               UserString to, uint32_t flags) {
  using F = vfs::RenameFlags;
  if ((flags & ~(F::kNoReplace | F::kExchange | F::kWhiteout)) != 0) return Errno{EINVAL};
  if ((flags & F::kExchange) != 0 && flags != F::kExchange) return Errno{EINVAL};
  if ((flags & F::kWhiteout) != 0 && !task.creds().has_cap(CAP_MKNOD)) return Errno{EPERM};
  const Name a = TRY(read_name(task, from_dir, from));
  const Name b = TRY(read_name(task, to_dir, to));
  TRY(task.mounts().rename(task, task.fs(), a.start, a.path, b.start, b.path, flags));
  return 0;
}

Result<uint64_t> sys_mknod(Task& task, UserString path, uint32_t mode, uint32_t dev) {
  return sys_mknodat(task, kAtFdcwd, path, mode, dev);
}

Result<uint64_t> sys_mknodat(Task& task, GuestFd dirfd, UserString path, uint32_t mode,
                             uint32_t dev) {
  const uint64_t rdev = decode_dev(dev);
  mode = TRY(check_mknod_mode(mode & (S_IFMT | 07777)));
  const bool device = (mode & S_IFMT) == S_IFCHR || (mode & S_IFMT) == S_IFBLK;
  const Name name = TRY(read_name(task, dirfd, path));
  TRY(task.mounts().mknod(task, task.fs(), name.start, name.path, mode, device ? rdev : 0));
  return 0;
}

}  // namespace run9::sentry
