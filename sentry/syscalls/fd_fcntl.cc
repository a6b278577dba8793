// fcntl(2).
#include <fcntl.h>

#include "sentry/fs/pipe_control.h"
#include "sentry/syscalls/fd.h"
#include "sentry/syscalls/fd_owner.h"
#include "sentry/syscalls/file_util.h"
#include "vfs/locks.h"
#include "vfs/permission.h"
#include "vfs/tmpfs/tmpfs.h"

namespace run9::sentry {
namespace {

constexpr int kDupfdQuery = 1027;         // F_DUPFD_QUERY
constexpr int kCreatedQuery = 1028;       // F_CREATED_QUERY
constexpr uint32_t kLargeFile = 0100000;  // O_LARGEFILE, 0 in our headers

// check_fcntl_cmd(): what an O_PATH descriptor allows.
bool allowed_on_path(int command) {
  return command == F_DUPFD || command == F_DUPFD_CLOEXEC || command == kDupfdQuery ||
         command == F_GETFD || command == F_SETFD || command == F_GETFL;
}

Result<uint64_t> duplicate(Task& task, vfs::FileRef file, uint64_t min, bool cloexec) {
  const uint64_t limit = task.process().limit(RLIMIT_NOFILE);
  if (static_cast<uint32_t>(min) >= limit) return Errno{EINVAL};
  vfs::File& opened = *file;
  const GuestFd fd =
      TRY(task.fds().install(std::move(file), cloexec, limit, static_cast<int>(min)));
  task.kernel().files().tell(task, to_int(fd), opened, cloexec, false);
  return static_cast<uint64_t>(to_int(fd));
}

Result<uint64_t> set_flags(Task& task, const vfs::FileRef& file, uint32_t flags) {
  if ((flags & O_NOATIME) != 0 && (file->flags() & O_NOATIME) == 0) {
    const auto st = TRY(file->getattr(task));
    if (!vfs::owner_or_capable(task.creds(), st.uid)) return Errno{EPERM};
  }
  TRY(set_status_flags(task, file, flags));
  return 0;
}

// flock_to_posix_lock().
Result<vfs::LockRange> lock_range(Task& task, vfs::File& file, const struct flock& l) {
  int64_t base = 0;
  switch (l.l_whence) {
    case SEEK_SET: break;
    case SEEK_CUR: base = static_cast<int64_t>(file.position()); break;
    case SEEK_END: base = static_cast<int64_t>(TRY(file.getattr(task)).size); break;
    default: return Errno{EINVAL};
  }
  int64_t start = 0;
  if (__builtin_add_overflow(base, l.l_start, &start)) return Errno{EOVERFLOW};
  if (start < 0) return Errno{EINVAL};
  if (l.l_len == 0) return vfs::LockRange{static_cast<uint64_t>(start), vfs::LockRange::kEof};
  int64_t end = 0;
  if (l.l_len > 0) {
    if (__builtin_add_overflow(start, l.l_len - 1, &end)) return Errno{EOVERFLOW};
  } else {
    end = start - 1;
    if (start + l.l_len < 0) return Errno{EINVAL};
    start += l.l_len;
  }
  // A lock up to the largest offset is one to the end of the file.
  const uint64_t last = end == INT64_MAX ? vfs::LockRange::kEof : static_cast<uint64_t>(end);
  return vfs::LockRange{static_cast<uint64_t>(start), last};
}

Result<uint64_t> get_lock(Task& task, vfs::File& file, uint64_t arg, bool ofd) {
  auto l = TRY(task.memory().read(UserPtr<struct flock>{arg}));
  if (l.l_type != F_RDLCK && l.l_type != F_WRLCK) return Errno{EINVAL};
  if (ofd && l.l_pid != 0) return Errno{EINVAL};
  const auto range = TRY(lock_range(task, file, l));
  const auto owner = ofd ? vfs::LockOwner::ofd(file) : vfs::LockOwner::posix(task.tgid());
  const auto type = l.l_type == F_WRLCK ? vfs::LockType::kWrite : vfs::LockType::kRead;
  const auto held = file.inode().locks().conflict(task, owner, type, range);
  if (!held) {
    l.l_type = F_UNLCK;
  } else {
    l.l_type = held->type == vfs::LockType::kWrite ? F_WRLCK : F_RDLCK;
    l.l_whence = SEEK_SET;
    l.l_start = static_cast<int64_t>(held->range.first);
    const bool to_eof = held->range.last == vfs::LockRange::kEof;
    l.l_len = to_eof ? 0 : static_cast<int64_t>(held->range.last - held->range.first + 1);
    l.l_pid = held->pid;
  }
  TRY(task.memory().write(UserPtr<struct flock>{arg}, l));
  return 0;
}

Result<uint64_t> set_lock(Task& task, vfs::File& file, uint64_t arg, bool ofd,
                          vfs::LockWait wait) {
  const auto l = TRY(task.memory().read(UserPtr<struct flock>{arg}));
  const auto range = TRY(lock_range(task, file, l));
  if (ofd && l.l_pid != 0) return Errno{EINVAL};
  const auto owner = ofd ? vfs::LockOwner::ofd(file) : vfs::LockOwner::posix(task.tgid());
  if (l.l_type != F_UNLCK) ofd ? task.kernel().files().close_at_once(file) : task.kernel().files().close_at_once(task);
  switch (l.l_type) {
    case F_RDLCK:
      if (!file.readable()) return Errno{EBADF};
      TRY(file.inode().locks().lock(task, owner, vfs::LockType::kRead, range, wait));
      return 0;
    case F_WRLCK:
      if (!file.writable()) return Errno{EBADF};
      TRY(file.inode().locks().lock(task, owner, vfs::LockType::kWrite, range, wait));
      return 0;
    case F_UNLCK:
      if (auto* locks = file.inode().locks_if_any()) locks->unlock(owner, range);
      return 0;
    default: return Errno{EINVAL};
  }
}

Result<uint64_t> set_owner(Task& task, const vfs::FileRef& file, GuestFd fd, int type,
                           int32_t id) {
  Kernel& kernel = task.kernel();
  if (id < 0) return Errno{EINVAL};
  if (id != 0) {
    const bool there = type == F_OWNER_PGRP  ? kernel.find_group(id) != nullptr
                       : type == F_OWNER_TID ? kernel.find_task(id) != nullptr
                                             : kernel.find_process(id) != nullptr;
    if (!there) return Errno{ESRCH};
  }
  auto& owner = kernel.special().owners().edit(file);
  owner.type = type;
  owner.id = id;
  owner.fd = to_int(fd);
  return 0;
}

Result<uint64_t> owner_command(Task& task, const vfs::FileRef& file, GuestFd fd, int command,
                               uint64_t arg) {
  auto& owners = task.kernel().special().owners();
  const auto owner = owners.get(*file);
  const auto value = static_cast<int32_t>(arg);
  switch (command) {
    case F_GETOWN:
      return static_cast<uint64_t>(
          static_cast<int64_t>(owner.type == F_OWNER_PGRP ? -owner.id : owner.id));
    case F_SETOWN:
      if (value == INT32_MIN) return Errno{EINVAL};
      if (value < 0) return set_owner(task, file, fd, F_OWNER_PGRP, -value);
      return set_owner(task, file, fd, F_OWNER_PID, value);
    case F_GETOWN_EX: {
      const f_owner_ex ex{static_cast<__pid_type>(owner.type), owner.id};
      TRY(task.memory().write(UserPtr<f_owner_ex>{arg}, ex));
      return 0;
    }
    case F_SETOWN_EX: {
      const auto ex = TRY(task.memory().read(UserPtr<f_owner_ex>{arg}));
      const int type = static_cast<int>(ex.type);
      if (type < F_OWNER_TID || type > F_OWNER_PGRP) return Errno{EINVAL};
      return set_owner(task, file, fd, type, ex.pid);
    }
    case F_GETSIG: return static_cast<uint64_t>(owner.signal);
    default:  // F_SETSIG
      if (value < 0 || value > kMaxSignal) return Errno{EINVAL};
      owners.edit(file).signal = value;
      return 0;
  }
}

Result<uint64_t> pipe_size_command(Task& task, vfs::File& file, int command, uint64_t arg) {
  auto* pipe = dynamic_cast<PipeControl*>(&file);
  if (pipe == nullptr) return Errno{EBADF};
  if (command == F_GETPIPE_SZ) return pipe->capacity();
  return TRY(pipe->set_capacity(task, static_cast<uint32_t>(arg)));
}

}  // namespace

uint64_t shown_flags(const vfs::File& file) {
  uint64_t flags = file.flags() & ~(O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | O_CLOEXEC);
  const auto type = file.inode().type();
  if ((flags & O_PATH) == 0 && (type == S_IFREG || type == S_IFDIR)) flags |= kLargeFile;
  return flags;
}

Result<uint64_t> sys_fcntl(Task& task, GuestFd fd, int command, uint64_t arg) {
  const auto file = TRY(task.fds().get(fd));
  if ((file->flags() & O_PATH) != 0 && !allowed_on_path(command)) return Errno{EBADF};
  switch (command) {
    case F_DUPFD: return duplicate(task, file, arg, false);
    case F_DUPFD_CLOEXEC: return duplicate(task, file, arg, true);
    case kCreatedQuery: return uint64_t{file->created()};
    case kDupfdQuery: {
      const auto other = TRY(task.fds().get(GuestFd{static_cast<int32_t>(arg)}));
      return uint64_t{other == file};
    }
    case F_GETFD: return uint64_t{TRY(task.fds().cloexec(fd)) ? FD_CLOEXEC : 0u};
    case F_SETFD: TRY(task.fds().set_cloexec(fd, (arg & FD_CLOEXEC) != 0)); return 0;
    case F_GETFL: return shown_flags(*file);
    case F_SETFL: return set_flags(task, file, static_cast<uint32_t>(arg));
    case F_GETLK: return get_lock(task, *file, arg, false);
    case F_SETLK: return set_lock(task, *file, arg, false, vfs::LockWait::kNo);
    case F_SETLKW: return set_lock(task, *file, arg, false, vfs::LockWait::kYes);
    case F_OFD_GETLK: return get_lock(task, *file, arg, true);
    case F_OFD_SETLK: return set_lock(task, *file, arg, true, vfs::LockWait::kNo);
    case F_OFD_SETLKW: return set_lock(task, *file, arg, true, vfs::LockWait::kYes);
    case F_GETOWN:
    case F_SETOWN:
    case F_GETOWN_EX:
    case F_SETOWN_EX:
    case F_GETSIG:
    case F_SETSIG: return owner_command(task, file, fd, command, arg);
    case F_SETPIPE_SZ:
    case F_GETPIPE_SZ: return pipe_size_command(task, *file, command, arg);
    case F_ADD_SEALS: TRY(vfs::add_seals(*file, static_cast<uint32_t>(arg))); return 0;
    case F_GET_SEALS: return uint64_t{TRY(vfs::get_seals(*file))};
    case F_GETLEASE: return uint64_t{F_UNLCK};
    default: return Errno{EINVAL};  // leases, F_NOTIFY, write hints: not supported
  }
}

}  // namespace run9::sentry
