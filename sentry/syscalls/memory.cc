#include "sentry/syscalls/memory.h"

#include <sys/mman.h>

namespace run9::sentry {

Result<uint64_t> sys_mmap(Task& task, uint64_t addr, uint64_t length, int prot, int flags, GuestFd fd,
                          uint64_t offset) {
  if (offset % kPage != 0) return Errno{EINVAL};
  MemoryManager::MapArgs a;
  a.addr = addr;
  a.length = length;
  a.prot = prot;
  a.flags = flags;
  if (!(flags & MAP_ANONYMOUS)) {
    a.file = TRY(task.fds().get_not_path(fd));
    a.offset = offset;
    a.fd = static_cast<int>(fd);
    if (flags & MAP_HUGETLB) return Errno{EINVAL};
  } else if (flags & MAP_HUGETLB) {
    return Errno{ENOMEM};  // no huge page pool
  }
  return task.memory().mmap(task, std::move(a));
}

Result<uint64_t> sys_munmap(Task& task, uint64_t addr, uint64_t length) {
  TRY(task.memory().munmap(task, addr, length));
  return 0;
}

Result<uint64_t> sys_mprotect(Task& task, uint64_t addr, uint64_t length, int prot) {
  return sys_pkey_mprotect(task, addr, length, prot, -1);
}

// do_mprotect_pkey(): an empty range is well whatever else is wrong. No key was ever given out.
Result<uint64_t> sys_pkey_mprotect(Task& task, uint64_t addr, uint64_t length, int prot, int key) {
  constexpr int kSemaphores = 0x8;  // PROT_SEM: allowed, without a meaning
  constexpr int kGrows = PROT_GROWSDOWN | PROT_GROWSUP;
  if ((prot & kGrows) == kGrows || addr % kPage != 0) return Errno{EINVAL};
  if (length == 0) return 0;
  if (addr + (length + kPage - 1) / kPage * kPage <= addr) return Errno{ENOMEM};
  if (prot & ~(PROT_READ | PROT_WRITE | PROT_EXEC | kSemaphores | kGrows)) return Errno{EINVAL};
  if (key != -1) return Errno{EINVAL};
  TRY(task.memory().mprotect(task, addr, length, prot & (PROT_READ | PROT_WRITE | PROT_EXEC)));
  return 0;
}

Result<uint64_t> sys_mremap(Task& task, uint64_t old_addr, uint64_t old_len, uint64_t new_len, int flags,
                            uint64_t new_addr) {
  return task.memory().mremap(task, old_addr, old_len, new_len, flags, new_addr);
}

Result<uint64_t> sys_brk(Task& task, uint64_t addr) { return task.memory().brk(task, addr); }

Result<uint64_t> sys_madvise(Task& task, uint64_t addr, uint64_t length, int advice) {
  TRY(task.memory().madvise(task, addr, length, advice));
  return 0;
}

Result<uint64_t> sys_msync(Task& task, uint64_t addr, uint64_t length, int flags) {
  TRY(task.memory().msync(task, addr, length, flags));
  return 0;
}

}  // namespace run9::sentry
