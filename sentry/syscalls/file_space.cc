#include "sentry/syscalls/file_space.h"
#include "vfs/watch.h"

#include <linux/falloc.h>

#include <set>

#include "sentry/syscalls/file_io.h"
#include "sentry/syscalls/file_util.h"

namespace run9::sentry {
namespace {

// inode_newsize_ok(): a file that grows past RLIMIT_FSIZE.
Result<void> check_new_size(Task& task, vfs::Stat now, uint64_t size) {
  if (size <= now.size || size <= task.file_size_limit()) return ok();
  const SigInfo info = SigInfo::user(SIGXFSZ, SI_USER, task.tgid(), task.creds().ruid);
  TRY(task.kernel().send_task_signal(task, info));
  return Errno{EFBIG};
}

Result<uint64_t> set_size(Task& task, const vfs::Path& path, uint64_t size, vfs::File* file) {
  if (task.file_size_limit() != RLIM_INFINITY) {
    TRY(check_new_size(task, TRY(path.inode()->getattr(task)), size));
  }
  TRY(task.mounts().setattr(task, path, {.valid = vfs::kSetSize, .size = size}, file));
  return 0;
}

// vfs_fallocate()'s checks of the mode.
Result<void> check_fallocate_mode(int mode) {
  constexpr int kKnown = FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_COLLAPSE_RANGE |
                         FALLOC_FL_ZERO_RANGE | FALLOC_FL_INSERT_RANGE | FALLOC_FL_UNSHARE_RANGE;
  if ((mode & ~kKnown) != 0) return Errno{EOPNOTSUPP};
  const int action = mode & ~FALLOC_FL_KEEP_SIZE;
  if ((action & (action - 1)) != 0) return Errno{EOPNOTSUPP};
  if (action == FALLOC_FL_PUNCH_HOLE && mode == action) return Errno{EOPNOTSUPP};
  const bool moves = action == FALLOC_FL_COLLAPSE_RANGE || action == FALLOC_FL_INSERT_RANGE;
  if (moves && mode != action) return Errno{EINVAL};
  return ok();
}

Result<uint64_t> sync_file(Task& task, GuestFd fd, bool data_only) {
  TRY(TRY(task.fds().get_not_path(fd))->fsync(task, data_only));
  return 0;
}

}  // namespace

Result<uint64_t> sys_lseek(Task& task, GuestFd fd, int64_t offset, uint32_t whence) {
  const auto file = TRY(task.fds().get_not_path(fd));
  if (whence > SEEK_HOLE) return Errno{EINVAL};
  if (file->is_stream()) return Errno{ESPIPE};
  PositionLock lock(task, *file);
  TRY(lock.acquire());
  return file->seek(task, offset, static_cast<int>(whence));
}

Result<uint64_t> sys_truncate(Task& task, UserString user_path, int64_t length) {
  if (length < 0) return Errno{EINVAL};
  const Place place = TRY(resolve(task, kAtFdcwd, user_path, vfs::kFollow));
  if (place.path.inode()->is_dir()) return Errno{EISDIR};
  if (!place.path.inode()->is_regular()) return Errno{EINVAL};
  if (place.path.inode()->executed()) return Errno{ETXTBSY};
  return set_size(task, place.path, static_cast<uint64_t>(length), nullptr);
}

Result<uint64_t> sys_ftruncate(Task& task, GuestFd fd, int64_t length) {
  if (length < 0) return Errno{EINVAL};
  const auto file = TRY(task.fds().get_not_path(fd));
  if (!file->inode().is_regular() || !file->writable()) return Errno{EINVAL};
  return set_size(task, file->path(), static_cast<uint64_t>(length), file.get());
}

Result<uint64_t> sys_fallocate(Task& task, GuestFd fd, int mode, int64_t offset, int64_t length) {
  const auto file = TRY(task.fds().get_not_path(fd));
  if (offset < 0 || length <= 0) return Errno{EINVAL};
  TRY(check_fallocate_mode(mode));
  if (!file->writable()) return Errno{EBADF};
  const auto type = file->inode().type();
  if (type == S_IFIFO) return Errno{ESPIPE};
  if (type == S_IFDIR) return Errno{EISDIR};
  if (type != S_IFREG && type != S_IFBLK) return Errno{ENODEV};
  int64_t end = 0;
  if (__builtin_add_overflow(offset, length, &end)) return Errno{EFBIG};
  const bool grows = (mode & (FALLOC_FL_KEEP_SIZE | FALLOC_FL_COLLAPSE_RANGE)) == 0;
  if (grows && task.file_size_limit() != RLIM_INFINITY) {
    TRY(check_new_size(task, TRY(file->getattr(task)), static_cast<uint64_t>(end)));
  }
  TRY(file->fallocate(task, mode, static_cast<uint64_t>(offset), static_cast<uint64_t>(length)));
  vfs::notify_path(file->path(), IN_MODIFY);
  return 0;
}

Result<uint64_t> sys_fsync(Task& task, GuestFd fd) { return sync_file(task, fd, false); }
Result<uint64_t> sys_fdatasync(Task& task, GuestFd fd) { return sync_file(task, fd, true); }

Result<uint64_t> sys_sync(Task& task) {
  // Copied: a sync blocks, and mounts may come and go meanwhile.
  std::set<vfs::FileSystemRef> all;
  for (const auto& mount : task.mounts().mounts()) all.insert(mount->fs);
  for (const auto& fs : all) (void)fs->sync(task).has_value();  // sync(2) cannot fail
  return 0;
}

Result<uint64_t> sys_syncfs(Task& task, GuestFd fd) {
  const auto file = TRY(task.fds().get_not_path(fd));
  TRY(file->inode().fs().sync(task));
  return 0;
}

Result<uint64_t> sys_sync_file_range(Task& task, GuestFd fd, int64_t offset, int64_t length,
                                     uint32_t flags) {
  const auto file = TRY(task.fds().get_not_path(fd));
  constexpr uint32_t kKnown =
      SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER;
  int64_t end = 0;
  if ((flags & ~kKnown) != 0 || offset < 0 || length < 0) return Errno{EINVAL};
  if (__builtin_add_overflow(offset, length, &end)) return Errno{EINVAL};
  const auto type = file->inode().type();
  if (type != S_IFREG && type != S_IFBLK && type != S_IFDIR && type != S_IFLNK) {
    return Errno{ESPIPE};
  }
  if (flags != 0) TRY(file->fsync(task, true));
  return 0;
}

Result<uint64_t> sys_readahead(Task& task, GuestFd fd, int64_t, int64_t length) {
  const auto file = TRY(task.fds().get_not_path(fd));
  if (!file->readable()) return Errno{EBADF};
  const auto type = file->inode().type();
  if ((type != S_IFREG && type != S_IFBLK) || length < 0) return Errno{EINVAL};
  return 0;
}

Result<uint64_t> sys_fadvise64(Task& task, GuestFd fd, int64_t, int64_t length, int advice) {
  const auto file = TRY(task.fds().get_not_path(fd));
  if (file->inode().type() == S_IFIFO) return Errno{ESPIPE};
  if (length < 0 || advice < POSIX_FADV_NORMAL || advice > POSIX_FADV_NOREUSE) {
    return Errno{EINVAL};
  }
  return 0;
}

}  // namespace run9::sentry
