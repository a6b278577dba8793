#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <unistd.h>

#include "sentry/ipc/ipc_objects.h"
#include "sentry/ipc/sysv.h"
#include "sentry/syscalls/sysv.h"
#include "sentry/task/kernel.h"

namespace run9::sentry {
namespace {

constexpr uint64_t kMaxSize = uint64_t{1} << 40;

SysvTable<ShmSegment>& table(Task& task) { return ipc_objects(task.kernel()).sysv().segments; }

Result<void> make_segment(Task& task, ShmSegment& s, uint64_t size) {
  if (size == 0 || size > std::min(sysv_limits(task).shmmax, kMaxSize)) return Errno{EINVAL};
  s.size = size;
  if ((table(task).charged() + s.mapped_size()) / kPage > sysv_limits(task).shmall) return Errno{ENOSPC};
  if (!task.kernel().memory_available(s.mapped_size())) return Errno{ENOMEM};
  s.memory = std::make_shared<UniqueFd>(TRY(take_fd(::memfd_create("sysv", MFD_CLOEXEC))));
  if (::ftruncate(s.memory->get(), static_cast<off_t>(s.mapped_size())) != 0) return last_errno();
  s.creator_pid = task.tgid();
  return ok();
}

Result<uint64_t> tell_limits(Task& task, uint64_t buffer) {
  const SysvLimits& l = sysv_limits(task);
  const shminfo info{.shmmax = l.shmmax, .shmmin = 1, .shmmni = l.shmmni, .shmseg = l.shmmni, .shmall = l.shmall};
  TRY(task.memory().copy_out(buffer, &info, sizeof info));
  return table(task).highest_index();
}

Result<uint64_t> tell_use(Task& task, uint64_t buffer) {
  shm_info info{};
  info.used_ids = static_cast<int>(table(task).size());
  info.shm_tot = table(task).charged() / kPage;
  table(task).for_each_index([&](const auto& s) { info.shm_rss += s->resident_size() / kPage; });
  TRY(task.memory().copy_out(buffer, &info, sizeof info));
  return table(task).highest_index();
}

Result<uint64_t> stat(Task& task, const std::shared_ptr<ShmSegment>& s, uint64_t buffer) {
  shmid_ds d{};
  d.shm_perm = s->permissions();
  d.shm_segsz = s->size;
  d.shm_atime = s->attached;
  d.shm_dtime = s->detached;
  d.shm_ctime = s->changed;
  d.shm_cpid = s->creator_pid;
  d.shm_lpid = s->last_pid;
  d.shm_nattch = attachments(table(task), s);
  TRY(task.memory().copy_out(buffer, &d, sizeof d));
  return 0;
}

// Nothing is swapped: the lock is shown, and that is all.
Result<uint64_t> set_locked(Task& task, ShmSegment& s, bool locked) {
  if (!task.creds().has_cap(CAP_IPC_LOCK)) {
    const uint32_t euid = task.creds().euid;
    if (euid != s.uid && euid != s.creator_uid) return Errno{EPERM};
    if (locked && task.process().limit(RLIMIT_MEMLOCK) == 0) return Errno{EPERM};
  }
  s.mode = locked ? s.mode | SHM_LOCKED : s.mode & ~uint32_t{SHM_LOCKED};
  return 0;
}

}  // namespace

const SysvLimits& sysv_limits(Task& task) { return ipc_objects(task.kernel()).sysv().limits; }

Result<uint64_t> sys_shmget(Task& task, int32_t key, uint64_t size, int flags) {
  const auto check = [&](ShmSegment& s) -> Result<void> {
    if (s.size < size) return Errno{EINVAL};
    return ok();
  };
  return sysv_get(task, table(task), key, flags, sysv_limits(task).shmmni, check,
                  [&](ShmSegment& s) { return make_segment(task, s, size); });
}

Result<uint64_t> sys_shmat(Task& task, int32_t id, uint64_t address, int flags) {
  auto s = TRY(sysv_find(table(task), id));
  MemoryManager::MapArgs args;
  args.flags = MAP_SHARED;
  if (address != 0) {
    if ((flags & SHM_RND) != 0) address &= ~(kPage - 1);
    if (address % kPage != 0) return Errno{EINVAL};
    args.addr = address;
    args.flags |= (flags & SHM_REMAP) != 0 ? MAP_FIXED : MAP_FIXED_NOREPLACE;
  } else if ((flags & SHM_REMAP) != 0) {
    return Errno{EINVAL};
  }
  const bool read_only = (flags & SHM_RDONLY) != 0;
  TRY(s->check(task, read_only ? 4 : 6));
  args.prot = PROT_READ | (read_only ? 0 : PROT_WRITE) | ((flags & SHM_EXEC) != 0 ? PROT_EXEC : 0);
  args.length = s->mapped_size();
  args.backing = s->memory;
  args.name = fmt::format("/SYSV{:08x}", static_cast<uint32_t>(s->key));
  args.attachment = s;
  const auto at = task.memory().mmap(task, std::move(args));
  if (!at.has_value()) return at.error() == Errno{EEXIST} ? Errno{EINVAL} : at.error();
  s->attached = task.now().sec;
  s->last_pid = task.tgid();
  return at;
}

Result<uint64_t> sys_shmdt(Task& task, uint64_t address) {
  const auto& vmas = task.memory().vmas();
  auto it = vmas.find(address);
  if (it == vmas.end() || it->second.attachment == nullptr || it->second.backing_offset != 0) {
    return Errno{EINVAL};
  }
  const auto keep = std::static_pointer_cast<ShmSegment>(it->second.attachment);
  // What mprotect or munmap left of this one attachment.
  std::vector<std::pair<uint64_t, uint64_t>> parts;
  for (; it != vmas.end() && it->first < address + keep->mapped_size(); ++it) {
    const Vma& v = it->second;
    if (v.attachment == keep && it->first - address == v.backing_offset) {
      parts.emplace_back(it->first, v.end - it->first);
    }
  }
  for (const auto& [start, length] : parts) TRY(task.memory().munmap(task, start, length));
  keep->detached = task.now().sec;
  keep->last_pid = task.tgid();
  return 0;
}

Result<uint64_t> sys_shmctl(Task& task, int32_t id, int command, uint64_t buffer) {
  if (id < 0 || command < 0) return Errno{EINVAL};
  if (command == IPC_INFO) return tell_limits(task, buffer);
  if (command == SHM_INFO) return tell_use(task, buffer);
  shmid_ds wanted{};
  if (command == IPC_SET) wanted = TRY(task.memory().read(UserPtr<shmid_ds>{buffer}));
  const bool by_index = command == SHM_STAT || command == SHM_STAT_ANY;
  const auto s = TRY(sysv_find(table(task), id, by_index));
  switch (command) {
    case IPC_STAT: TRY(s->check(task, 4)); return stat(task, s, buffer);
    case SHM_STAT: TRY(s->check(task, 4)); [[fallthrough]];
    case SHM_STAT_ANY: TRY(stat(task, s, buffer)); return static_cast<uint64_t>(s->id);
    case IPC_SET:
      if (!s->owned_by(task)) return Errno{EPERM};
      s->set(task, wanted.shm_perm);
      return 0;
    case IPC_RMID:
      if (!s->owned_by(task)) return Errno{EPERM};
      if (!s->removed) table(task).disown(*s);
      s->mode |= SHM_DEST;
      return 0;
    case SHM_LOCK: return set_locked(task, *s, true);
    case SHM_UNLOCK: return set_locked(task, *s, false);
    default: return Errno{EINVAL};
  }
}

}  // namespace run9::sentry
