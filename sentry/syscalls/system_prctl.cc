#include <asm/prctl.h>
#include <linux/securebits.h>
#include <sys/prctl.h>

#include <algorithm>

#include "sentry/syscalls/ids.h"
#include "sentry/syscalls/seccomp.h"
#include "sentry/syscalls/system.h"
#include "sentry/task/kernel.h"

namespace run9::sentry {
namespace {

Result<uint64_t> set_comm(Task& task, uint64_t from) {
  char name[16] = {};
  for (size_t i = 0; i < 15; ++i) {  // a byte at a time: the string may end before a fault
    TRY(task.memory().copy_in(&name[i], from + i, 1));
    if (name[i] == 0) break;
  }
  task.comm = name;
  return 0;
}

Result<uint64_t> get_comm(Task& task, uint64_t to) {
  char name[16] = {};
  std::memcpy(name, task.comm.data(), std::min<size_t>(task.comm.size(), 15));
  TRY(task.memory().copy_out(to, name, sizeof name));
  return 0;
}

Result<uint64_t> drop_bounding(Task& task, uint64_t cap) {
  if (!task.creds().has_cap(CAP_SETPCAP)) return Errno{EPERM};
  if (cap > CAP_LAST_CAP) return Errno{EINVAL};
  vfs::Credentials c = task.creds();
  c.cap_bounding &= ~(uint64_t{1} << cap);
  task.set_creds(std::move(c));
  return 0;
}

Result<uint64_t> set_securebits(Task& task, uint64_t bits) {
  vfs::Credentials c = task.creds();
  const uint64_t locked = (c.securebits & SECURE_ALL_LOCKS) >> 1;
  if ((locked & (c.securebits ^ bits)) != 0 || (c.securebits & SECURE_ALL_LOCKS & ~bits) != 0 ||
      (bits & ~uint64_t{SECURE_ALL_LOCKS | SECURE_ALL_BITS}) != 0 || !c.has_cap(CAP_SETPCAP)) {
    return Errno{EPERM};
  }
  c.securebits = static_cast<uint32_t>(bits);
  task.set_creds(std::move(c));
  return 0;
}

Result<uint64_t> set_keepcaps(Task& task, uint64_t on) {
  if (on > 1) return Errno{EINVAL};
  vfs::Credentials c = task.creds();
  if (c.securebits & SECBIT_KEEP_CAPS_LOCKED) return Errno{EPERM};
  c.securebits = (c.securebits & ~SECBIT_KEEP_CAPS) | (on ? SECBIT_KEEP_CAPS : 0);
  task.set_creds(std::move(c));
  return 0;
}

Result<uint64_t> ambient(Task& task, uint64_t op, uint64_t cap, uint64_t a4, uint64_t a5) {
  vfs::Credentials c = task.creds();
  if (op == PR_CAP_AMBIENT_CLEAR_ALL) {
    if ((cap | a4 | a5) != 0) return Errno{EINVAL};
    c.cap_ambient = 0;
    task.set_creds(std::move(c));
    return 0;
  }
  if ((a4 | a5) != 0 || cap > CAP_LAST_CAP) return Errno{EINVAL};
  const uint64_t bit = uint64_t{1} << cap;
  switch (op) {
    case PR_CAP_AMBIENT_IS_SET: return uint64_t{(c.cap_ambient & bit) != 0};
    case PR_CAP_AMBIENT_RAISE:
      if ((c.cap_permitted & c.cap_inheritable & bit) == 0 ||
          (c.securebits & SECBIT_NO_CAP_AMBIENT_RAISE)) {
        return Errno{EPERM};
      }
      c.cap_ambient |= bit;
      break;
    case PR_CAP_AMBIENT_LOWER: c.cap_ambient &= ~bit; break;
    default: return Errno{EINVAL};
  }
  task.set_creds(std::move(c));
  return 0;
}

Result<uint64_t> no_new_privs(Task& task, uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5) {
  if (a2 != 1 || (a3 | a4 | a5) != 0) return Errno{EINVAL};
  vfs::Credentials c = task.creds();
  c.no_new_privs = true;
  task.set_creds(std::move(c));
  return 0;
}

Result<uint64_t> put_int(Task& task, uint64_t to, int value) {
  TRY(task.memory().write(UserPtr<int>{to}, value));
  return 0;
}

}  // namespace

Result<uint64_t> sys_prctl(Task& task, int option, uint64_t a2, uint64_t a3, uint64_t a4,
                           uint64_t a5) {
  Process& p = task.process();
  switch (option) {
    case PR_SET_NAME: return set_comm(task, a2);
    case PR_GET_NAME: return get_comm(task, a2);
    case PR_SET_PDEATHSIG:
      if (a2 > static_cast<uint64_t>(kMaxSignal)) return Errno{EINVAL};
      task.pdeathsig = static_cast<int>(a2);
      return 0;
    case PR_GET_PDEATHSIG: return put_int(task, a2, task.pdeathsig);
    case PR_SET_DUMPABLE:
      if (a2 > 1) return Errno{EINVAL};
      task.memory().dumpable = a2 == 1;
      return 0;
    case PR_GET_DUMPABLE: return uint64_t{task.memory().dumpable};
    case PR_SET_KEEPCAPS: return set_keepcaps(task, a2);
    case PR_GET_KEEPCAPS: return uint64_t{(task.creds().securebits & SECBIT_KEEP_CAPS) != 0};
    case PR_SET_NO_NEW_PRIVS: return no_new_privs(task, a2, a3, a4, a5);
    case PR_GET_NO_NEW_PRIVS:
      if ((a2 | a3 | a4 | a5) != 0) return Errno{EINVAL};
      return uint64_t{task.creds().no_new_privs};
    case PR_CAPBSET_READ:
      if (a2 > CAP_LAST_CAP) return Errno{EINVAL};
      return (task.creds().cap_bounding >> a2) & 1;
    case PR_CAPBSET_DROP: return drop_bounding(task, a2);
    case PR_CAP_AMBIENT: return ambient(task, a2, a3, a4, a5);
    case PR_SET_SECUREBITS: return set_securebits(task, a2);
    case PR_GET_SECUREBITS: return task.creds().securebits;
    case PR_SET_CHILD_SUBREAPER: p.child_subreaper = a2 != 0; return 0;
    case PR_GET_CHILD_SUBREAPER: return put_int(task, a2, p.child_subreaper);
    case PR_SET_TIMERSLACK:
      task.timer_slack_ns = static_cast<int64_t>(a2) <= 0 ? task.default_timer_slack_ns : a2;
      return 0;
    case PR_GET_TIMERSLACK: return task.timer_slack_ns;
    case PR_SET_TIMING: return a2 == PR_TIMING_STATISTICAL ? Result<uint64_t>(0) : Errno{EINVAL};
    case PR_GET_TIMING: return uint64_t{PR_TIMING_STATISTICAL};
    case PR_SET_VMA:
      if (a2 != PR_SET_VMA_ANON_NAME) return Errno{EINVAL};
      return 0;
    case PR_GET_SECCOMP: return static_cast<uint64_t>(task.seccomp_mode);
    case PR_SET_SECCOMP: return prctl_set_seccomp(task, a2, a3);
    case PR_GET_TID_ADDRESS:
      TRY(task.memory().write(UserPtr<uint64_t>{a2}, task.context().clear_tid()));
      return 0;
    case PR_TASK_PERF_EVENTS_DISABLE:
    case PR_TASK_PERF_EVENTS_ENABLE: return 0;
    case PR_SET_THP_DISABLE: return (a3 | a4 | a5) != 0 ? Result<uint64_t>(Errno{EINVAL}) : 0;
    case PR_GET_THP_DISABLE: return (a2 | a3 | a4 | a5) != 0 ? Result<uint64_t>(Errno{EINVAL}) : 0;
    case PR_GET_TSC: return put_int(task, a2, PR_TSC_ENABLE);
    case PR_SET_TSC: return a2 == PR_TSC_ENABLE ? Result<uint64_t>(0) : Errno{EINVAL};
    case PR_SET_MM: return Errno{task.creds().has_cap(CAP_SYS_RESOURCE) ? EINVAL : EPERM};
    case PR_SET_IO_FLUSHER:
    case PR_GET_IO_FLUSHER:
      return task.creds().has_cap(CAP_SYS_RESOURCE) ? Result<uint64_t>(0) : Errno{EPERM};
    case PR_GET_SPECULATION_CTRL:
      if ((a3 | a4 | a5) != 0) return Errno{EINVAL};
      return a2 > PR_SPEC_L1D_FLUSH ? Result<uint64_t>(Errno{ENODEV}) : 0;
    default: return Errno{EINVAL};
  }
}

Result<uint64_t> sys_arch_prctl(Task& task, int option, uint64_t address) {
  Context& context = task.context();
  switch (option) {
    case ARCH_SET_FS:
    case ARCH_SET_GS:
      if (address >= kGuestEnd) return Errno{EPERM};
      (option == ARCH_SET_FS ? context.regs().fs_base : context.regs().gs_base) = address;
      return 0;
    case ARCH_GET_FS:
      TRY(task.memory().write(UserPtr<uint64_t>{address}, context.regs().fs_base));
      return 0;
    case ARCH_GET_GS:
      TRY(task.memory().write(UserPtr<uint64_t>{address}, context.regs().gs_base));
      return 0;
    case ARCH_GET_CPUID: return 1;  // not faulting
    case ARCH_SET_CPUID: return Errno{ENODEV};
    default: return Errno{EINVAL};
  }
}

}  // namespace run9::sentry
