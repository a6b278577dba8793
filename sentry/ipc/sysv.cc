#include "sentry/ipc/sysv.h"

#include <poll.h>
#include <sys/stat.h>

#include <algorithm>

#include "base/unique_fd.h"
#include "sentry/platform/platform.h"

namespace run9::sentry {

void SysvObject::init(const vfs::OpContext& ctx, int32_t object_key, int flags) {
  key = object_key;
  uid = creator_uid = ctx.creds().euid;
  gid = creator_gid = ctx.creds().egid;
  mode = static_cast<uint32_t>(flags) & 0777;
  changed = ctx.now().sec;
}

ipc_perm SysvObject::permissions() const {
  ipc_perm p{};
  p.__key = removed ? IPC_PRIVATE : key;
  p.uid = uid;
  p.gid = gid;
  p.cuid = creator_uid;
  p.cgid = creator_gid;
  p.mode = mode;
  p.__seq = static_cast<uint16_t>(id / SysvTable<SysvObject>::kIndexes);
  return p;
}

Result<void> SysvObject::check(const vfs::OpContext& ctx, uint32_t mask) const {
  const auto& c = ctx.creds();
  const auto in_group = [&](uint32_t g) {
    return g == c.egid || std::find(c.groups.begin(), c.groups.end(), g) != c.groups.end();
  };
  uint32_t granted = mode;
  if (c.euid == uid || c.euid == creator_uid) {
    granted >>= 6;
  } else if (in_group(gid) || in_group(creator_gid)) {
    granted >>= 3;
  }
  if ((mask & ~granted & 7) != 0 && !c.has_cap(CAP_IPC_OWNER)) return Errno{EACCES};
  return ok();
}

bool SysvObject::owned_by(const vfs::OpContext& ctx) const {
  const auto& c = ctx.creds();
  return c.euid == uid || c.euid == creator_uid || c.has_cap(CAP_SYS_ADMIN);
}

void SysvObject::set(const vfs::OpContext& ctx, const ipc_perm& p) {
  uid = p.uid;
  gid = p.gid;
  mode = (mode & ~0777u) | (p.mode & 0777u);
  changed = ctx.now().sec;
}

uint64_t ShmSegment::mapped_size() const { return (size + kPage - 1) & ~(kPage - 1); }

uint64_t ShmSegment::resident_size() const {
  struct stat st {};
  return host_fstat(memory->get(), &st) == 0 ? static_cast<uint64_t>(st.st_blocks) * 512 : 0;
}

void SysvTables::process_exited(int32_t pid) {
  semaphores.for_each([&](SemaphoreSet& set) {
    const auto it = set.undo.find(pid);
    if (it == set.undo.end()) return;
    for (size_t i = 0; i < set.all.size(); ++i) {
      if (it->second[i] == 0) continue;
      set.all[i].value = std::clamp(set.all[i].value + it->second[i], 0, SemaphoreSet::kMaxValue);
      set.all[i].pid = pid;
    }
    set.undo.erase(it);
    set.queue.notify_all(POLLIN);
  });
}

// Every mapping holds a reference, and so do the table and the caller.
uint64_t attachments(const SysvTable<ShmSegment>& table, const std::shared_ptr<ShmSegment>& s) {
  const long n = s.use_count() - 1 - table.owners(s->id);
  return n > 0 ? static_cast<uint64_t>(n) : 0;
}

}  // namespace run9::sentry
