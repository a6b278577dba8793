#include "gofer/seccomp.h"

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include <array>
#include <cstddef>

#include "base/log.h"
#include "base/sanitizer.h"
#include "base/thread_flags.h"
#include "gofer/host_calls.h"

#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452
#endif

namespace run9::gofer {
namespace {

// The low half of argument `arg`, masked, must be `value`. Every argument checked here is an int
// or has its interesting bits there.
struct ArgCheck {
  int arg = -1;
  uint32_t mask = 0;
  uint32_t value = 0;
};
// The process's own id: known when the filter is installed. No id is so large.
constexpr uint32_t kOwnPid = 0xfffffffe;
enum class Answer : uint8_t { kAllow, kEnosys };
enum class In : uint8_t { kAll, kAccepting, kListening, kMultiUser, kHostSockets };  // the modes that have the rule
struct Rule {
  uint32_t number;
  std::string_view text;
  ArgCheck first{};
  ArgCheck second{};
  In in = In::kAll;
  Answer answer = Answer::kAllow;
};
constexpr bool applies(const Rule& r, SeccompMode mode) {
  switch (r.in) {
    case In::kAll: return true;
    case In::kAccepting: return mode.accepts != Accepts::kNothing;
    case In::kListening: return mode.accepts == Accepts::kConnections;
    case In::kMultiUser: return mode.multi_user;
    case In::kHostSockets: return mode.host_sockets;
  }
  return false;
}

// A descriptor, not AT_FDCWD: no name is resolved from a directory that we do not hold.
constexpr ArgCheck dirfd(int arg) { return {arg, 0x80000000, 0}; }
constexpr ArgCheck equals(int arg, uint32_t value) { return {arg, 0xffffffff, value}; }
constexpr ArgCheck without(int arg, uint32_t bits) { return {arg, bits, 0}; }
constexpr ArgCheck with(int arg, uint32_t bits) { return {arg, bits, bits}; }

constexpr auto kRules = std::to_array<Rule>({
    // The connection.
    {SYS_recvfrom, "recvfrom"},
    {SYS_sendmsg, "sendmsg"},
    {SYS_poll, "poll"},
    // A ring: memory that is shared with the client. Whoever took the gofer over could map the files that it holds, and
    // write to them, as it can by pwrite64.
    {SYS_sendto, "sendto"},
    {SYS_memfd_create, "memfd_create"},
    {SYS_fcntl, "fcntl(F_ADD_SEALS)", equals(1, F_ADD_SEALS)},
    {SYS_mmap, "mmap(MAP_SHARED, no PROT_EXEC)", without(2, PROT_EXEC), equals(3, MAP_SHARED)},
    // Files.
    {SYS_statx, "statx(dirfd >= 0)", dirfd(0)},
    {SYS_openat2, "openat2(dirfd >= 0)", dirfd(0)},
    {SYS_close, "close"},
    {SYS_fcntl, "fcntl(F_DUPFD_CLOEXEC)", equals(1, F_DUPFD_CLOEXEC)},
    {SYS_pread64, "pread64"},
    {SYS_pwrite64, "pwrite64"},
    {SYS_getdents64, "getdents64"},
    {SYS_lseek, "lseek"},
    {SYS_fstatfs, "fstatfs"},
    {SYS_readlinkat, "readlinkat(dirfd >= 0)", dirfd(0)},
    {SYS_mkdirat, "mkdirat(dirfd >= 0)", dirfd(0)},
    {SYS_mknodat, "mknodat(dirfd >= 0)", dirfd(0)},
    {SYS_symlinkat, "symlinkat(dirfd >= 0)", dirfd(1)},
    {SYS_linkat, "linkat(dirfds >= 0)", dirfd(0), dirfd(2)},
    {SYS_unlinkat, "unlinkat(dirfd >= 0)", dirfd(0)},
    {SYS_renameat2, "renameat2(dirfds >= 0)", dirfd(0), dirfd(2)},
    {SYS_fchmod, "fchmod"},
    {SYS_fchmodat2, "fchmodat2(dirfd >= 0, AT_EMPTY_PATH)", dirfd(0), equals(3, AT_EMPTY_PATH)},
    {SYS_fchownat, "fchownat(dirfd >= 0, AT_EMPTY_PATH)", dirfd(0), equals(4, AT_EMPTY_PATH)},
    {SYS_utimensat, "utimensat(dirfd >= 0, AT_EMPTY_PATH)", dirfd(0), equals(3, AT_EMPTY_PATH)},
    // Leases: "." of a directory that we hold. The names that inotify gets are ours to choose, but it
    // only tells of changes, to who holds the descriptor.
    {SYS_fchdir, "fchdir"},
    {SYS_inotify_add_watch, "inotify_add_watch"},
    {SYS_inotify_rm_watch, "inotify_rm_watch"},
    {SYS_inotify_init1, "inotify_init1"},
    // Locks, and threads that wait for them (lock_waits.h). clone3's flags cannot be looked at: glibc then takes clone.
    {SYS_fcntl, "fcntl(F_OFD_SETLK)", equals(1, F_OFD_SETLK)},
    {SYS_fcntl, "fcntl(F_OFD_SETLKW)", equals(1, F_OFD_SETLKW)},
    {SYS_flock, "flock"},
    {SYS_clone, "clone(a thread)", equals(0, kThreadFlags)},
    {SYS_clone3, "clone3: ENOSYS", {}, {}, In::kAll, Answer::kEnosys},
    {SYS_set_robust_list, "set_robust_list"},
    {SYS_rseq, "rseq"},
    {SYS_tgkill, "tgkill(itself, SIGURG)", equals(0, kOwnPid), equals(2, kEndWait)},
    {SYS_read, "read"},
    {SYS_ftruncate, "ftruncate"},
    {SYS_fallocate, "fallocate"},
    {SYS_fsync, "fsync"},
    {SYS_fdatasync, "fdatasync"},
    {SYS_syncfs, "syncfs"},
    {SYS_copy_file_range, "copy_file_range"},
    {SYS_fgetxattr, "fgetxattr"},
    {SYS_fsetxattr, "fsetxattr"},
    {SYS_flistxattr, "flistxattr"},
    {SYS_fremovexattr, "fremovexattr"},
    // The process: memory without code, the log, threads that end.
    {SYS_write, "write"},
    {SYS_mmap, "mmap(anonymous, no PROT_EXEC)", without(2, PROT_EXEC), with(3, MAP_ANONYMOUS)},
    {SYS_mprotect, "mprotect(no PROT_EXEC)", without(2, PROT_EXEC)},
    {SYS_mremap, "mremap"},
    {SYS_munmap, "munmap"},
    {SYS_madvise, "madvise"},
    {SYS_brk, "brk"},
    {SYS_futex, "futex"},
    {SYS_clock_gettime, "clock_gettime"},
    {SYS_getrandom, "getrandom"},
    {SYS_getpid, "getpid"},
    {SYS_sched_yield, "sched_yield"},
    {SYS_restart_syscall, "restart_syscall"},
    {SYS_rt_sigprocmask, "rt_sigprocmask"},
    {SYS_rt_sigreturn, "rt_sigreturn"},
    {SYS_exit, "exit"},
    {SYS_exit_group, "exit_group"},
    {SYS_accept4, "accept4", {}, {}, In::kAccepting},
    {SYS_shutdown, "shutdown", {}, {}, In::kListening},
    // The ids of the thread that serves, and who is at the other end.
    {SYS_setfsuid, "setfsuid", {}, {}, In::kMultiUser},
    {SYS_setfsgid, "setfsgid", {}, {}, In::kMultiUser},
    {SYS_setgroups, "setgroups", {}, {}, In::kMultiUser},
    {SYS_capget, "capget", {}, {}, In::kMultiUser},
    {SYS_capset, "capset", {}, {}, In::kMultiUser},
    {SYS_getsockopt, "getsockopt(SOL_SOCKET, SO_PEERCRED)", equals(1, SOL_SOCKET), equals(2, SO_PEERCRED), In::kMultiUser},
    // Where connect goes cannot be looked at. Beside the sockets in the exports it can reach abstract ones of the network
    // namespace, which is the gofer's own unless it listens.
    {SYS_socket, "socket(AF_UNIX)", equals(0, AF_UNIX), {}, In::kHostSockets},
    {SYS_connect, "connect", {}, {}, In::kHostSockets},
});

constexpr size_t kPerRule = 10;
struct Program {
  std::array<sock_filter, kRules.size() * kPerRule + 2 * sanitizer::kHostCalls.size() + 8> code{};
  unsigned short size = 0;
  constexpr void add(uint16_t op, uint32_t k, uint8_t jt = 0, uint8_t jf = 0) {
    code[size++] = sock_filter{op, jt, jf, k};
  }
};

constexpr uint16_t kLoad = BPF_LD | BPF_W | BPF_ABS;
constexpr uint16_t kIfEqual = BPF_JMP | BPF_JEQ | BPF_K;
constexpr uint16_t kReturn = BPF_RET | BPF_K;

// Little endian: the low half comes first.
constexpr uint32_t arg_at(int arg) {
  return static_cast<uint32_t>(offsetof(seccomp_data, args) + 8 * static_cast<size_t>(arg));
}

constexpr Program compile(SeccompMode mode, uint32_t violation) {
  Program p;
  p.add(kLoad, offsetof(seccomp_data, arch));
  p.add(kIfEqual, AUDIT_ARCH_X86_64, 1, 0);
  p.add(kReturn, SECCOMP_RET_KILL_PROCESS);
  p.add(kLoad, offsetof(seccomp_data, nr));
  for (const Rule& r : kRules) {
    if (!applies(r, mode)) continue;
    const ArgCheck checks[] = {r.first, r.second};
    uint8_t n = 0;
    for (const ArgCheck& c : checks) n += c.arg >= 0;
    if (n == 0) {
      p.add(kIfEqual, r.number, 0, 1);
      p.add(kReturn, r.answer == Answer::kAllow ? SECCOMP_RET_ALLOW : SECCOMP_RET_ERRNO | ENOSYS);
      continue;
    }
    // Three instructions a check, the return, and the number's reload.
    p.add(kIfEqual, r.number, 0, static_cast<uint8_t>(3 * n + 2));
    for (const ArgCheck& c : checks) {
      if (c.arg < 0) continue;
      --n;
      p.add(kLoad, arg_at(c.arg));
      p.add(BPF_ALU | BPF_AND | BPF_K, c.mask);
      p.add(kIfEqual, c.value, 0, static_cast<uint8_t>(3 * n + 1));
    }
    p.add(kReturn, SECCOMP_RET_ALLOW);
    p.add(kLoad, offsetof(seccomp_data, nr));
  }
  for (const uint32_t number : sanitizer::kHostCalls) {
    p.add(kIfEqual, number, 0, 1);
    p.add(kReturn, SECCOMP_RET_ALLOW);
  }
  p.add(kReturn, violation);
  return p;
}

constexpr size_t kModes = 12;
constexpr size_t index_of(SeccompMode m) { return static_cast<size_t>(m.accepts) + 3 * m.multi_user + 6 * m.host_sockets; }

// By mode and OnViolation.
constexpr auto kPrograms = [] {
  std::array<std::array<Program, 2>, kModes> all{};
  for (size_t i = 0; i < kModes; ++i) {
    const SeccompMode mode{static_cast<Accepts>(i % 3), i / 3 % 2 != 0, i / 6 != 0};
    all[index_of(mode)] = {compile(mode, SECCOMP_RET_KILL_PROCESS), compile(mode, SECCOMP_RET_TRAP)};
  }
  return all;
}();

void on_sigsys(int, siginfo_t* info, void* context) {
  log_error("system call {} is not on the gofer's list", info->si_syscall);
  static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_RAX] = -ENOSYS;
}

}  // namespace

Result<void> install_seccomp(SeccompMode mode, OnViolation on_violation) {
  if (on_violation == OnViolation::kLog) {
    struct sigaction sa = {};
    sa.sa_sigaction = on_sigsys;
    sa.sa_flags = SA_SIGINFO | SA_NODEFER;
    TRY(check_call(sigaction(SIGSYS, &sa, nullptr)));
  }
  sanitizer::announce();
  Program p = kPrograms[index_of(mode)][static_cast<size_t>(on_violation)];
  for (sock_filter& s : p.code) {
    if (s.code == kIfEqual && s.k == kOwnPid) s.k = static_cast<uint32_t>(getpid());
  }
  sock_fprog prog{p.size, p.code.data()};
  const long r = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &prog);
  if (r < 0) return last_errno();
  if (r > 0) return Errno{ESRCH};  // a thread that could not be synchronised
  return ok();
}

std::vector<std::string_view> seccomp_table(SeccompMode mode) {
  std::vector<std::string_view> out;
  for (const Rule& r : kRules) {
    if (applies(r, mode)) out.push_back(r.text);
  }
  return out;
}

}  // namespace run9::gofer
