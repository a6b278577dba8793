#include "sentry/boot_seccomp.h"

#include <asm/unistd.h>
#include <errno.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/sanitizer.h"
#include "base/thread_flags.h"
#include "sentry/platform/bpf.h"

namespace run9::sentry {
namespace {

// No call here takes a path, makes a process, or opens a connection.
constexpr uint32_t kAllowed[] = {
    __NR_process_vm_readv, __NR_process_vm_writev, __NR_futex, __NR_epoll_pwait2, __NR_sched_yield,
    __NR_pread64, __NR_pwrite64, __NR_read, __NR_write, __NR_preadv2, __NR_pwritev2, __NR_recvmsg,
    __NR_sendmsg, __NR_sendto, __NR_recvfrom, __NR_close, __NR_fstat, __NR_lseek, __NR_munmap,
    __NR_madvise, __NR_mremap, __NR_brk, __NR_memfd_create, __NR_ftruncate, __NR_fallocate, __NR_fcntl,
    __NR_epoll_ctl, __NR_setsockopt, __NR_accept4, __NR_tgkill, __NR_wait4,
    __NR_clock_gettime, __NR_exit_group, __NR_rt_sigprocmask, __NR_ioctl,
    __NR_getrandom, __NR_ppoll, __NR_fsync, __NR_fdatasync, __NR_membarrier, __NR_sched_setaffinity,
    __NR_shutdown,
};

}  // namespace

Result<void> install_sentry_filter(bool ptrace) {
  BpfProgram p;
  const auto deny = p.label(), allow = p.label(), map = p.label(), pair = p.label(), thread = p.label(), missing = p.label();
  p.load_arch();
  p.jump_if_ne(AUDIT_ARCH_X86_64, deny);
  p.load_nr();
  for (uint32_t nr : kAllowed) p.jump_if_eq(nr, allow);
  for (uint32_t nr : sanitizer::kHostCalls) p.jump_if_eq(nr, allow);
  // Threads for host calls that wait (sched/host_threads.h), as glibc makes them. clone3's flags cannot be looked at: glibc then takes clone.
  for (uint32_t nr : {__NR_rt_sigaction, __NR_set_robust_list, __NR_rseq, __NR_exit}) p.jump_if_eq(nr, allow);
  p.jump_if_eq(__NR_clone, thread);
  p.jump_if_eq(__NR_clone3, missing);
  if (ptrace) p.jump_if_eq(__NR_ptrace, allow);
  p.jump_if_eq(__NR_mmap, map);
  p.jump_if_eq(__NR_mprotect, map);
  p.jump_if_eq(__NR_socketpair, pair);
  p.bind(deny);
  p.ret(SECCOMP_RET_KILL_PROCESS);
  p.bind(map);  // no new code in the Sentry
  p.load_arg_low(2);
  const auto executable = p.label();
  p.jump_if_any(PROT_EXEC, executable);
  p.bind(allow);
  p.ret(SECCOMP_RET_ALLOW);
  p.bind(pair);
  p.load_arg_low(0);
  p.jump_if_ne(AF_UNIX, executable);
  p.ret(SECCOMP_RET_ALLOW);
  p.bind(thread);
  p.load_arg_low(0);
  p.jump_if_ne(kThreadFlags, executable);
  p.ret(SECCOMP_RET_ALLOW);
  p.bind(missing);
  p.ret(SECCOMP_RET_ERRNO | ENOSYS);
  p.bind(executable);
  p.ret(SECCOMP_RET_KILL_PROCESS);

  sanitizer::announce();
  const auto& code = p.finish();
  const sock_fprog prog{static_cast<unsigned short>(code.size()), const_cast<sock_filter*>(code.data())};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return last_errno();
  if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog) != 0) return last_errno();
  return ok();
}

}  // namespace run9::sentry
