// chmod, chown, utimes.
#include <sys/time.h>
#include <utime.h>

#include <array>

#include "sentry/syscalls/file_util.h"
#include "sentry/syscalls/meta.h"

namespace run9::sentry {
namespace {

Result<uint64_t> change(Task& task, const Place& place, const vfs::SetAttr& a) {
  // A write that is not seen takes set-id bits away whoever makes it.
  const bool sets_ids = (a.valid & vfs::kSetMode) != 0 && (a.mode & (S_ISUID | S_ISGID)) != 0;
  if (sets_ids && place.path.inode()->written_unseen()) task.kernel().own_files().begin_anew();
  TRY(task.mounts().setattr(task, place.path, a, place.file.get()));
  return 0;
}

Result<Place> open_place(Task& task, GuestFd fd) {
  auto file = TRY(task.fds().get_not_path(fd));
  return Place{file->path(), file};
}

// An O_PATH descriptor with an empty path names the place, and is no open file.
Result<Place> place_of(Task& task, GuestFd dirfd, UserString path, int flags) {
  Place place = TRY(resolve(task, dirfd, path, lookup_flags(flags)));
  if (place.file != nullptr && (place.file->flags() & O_PATH) != 0) place.file = nullptr;
  return place;
}

vfs::SetAttr mode_change(uint32_t mode) {
  return {.valid = vfs::kSetMode, .mode = mode & 07777};
}

vfs::SetAttr owner_change(uint32_t uid, uint32_t gid) {
  vfs::SetAttr a{.uid = uid, .gid = gid};
  if (uid != ~0u) a.valid |= vfs::kSetUid;
  if (gid != ~0u) a.valid |= vfs::kSetGid;
  return a;
}

constexpr uint32_t kBothNow = vfs::kSetAtimeNow | vfs::kSetMtimeNow;

// times: atime and mtime as utimensat(2) takes them.
Result<vfs::SetAttr> time_change(const std::array<timespec, 2>& times) {
  vfs::SetAttr a;
  for (int i = 0; i < 2; ++i) {
    const timespec& t = times[i];
    if (t.tv_nsec == UTIME_OMIT) continue;
    if (t.tv_nsec == UTIME_NOW) {
      a.valid |= i == 0 ? vfs::kSetAtimeNow : vfs::kSetMtimeNow;
      continue;
    }
    if (t.tv_nsec < 0 || t.tv_nsec > 999'999'999) return Errno{EINVAL};
    a.valid |= i == 0 ? vfs::kSetAtime : vfs::kSetMtime;
    (i == 0 ? a.atime : a.mtime) = {t.tv_sec, static_cast<uint32_t>(t.tv_nsec)};
  }
  return a;
}

Result<vfs::SetAttr> read_timevals(Task& task, uint64_t addr) {
  if (addr == 0) return vfs::SetAttr{.valid = kBothNow};
  const auto tv = TRY(task.memory().read(UserPtr<std::array<timeval, 2>>{addr}));
  std::array<timespec, 2> ts;
  for (int i = 0; i < 2; ++i) {
    if (tv[i].tv_usec < 0 || tv[i].tv_usec >= 1'000'000) return Errno{EINVAL};
    ts[i] = {tv[i].tv_sec, tv[i].tv_usec * 1000};
  }
  return time_change(ts);
}

// do_utimes(): a null path means the descriptor. Wrong times are an error of files that exist.
Result<uint64_t> set_times(Task& task, GuestFd dirfd, UserString path, const Result<vfs::SetAttr>& a,
                           int flags) {
  if (path.is_null() && dirfd != kAtFdcwd) {
    if (flags != 0) return Errno{EINVAL};
    const Place place = TRY(open_place(task, dirfd));
    return change(task, place, TRY(a));
  }
  if ((flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)) != 0) return Errno{EINVAL};
  const Place place = TRY(place_of(task, dirfd, path, flags));
  return change(task, place, TRY(a));
}

}  // namespace

Result<uint64_t> sys_chmod(Task& task, UserString path, uint32_t mode) {
  return sys_fchmodat2(task, kAtFdcwd, path, mode, 0);
}

Result<uint64_t> sys_fchmod(Task& task, GuestFd fd, uint32_t mode) {
  return change(task, TRY(open_place(task, fd)), mode_change(mode));
}

Result<uint64_t> sys_fchmodat(Task& task, GuestFd dirfd, UserString path, uint32_t mode) {
  return sys_fchmodat2(task, dirfd, path, mode, 0);
}

Result<uint64_t> sys_fchmodat2(Task& task, GuestFd dirfd, UserString path, uint32_t mode,
                               int flags) {
  if ((flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)) != 0) return Errno{EINVAL};
  const Place place = TRY(place_of(task, dirfd, path, flags));
  if (place.path.inode()->is_symlink()) return Errno{EOPNOTSUPP};
  return change(task, place, mode_change(mode));
}

Result<uint64_t> sys_chown(Task& task, UserString path, uint32_t uid, uint32_t gid) {
  return sys_fchownat(task, kAtFdcwd, path, uid, gid, 0);
}

Result<uint64_t> sys_lchown(Task& task, UserString path, uint32_t uid, uint32_t gid) {
  return sys_fchownat(task, kAtFdcwd, path, uid, gid, AT_SYMLINK_NOFOLLOW);
}

Result<uint64_t> sys_fchown(Task& task, GuestFd fd, uint32_t uid, uint32_t gid) {
  return change(task, TRY(open_place(task, fd)), owner_change(uid, gid));
}

Result<uint64_t> sys_fchownat(Task& task, GuestFd dirfd, UserString path, uint32_t uid,
                              uint32_t gid, int flags) {
  if ((flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)) != 0) return Errno{EINVAL};
  return change(task, TRY(place_of(task, dirfd, path, flags)), owner_change(uid, gid));
}

Result<uint64_t> sys_utime(Task& task, UserString path, uint64_t times) {
  vfs::SetAttr a{.valid = kBothNow};
  if (times != 0) {
    const auto t = TRY(task.memory().read(UserPtr<utimbuf>{times}));
    a = {.valid = vfs::kSetAtime | vfs::kSetMtime, .atime = {t.actime, 0}, .mtime = {t.modtime, 0}};
  }
  return set_times(task, kAtFdcwd, path, a, 0);
}

Result<uint64_t> sys_utimes(Task& task, UserString path, uint64_t times) {
  return set_times(task, kAtFdcwd, path, TRY(read_timevals(task, times)), 0);
}

Result<uint64_t> sys_futimesat(Task& task, GuestFd dirfd, UserString path, uint64_t times) {
  return set_times(task, dirfd, path, TRY(read_timevals(task, times)), 0);
}

Result<uint64_t> sys_utimensat(Task& task, GuestFd dirfd, UserString path, uint64_t times,
                               int flags) {
  Result<vfs::SetAttr> a = vfs::SetAttr{.valid = kBothNow};
  if (times != 0) {
    a = time_change(TRY(task.memory().read(UserPtr<std::array<timespec, 2>>{times})));
    if (a && a.value().valid == 0) return 0;  // both UTIME_OMIT: not even the path is looked at
  }
  return set_times(task, dirfd, path, a, flags);
}

}  // namespace run9::sentry
