// Properties of a process: limits, usage, priorities, scheduling, prctl, personality; and of the
// system: uname, sysinfo.
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>

#include "tests/syscalls/test_util.h"

namespace run9::guest {
namespace {

// --- limits and usage
// -------------------------------------------------------------------------------------------------

TEST(RlimitTest, GetAndSet) {
  in_child([] {
    rlimit r = {};
    EXPECT_OK(sys(SYS_getrlimit, RLIMIT_NOFILE, &r));
    const rlimit lower = {r.rlim_cur / 2, r.rlim_max};
    EXPECT_OK(sys(SYS_setrlimit, RLIMIT_NOFILE, &lower));
    EXPECT_OK(sys(SYS_prlimit64, 0, RLIMIT_NOFILE, nullptr, &r));
    EXPECT_EQ(lower.rlim_cur, r.rlim_cur);
    in_child([&] {
      rlimit inherited;
      EXPECT_OK(getrlimit(RLIMIT_NOFILE, &inherited));
      EXPECT_EQ(lower.rlim_cur, inherited.rlim_cur);
    });
    const rlimit wrong = {10, 5};
    EXPECT_ERR(EINVAL, sys(SYS_setrlimit, RLIMIT_NOFILE, &wrong));
    EXPECT_ERR(EINVAL, sys(SYS_getrlimit, 99, &r));
    EXPECT_ERR(EINVAL, sys(SYS_setrlimit, 99, &r));
    EXPECT_ERR(EINVAL, sys(SYS_prlimit64, 0, 99, nullptr, &r));
    EXPECT_ERR(ESRCH, sys(SYS_prlimit64, 999999, RLIMIT_NOFILE, nullptr, &r));
    EXPECT_ERR(EFAULT, sys(SYS_getrlimit, RLIMIT_NOFILE, bad()));
    EXPECT_ERR(EFAULT, sys(SYS_setrlimit, RLIMIT_NOFILE, bad()));
    EXPECT_ERR(EFAULT, sys(SYS_prlimit64, 0, RLIMIT_NOFILE, bad(), nullptr));
    EXPECT_ERR(EFAULT, sys(SYS_prlimit64, 0, RLIMIT_NOFILE, nullptr, bad()));
    for (int which = 0; which < 16; ++which)
      EXPECT_OK(getrlimit(static_cast<__rlimit_resource>(which), &r));
  });
}

TEST(RlimitTest, HardLimitOnlyGoesDownForUsers) {
  SKIP_UNLESS_ROOT();
  in_user_child([] {
    rlimit r;
    ASSERT_OK(getrlimit(RLIMIT_CORE, &r));
    r = {0, 100};
    EXPECT_OK(setrlimit(RLIMIT_CORE, &r));
    r = {0, 101};
    EXPECT_ERR(EPERM, setrlimit(RLIMIT_CORE, &r));
  });
}

TEST(RlimitTest, CpuLimitSendsXcpu) {
  const int status = child_status([] {
    const rlimit r = {0, RLIM_INFINITY};
    setrlimit(RLIMIT_CPU, &r);
    for (;;) asm volatile("pause");
  });
  EXPECT_EQ(SIGXCPU, WTERMSIG(status));
}

TEST(RusageTest, SelfThreadAndChildren) {
  rusage u = {};
  EXPECT_OK(sys(SYS_getrusage, RUSAGE_SELF, &u));
  EXPECT_GT(u.ru_maxrss, 0);
  EXPECT_OK(sys(SYS_getrusage, RUSAGE_THREAD, &u));
  EXPECT_OK(sys(SYS_getrusage, RUSAGE_CHILDREN, &u));
  EXPECT_ERR(EINVAL, sys(SYS_getrusage, 99, &u));
  EXPECT_ERR(EFAULT, sys(SYS_getrusage, RUSAGE_SELF, bad()));
}

// In KiB: the largest child that was waited for.
TEST(RusageTest, LargestChild) {
  constexpr size_t kMuch = 80 << 20;
  const auto touch = [] {
    char* p = static_cast<char*>(mmap(nullptr, kMuch, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    for (size_t i = 0; i < kMuch; i += kPage) p[i] = 1;
    munmap(p, kMuch);
  };
  const auto largest = [] {
    rusage u = {};
    EXPECT_OK(getrusage(RUSAGE_CHILDREN, &u));
    return u.ru_maxrss;
  };
  in_child([&] {
    signal(SIGCHLD, SIG_IGN);
    spawn([&] { touch(), _exit(0); });
    EXPECT_ERR(ECHILD, wait4(-1, nullptr, 0, nullptr));  // when it has ended
    EXPECT_LT(largest(), long{kMuch >> 10});
    signal(SIGCHLD, SIG_DFL);
    rusage u = {};
    const pid_t pid = spawn([&] { touch(), _exit(0); });
    EXPECT_EQ(pid, wait4(pid, nullptr, 0, &u));
    EXPECT_GE(u.ru_maxrss, long{kMuch >> 10});
    EXPECT_GE(largest(), long{kMuch >> 10});
  });
}

TEST(SchedTest, PolicyAndParameters) {
  sched_param p = {};
  EXPECT_OK(sys(SYS_sched_yield));
  EXPECT_EQ(SCHED_OTHER, sys(SYS_sched_getscheduler, 0));
  EXPECT_OK(sys(SYS_sched_getparam, 0, &p));
  EXPECT_EQ(0, p.sched_priority);
  EXPECT_OK(sys(SYS_sched_setparam, 0, &p));
  EXPECT_OK(sys(SYS_sched_setscheduler, 0, SCHED_OTHER, &p));
  in_child([&] {
    EXPECT_OK(sys(SYS_sched_setscheduler, 0, SCHED_BATCH, &p));
    EXPECT_EQ(SCHED_BATCH, sys(SYS_sched_getscheduler, 0));
  });
  EXPECT_EQ(99, sys(SYS_sched_get_priority_max, SCHED_FIFO));
  EXPECT_EQ(1, sys(SYS_sched_get_priority_min, SCHED_RR));
  EXPECT_EQ(0, sys(SYS_sched_get_priority_max, SCHED_OTHER));
  EXPECT_ERR(EINVAL, sys(SYS_sched_get_priority_max, 99));
  EXPECT_ERR(EINVAL, sys(SYS_sched_get_priority_min, 99));
  EXPECT_ERR(ESRCH, sys(SYS_sched_getscheduler, 999999));
  EXPECT_ERR(EINVAL, sys(SYS_sched_getscheduler, -1));
  EXPECT_ERR(EINVAL, sys(SYS_sched_setscheduler, 0, 99, &p));
  EXPECT_ERR(EFAULT, sys(SYS_sched_setscheduler, 0, SCHED_OTHER, bad()));
  EXPECT_ERR(EFAULT, sys(SYS_sched_getparam, 0, bad()));
  EXPECT_ERR(EFAULT, sys(SYS_sched_setparam, 0, bad()));
  EXPECT_ERR(ESRCH, sys(SYS_sched_getparam, 999999, &p));
  p.sched_priority = 5;
  EXPECT_ERR(EINVAL, sys(SYS_sched_setparam, 0, &p));
  timespec t = {};
  EXPECT_OK(sys(SYS_sched_rr_get_interval, 0, &t));
  EXPECT_ERR(ESRCH, sys(SYS_sched_rr_get_interval, 999999, &t));
  EXPECT_ERR(EINVAL, sys(SYS_sched_rr_get_interval, -1, &t));
  EXPECT_ERR(EFAULT, sys(SYS_sched_rr_get_interval, 0, bad()));
}

TEST(SchedTest, ResetOnFork) {
  constexpr int kResetOnFork = 0x40000000;
  in_child([] {
    sched_param p = {};
    EXPECT_OK(sys(SYS_sched_setscheduler, 0, SCHED_BATCH | kResetOnFork, &p));
    EXPECT_EQ(SCHED_BATCH | kResetOnFork, sys(SYS_sched_getscheduler, 0));
    EXPECT_OK(sys(SYS_sched_setparam, 0, &p));
    in_child([] { EXPECT_EQ(SCHED_BATCH, sys(SYS_sched_getscheduler, 0)); });  // only what is above is reset
    EXPECT_EQ(SCHED_BATCH | kResetOnFork, sys(SYS_sched_getscheduler, 0));
  });
  in_child([] {
    if (setpriority(PRIO_PROCESS, 0, -5) != 0) return;  // without CAP_SYS_NICE nobody sees it
    sched_param p = {};
    EXPECT_OK(sys(SYS_sched_setscheduler, 0, SCHED_OTHER | kResetOnFork, &p));
    in_child([] { EXPECT_EQ(0, getpriority(PRIO_PROCESS, 0)); });
  });
}

TEST(SchedTest, Attributes) {
  struct Attr {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
    uint32_t util_min, util_max;
  } a = {};
  EXPECT_OK(sys(SYS_sched_getattr, 0, &a, sizeof(a), 0));
  EXPECT_EQ(static_cast<uint32_t>(SCHED_OTHER), a.policy);
  EXPECT_ERR(EINVAL, sys(SYS_sched_getattr, 0, &a, 8, 0));
  EXPECT_ERR(EINVAL, sys(SYS_sched_getattr, 0, &a, sizeof(a), 1));
  EXPECT_ERR(ESRCH, sys(SYS_sched_getattr, 999999, &a, sizeof(a), 0));
  EXPECT_ERR(EFAULT, sys(SYS_sched_getattr, 0, bad(), sizeof(a), 0));
  in_child([] {
    Attr set = {.size = 48, .policy = SCHED_OTHER, .nice = 3};
    EXPECT_OK(sys(SYS_sched_setattr, 0, &set, 0));
    EXPECT_EQ(17, sys(SYS_getpriority, PRIO_PROCESS, 0));
    EXPECT_ERR(EINVAL, sys(SYS_sched_setattr, 0, &set, 1));
    EXPECT_ERR(EFAULT, sys(SYS_sched_setattr, 0, bad(), 0));
  });
}

TEST(SchedTest, Affinity) {
  unsigned long mask[128] = {};
  const long size = sys(SYS_sched_getaffinity, 0, sizeof(mask), mask);
  EXPECT_GT(size, 0);  // the kernel answers the bytes it filled
  EXPECT_EQ(0, size % 8);
  EXPECT_NE(0u, mask[0] | mask[1]);
  in_child([&] {
    unsigned cpu = 0;
    EXPECT_OK(sys(SYS_getcpu, &cpu, nullptr, nullptr));
    unsigned long one[128] = {};
    one[cpu / 64] = 1ul << (cpu % 64);
    EXPECT_OK(sys(SYS_sched_setaffinity, 0, sizeof(one), one));
    unsigned long got[128] = {};
    EXPECT_OK(sys(SYS_sched_getaffinity, 0, sizeof(got), got));
    EXPECT_EQ(one[cpu / 64], got[cpu / 64]);
    unsigned now = 99;
    EXPECT_OK(sys(SYS_getcpu, &now, nullptr, nullptr));
    EXPECT_EQ(cpu, now);
    unsigned long none[128] = {};
    EXPECT_ERR(EINVAL, sys(SYS_sched_setaffinity, 0, sizeof(none), none));
  });
  EXPECT_ERR(EINVAL, sys(SYS_sched_getaffinity, 0, 1, mask));
  EXPECT_ERR(ESRCH, sys(SYS_sched_getaffinity, 999999, sizeof(mask), mask));
  EXPECT_ERR(EFAULT, sys(SYS_sched_getaffinity, 0, sizeof(mask), bad()));
  EXPECT_ERR(EFAULT, sys(SYS_sched_setaffinity, 0, sizeof(mask), bad()));
  EXPECT_ERR(ESRCH, sys(SYS_sched_setaffinity, 999999, sizeof(mask), mask));
  EXPECT_ERR(EFAULT, sys(SYS_getcpu, bad(), nullptr, nullptr));
}

// --- prctl and personality
// ---------------------------------------------------------------------------------------------

TEST(PrctlTest, Name) {
  char name[17] = {};
  in_child([&] {
    EXPECT_OK(sys(SYS_prctl, PR_SET_NAME, "a-very-long-name-indeed"));
    EXPECT_OK(sys(SYS_prctl, PR_GET_NAME, name));
    EXPECT_STREQ("a-very-long-nam", name);
    EXPECT_EQ("a-very-long-nam\n", read_file("/proc/self/comm"));
  });
  EXPECT_ERR(EFAULT, sys(SYS_prctl, PR_SET_NAME, bad()));
  EXPECT_ERR(EFAULT, sys(SYS_prctl, PR_GET_NAME, bad()));
  EXPECT_ERR(EINVAL, sys(SYS_prctl, 9999, 0, 0, 0, 0));
}

TEST(PrctlTest, Dumpable) {
  in_child([] {
    EXPECT_OK(sys(SYS_prctl, PR_SET_DUMPABLE, 0));
    EXPECT_EQ(0, sys(SYS_prctl, PR_GET_DUMPABLE));
    EXPECT_OK(sys(SYS_prctl, PR_SET_DUMPABLE, 1));
    EXPECT_ERR(EINVAL, sys(SYS_prctl, PR_SET_DUMPABLE, 7));
  });
}

TEST(PrctlTest, Others) {
  in_child([] {
    EXPECT_ERR(EINVAL, sys(SYS_prctl, PR_SET_PDEATHSIG, 99));
    EXPECT_ERR(EFAULT, sys(SYS_prctl, PR_GET_PDEATHSIG, bad()));
    EXPECT_ERR(EINVAL, sys(SYS_prctl, PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0));
    EXPECT_EQ(0, sys(SYS_prctl, PR_GET_SECCOMP));
    EXPECT_EQ(0, sys(SYS_prctl, PR_GET_TIMING));
    EXPECT_OK(sys(SYS_prctl, PR_SET_TIMERSLACK, 1000));
    EXPECT_EQ(1000, sys(SYS_prctl, PR_GET_TIMERSLACK));
    in_child([] {
      EXPECT_OK(sys(SYS_prctl, PR_SET_TIMERSLACK, 70'000));
      EXPECT_OK(sys(SYS_prctl, PR_SET_TIMERSLACK, 0));  // the default: what its parent had
      EXPECT_EQ(1000, sys(SYS_prctl, PR_GET_TIMERSLACK));
    });
    EXPECT_ERR(EINVAL, sys(SYS_prctl, PR_GET_SPECULATION_CTRL, 0, 1, 0, 0));
  });
}

TEST(PersonalityTest, GetAndSet) {
  const long now = sys(SYS_personality, 0xffffffff);
  EXPECT_GE(now, 0);
  in_child([] {
    EXPECT_OK(sys(SYS_personality, ADDR_NO_RANDOMIZE));
    EXPECT_EQ(ADDR_NO_RANDOMIZE, sys(SYS_personality, 0xffffffff));
    in_child([] { EXPECT_EQ(ADDR_NO_RANDOMIZE, sys(SYS_personality, 0xffffffff)); });
  });
}

// --- the system
// -------------------------------------------------------------------------------------------------

TEST(SystemTest, Uname) {
  utsname u = {};
  EXPECT_OK(sys(SYS_uname, &u));
  EXPECT_STREQ("Linux", u.sysname);
  EXPECT_STREQ("x86_64", u.machine);
  EXPECT_NE('\0', u.nodename[0]);
  int major = 0, minor = 0;
  EXPECT_EQ(2, sscanf(u.release, "%d.%d", &major, &minor));
  EXPECT_GE(major * 1000 + minor, 5010);
  for (void* p : bad_pointers()) EXPECT_ERR(EFAULT, sys(SYS_uname, p));
  Straddle page;
  EXPECT_ERR(EFAULT, sys(SYS_uname, page.last(sizeof(u) - 1)));
  EXPECT_OK(sys(SYS_uname, page.last(sizeof(u))));
}

TEST(SystemTest, UnameAgreesWithProc) {
  utsname u = {};
  ASSERT_OK(uname(&u));
  EXPECT_EQ(std::string(u.release) + "\n", read_file("/proc/sys/kernel/osrelease"));
  EXPECT_EQ(std::string(u.nodename) + "\n", read_file("/proc/sys/kernel/hostname"));
  EXPECT_EQ(0u, read_file("/proc/version").find("Linux version " + std::string(u.release)));
}

TEST(SystemTest, HostnameErrors) {
  SKIP_UNLESS_ROOT();
  EXPECT_ERR(EINVAL, sys(SYS_sethostname, "x", -1));
  EXPECT_ERR(EINVAL, sys(SYS_sethostname, "x", 65));
  EXPECT_ERR(EFAULT, sys(SYS_sethostname, bad(), 5));
  EXPECT_ERR(EINVAL, sys(SYS_setdomainname, "x", 65));
  EXPECT_ERR(EFAULT, sys(SYS_setdomainname, bad(), 5));
}

TEST(SystemTest, Sysinfo) {
  struct sysinfo info = {};
  EXPECT_OK(sys(SYS_sysinfo, &info));
  EXPECT_GT(info.uptime, 0);
  EXPECT_GT(info.totalram, 0u);
  EXPECT_GE(info.totalram, info.freeram);
  EXPECT_GT(info.procs, 0);
  EXPECT_GT(info.mem_unit, 0u);
  for (void* p : bad_pointers()) EXPECT_ERR(EFAULT, sys(SYS_sysinfo, p));
}

TEST(SystemTest, Getrandom) {
  unsigned char a[32] = {}, b[32] = {};
  EXPECT_EQ(32, sys(SYS_getrandom, a, 32, 0));
  EXPECT_EQ(32, sys(SYS_getrandom, b, 32, 1 /* GRND_NONBLOCK */));
  EXPECT_NE(0, memcmp(a, b, 32));
  EXPECT_EQ(0, sys(SYS_getrandom, a, 0, 0));
  EXPECT_ERR(EINVAL, sys(SYS_getrandom, a, 32, 0x100));
  EXPECT_ERR(EFAULT, sys(SYS_getrandom, bad(), 32, 0));
  std::vector<char> big(100000);
  EXPECT_EQ(100000, sys(SYS_getrandom, big.data(), big.size(), 0));
}

TEST(SystemTest, UnknownCallsAreNosys) {
  for (long nr : {335l + 1000, 423l, 0x7fffl, -1l}) EXPECT_ERR(ENOSYS, sys(nr)) << nr;
  for (long nr : {174l, 177l, 178l, 180l, 181l, 182l, 183l, 184l, 185l, 214l, 215l, 236l}) {
    EXPECT_ERR(ENOSYS, sys(nr)) << nr;  // names that Linux keeps but never had, or has no more
  }
}

TEST(SystemTest, UpperHalfOfTheCallNumberIsIgnored) {
  // Linux looks at eax only, sign-extended.
  long result;
  asm volatile("syscall" : "=a"(result) : "a"(0x1'0000'0000 | SYS_getpid) : "rcx", "r11", "memory");
  EXPECT_EQ(getpid(), result);
}

TEST(SystemTest, KcmpTellsSharing) {
  Fd a(open("/dev/null", O_RDONLY)), b(dup(a)), c(open("/dev/null", O_RDONLY));
  const pid_t me = getpid();
  const long got = sys(SYS_kcmp, me, me, 0, +a, +b);
  if (got == -1 && errno == ENOSYS) GTEST_SKIP() << "no kcmp in this kernel";
  EXPECT_EQ(0, got);
  EXPECT_GT(sys(SYS_kcmp, me, me, 0, +a, +c), 0);
  EXPECT_ERR(ESRCH, sys(SYS_kcmp, 999999, me, 0, +a, +b));
  EXPECT_ERR(EBADF, sys(SYS_kcmp, me, me, 0, dead_fd(), +b));
  EXPECT_ERR(EINVAL, sys(SYS_kcmp, me, me, 99, 0, 0));
}

TEST(SystemTest, TheKernelsLog) {
  constexpr int kReadAll = 3, kSize = 10;
  char text[4096];
  const long size = sys(SYS_syslog, kSize, nullptr, 0);
  if (size == -1 && errno == EPERM) GTEST_SKIP() << "not for us";
  EXPECT_GT(size, 0);
  EXPECT_GT(sys(SYS_syslog, kReadAll, text, sizeof text), 0);
  EXPECT_EQ(0, sys(SYS_syslog, kReadAll, text, 0));
  EXPECT_ERR(EINVAL, sys(SYS_syslog, 99, nullptr, 0));
  EXPECT_ERR(EINVAL, sys(SYS_syslog, kReadAll, nullptr, 10));
  EXPECT_ERR(EINVAL, sys(SYS_syslog, kReadAll, text, -1));
  EXPECT_ERR(EFAULT, sys(SYS_syslog, kReadAll, bad(), sizeof text));
}

TEST(SystemTest, NothingToRestart) { EXPECT_ERR(EINTR, sys(SYS_restart_syscall)); }

TEST(SystemTest, IoPriority) {
  EXPECT_GE(sys(SYS_ioprio_get, 1, 0), 0);
  in_child([] {
    EXPECT_OK(sys(SYS_ioprio_set, 1, 0, (2 << 13) | 4));
    EXPECT_EQ((2 << 13) | 4, sys(SYS_ioprio_get, 1, 0));
    in_child([] { EXPECT_EQ((2 << 13) | 4, sys(SYS_ioprio_get, 1, 0)); });
    EXPECT_OK(sys(SYS_ioprio_set, 1, 0, 3 << 13));
    EXPECT_EQ(3 << 13, sys(SYS_ioprio_get, 1, 0));
    EXPECT_ERR(EINVAL, sys(SYS_ioprio_set, 1, 0, 4));  // class none has no levels
    EXPECT_ERR(EINVAL, sys(SYS_ioprio_set, 1, 0, 4 << 13));
  });
  EXPECT_ERR(EINVAL, sys(SYS_ioprio_get, 99, 0));
  EXPECT_ERR(ESRCH, sys(SYS_ioprio_get, 1, 999999));
  EXPECT_ERR(EINVAL, sys(SYS_ioprio_set, 99, 0, 0));
}

}  // namespace
}  // namespace run9::guest
