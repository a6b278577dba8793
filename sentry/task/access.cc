#include "sentry/task/access.h"

#include "vfs/permission.h"

namespace run9::sentry {

bool may_trace(Task& caller, Task& target, TraceIds ids) {
  if (&caller.process() == &target.process()) return true;
  const auto& a = caller.creds();
  if (a.has_cap(CAP_SYS_PTRACE)) return true;
  const auto& b = target.creds();
  const uint32_t uid = ids == TraceIds::kFs ? a.fsuid : a.ruid;
  const uint32_t gid = ids == TraceIds::kFs ? a.fsgid : a.rgid;
  if (uid != b.ruid || uid != b.euid || uid != b.suid) return false;
  if (gid != b.rgid || gid != b.egid || gid != b.sgid) return false;
  if (target.memory_ref() == nullptr || !target.memory().dumpable) return false;
  const uint64_t own = ids == TraceIds::kFs ? a.cap_effective : a.cap_permitted;
  return (b.cap_permitted & ~own) == 0;
}

bool may_write_by_descriptor(Task& task, const vfs::File& file) {
  if (task.seccomp_mode != 0) return false;
  if (file.writable()) return true;
  const vfs::MountRef& mount = file.path().mount;
  vfs::Inode& inode = file.inode();
  if (inode.executed() || (mount != nullptr && (mount->flags & vfs::kMntReadOnly) != 0)) return false;
  return inode.permission(task, vfs::kMayWrite).has_value();
}

bool may_read_by_descriptor(Task& task, const vfs::File& file) {
  if (task.seccomp_mode != 0) return false;
  return file.readable() || file.inode().permission(task, vfs::kMayRead).has_value();
}

}  // namespace run9::sentry
