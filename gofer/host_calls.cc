#include "gofer/host_calls.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>

#include "base/check.h"

#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452
#endif

namespace run9::gofer {
namespace {

// Not in linux/magic.h.
constexpr uint32_t kConfigfs = 0x62656570, kMqueue = 0x19800202, kFusectl = 0x65735543;

// Not a cookie of the kernel's (it keeps STATX_CHANGE_COOKIE to itself): any change of the file
// changes ctime, unless two fall into one tick of the clock.
uint64_t change_of(const struct statx& s) {
  uint64_t h = static_cast<uint64_t>(s.stx_ctime.tv_sec) * 1000000007u + s.stx_ctime.tv_nsec;
  h = h * 0x9e3779b97f4a7c15u + static_cast<uint64_t>(s.stx_mtime.tv_sec);
  h = h * 0x9e3779b97f4a7c15u + s.stx_mtime.tv_nsec;
  return h * 0x9e3779b97f4a7c15u + s.stx_size;
}

p9::TimeX time_of(const statx_timestamp& t) {
  return {static_cast<uint64_t>(t.tv_sec), t.tv_nsec};
}

// By what statfs(2) says of the mount that `fd` lies in. Mounts keep their numbers and, but for mount -o remount, what they are.
bool has_relatime(uint64_t mnt_id, int fd) {
  constexpr size_t kMounts = 16;
  static thread_local struct {
    uint64_t mnt_id = 0;
    bool relatime = false;
  } known[kMounts];
  auto& k = known[mnt_id % kMounts];
  if (k.mnt_id != mnt_id) {
    struct statfs fs;
    if (fstatfs(fd, &fs) < 0) return false;
    k = {mnt_id, (fs.f_flags & (ST_RELATIME | ST_NOATIME)) != 0};
  }
  return k.relatime;
}

Result<Stat> call_statx(int fd, const char* name, int flags, uint64_t attrmask) {
  struct statx s;
  // Basic stats always: the file's identity comes from them.
  const auto mask = static_cast<unsigned>(
      (attrmask & (p9::kAttrBtime | p9::kAttrMntId)) | STATX_BASIC_STATS);
  if (statx(fd, name, flags | AT_NO_AUTOMOUNT | AT_SYMLINK_NOFOLLOW, mask, &s) < 0) {
    return last_errno();
  }
  Stat out;
  out.id = {makedev(s.stx_dev_major, s.stx_dev_minor), s.stx_ino};
  out.mount_root = (s.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
  out.attr = {
      .valid = (s.stx_mask & (p9::kAttrBasic | p9::kAttrBtime | p9::kAttrMntId)) | p9::kAttrChange,
      .mode = s.stx_mode,
      .uid = s.stx_uid,
      .gid = s.stx_gid,
      .nlink = s.stx_nlink,
      .ino = s.stx_ino,
      .dev = out.id.dev,
      .rdev = makedev(s.stx_rdev_major, s.stx_rdev_minor),
      .size = s.stx_size,
      .blocks = s.stx_blocks,
      .blksize = s.stx_blksize,
      .attributes = static_cast<uint32_t>(s.stx_attributes),
      .atime = time_of(s.stx_atime),
      .mtime = time_of(s.stx_mtime),
      .ctime = time_of(s.stx_ctime),
      .btime = time_of(s.stx_btime),
      .change = change_of(s),
      .mnt_id = s.stx_mnt_id,
  };
  // What is mounted at `name` lies elsewhere than `fd`.
  const bool asks = (attrmask & p9::kAttrRelatime) != 0 && (s.stx_mask & p9::kAttrMntId) != 0 && (*name == '\0' || !out.mount_root);
  if (asks && has_relatime(s.stx_mnt_id, fd)) out.attr.valid |= p9::kAttrRelatime;
  return out;
}

}  // namespace

CName::CName(std::string_view name) {
  CHECK(name.size() < sizeof text_);
  std::memcpy(text_, name.data(), name.size());
  text_[name.size()] = 0;
}

Result<UniqueFd> open_child(BorrowedFd dir, const char* name, uint64_t flags, uint32_t mode,
                            CrossMounts cross) {
  open_how how{};
  how.flags = flags | O_NOFOLLOW | O_CLOEXEC;
  how.mode = mode;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS;
  if (cross == CrossMounts::kNo) how.resolve |= RESOLVE_NO_XDEV;
  const long fd = syscall(SYS_openat2, dir.get(), name, &how, sizeof how);
  if (fd >= 0) return UniqueFd{static_cast<int>(fd)};
  // The guest's process is not at its limit: the server is.
  if (errno == EMFILE) return Errno{ENFILE};
  return last_errno();
}

Result<Stat> stat_fd(BorrowedFd fd, uint64_t attrmask) {
  return call_statx(fd.get(), "", AT_EMPTY_PATH, attrmask);
}

Result<Stat> stat_child(BorrowedFd dir, const char* name, uint64_t attrmask) {
  return call_statx(dir.get(), name, 0, attrmask);
}

Result<void> chmod_fd(BorrowedFd fd, uint32_t mode) {
  return check_call(
      static_cast<int>(syscall(SYS_fchmodat2, fd.get(), "", mode & 07777, AT_EMPTY_PATH)));
}

Result<void> chown_fd(BorrowedFd fd, uint32_t uid, uint32_t gid) {
  return check_call(fchownat(fd.get(), "", uid, gid, AT_EMPTY_PATH));
}

bool is_pseudo(BorrowedFd fd) {
  struct statfs s;
  if (fstatfs(fd.get(), &s) < 0) return true;
  constexpr uint32_t kKinds[] = {
      PROC_SUPER_MAGIC, SYSFS_MAGIC,     CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC, DEBUGFS_MAGIC,
      TRACEFS_MAGIC,    SECURITYFS_MAGIC, BPF_FS_MAGIC,      PSTOREFS_MAGIC,      NSFS_MAGIC,
      SELINUX_MAGIC,    EFIVARFS_MAGIC,  DEVPTS_SUPER_MAGIC, BINFMTFS_MAGIC,      HUGETLBFS_MAGIC,
      kConfigfs,        kMqueue,         kFusectl};
  return std::find(std::begin(kKinds), std::end(kKinds), static_cast<uint32_t>(s.f_type)) !=
         std::end(kKinds);
}

}  // namespace run9::gofer
