// wait4, waitid, process groups, sessions, stopped and continued children, pidfds.
#include <poll.h>
#include <sys/resource.h>

#include "tests/syscalls/test_util.h"

namespace run9::guest {
namespace {

void pause_forever() {
  for (;;) pause();
}

TEST(WaitTest, Wait4) {
  int status = -1;
  rusage usage;
  pid_t pid = spawn([] { _exit(3); });
  EXPECT_EQ(pid, sys(SYS_wait4, pid, &status, 0, &usage));
  EXPECT_EQ(0x300, status);
  EXPECT_ERR(ECHILD, sys(SYS_wait4, pid, &status, 0, nullptr));
  EXPECT_ERR(ECHILD, sys(SYS_wait4, -1, &status, 0, nullptr));
  EXPECT_ERR(EINVAL, sys(SYS_wait4, -1, &status, 0x100, nullptr));
  EXPECT_ERR(ESRCH, sys(SYS_wait4, INT32_MIN, &status, 0, nullptr));
  pid = spawn([] { _exit(0); });
  EXPECT_ERR(EFAULT, sys(SYS_wait4, pid, bad(), 0, nullptr));
  EXPECT_ERR(ECHILD, sys(SYS_wait4, pid, nullptr, 0, nullptr));  // reaped all the same
  pid = spawn([] { _exit(0); });
  EXPECT_ERR(EFAULT, sys(SYS_wait4, pid, nullptr, 0, bad()));
}

TEST(WaitTest, NoHang) {
  Pipe go;
  const pid_t pid = spawn([&] { go.await(); });
  int status = 77;
  EXPECT_EQ(0, waitpid(pid, &status, WNOHANG));
  EXPECT_EQ(77, status);
  siginfo_t info;
  memset(&info, 0xff, sizeof(info));
  EXPECT_EQ(0, sys(SYS_waitid, P_PID, pid, &info, WEXITED | WNOHANG, nullptr));
  EXPECT_EQ(0, info.si_pid);
  EXPECT_EQ(0, info.si_signo);
  go.notify();
  EXPECT_EQ(0, reap(pid));
}

TEST(WaitTest, KilledBySignal) {
  const pid_t pid = spawn(pause_forever);
  ASSERT_OK(sys(SYS_kill, pid, SIGKILL));
  const int status = reap(pid);
  EXPECT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(SIGKILL, WTERMSIG(status));
}

TEST(WaitTest, Waitid) {
  siginfo_t info = {};
  rusage usage;
  pid_t pid = spawn([] { _exit(5); });
  EXPECT_OK(sys(SYS_waitid, P_PID, pid, &info, WEXITED | WNOWAIT, nullptr));  // leaves it waitable
  EXPECT_OK(sys(SYS_waitid, P_PID, pid, &info, WEXITED, &usage));
  EXPECT_EQ(SIGCHLD, info.si_signo);
  EXPECT_EQ(CLD_EXITED, info.si_code);
  EXPECT_EQ(pid, info.si_pid);
  EXPECT_EQ(getuid(), info.si_uid);
  EXPECT_EQ(5, info.si_status);
  pid = spawn([] { raise(SIGTERM); });
  EXPECT_OK(sys(SYS_waitid, P_ALL, 0, &info, WEXITED, nullptr));
  EXPECT_EQ(CLD_KILLED, info.si_code);
  EXPECT_EQ(SIGTERM, info.si_status);
  EXPECT_ERR(ECHILD, sys(SYS_waitid, P_ALL, 0, &info, WEXITED, nullptr));
  EXPECT_ERR(EINVAL, sys(SYS_waitid, P_ALL, 0, &info, 0, nullptr));
  EXPECT_ERR(EINVAL, sys(SYS_waitid, 99, 0, &info, WEXITED, nullptr));
  EXPECT_ERR(EINVAL, sys(SYS_waitid, P_PID, 0, &info, WEXITED, nullptr));
  EXPECT_ERR(EBADF, sys(SYS_waitid, 3, dead_fd(), &info, WEXITED, nullptr));
  pid = spawn([] { _exit(0); });
  EXPECT_ERR(EFAULT, sys(SYS_waitid, P_PID, pid, bad(), WEXITED, nullptr));
}

TEST(WaitTest, StopAndContinue) {
  const pid_t pid = spawn(pause_forever);
  ASSERT_OK(setpgid(pid, pid));  // SIGTSTP does not stop a group that is orphaned, as ours may be
  int status = 0;
  for (int sig : {SIGSTOP, SIGTSTP}) {
    ASSERT_OK(kill(pid, sig));
    EXPECT_EQ(pid, waitpid(pid, &status, WUNTRACED));
    ASSERT_TRUE(WIFSTOPPED(status));
    EXPECT_EQ(sig, WSTOPSIG(status));
    EXPECT_EQ(0, waitpid(pid, &status, WUNTRACED | WNOHANG));  // told once
    ASSERT_OK(kill(pid, SIGCONT));
    EXPECT_EQ(pid, waitpid(pid, &status, WCONTINUED));
    EXPECT_TRUE(WIFCONTINUED(status));
  }
  siginfo_t info = {};
  ASSERT_OK(kill(pid, SIGSTOP));
  EXPECT_OK(waitid(P_PID, pid, &info, WSTOPPED));
  EXPECT_EQ(CLD_STOPPED, info.si_code);
  EXPECT_EQ(SIGSTOP, info.si_status);
  ASSERT_OK(kill(pid, SIGCONT));
  EXPECT_OK(waitid(P_PID, pid, &info, WCONTINUED));
  EXPECT_EQ(CLD_CONTINUED, info.si_code);
  ASSERT_OK(kill(pid, SIGSTOP));
  ASSERT_OK(kill(pid, SIGKILL));  // reaches a stopped process too
  EXPECT_EQ(SIGKILL, WTERMSIG(reap(pid)));
}

TEST(WaitTest, StoppedProcessDoesNotRunUntilContinued) {
  SharedMemory<volatile int> count;
  const pid_t pid = spawn([&] {
    for (;;) *count = *count + 1;
  });
  while (*count == 0) sched_yield();
  ASSERT_OK(kill(pid, SIGSTOP));
  int status;
  ASSERT_EQ(pid, waitpid(pid, &status, WUNTRACED));
  const int before = *count;
  for (int i = 0; i < 100; ++i) sched_yield();
  EXPECT_EQ(before, *count);
  ASSERT_OK(kill(pid, SIGCONT));
  while (*count == before) sched_yield();
  ASSERT_OK(kill(pid, SIGKILL));
  reap(pid);
}

TEST(WaitTest, SigchldTellsOfStopUnlessAskedNotTo) {
  ScopedBlock block({SIGCHLD});
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGCHLD);
  siginfo_t info = {};
  ScopedHandler handler(
      SIGCHLD, +[](int) {});
  const pid_t pid = spawn(pause_forever);
  ASSERT_OK(kill(pid, SIGSTOP));
  EXPECT_EQ(SIGCHLD, sigwaitinfo(&set, &info));
  EXPECT_EQ(CLD_STOPPED, info.si_code);
  EXPECT_EQ(pid, info.si_pid);
  ScopedHandler no_stop(
      SIGCHLD, +[](int) {}, SA_NOCLDSTOP);
  ASSERT_OK(kill(pid, SIGCONT));
  ASSERT_OK(kill(pid, SIGKILL));
  EXPECT_EQ(SIGCHLD, sigwaitinfo(&set, &info));
  EXPECT_EQ(CLD_KILLED, info.si_code);
  reap(pid);
}

TEST(WaitTest, IgnoredSigchldReapsByItself) {
  in_child([] {
    signal(SIGCHLD, SIG_IGN);
    spawn([] { _exit(1); });
    int status;
    EXPECT_ERR(ECHILD, waitpid(-1, &status, 0));  // waits until all are gone
  });
  in_child([] {
    ScopedHandler handler(
        SIGCHLD, +[](int) {}, SA_NOCLDWAIT);
    spawn([] { _exit(1); });
    long got;
    while ((got = waitpid(-1, nullptr, 0)) == -1 && errno == EINTR) {
    }
    EXPECT_ERR(ECHILD, got);
  });
}

TEST(WaitTest, AnyOfAProcessGroup) {
  Pipe ready;
  const pid_t a = spawn([&] {
    setpgid(0, 0);
    ready.notify();
  });
  ready.await();
  const pid_t b = spawn([] {});
  int status;
  EXPECT_EQ(a, waitpid(-a, &status, 0));
  EXPECT_ERR(ECHILD, waitpid(-a, &status, 0));
  EXPECT_EQ(b, waitpid(0, &status, 0));  // our own group
}

TEST(WaitTest, WaitIsInterruptedByASignal) {
  Pipe go;
  const pid_t pid = spawn([&] {
    go.w.reset();
    go.await();
  });
  int status;
  long got, error;
  {
    AlarmStorm storm;
    got = sys(SYS_wait4, pid, &status, 0, nullptr);
    error = errno;
  }
  errno = error;
  EXPECT_ERR(EINTR, got);
  go.notify();
  EXPECT_EQ(0, reap(pid));
}

TEST(WaitTest, WaitInAnotherThreadOfTheParent) {
  const pid_t pid = spawn([] { _exit(4); });
  struct Arg {
    pid_t pid;
    int status;
  } arg = {pid, 0};
  pthread_t thread;
  pthread_create(
      &thread, nullptr,
      [](void* p) -> void* {
        auto* a = static_cast<Arg*>(p);
        a->status = reap(a->pid);
        return nullptr;
      },
      &arg);
  pthread_join(thread, nullptr);
  EXPECT_EQ(0x400, arg.status);
}

TEST(WaitTest, ProcessGroups) {
  in_child([] {
    const pid_t me = getpid();
    EXPECT_EQ(sys(SYS_getpgrp), sys(SYS_getpgid, 0));
    EXPECT_EQ(getpgrp(), getpgid(getppid()));
    EXPECT_OK(sys(SYS_setpgid, 0, 0));
    EXPECT_EQ(me, getpgrp());
    Pipe go;
    const pid_t child = spawn([&] { go.await(); });
    EXPECT_EQ(me, sys(SYS_getpgid, child));
    EXPECT_OK(sys(SYS_setpgid, child, child));
    EXPECT_EQ(child, sys(SYS_getpgid, child));
    EXPECT_OK(sys(SYS_setpgid, child, me));
    EXPECT_ERR(EPERM, sys(SYS_setpgid, child, 999999));
    EXPECT_ERR(EINVAL, sys(SYS_setpgid, child, -1));
    EXPECT_ERR(ESRCH, sys(SYS_setpgid, 999999, me));
    EXPECT_ERR(ESRCH, sys(SYS_getpgid, 999999));
    EXPECT_ERR(ESRCH, sys(SYS_getsid, 999999));
    go.notify();
    EXPECT_EQ(0, reap(child));
  });
}

TEST(WaitTest, SetpgidAfterExecIsRefused) {
  if (access("/bin/cat", X_OK) != 0) GTEST_SKIP() << "no /bin/cat";
  Pipe in, out;
  const pid_t pid = spawn([&] {
    dup2(in.r, 0);
    dup2(out.w, 1);
    execl("/bin/cat", "cat", nullptr);
  });
  in.notify('x');
  EXPECT_EQ('x', out.await());  // it runs
  EXPECT_ERR(EACCES, setpgid(pid, pid));
  in.w.reset();
  EXPECT_EQ(0, reap(pid));
}

TEST(WaitTest, Sessions) {
  in_child([] {
    EXPECT_EQ(getpid(), sys(SYS_setsid));
    EXPECT_EQ(getpid(), sys(SYS_getsid, 0));
    EXPECT_EQ(getpid(), getpgrp());
    EXPECT_ERR(EPERM, sys(SYS_setsid));  // already a group leader
    EXPECT_ERR(EPERM, sys(SYS_setpgid, 0, 0));
    in_child([] {
      EXPECT_EQ(getppid(), getsid(0));
      EXPECT_EQ(getpid(), setsid());
    });
  });
}

TEST(WaitTest, KillAGroup) {
  Pipe ready;
  const pid_t leader = spawn([&] {
    setpgid(0, 0);
    const pid_t child = spawn([&] {
      ready.notify();
      pause_forever();
    });
    reap(child);
    pause_forever();
  });
  ready.await();
  EXPECT_OK(sys(SYS_kill, -leader, SIGTERM));
  EXPECT_EQ(SIGTERM, WTERMSIG(reap(leader)));
  EXPECT_ERR(ESRCH, sys(SYS_kill, -999999, 0));
}

TEST(WaitTest, OrphanedStoppedGroupGetsHupAndCont) {
  in_child([] {
    ASSERT_OK(sys(SYS_prctl, 36 /* PR_SET_CHILD_SUBREAPER */, 1, 0, 0, 0));
    Pipe tell, ready;
    const pid_t middle = spawn([&] {
      setsid();
      const pid_t grandchild = spawn([&] {
        setpgid(0, 0);
        ready.notify();
        pause_forever();
      });
      ready.await();
      kill(grandchild, SIGSTOP);
      int status;
      waitpid(grandchild, &status, WUNTRACED);
      write(tell.w, &grandchild, sizeof(grandchild));
      _exit(0);
    });
    pid_t grandchild;
    ASSERT_EQ(4, read(tell.r, &grandchild, sizeof(grandchild)));
    EXPECT_EQ(0, reap(middle));
    // Its new parent is of another session: nobody is left who could continue it, so the kernel
    // hangs it up.
    EXPECT_EQ(SIGHUP, WTERMSIG(reap(grandchild)));
  });
}

TEST(WaitTest, Pidfd) {
  const pid_t pid = spawn(pause_forever);
  Fd fd(sys(SYS_pidfd_open, pid, 0));
  ASSERT_OK(+fd);
  EXPECT_EQ(FD_CLOEXEC, fcntl(fd, F_GETFD));
  pollfd p = {fd, POLLIN, 0};
  EXPECT_EQ(0, poll(&p, 1, 0));
  EXPECT_OK(sys(SYS_pidfd_send_signal, fd, 0, nullptr, 0));
  EXPECT_OK(sys(SYS_pidfd_send_signal, fd, SIGTERM, nullptr, 0));
  EXPECT_EQ(1, poll(&p, 1, -1));
  EXPECT_EQ(POLLIN, p.revents);
  siginfo_t info = {};
  EXPECT_OK(sys(SYS_waitid, 3, fd, &info, WEXITED, nullptr));
  EXPECT_EQ(SIGTERM, info.si_status);
  EXPECT_ERR(ESRCH, sys(SYS_pidfd_send_signal, fd, SIGTERM, nullptr, 0));
  EXPECT_ERR(EINVAL, sys(SYS_pidfd_open, 0, 0));
  EXPECT_ERR(ESRCH, sys(SYS_pidfd_open, 999999, 0));
  EXPECT_ERR(EINVAL, sys(SYS_pidfd_open, getpid(), 1));
  EXPECT_ERR(EBADF, sys(SYS_pidfd_send_signal, dead_fd(), 0, nullptr, 0));
  EXPECT_ERR(EBADF, sys(SYS_pidfd_getfd, dead_fd(), 0, 0));
  Fd null(open("/dev/null", O_RDONLY));
  EXPECT_ERR(EBADF, sys(SYS_pidfd_send_signal, null, 0, nullptr, 0));
  Fd self(sys(SYS_pidfd_open, getpid(), 0));
  EXPECT_ERR(EFAULT, sys(SYS_pidfd_send_signal, self, SIGTERM, bad(), 0));
}

TEST(WaitTest, PidfdGetfd) {
  Pipe go, ready;
  SharedMemory<int> number;
  const pid_t pid = spawn([&] {
    const int fd = memfd_create("other", 0);
    write(fd, "abc", 3);
    *number = fd;
    ready.notify();
    go.await();
  });
  ready.await();
  Fd pidfd(sys(SYS_pidfd_open, pid, 0));
  Fd fd(sys(SYS_pidfd_getfd, pidfd, *number, 0));
  ASSERT_OK(+fd);
  char buffer[4] = {};
  EXPECT_EQ(3, pread(fd, buffer, 4, 0));
  EXPECT_STREQ("abc", buffer);
  EXPECT_ERR(EBADF, sys(SYS_pidfd_getfd, pidfd, dead_fd(), 0));
  EXPECT_ERR(EINVAL, sys(SYS_pidfd_getfd, pidfd, 0, 1));
  go.notify();
  EXPECT_EQ(0, reap(pid));
}

}  // namespace
}  // namespace run9::guest
