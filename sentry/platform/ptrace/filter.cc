#include "sentry/platform/ptrace/filter.h"

#include <asm/unistd.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>

#include "sentry/platform/ptrace/layout.h"
#include "sentry/platform/ptrace/tracer.h"

namespace run9::sentry::ptrace {

BpfProgram make_filter() {
  BpfProgram p;
  const auto deny = p.label(), allow = p.label();
  p.load_arch();
  p.jump_if_ne(AUDIT_ARCH_X86_64, deny);
  p.load_ip_high();
  p.jump_if_ne(static_cast<uint32_t>(kGateIp >> 32), deny);
  p.load_ip_low();
  p.jump_if_ne(static_cast<uint32_t>(kGateIp), deny);
  p.load_nr();
  for (uint32_t nr : {__NR_mmap, __NR_munmap, __NR_mprotect, __NR_mremap, __NR_madvise, __NR_recvmsg,
                      __NR_close, __NR_exit}) {
    p.jump_if_eq(nr, allow);
  }
  const auto clone = p.label();
  p.jump_if_ne(__NR_futex, clone);
  p.load_arg_low(1);
  p.jump_if_eq(FUTEX_WAKE_OP, allow);
  p.bind(clone);
  p.jump_if_ne(__NR_clone, deny);
  p.load_arg_low(0);
  p.jump_if_eq(kForkFlags, allow);
  p.jump_if_eq(kThreadFlags, allow);
  p.bind(deny);
  p.ret(SECCOMP_RET_KILL_PROCESS);
  p.bind(allow);
  p.ret(SECCOMP_RET_ALLOW);
  return p;
}

}  // namespace run9::sentry::ptrace
