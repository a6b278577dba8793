#include "sentry/syscalls/mount.h"

#include <linux/mount.h>
#include <sys/mount.h>

#include "sentry/fs/fs_types.h"
#include "sentry/syscalls/file_util.h"

namespace run9::sentry {
namespace {

constexpr uint64_t kMagicMask = 0xffff0000, kMagic = 0xC0ED0000;  // MS_MGC_VAL of old callers
constexpr size_t kPage = 4096;                                    // of options, names and types

uint32_t mount_flags(uint64_t ms) {
  uint32_t flags = 0;
  if ((ms & MS_RDONLY) != 0) flags |= vfs::kMntReadOnly;
  if ((ms & MS_NOSUID) != 0) flags |= vfs::kMntNoSuid;
  if ((ms & MS_NODEV) != 0) flags |= vfs::kMntNoDev;
  if ((ms & MS_NOEXEC) != 0) flags |= vfs::kMntNoExec;
  if ((ms & MS_NODIRATIME) != 0) flags |= vfs::kMntNoDirAtime;
  if ((ms & MS_NOATIME) != 0) {
    flags |= vfs::kMntNoAtime;
  } else if ((ms & MS_STRICTATIME) == 0) {
    flags |= vfs::kMntRelAtime;
  }
  return flags;
}

Result<std::string> optional_string(Task& task, uint64_t addr) {
  if (addr == 0) return std::string();
  return task.memory().read_string(addr, kPage, Errno{EINVAL});
}

// copy_mount_options(): a page of which less may be readable, up to the NUL.
Result<std::string> read_options(Task& task, uint64_t addr) {
  if (addr == 0) return std::string();
  std::string page(kPage, '\0');
  const auto bytes = std::as_writable_bytes(std::span(page));
  const size_t n = TRY(task.memory().copy_in_some(bytes, addr));
  page.resize(std::min(page.find('\0'), n));
  return page;
}

Result<uint64_t> remount(const vfs::Path& where, uint64_t ms) {
  if (where.dentry != where.mount->root) return Errno{EINVAL};
  where.mount->flags = mount_flags(ms);
  return 0;
}

Result<uint64_t> bind_or_move(Task& task, const std::string& source, const vfs::Path& where,
                              uint64_t ms) {
  if (source.empty()) return Errno{EINVAL};
  const vfs::Path from = TRY(resolve(task, kAtFdcwd, source, vfs::kFollow)).path;
  if ((ms & MS_MOVE) != 0) {
    TRY(task.mounts().move(task, from, where));
  } else {
    TRY(task.mounts().bind(task, from, where, (ms & MS_REC) != 0, 0));
  }
  return 0;
}

// path_mount().
Result<uint64_t> mount_at(Task& task, const std::string& source, const vfs::Path& where,
                          const std::string& type, bool has_type, uint64_t ms,
                          const std::string& options) {
  constexpr uint64_t kPropagation = MS_SHARED | MS_PRIVATE | MS_SLAVE | MS_UNBINDABLE;
  if (where.mount == nullptr) return Errno{EINVAL};
  if ((ms & MS_REMOUNT) != 0) return remount(where, ms);
  if ((ms & MS_BIND) != 0) return bind_or_move(task, source, where, ms);
  if ((ms & kPropagation) != 0) {
    // One namespace that nothing propagates to: every kind comes to the same.
    const uint64_t kind = ms & kPropagation;
    if ((kind & (kind - 1)) != 0) return Errno{EINVAL};
    return where.dentry == where.mount->root ? Result<uint64_t>(0) : Errno{EINVAL};
  }
  if ((ms & MS_MOVE) != 0) return bind_or_move(task, source, where, ms);
  if (!has_type) return Errno{EINVAL};
  auto fs = TRY(make_file_system(task.kernel(), task, type, source, options));
  if (fs->root()->is_dir() != where.inode()->is_dir()) return Errno{ENOTDIR};
  TRY(task.mounts().mount(task, std::move(fs), where, mount_flags(ms),
                          source.empty() ? "none" : source));
  return 0;
}

}  // namespace

Result<uint64_t> sys_mount(Task& task, UserString source_addr, UserString target,
                           UserString type_addr, uint64_t flags, uint64_t data) {
  const std::string type = TRY(optional_string(task, type_addr.addr));
  const std::string source = TRY(optional_string(task, source_addr.addr));
  const std::string options = TRY(read_options(task, data));
  const vfs::Path where = TRY(resolve(task, kAtFdcwd, target, vfs::kFollow)).path;
  if (!task.creds().has_cap(CAP_SYS_ADMIN)) return Errno{EPERM};
  if ((flags & kMagicMask) == kMagic) flags &= ~kMagicMask;
  return mount_at(task, source, where, type, !type_addr.is_null(), flags, options);
}

Result<uint64_t> sys_umount2(Task& task, UserString target, int flags) {
  if ((flags & ~(MNT_FORCE | MNT_DETACH | MNT_EXPIRE | UMOUNT_NOFOLLOW)) != 0) {
    return Errno{EINVAL};
  }
  const uint32_t lookup = (flags & UMOUNT_NOFOLLOW) != 0 ? 0u : uint32_t{vfs::kFollow};
  const vfs::Path where = TRY(resolve(task, kAtFdcwd, target, lookup)).path;
  if (!task.creds().has_cap(CAP_SYS_ADMIN)) return Errno{EPERM};
  task.kernel().files().settle_all(task);
  TRY(task.mounts().umount(task, where, static_cast<uint32_t>(flags)));
  return 0;
}

Result<uint64_t> sys_pivot_root(Task& task, UserString new_root, UserString put_old) {
  if (!task.creds().has_cap(CAP_SYS_ADMIN)) return Errno{EPERM};
  const vfs::Path to = TRY(resolve(task, kAtFdcwd, new_root, vfs::kFollow | vfs::kDirectory)).path;
  const vfs::Path old = TRY(resolve(task, kAtFdcwd, put_old, vfs::kFollow | vfs::kDirectory)).path;
  const vfs::Path before = task.fs().root;
  TRY(task.mounts().pivot_root(task, task.fs(), to, old));
  // chroot_fs_refs(): whoever was at the old root is at the new one.
  for (const auto& [pid, process] : task.kernel().processes()) {
    for (Task* t : process->tasks) {
      if (t->fs_ref() == nullptr) continue;
      if (t->fs().root == before) t->fs().root = task.fs().root;
      if (t->fs().cwd == before) t->fs().cwd = task.fs().root;
      t->publish_identity();
    }
  }
  return 0;
}

}  // namespace run9::sentry
