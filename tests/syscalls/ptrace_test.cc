// ptrace(2): attach, stops of calls and signals, registers and memory, events of clone, exec and exit.
#include <elf.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>

#include <cstddef>

#include "tests/syscalls/test_util.h"

namespace run9::guest {
namespace {

long pt(long request, pid_t pid, const void* address = nullptr, const void* data = nullptr) {
  return sys(SYS_ptrace, request, pid, address, data);
}
long pt(long request, pid_t pid, long address, long data) {
  return sys(SYS_ptrace, request, pid, address, data);
}

// The next stop of `pid`: its status >> 8, or the whole status if it ended.
int next_stop(pid_t pid) {
  int status = 0;
  EXPECT_EQ(pid, waitpid(pid, &status, __WALL));
  return WIFSTOPPED(status) ? status >> 8 : status;
}

// A child that stopped itself under PTRACE_TRACEME, and then does `body`.
template <typename F>
pid_t traced(F&& body) {
  const pid_t pid = spawn([&] {
    EXPECT_OK(pt(PTRACE_TRACEME, 0));
    raise(SIGSTOP);
    body();
  });
  EXPECT_EQ(SIGSTOP, next_stop(pid));
  return pid;
}

TEST(PtraceTest, SyscallStopsShowAndChangeACall) {
  const pid_t pid = traced([] {
    EXPECT_EQ(1234, sys(SYS_getpgrp));
    EXPECT_ERR(ENOSYS, sys(SYS_getppid));
  });
  ASSERT_OK(pt(PTRACE_SETOPTIONS, pid, 0l, PTRACE_O_TRACESYSGOOD));
  user_regs_struct regs = {};
  bool entry = true;
  int seen = 0;
  while (seen < 2) {
    ASSERT_OK(pt(PTRACE_SYSCALL, pid));
    ASSERT_EQ(SIGTRAP | 0x80, next_stop(pid));
    ASSERT_OK(pt(PTRACE_GETREGS, pid, nullptr, &regs));
    if (entry) EXPECT_EQ(static_cast<unsigned long long>(-ENOSYS), regs.rax);
    if (entry && regs.orig_rax == SYS_getppid) {
      __ptrace_syscall_info info = {};
      EXPECT_GT(pt(PTRACE_GET_SYSCALL_INFO, pid, reinterpret_cast<void*>(sizeof(info)), &info), 0);
      EXPECT_EQ(PTRACE_SYSCALL_INFO_ENTRY, info.op);
      EXPECT_EQ(static_cast<uint64_t>(SYS_getppid), info.entry.nr);
      regs.orig_rax = -1;
      ASSERT_OK(pt(PTRACE_SETREGS, pid, nullptr, &regs));
      ++seen;
    } else if (!entry && regs.orig_rax == SYS_getpgrp) {
      regs.rax = 1234;
      ASSERT_OK(pt(PTRACE_SETREGS, pid, nullptr, &regs));
      ++seen;
    }
    entry = !entry;
  }
  ASSERT_OK(pt(PTRACE_CONT, pid));
  EXPECT_EQ(0, reap(pid));
}

TEST(PtraceTest, PeekAndPoke) {
  static volatile long word = 0x1122334455667788;
  const pid_t pid = traced([] { EXPECT_EQ(99, word); });
  auto* at = const_cast<long*>(&word);
  long out = 0;
  EXPECT_OK(pt(PTRACE_PEEKDATA, pid, at, &out));
  EXPECT_EQ(0x1122334455667788, out);
  EXPECT_OK(pt(PTRACE_POKEDATA, pid, at, reinterpret_cast<void*>(99)));
  // Text, which the child may not write.
  const auto* text = reinterpret_cast<const void*>(&next_stop);
  EXPECT_OK(pt(PTRACE_PEEKTEXT, pid, text, &out));
  EXPECT_OK(pt(PTRACE_POKETEXT, pid, text, reinterpret_cast<void*>(out ^ 0xff)));
  long changed = 0;
  EXPECT_OK(pt(PTRACE_PEEKTEXT, pid, text, &changed));
  EXPECT_EQ(out ^ 0xff, changed);
  EXPECT_ERR(EIO, pt(PTRACE_PEEKDATA, pid, bad(), &out));
  EXPECT_ERR(EIO, pt(PTRACE_POKEDATA, pid, bad(), nullptr));
  EXPECT_ERR(EFAULT, pt(PTRACE_PEEKDATA, pid, at, bad()));
  EXPECT_OK(pt(PTRACE_PEEKUSER, pid, reinterpret_cast<void*>(offsetof(struct user, regs.rip)), &out));
  EXPECT_NE(0, out);
  EXPECT_ERR(EIO, pt(PTRACE_PEEKUSER, pid, reinterpret_cast<void*>(3), &out));
  EXPECT_ERR(EIO, pt(PTRACE_PEEKUSER, pid, reinterpret_cast<void*>(1 << 20), &out));
  user_fpregs_struct fp = {};
  EXPECT_OK(pt(PTRACE_GETFPREGS, pid, nullptr, &fp));
  EXPECT_OK(pt(PTRACE_SETFPREGS, pid, nullptr, &fp));
  user_regs_struct regs = {};
  iovec v = {&regs, sizeof(regs)};
  EXPECT_OK(pt(PTRACE_GETREGSET, pid, reinterpret_cast<void*>(NT_PRSTATUS), &v));
  EXPECT_EQ(sizeof(regs), v.iov_len);
  EXPECT_EQ(static_cast<unsigned long long>(out), regs.rip) << "rip, read last but one";
  ASSERT_OK(pt(PTRACE_DETACH, pid));
  EXPECT_EQ(0, reap(pid));
}

volatile int handled = 0;
void count_signal(int) { handled = handled + 1; }

TEST(PtraceTest, SignalsStopFirst) {
  const pid_t pid = traced([] {
    signal(SIGUSR1, count_signal);
    signal(SIGUSR2, count_signal);
    raise(SIGUSR1);
    raise(SIGUSR2);
    raise(SIGTERM);
    _exit(handled);
  });
  ASSERT_OK(pt(PTRACE_CONT, pid));
  EXPECT_EQ(SIGUSR1, next_stop(pid));
  siginfo_t info = {};
  EXPECT_OK(pt(PTRACE_GETSIGINFO, pid, nullptr, &info));
  EXPECT_EQ(SIGUSR1, info.si_signo);
  EXPECT_EQ(SI_TKILL, info.si_code);
  EXPECT_EQ(pid, info.si_pid);
  ASSERT_OK(pt(PTRACE_CONT, pid, 0l, SIGUSR1));  // delivered
  EXPECT_EQ(SIGUSR2, next_stop(pid));
  ASSERT_OK(pt(PTRACE_CONT, pid, 0l, 0l));  // swallowed
  EXPECT_EQ(SIGTERM, next_stop(pid));
  ASSERT_OK(pt(PTRACE_CONT, pid, 0l, SIGUSR2));  // exchanged
  EXPECT_EQ(2 << 8, next_stop(pid));
}

TEST(PtraceTest, EventsOfForkExecAndExit) {
  const std::string program = self_path();
  const pid_t pid = traced([&] {
    const pid_t child = fork();
    if (child == 0) _exit(7);
    int status;
    waitpid(child, &status, 0);
    execl("/bin/true", "true", nullptr);
    _exit(1);
  });
  ASSERT_OK(pt(PTRACE_SETOPTIONS, pid, 0l,
               PTRACE_O_TRACEFORK | PTRACE_O_TRACEEXEC | PTRACE_O_TRACEEXIT | PTRACE_O_EXITKILL));
  ASSERT_OK(pt(PTRACE_CONT, pid));
  EXPECT_EQ(SIGTRAP | (PTRACE_EVENT_FORK << 8), next_stop(pid));
  unsigned long child = 0;
  ASSERT_OK(pt(PTRACE_GETEVENTMSG, pid, nullptr, &child));
  EXPECT_EQ(SIGSTOP, next_stop(static_cast<pid_t>(child)));
  ASSERT_OK(pt(PTRACE_CONT, static_cast<pid_t>(child)));
  EXPECT_EQ(SIGTRAP | (PTRACE_EVENT_EXIT << 8), next_stop(static_cast<pid_t>(child)));
  unsigned long status = 0;
  ASSERT_OK(pt(PTRACE_GETEVENTMSG, static_cast<pid_t>(child), nullptr, &status));
  EXPECT_EQ(7u << 8, status);
  ASSERT_OK(pt(PTRACE_CONT, static_cast<pid_t>(child)));
  EXPECT_EQ(7 << 8, next_stop(static_cast<pid_t>(child)));  // told to the tracer first
  ASSERT_OK(pt(PTRACE_CONT, pid));
  EXPECT_EQ(SIGCHLD, next_stop(pid));
  ASSERT_OK(pt(PTRACE_CONT, pid));
  EXPECT_EQ(SIGTRAP | (PTRACE_EVENT_EXEC << 8), next_stop(pid));
  ASSERT_OK(pt(PTRACE_CONT, pid));
  EXPECT_EQ(SIGTRAP | (PTRACE_EVENT_EXIT << 8), next_stop(pid));
  ASSERT_OK(pt(PTRACE_CONT, pid));
  EXPECT_EQ(0, next_stop(pid));
}

TEST(PtraceTest, SeizeInterruptAndDetach) {
  SharedMemory<volatile int> count;
  const pid_t pid = spawn([&] {
    for (;;) *count = *count + 1;
  });
  while (*count == 0) sched_yield();
  ASSERT_OK(pt(PTRACE_SEIZE, pid));
  EXPECT_ERR(EPERM, pt(PTRACE_SEIZE, pid));
  EXPECT_ERR(ESRCH, pt(PTRACE_CONT, pid));  // it runs
  ASSERT_OK(pt(PTRACE_INTERRUPT, pid));
  EXPECT_EQ(SIGTRAP | (PTRACE_EVENT_STOP << 8), next_stop(pid));
  const int before = *count;
  for (int i = 0; i < 100; ++i) sched_yield();
  EXPECT_EQ(before, *count);
  ASSERT_OK(pt(PTRACE_DETACH, pid));
  while (*count == before) sched_yield();
  ASSERT_OK(kill(pid, SIGKILL));
  EXPECT_EQ(SIGKILL, WTERMSIG(reap(pid)));
}

TEST(PtraceTest, AttachStopsAndKillEndsAStop) {
  const pid_t pid = spawn([] {
    for (;;) pause();
  });
  ASSERT_OK(pt(PTRACE_ATTACH, pid));
  EXPECT_EQ(SIGSTOP, next_stop(pid));
  ASSERT_OK(kill(pid, SIGKILL));
  EXPECT_EQ(SIGKILL, next_stop(pid));
}

TEST(PtraceTest, AttachToOneThatIsStopped) {
  const pid_t pid = spawn([] {
    raise(SIGSTOP);
    _exit(0);
  });
  int status;
  ASSERT_EQ(pid, waitpid(pid, &status, WUNTRACED));
  ASSERT_OK(pt(PTRACE_ATTACH, pid));
  user_regs_struct regs = {};
  EXPECT_OK(pt(PTRACE_GETREGS, pid, nullptr, &regs));  // at once: there is no stop to wait for
  EXPECT_NE(0u, regs.rip);
  ASSERT_OK(pt(PTRACE_DETACH, pid));
  ASSERT_OK(kill(pid, SIGCONT));
  EXPECT_EQ(0, reap(pid));
}

TEST(PtraceTest, SingleStep) {
  const pid_t pid = traced([] { asm volatile("nop; nop; nop; nop"); });
  user_regs_struct before = {}, after = {};
  for (int i = 0; i < 5; ++i) {
    ASSERT_OK(pt(PTRACE_GETREGS, pid, nullptr, &before));
    ASSERT_OK(pt(PTRACE_SINGLESTEP, pid));
    ASSERT_EQ(SIGTRAP, next_stop(pid));
    ASSERT_OK(pt(PTRACE_GETREGS, pid, nullptr, &after));
    EXPECT_NE(before.rip, after.rip);
  }
  ASSERT_OK(pt(PTRACE_DETACH, pid));
  EXPECT_EQ(0, reap(pid));
}

TEST(PtraceTest, Errors) {
  EXPECT_ERR(ESRCH, pt(PTRACE_ATTACH, 999999));
  EXPECT_ERR(EPERM, pt(PTRACE_ATTACH, getpid()));
  EXPECT_ERR(ESRCH, pt(PTRACE_CONT, 999999));
  const pid_t pid = traced([] {});
  EXPECT_ERR(EINVAL, pt(PTRACE_SETOPTIONS, pid, 0l, 1l << 30));
  EXPECT_ERR(EIO, pt(PTRACE_CONT, pid, 0l, 65l));
  EXPECT_ERR(EIO, pt(4000, pid));
  EXPECT_ERR(EFAULT, pt(PTRACE_GETREGS, pid, nullptr, bad()));
  EXPECT_ERR(EPERM, pt(PTRACE_ATTACH, pid));
  EXPECT_ERR(EIO, pt(PTRACE_INTERRUPT, pid));  // not seized
  ASSERT_OK(pt(PTRACE_KILL, pid));
  EXPECT_EQ(SIGKILL, next_stop(pid));
}

}  // namespace
}  // namespace run9::guest
