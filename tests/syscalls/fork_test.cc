// fork, vfork, clone as processes, exit, orphans.
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/times.h>

#include <functional>

#include "tests/syscalls/test_util.h"

namespace run9::guest {
namespace {

TEST(ForkTest, ChildSeesItsOwnIds) {
  const pid_t parent = getpid();
  const pid_t pid = sys(SYS_fork);
  if (pid == 0) {
    const bool good = sys(SYS_getppid) == parent && sys(SYS_getpid) != parent &&
                      sys(SYS_gettid) == sys(SYS_getpid);
    _exit(good ? 0 : 1);
  }
  ASSERT_GT(pid, 0);
  EXPECT_EQ(0, reap(pid));
}

TEST(ForkTest, ExitCodeIsItsLowByte) {
  EXPECT_EQ(0x3400, child_status([] { _exit(0x1234); }));
  EXPECT_EQ(0xff00, child_status([] { sys(SYS_exit_group, -1); }));
  EXPECT_EQ(0x0500, child_status([] { sys(SYS_exit, 5); }));
}

TEST(ForkTest, DescriptorsAreCopied) {
  Pipe p;
  in_child([&] {
    p.notify('x');
    p.w.reset();
    p.r.reset();
  });
  EXPECT_EQ('x', p.await());
  p.w.reset();
  EXPECT_EQ(-1, p.await());  // the child's copy is gone too
}

TEST(ForkTest, PendingSignalsAndTimersAreNotInherited) {
  ScopedBlock block({SIGUSR1});
  ASSERT_OK(raise(SIGUSR1));
  alarm(1000);
  in_child([] {
    sigset_t pending;
    ASSERT_OK(sigpending(&pending));
    EXPECT_EQ(0, sigismember(&pending, SIGUSR1));
    EXPECT_EQ(0u, alarm(0));
    sigset_t mask;
    ASSERT_OK(sigprocmask(SIG_BLOCK, nullptr, &mask));
    EXPECT_EQ(1, sigismember(&mask, SIGUSR1));  // the mask is
  });
  EXPECT_NE(0u, alarm(0));
  siginfo_t info;
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  EXPECT_EQ(SIGUSR1, sigwaitinfo(&set, &info));
}

TEST(ForkTest, ForkWhileOtherThreadsRun) {
  Pipe go;
  pthread_t thread;
  pthread_create(
      &thread, nullptr, [](void* p) -> void* { return static_cast<Pipe*>(p)->await(), nullptr; },
      &go);
  in_child([] {
    // Only the forking thread is copied.
    EXPECT_EQ("1", [] {
      const std::string status = read_file("/proc/self/status");
      const size_t at = status.find("Threads:\t");
      return status.substr(at + 9, status.find('\n', at) - at - 9);
    }());
  });
  go.notify();
  pthread_join(thread, nullptr);
}

TEST(ForkTest, VforkSharesMemoryUntilExit) {
  volatile int shared = 0;
  const pid_t pid = vfork();
  if (pid == 0) {
    shared = 42;
    _exit(3);
  }
  EXPECT_EQ(42, shared);  // and the parent did not run before
  EXPECT_EQ(0x300, reap(pid));
}

TEST(ForkTest, VforkParentWaitsForExec) {
  Pipe p;  // close-on-exec
  const pid_t pid = vfork();
  if (pid == 0) {
    execl("/bin/true", "true", nullptr);
    _exit(127);
  }
  // The child has executed (or failed to), so its copies of the pipe are gone.
  p.w.reset();
  EXPECT_EQ(-1, p.await());
  EXPECT_EQ(0, reap(pid));
}

TEST(ForkTest, VforkDescriptorsAreItsOwn) {
  Fd fd(open("/dev/null", O_RDONLY));
  const pid_t pid = vfork();
  if (pid == 0) {
    sys(SYS_close, fd);
    _exit(0);
  }
  EXPECT_OK(fcntl(fd, F_GETFD));
  EXPECT_EQ(0, reap(pid));
}

TEST(ForkTest, CloneVforkFlagAndExitSignal) {
  // No exit signal: only __WALL or __WCLONE finds the child.
  const pid_t pid = sys(SYS_clone, 0, 0, 0, 0, 0);
  if (pid == 0) _exit(9);
  ASSERT_GT(pid, 0);
  int status;
  EXPECT_ERR(ECHILD, waitpid(pid, &status, 0));
  EXPECT_EQ(pid, waitpid(pid, &status, __WCLONE));
  EXPECT_EQ(0x900, status);
}

TEST(ForkTest, CloneWithAnotherExitSignal) {
  static volatile sig_atomic_t seen;
  seen = 0;
  ScopedHandler handler(
      SIGUSR1, +[](int) { seen = 1; });
  const pid_t pid = sys(SYS_clone, SIGUSR1, 0, 0, 0, 0);
  if (pid == 0) _exit(0);
  int status;
  while (waitpid(pid, &status, __WALL) == -1 && errno == EINTR) {
  }
  EXPECT_EQ(1, seen);
}

TEST(ForkTest, CloneParentSetTidAndChildClearTid) {
  SharedMemory<pid_t[2]> tids;
  const pid_t pid = sys(SYS_clone, CLONE_PARENT_SETTID | CLONE_CHILD_SETTID | SIGCHLD, 0,
                        &(*tids)[0], &(*tids)[1], 0);
  if (pid == 0) _exit((*tids)[0] == getpid() && (*tids)[1] == getpid() ? 0 : 1);
  EXPECT_EQ(pid, (*tids)[0]);
  EXPECT_EQ(0, reap(pid));
  EXPECT_EQ(pid, (*tids)[1]);
}

// Linux forgets about a word that cannot be written.
TEST(ForkTest, TidsThatCannotBeTold) {
  const pid_t pid = sys(SYS_clone, CLONE_PARENT_SETTID | CLONE_CHILD_SETTID | SIGCHLD, 0, bad(), bad(), 0);
  if (pid == 0) _exit(3);
  ASSERT_OK(pid);
  EXPECT_EQ(0x300, reap(pid));
}

TEST(ForkTest, ChildsTidIsNotItsParents) {
  volatile pid_t own = -1;
  const pid_t pid = sys(SYS_clone, CLONE_CHILD_SETTID | SIGCHLD, 0, 0, &own, 0);
  if (pid == 0) _exit(own == getpid() ? 0 : 1);
  EXPECT_EQ(0, reap(pid));
  EXPECT_EQ(-1, own);
}

TEST(ForkTest, CloneErrors) {
  EXPECT_ERR(EINVAL, sys(SYS_clone, CLONE_THREAD, 0, 0, 0, 0));   // needs CLONE_SIGHAND
  EXPECT_ERR(EINVAL, sys(SYS_clone, CLONE_SIGHAND, 0, 0, 0, 0));  // needs CLONE_VM
  EXPECT_ERR(EINVAL, sys(SYS_clone, CLONE_FS | CLONE_NEWNS, 0, 0, 0, 0));
}

struct CloneArgs {
  uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid,
      set_tid_size, cgroup;
};

TEST(ForkTest, Clone3) {
  int pidfd = -1;
  CloneArgs args = {
      .flags = CLONE_PIDFD, .pidfd = reinterpret_cast<uint64_t>(&pidfd), .exit_signal = SIGCHLD};
  const pid_t pid = sys(SYS_clone3, &args, sizeof(args));
  if (pid == 0) _exit(7);
  ASSERT_OK(pid);
  siginfo_t info = {};
  EXPECT_OK(sys(SYS_waitid, 3 /* P_PIDFD */, pidfd, &info, WEXITED, nullptr));
  EXPECT_EQ(pid, info.si_pid);
  EXPECT_EQ(7, info.si_status);
  close(pidfd);
  args.pidfd = reinterpret_cast<uint64_t>(bad());
  EXPECT_ERR(EFAULT, sys(SYS_clone3, &args, sizeof(args)));  // and there is no child
  EXPECT_ERR(ECHILD, waitpid(-1, nullptr, WNOHANG));
  args.pidfd = reinterpret_cast<uint64_t>(&pidfd);
  EXPECT_ERR(EINVAL, sys(SYS_clone3, &args, 8));
  EXPECT_ERR(E2BIG, sys(SYS_clone3, &args, kPage + 1));
  EXPECT_ERR(EFAULT, sys(SYS_clone3, bad(), sizeof(args)));
  args.exit_signal = 65;
  EXPECT_ERR(EINVAL, sys(SYS_clone3, &args, sizeof(args)));
  args = {.flags = 1ull << 60, .exit_signal = SIGCHLD};
  EXPECT_ERR(EINVAL, sys(SYS_clone3, &args, sizeof(args)));
  args = {.exit_signal = SIGCHLD, .stack = 0x1000};  // a stack without its size
  EXPECT_ERR(EINVAL, sys(SYS_clone3, &args, sizeof(args)));
}

TEST(ForkTest, OrphanGoesToTheSubreaper) {
  in_child([] {
    ASSERT_OK(prctl(PR_SET_CHILD_SUBREAPER, 1));
    int is = 0;
    ASSERT_OK(prctl(PR_GET_CHILD_SUBREAPER, &is));
    EXPECT_EQ(1, is);
    const pid_t me = getpid();
    Pipe tell, go;
    const pid_t middle = spawn([&] {
      const pid_t grandchild = spawn([&] {
        go.await();
        _exit(getppid() == me ? 11 : 12);
      });
      write(tell.w, &grandchild, sizeof(grandchild));
      _exit(0);
    });
    pid_t grandchild = 0;
    ASSERT_EQ(4, read(tell.r, &grandchild, sizeof(grandchild)));
    EXPECT_EQ(0, reap(middle));
    go.notify();
    int status = 0;
    EXPECT_EQ(grandchild, waitpid(-1, &status, 0));
    EXPECT_EQ(0x0b00, status);
    EXPECT_ERR(ECHILD, waitpid(-1, &status, 0));
  });
}

TEST(ForkTest, ParentDeathSignal) {
  in_child([] {
    ASSERT_OK(prctl(PR_SET_CHILD_SUBREAPER, 1));
    Pipe tell, go;
    const pid_t middle = spawn([&] {
      const pid_t grandchild = spawn([&] {
        ASSERT_OK(prctl(PR_SET_PDEATHSIG, SIGKILL));
        int sig = 0;
        ASSERT_OK(prctl(PR_GET_PDEATHSIG, &sig));
        EXPECT_EQ(SIGKILL, sig);
        tell.notify();
        for (;;) pause();
      });
      (void)grandchild;
      go.await();
      _exit(0);
    });
    tell.await();
    go.notify();
    EXPECT_EQ(0, reap(middle));
    int status = 0;
    EXPECT_GT(waitpid(-1, &status, 0), 0);
    EXPECT_EQ(SIGKILL, WTERMSIG(status));
  });
}

TEST(ForkTest, DeepRecursionOfForks) {
  SharedMemory<int> depth;
  std::function<void(int)> descend = [&](int left) {
    __atomic_add_fetch(&*depth, 1, __ATOMIC_SEQ_CST);
    if (left > 0) in_child([&] { descend(left - 1); });
  };
  descend(20);
  EXPECT_EQ(21, *depth);
}

TEST(ForkTest, ManyChildrenAtOnce) {
  Pipe go, done;
  std::vector<pid_t> pids;
  for (int i = 0; i < 50; ++i) {
    pids.push_back(spawn([&] {
      go.w.reset();
      go.await();  // until the parent closes
      done.notify();
    }));
    ASSERT_GT(pids.back(), 0);
  }
  go.w.reset();
  for (int i = 0; i < 50; ++i) EXPECT_EQ('n', done.await());
  for (pid_t pid : pids) EXPECT_EQ(0, reap(pid));
}

TEST(ForkTest, ProcessLimitGivesEagain) {
  SKIP_UNLESS_ROOT();
  in_user_child([] {
    const rlimit limit = {1, 1};
    ASSERT_OK(setrlimit(RLIMIT_NPROC, &limit));
    const pid_t pid = sys(SYS_fork);
    if (pid == 0) _exit(0);
    EXPECT_ERR(EAGAIN, pid);
  });
}

TEST(ForkTest, TimesOfChildrenAreCounted) {
  in_child([] {
    tms before = {}, after = {};
    ASSERT_OK(sys(SYS_times, &before));
    in_child([] {
      volatile unsigned x = 0;
      tms now;
      do {
        for (int i = 0; i < 100000; ++i) x = x + i;
        times(&now);
      } while (now.tms_utime + now.tms_stime < 2);
    });
    ASSERT_OK(sys(SYS_times, &after));
    EXPECT_GT(after.tms_cutime + after.tms_cstime, before.tms_cutime + before.tms_cstime);
    rusage usage;
    ASSERT_OK(sys(SYS_getrusage, RUSAGE_CHILDREN, &usage));
    EXPECT_GT(usage.ru_utime.tv_sec * 1000000 + usage.ru_utime.tv_usec + usage.ru_stime.tv_usec, 0);
    EXPECT_ERR(EFAULT, sys(SYS_times, bad()));
  });
}

}  // namespace
}  // namespace run9::guest
