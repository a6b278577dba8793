// seccomp(2): strict mode, filters, what each action does, inheritance, threads.
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/utsname.h>

#include <cstddef>
#include <thread>

#include "tests/syscalls/test_util.h"

namespace run9::guest {
namespace {

constexpr uint32_t kCall = SYS_getpgrp;  // libc has no need of it

// "kCall gives `action`, the rest is allowed."
std::vector<sock_filter> filter_for(uint32_t action, uint32_t nr = kCall) {
  return {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
          BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1), BPF_STMT(BPF_RET | BPF_K, action),
          BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
}

long install(std::vector<sock_filter> code, unsigned flags = 0) {
  const sock_fprog p = {static_cast<unsigned short>(code.size()), code.data()};
  return sys(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &p);
}

void no_new_privs() { ASSERT_OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)); }

TEST(SeccompTest, Errno) {
  in_child([] {
    no_new_privs();
    ASSERT_OK(install(filter_for(SECCOMP_RET_ERRNO | ENOTTY)));
    EXPECT_ERR(ENOTTY, sys(kCall));
    EXPECT_EQ(SECCOMP_MODE_FILTER, prctl(PR_GET_SECCOMP));
    EXPECT_OK(sys(SYS_getppid));
    in_child([] { EXPECT_ERR(ENOTTY, sys(kCall)); });  // inherited
    // The strictest of all filters wins; an errno of 0 is success.
    ASSERT_OK(install(filter_for(SECCOMP_RET_ALLOW)));
    EXPECT_ERR(ENOTTY, sys(kCall));
    ASSERT_OK(install(filter_for(SECCOMP_RET_ERRNO, SYS_getpgid)));
    EXPECT_EQ(0, sys(SYS_getpgid, -5));
    ASSERT_OK(install(filter_for(SECCOMP_RET_ERRNO | 0xffff, SYS_getsid)));
    EXPECT_ERR(4095, sys(SYS_getsid, 0));
  });
}

TEST(SeccompTest, ArgumentsAndArithmetic) {
  in_child([] {
    no_new_privs();
    // (args[0] * 3 + 1) through scratch memory; 31 is refused.
    ASSERT_OK(install({BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
                       BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getpgid, 0, 8),
                       BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args)),
                       BPF_STMT(BPF_ALU | BPF_MUL | BPF_K, 3), BPF_STMT(BPF_ST, 2),
                       BPF_STMT(BPF_LDX | BPF_MEM, 2), BPF_STMT(BPF_LD | BPF_IMM, 1),
                       BPF_STMT(BPF_ALU | BPF_ADD | BPF_X, 0),
                       BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 31, 0, 1),
                       BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EDOM),
                       BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)}));
    EXPECT_ERR(EDOM, sys(SYS_getpgid, 10));
    EXPECT_OK(sys(SYS_getpgid, 0));
  });
}

volatile long trapped_nr, trapped_errno, trapped_arch;
void on_sys(int, siginfo_t* info, void*) {
  trapped_nr = info->si_syscall;
  trapped_errno = info->si_errno;
  trapped_arch = info->si_arch;
}

TEST(SeccompTest, TrapAndKill) {
  in_child([] {
    no_new_privs();
    ScopedHandler handler(SIGSYS, on_sys);
    ASSERT_OK(install(filter_for(SECCOMP_RET_TRAP | 7)));
    EXPECT_EQ(static_cast<long>(kCall), sys(kCall));  // rax is left as it was
    EXPECT_EQ(static_cast<long>(kCall), trapped_nr);
    EXPECT_EQ(7, trapped_errno);
    EXPECT_EQ(static_cast<long>(AUDIT_ARCH_X86_64), trapped_arch & 0xffffffff);
  });
  for (uint32_t action : {SECCOMP_RET_KILL_PROCESS, SECCOMP_RET_KILL_THREAD, 0x12340000u}) {
    const int status = child_status([&] {
      no_new_privs();
      ASSERT_OK(install(filter_for(action)));
      sys(kCall);
    });
    EXPECT_TRUE(WIFSIGNALED(status));
    EXPECT_EQ(SIGSYS, WTERMSIG(status)) << action;
  }
}

TEST(SeccompTest, TraceWithoutTracerIsNosys) {
  in_child([] {
    no_new_privs();
    ASSERT_OK(install(filter_for(SECCOMP_RET_TRACE)));
    EXPECT_ERR(ENOSYS, sys(kCall));
    ASSERT_OK(install(filter_for(SECCOMP_RET_LOG, SYS_getpgid)));
    EXPECT_OK(sys(SYS_getpgid, 0));
  });
}

TEST(SeccompTest, StrictMode) {
  EXPECT_EQ(SIGKILL, WTERMSIG(child_status([] {
    ASSERT_OK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT));
    sys(SYS_getpid);
  })));
  const int status = child_status([] {
    ASSERT_OK(sys(SYS_seccomp, SECCOMP_SET_MODE_STRICT, 0, nullptr));
    sys(SYS_write, 1, "", 0);
    sys(SYS_exit, 5);
  });
  EXPECT_EQ(5, WEXITSTATUS(status));
}

TEST(SeccompTest, TsyncReachesOtherThreads) {
  in_child([] {
    no_new_privs();
    Pipe ready, go;
    long result = 0;
    std::thread other([&] {
      ready.notify();
      go.await();
      result = sys(kCall) == -1 ? errno : 0;
    });
    ready.await();
    ASSERT_OK(install(filter_for(SECCOMP_RET_ERRNO | ENOTTY), SECCOMP_FILTER_FLAG_TSYNC));
    go.notify();
    other.join();
    EXPECT_EQ(ENOTTY, result);
  });
}

TEST(SeccompTest, Errors) {
  in_child([] {
    EXPECT_ERR(EINVAL, sys(SYS_seccomp, 99, 0, nullptr));
    EXPECT_ERR(EINVAL, sys(SYS_seccomp, SECCOMP_SET_MODE_STRICT, 1, nullptr));
    EXPECT_ERR(EFAULT, sys(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, bad()));
    uint32_t action = SECCOMP_RET_TRAP;
    EXPECT_OK(sys(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action));
    action = 0x12340000;
    EXPECT_ERR(EOPNOTSUPP, sys(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action));
    EXPECT_ERR(EFAULT, sys(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, bad()));
    EXPECT_ERR(EINVAL, prctl(PR_SET_SECCOMP, 99));
    no_new_privs();
    const sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    EXPECT_ERR(EINVAL, install({}));
    EXPECT_ERR(EINVAL, install({BPF_STMT(BPF_LD | BPF_IMM, 0)}));                  // no end
    EXPECT_ERR(EINVAL, install({BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 64), allow}));  // outside
    EXPECT_ERR(EINVAL, install({BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 2), allow}));
    EXPECT_ERR(EINVAL, install({BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 0), allow}));
    EXPECT_ERR(EINVAL, install({BPF_STMT(BPF_LD | BPF_MEM, 16), allow}));
    EXPECT_ERR(EINVAL, install({BPF_STMT(BPF_LD | BPF_MEM, 0), allow}));  // never stored
    EXPECT_ERR(EINVAL, install({BPF_STMT(BPF_ALU | BPF_DIV | BPF_K, 0), allow}));
    EXPECT_ERR(EINVAL, install({BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, 3), allow}));
    EXPECT_ERR(EINVAL, install({BPF_JUMP(BPF_JMP | BPF_JA, 1, 0, 0), allow}));
    EXPECT_ERR(EINVAL, install(std::vector<sock_filter>(4097, allow)));
    EXPECT_OK(install({allow}));
    EXPECT_ERR(EINVAL, prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT));
  });
  SKIP_UNLESS_ROOT();
  in_user_child([] { EXPECT_ERR(EACCES, install(filter_for(SECCOMP_RET_ALLOW))); });
}

}  // namespace
}  // namespace run9::guest
