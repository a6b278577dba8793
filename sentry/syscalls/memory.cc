#include "sentry/syscalls/memory.h"

#include <sys/mman.h>

namespace run9::sentry {

Result<uint64_t> sys_mmap(Task& task, uint64_t addr, uint64_t length, int prot, int flags, GuestFd fd,
                          uint64_t offset) {
  MemoryManager::MapArgs a;
  a.addr = addr;
  a.length = length;
  a.prot = prot;
  a.flags = flags;
  if (!(flags & MAP_ANONYMOUS)) {
    a.file = TRY(task.fds().get_not_path(fd));
    a.offset = offset;
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
  if (prot & ~(PROT_READ | PROT_WRITE | PROT_EXEC | PROT_GROWSDOWN | PROT_GROWSUP | 0x8 /*PROT_SEM*/)) {
    return Errno{EINVAL};
  }
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
