// Memory locking, residency and NUMA policy: the host decides what is resident, and there is one node.
#include <linux/membarrier.h>
#include <linux/mempolicy.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

#include "sentry/mm/bounds.h"
#include "sentry/syscalls/memory.h"
#include "sentry/syscalls/system.h"
#include "sentry/task/kernel.h"

namespace run9::sentry {
namespace {

constexpr int kGetRegistrations = 512;  // MEMBARRIER_CMD_GET_REGISTRATIONS; newer than our headers

// The page range of an mlock-like call. Its length may run over and be little: so it does on Linux.
void round_to_pages(uint64_t& address, uint64_t& length) {
  length = page_up(length + address % kPage);
  address = page_down(address);
}

// apply_vma_lock_flags().
Result<uint64_t> set_locked(Task& task, uint64_t address, uint64_t length, bool locked) {
  if (address + length < address) return Errno{EINVAL};
  TRY(task.memory().set_locked(address, length, locked));
  return 0;
}

Result<uint64_t> lock(Task& task, uint64_t address, uint64_t length) {
  const uint64_t limit = task.process().limit(RLIMIT_MEMLOCK);
  const bool capable = task.creds().has_cap(CAP_IPC_LOCK);
  if (limit == 0 && !capable) return Errno{EPERM};
  round_to_pages(address, length);
  if (!capable && limit != RLIM_INFINITY && task.memory().locked_bytes() + length > limit) return Errno{ENOMEM};
  return set_locked(task, address, length, true);
}

// Modes whose node mask must name our one node; 0 and MPOL_LOCAL take none.
Result<void> check_policy(Task& task, uint64_t mode, uint64_t nodes, uint64_t max_node) {
  mode &= ~uint64_t{MPOL_F_STATIC_NODES | MPOL_F_RELATIVE_NODES | (1 << 13)};
  if (mode > 6) return Errno{EINVAL};
  uint64_t mask = 0;
  if (nodes != 0 && max_node > 1) {
    if (max_node > kPage * 8) return Errno{EINVAL};
    const size_t words = (max_node - 1 + 63) / 64;
    const auto bits = TRY(task.memory().read_array(UserPtr<uint64_t>{nodes}, words));
    mask = bits[0] & (max_node - 1 >= 64 ? ~uint64_t{0} : (uint64_t{1} << (max_node - 1)) - 1);
    if (std::any_of(bits.begin() + 1, bits.end(), [](uint64_t w) { return w != 0; })) {
      return Errno{EINVAL};
    }
  }
  if ((mask & ~uint64_t{1}) != 0) return Errno{EINVAL};
  const bool takes_none = mode == MPOL_DEFAULT || mode == MPOL_LOCAL;
  if (takes_none ? mask != 0 : mask == 0 && mode != MPOL_PREFERRED) return Errno{EINVAL};
  return ok();
}

}  // namespace

Result<uint64_t> sys_mlock(Task& task, uint64_t address, uint64_t length) {
  return lock(task, address, length);
}

Result<uint64_t> sys_mlock2(Task& task, uint64_t address, uint64_t length, int flags) {
  if ((flags & ~MLOCK_ONFAULT) != 0) return Errno{EINVAL};
  return lock(task, address, length);
}

Result<uint64_t> sys_munlock(Task& task, uint64_t address, uint64_t length) {
  round_to_pages(address, length);
  return set_locked(task, address, length, false);
}

Result<uint64_t> sys_mlockall(Task& task, int flags) {
  if (flags == 0 || (flags & ~(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT)) != 0 ||
      flags == MCL_ONFAULT) {
    return Errno{EINVAL};
  }
  if (!task.creds().has_cap(CAP_IPC_LOCK)) {
    const uint64_t limit = task.process().limit(RLIMIT_MEMLOCK);
    if (limit == 0) return Errno{EPERM};
    if ((flags & MCL_CURRENT) != 0 && task.memory().total_bytes() > limit) return Errno{ENOMEM};
  }
  task.memory().lock_future = (flags & MCL_FUTURE) != 0;
  if (task.memory().lock_future) task.memory().end_offers();
  if ((flags & MCL_CURRENT) != 0) task.memory().set_all_locked(true);
  return 0;
}

Result<uint64_t> sys_munlockall(Task& task) {
  task.memory().lock_future = false;
  task.memory().set_all_locked(false);
  return 0;
}

Result<uint64_t> sys_mincore(Task& task, uint64_t address, uint64_t length, uint64_t out) {
  if (address % kPage != 0) return Errno{EINVAL};
  if (address > kGuestEnd || length > kGuestEnd - address) return Errno{ENOMEM};
  uint64_t pages = (length + kPage - 1) / kPage;
  TRY(check_range(out, pages));
  if (pages == 0) return 0;
  if (!task.memory().covered(address, pages * kPage)) return Errno{ENOMEM};
  const std::vector<uint8_t> ones(std::min<uint64_t>(pages, 4096), 1);
  for (; pages > 0;) {
    const size_t n = std::min<uint64_t>(pages, ones.size());
    TRY(task.memory().copy_out(out, ones.data(), n));
    out += n;
    pages -= n;
  }
  return 0;
}

// Every stub is registered with the host for global expedited barriers (platform/trap/stub.cc), so one made
// here reaches all threads of all guests: more than any command asks for, and no command is slower for it.
Result<uint64_t> sys_membarrier(Task& task, int command, uint32_t flags, int) {
  constexpr int kGlobal = MEMBARRIER_CMD_GLOBAL | MEMBARRIER_CMD_GLOBAL_EXPEDITED;
  constexpr int kRegister = MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED |
                            MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED;
  constexpr int kAll = kGlobal | kRegister | MEMBARRIER_CMD_PRIVATE_EXPEDITED | kGetRegistrations;
  if (flags != 0) return Errno{EINVAL};
  const long host = ::syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0);
  const bool able = host > 0 && (host & MEMBARRIER_CMD_GLOBAL_EXPEDITED) != 0;
  if (command == MEMBARRIER_CMD_QUERY) return able ? kAll : 0;
  if (!able || (command & kAll) == 0 || (command & (command - 1)) != 0) return Errno{EINVAL};
  uint32_t& registered = task.memory().barriers;
  if (command == kGetRegistrations) return registered;
  if ((command & kRegister) != 0) {
    registered |= static_cast<uint32_t>(command);
    return 0;
  }
  if (command == MEMBARRIER_CMD_PRIVATE_EXPEDITED &&
      (registered & MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) == 0) {
    return Errno{EPERM};
  }
  if (::syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL_EXPEDITED, 0, 0) != 0) return last_errno();
  return 0;
}

// The machine may have protection keys, but the host keeps them for itself: none is ever to be had.
Result<uint64_t> sys_pkey_alloc(Task&, uint64_t flags, uint64_t rights) {
  constexpr uint64_t kRights = PKEY_DISABLE_ACCESS | PKEY_DISABLE_WRITE;
  if (flags != 0 || (rights & ~kRights) != 0) return Errno{EINVAL};
  return Errno{ENOSPC};
}

Result<uint64_t> sys_pkey_free(Task&, int) { return Errno{EINVAL}; }

Result<uint64_t> sys_mbind(Task& task, uint64_t address, uint64_t length, uint64_t mode,
                           uint64_t nodes, uint64_t max_node, uint32_t flags) {
  if ((flags & ~uint32_t{MPOL_MF_STRICT | MPOL_MF_MOVE | MPOL_MF_MOVE_ALL}) != 0) {
    return Errno{EINVAL};
  }
  if ((flags & MPOL_MF_MOVE_ALL) && !task.creds().has_cap(CAP_SYS_NICE)) return Errno{EPERM};
  if (address % kPage != 0) return Errno{EINVAL};
  round_to_pages(address, length);
  if (address + length < address) return Errno{EINVAL};
  TRY(check_policy(task, mode, nodes, max_node));
  if (length != 0 && !task.memory().covered(address, length)) return Errno{EFAULT};
  return 0;
}

Result<uint64_t> sys_set_mempolicy(Task& task, int mode, uint64_t nodes, uint64_t max_node) {
  TRY(check_policy(task, static_cast<uint32_t>(mode), nodes, max_node));
  return 0;
}

Result<uint64_t> sys_get_mempolicy(Task& task, UserPtr<int> mode, uint64_t nodes,
                                   uint64_t max_node, uint64_t address, uint64_t flags) {
  if ((flags & ~uint64_t{MPOL_F_NODE | MPOL_F_ADDR | MPOL_F_MEMS_ALLOWED}) != 0) {
    return Errno{EINVAL};
  }
  const bool allowed = (flags & MPOL_F_MEMS_ALLOWED) != 0;
  if (allowed && (flags & (MPOL_F_NODE | MPOL_F_ADDR)) != 0) return Errno{EINVAL};
  if (nodes != 0 && max_node < 1) return Errno{EINVAL};
  if ((flags & MPOL_F_ADDR) != 0) {
    if (!task.memory().covered(page_down(address), kPage)) return Errno{EFAULT};
  } else if (address != 0 || (flags & MPOL_F_NODE) != 0) {
    return Errno{EINVAL};
  }
  if (!mode.is_null()) TRY(task.memory().write(mode, int{MPOL_DEFAULT}));
  if (nodes != 0) {
    const uint64_t bytes = std::min<uint64_t>((max_node + 63) / 64 * 8, kPage);
    TRY(task.memory().zero(nodes, bytes));
    if (allowed) TRY(task.memory().write(UserPtr<uint8_t>{nodes}, uint8_t{1}));
  }
  return 0;
}

}  // namespace run9::sentry
