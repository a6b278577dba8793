#include "sentry/syscalls/fd.h"

#include <linux/close_range.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/ioctl.h>

#include "sentry/syscalls/fd_owner.h"
#include "sentry/syscalls/file_util.h"
#include "vfs/locks.h"

namespace run9::sentry {
namespace {

Result<void> copy_out_int(Task& task, uint64_t addr, int value) {
  return task.memory().write(UserPtr<int>{addr}, value);
}

// FIONREAD of a regular file: what is left after the position.
Result<uint64_t> bytes_left(Task& task, vfs::File& file, uint64_t arg) {
  const uint64_t size = TRY(file.getattr(task)).size;
  const auto left = static_cast<int64_t>(size) - static_cast<int64_t>(file.position());
  TRY(copy_out_int(task, arg, static_cast<int>(left)));
  return 0;
}

Result<uint64_t> set_flag_ioctl(Task& task, const vfs::FileRef& file, uint64_t arg,
                                uint32_t flag) {
  const int on = TRY(task.memory().read(UserPtr<int>{arg}));
  const uint32_t flags = on != 0 ? file->flags() | flag : file->flags() & ~flag;
  TRY(set_status_flags(task, file, flags));
  return 0;
}

}  // namespace

Result<void> set_status_flags(Task& task, const vfs::FileRef& file, uint32_t flags) {
  const uint32_t before = file->flags();
  TRY(file->set_flags(flags));
  if (((before ^ file->flags()) & O_ASYNC) != 0) {
    task.kernel().special().owners().set_async(file, (flags & O_ASYNC) != 0);
  }
  if (((before ^ file->flags()) & (O_DIRECT | O_NOATIME | O_APPEND)) != 0) task.kernel().own_files().begin_anew();
  return ok();
}

Result<uint64_t> sys_close(Task& task, GuestFd fd) {
  close_file(task, TRY(task.fds().remove(fd)));
  return 0;
}

Result<uint64_t> sys_close_range(Task& task, uint32_t first, uint32_t last, uint32_t flags) {
  if ((flags & ~(CLOSE_RANGE_UNSHARE | CLOSE_RANGE_CLOEXEC)) != 0) return Errno{EINVAL};
  if (first > last) return Errno{EINVAL};
  if ((flags & CLOSE_RANGE_UNSHARE) != 0 && task.fds_ref().use_count() > 1) {
    task.set_fds(task.fds().clone());
  }
  if ((flags & CLOSE_RANGE_CLOEXEC) != 0) {
    task.fds().set_cloexec_range(first, last);
    return 0;
  }
  for (auto& file : task.fds().remove_range(first, last)) close_file(task, std::move(file));
  return 0;
}

Result<uint64_t> sys_dup(Task& task, GuestFd fd) {
  vfs::FileRef file = TRY(task.fds().get(fd));
  vfs::File& opened = *file;
  const uint64_t number = TRY(install_file(task, std::move(file), false));
  task.kernel().files().tell(task, static_cast<int>(number), opened, false, false);
  return number;
}

Result<uint64_t> sys_dup2(Task& task, GuestFd from, GuestFd to) {
  if (from == to) {
    TRY(task.fds().get(from));
    return static_cast<uint64_t>(to_int(to));
  }
  return sys_dup3(task, from, to, 0);
}

Result<uint64_t> sys_dup3(Task& task, GuestFd from, GuestFd to, int flags) {
  if ((flags & ~O_CLOEXEC) != 0 || from == to) return Errno{EINVAL};
  const uint64_t limit = task.process().limit(RLIMIT_NOFILE);
  if (static_cast<uint32_t>(to_int(to)) >= limit) return Errno{EBADF};
  auto file = TRY(task.fds().get(from));
  auto old = TRY(task.fds().install_at(to, std::move(file), (flags & O_CLOEXEC) != 0, limit));
  if (old != nullptr) close_file(task, std::move(old));
  return static_cast<uint64_t>(to_int(to));
}

Result<uint64_t> sys_flock(Task& task, GuestFd fd, int operation) {
  constexpr int kMandatory = 32;  // LOCK_MAND, of which nothing is left but that it is no error
  if ((operation & kMandatory) != 0) return 0;
  const auto wait = (operation & LOCK_NB) != 0 ? vfs::LockWait::kNo : vfs::LockWait::kYes;
  const int kind = operation & ~LOCK_NB;
  if (kind != LOCK_SH && kind != LOCK_EX && kind != LOCK_UN) return Errno{EINVAL};
  const auto file = TRY(task.fds().get_not_path(fd));
  if (kind == LOCK_UN) {
    if (auto* locks = file->inode().locks_if_any()) locks->funlock(*file);
    return 0;
  }
  task.kernel().files().close_at_once(*file);
  const auto type = kind == LOCK_EX ? vfs::LockType::kWrite : vfs::LockType::kRead;
  TRY(file->inode().locks().flock(task, *file, type, wait));
  return 0;
}

Result<uint64_t> sys_ioctl(Task& task, GuestFd fd, uint32_t request, uint64_t arg) {
  const auto file = TRY(task.fds().get_not_path(fd));
  switch (request) {
    case FIOCLEX: TRY(task.fds().set_cloexec(fd, true)); return 0;
    case FIONCLEX: TRY(task.fds().set_cloexec(fd, false)); return 0;
    case FIONBIO: return set_flag_ioctl(task, file, arg, O_NONBLOCK);
    case FIOASYNC: return set_flag_ioctl(task, file, arg, O_ASYNC);
    case FIONREAD:
      if (file->inode().is_regular() && !file->is_stream()) return bytes_left(task, *file, arg);
      break;
    case FIGETBSZ: {
      const auto st = TRY(file->getattr(task));
      TRY(copy_out_int(task, arg, static_cast<int>(st.blksize)));
      return 0;
    }
    case FICLONE:
    case FICLONERANGE: return Errno{EOPNOTSUPP};
    case FS_IOC_GETFLAGS:
    case FS_IOC_SETFLAGS:
    case FS_IOC_FSGETXATTR:
    case FS_IOC_FSSETXATTR: return Errno{ENOTTY};
    default: break;
  }
  return file->ioctl(task, request, arg);
}

}  // namespace run9::sentry
