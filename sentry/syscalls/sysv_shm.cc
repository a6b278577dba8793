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

constexpr int kShmStat = 13, kShmStatAny = 15;  // SHM_STAT, SHM_STAT_ANY
constexpr int kShmRemoved = 01000;              // SHM_DEST

SysvTable<ShmSegment>& table(Task& task) { return ipc_objects(task.kernel()).sysv().segments; }
uint64_t pages(uint64_t size) { return (size + kPage - 1) & ~(kPage - 1); }

// Every mapping holds a reference, and so do the table and the caller.
uint64_t attach_count(Task& task, const std::shared_ptr<ShmSegment>& s) {
  const long n = s.use_count() - 1 - table(task).owners(s->id);
  return n > 0 ? static_cast<uint64_t>(n) : 0;
}

Result<void> make_segment(Task& task, ShmSegment& s, uint64_t size) {
  if (size == 0 || size > (uint64_t{1} << 40)) return Errno{EINVAL};
  if (!task.kernel().memory_available(pages(size))) return Errno{ENOMEM};
  s.memory = std::make_shared<UniqueFd>(TRY(take_fd(::memfd_create("sysv", MFD_CLOEXEC))));
  if (::ftruncate(s.memory->get(), static_cast<off_t>(pages(size))) != 0) return last_errno();
  s.size = size;
  s.creator_pid = task.tgid();
  return ok();
}

}  // namespace

Result<uint64_t> sys_shmget(Task& task, int32_t key, uint64_t size, int flags) {
  const auto check = [&](ShmSegment& s) -> Result<void> {
    if (s.size < size) return Errno{EINVAL};
    return ok();
  };
  return sysv_get(task, table(task), key, flags, check,
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
  args.length = pages(s->size);
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
  for (; it != vmas.end() && it->first < address + pages(keep->size); ++it) {
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
  if (command == IPC_SET) (void)TRY(task.memory().read(UserPtr<shmid_ds>{buffer}));
  auto s = TRY(sysv_find(table(task), id));
  switch (command) {
    case IPC_STAT:
    case kShmStat:
    case kShmStatAny: {
      if (command != kShmStatAny) TRY(s->check(task, 4));
      shmid_ds d{};
      d.shm_perm = s->permissions();
      if (s->removed) d.shm_perm.mode |= kShmRemoved;
      d.shm_segsz = s->size;
      d.shm_atime = s->attached;
      d.shm_dtime = s->detached;
      d.shm_ctime = s->changed;
      d.shm_cpid = s->creator_pid;
      d.shm_lpid = s->last_pid;
      d.shm_nattch = attach_count(task, s);
      TRY(task.memory().copy_out(buffer, &d, sizeof d));
      return command == IPC_STAT ? 0 : static_cast<uint64_t>(s->id);
    }
    case IPC_SET: {
      const auto d = TRY(task.memory().read(UserPtr<shmid_ds>{buffer}));
      if (!s->owned_by(task)) return Errno{EPERM};
      s->set(task, d.shm_perm);
      return 0;
    }
    case IPC_RMID:
      if (!s->owned_by(task)) return Errno{EPERM};
      table(task).remove(*s);
      return 0;
    case SHM_LOCK:
    case SHM_UNLOCK:
      return s->owned_by(task) || task.creds().has_cap(CAP_IPC_LOCK) ? Result<uint64_t>(0)
                                                                      : Errno{EPERM};
    default: return Errno{EINVAL};
  }
}

}  // namespace run9::sentry
