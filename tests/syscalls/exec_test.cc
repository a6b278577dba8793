// execve, execveat, #! scripts, what survives an exec and what does not.
#include <linux/close_range.h>
#include <pthread.h>
#include <spawn.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/statvfs.h>

#include <fstream>
#include <iterator>

#include "tests/syscalls/test_util.h"

extern char** environ;

namespace run9::guest {
namespace {

class ExecTest : public DirTest {
 protected:
  const std::string fixed_ = helper_path("exec_probe_fixed");
  const std::string pie_ = helper_path("exec_probe_pie");

  void SetUp() override { ASSERT_EQ(0, access(fixed_.c_str(), X_OK)) << fixed_; }
};

// Runs `body`, which should exec, in a child; answers its standard output, and its wait status
// through `status`.
template <typename F>
std::string output_of(F&& body, int* status = nullptr) {
  Pipe p;
  const pid_t pid = spawn([&] {
    dup2(p.w, 1);
    body();
    _exit(127);
  });
  p.w.reset();
  std::string out;
  char buffer[4096];
  ssize_t n;
  while ((n = read(p.r, buffer, sizeof(buffer))) > 0) out.append(buffer, n);
  const int got = reap(pid);
  if (status != nullptr) {
    *status = got;
  } else {
    EXPECT_EQ(0, got);
  }
  return out;
}

long exec(const std::string& path, std::vector<const char*> argv,
          std::vector<const char*> env = {}) {
  argv.push_back(nullptr);
  env.push_back(nullptr);
  return sys(SYS_execve, path.c_str(), argv.data(), env.data());
}

std::string run(const std::string& path, std::vector<const char*> argv) {
  return output_of([&] { exec(path, argv); });
}

TEST_F(ExecTest, FixedAndPositionIndependentPrograms) {
  EXPECT_EQ("1\n", run(fixed_, {"p", "address"}));
  EXPECT_EQ("0\n", run(pie_, {"p", "address"}));
}

TEST_F(ExecTest, ArgumentsEnvironmentAndExitCode) {
  EXPECT_EQ("[a][][c d]\n", run(fixed_, {"a", "", "c d"}));
  EXPECT_EQ("A=1\nB=\n", output_of([&] { exec(fixed_, {"p", "env"}, {"A=1", "B="}); }));
  EXPECT_EQ("", output_of([&] { exec(fixed_, {"p", "env"}); }));
  int status;
  output_of([&] { exec(fixed_, {"p", "code"}); }, &status);
  EXPECT_EQ(42, WEXITSTATUS(status));
}

TEST_F(ExecTest, NullArgvBecomesOneEmptyString) {
  EXPECT_EQ("[]\n", output_of([&] { sys(SYS_execve, fixed_.c_str(), nullptr, nullptr); }));
}

TEST_F(ExecTest, LongArguments) {
  const std::string big(100000, 'x');
  EXPECT_EQ("3 100008\n", run(fixed_, {"p", "size", big.c_str()}));
  const std::vector<const char*> many(3000, "arg");
  std::vector<const char*> argv = {"p", "size"};
  argv.insert(argv.end(), many.begin(), many.end());
  EXPECT_EQ("3002 12007\n", run(fixed_, argv));
}

TEST_F(ExecTest, DynamicProgram) {
  if (access("/bin/echo", X_OK) != 0) GTEST_SKIP() << "no /bin/echo";
  EXPECT_EQ("hello world\n", run("/bin/echo", {"echo", "hello", "world"}));
}

TEST_F(ExecTest, Errors) {
  make_file("plain", "#!/bin/sh\n", 0644);
  make_file("garbage", "this is no program", 0755);
  make_file("empty", "", 0755);
  make_file("badinterp", "#!/no/such/interpreter\n", 0755);
  make_file("noname", "#!\n", 0755);
  make_file("cut",
            std::string("\x7f"
                        "ELF\2\1\1",
                        7),
            0755);
  EXPECT_ERR(ENOENT, exec(at("x"), {"x"}));
  EXPECT_ERR(ENOENT, exec("", {"x"}));
  EXPECT_ERR(EACCES, exec(at("plain"), {"x"}));
  EXPECT_ERR(EACCES, exec(dir_.path(), {"x"}));
  EXPECT_ERR(ENOEXEC, exec(at("garbage"), {"x"}));
  EXPECT_ERR(ENOEXEC, exec(at("empty"), {"x"}));
  EXPECT_ERR(ENOEXEC, exec(at("noname"), {"x"}));
  EXPECT_ERR(ENOEXEC, exec(at("cut"), {"x"}));
  EXPECT_ERR(ENOENT, exec(at("badinterp"), {"x"}));
  for (int i = 0; i < 4; ++i) {
    EXPECT_ERR(ENOENT, sys(SYS_execve, at("x").c_str(), 8, 0));
    EXPECT_ERR(EACCES, sys(SYS_execve, at("plain").c_str(), 8, 0));
    EXPECT_ERR(EFAULT, sys(SYS_execve, at("garbage").c_str(), 8, 0));
  }
  EXPECT_ERR(ENOTDIR, exec(at("plain/x"), {"x"}));
  EXPECT_ERR(ENAMETOOLONG, exec(at(std::string(256, 'x')), {"x"}));
  const char* argv[] = {"x", bad<char>(), nullptr};
  for (void* p : bad_pointers()) {
    EXPECT_ERR(EFAULT, sys(SYS_execve, p, nullptr, nullptr));
    EXPECT_ERR(EFAULT, sys(SYS_execve, fixed_.c_str(), p, nullptr));
    EXPECT_ERR(EFAULT, sys(SYS_execve, fixed_.c_str(), nullptr, p));
  }
  EXPECT_ERR(EFAULT, sys(SYS_execve, fixed_.c_str(), argv, nullptr));
  EXPECT_ERR(EFAULT, sys(SYS_execve, fixed_.c_str(), nullptr, argv));
  Straddle page;
  auto* cut = page.last<const char*>(sizeof(char*));
  *cut = "x";
  EXPECT_ERR(EFAULT, sys(SYS_execve, fixed_.c_str(), cut, nullptr));
  const std::string too_long(200000, 'x');
  EXPECT_ERR(E2BIG, exec(fixed_, {"p", too_long.c_str()}));  // one string may take 128 KiB
  const std::string big(130000, 'x');
  EXPECT_ERR(E2BIG, exec(fixed_, std::vector<const char*>(100, big.c_str())));
}

TEST_F(ExecTest, WritableProgramIsBusy) {
  make_file("copy", read_file(fixed_), 0755);
  Fd fd(open(at("copy").c_str(), O_RDWR | O_CLOEXEC));
  if (exec(at("copy"), {"x"}); errno != ETXTBSY) GTEST_SKIP() << "this file system has no ETXTBSY";
  fd.reset();
  EXPECT_EQ("[x]\n", run(at("copy"), {"x"}));
}

TEST_F(ExecTest, Script) {
  make_file("script", "#! " + fixed_ + "\nignored\n", 0755);
  EXPECT_EQ("[" + fixed_ + "][" + at("script") + "][b]\n", run(at("script"), {"a", "b"}));
  make_file("with-arg", "#!" + fixed_ + "   one argument  \n", 0755);
  EXPECT_EQ("[" + fixed_ + "][one argument][" + at("with-arg") + "]\n", run(at("with-arg"), {"a"}));
  make_file("no-newline", "#!" + fixed_, 0755);
  EXPECT_EQ("[" + fixed_ + "][" + at("no-newline") + "]\n", run(at("no-newline"), {"a"}));
}

TEST_F(ExecTest, NestedScripts) {
  make_file("s0", "#!" + fixed_ + "\n", 0755);
  for (int i = 1; i <= 6; ++i)
    make_file("s" + std::to_string(i), "#!" + at("s" + std::to_string(i - 1)) + "\n", 0755);
  EXPECT_EQ("[" + fixed_ + "][" + at("s0") + "][" + at("s1") + "]\n", run(at("s1"), {"a"}));
  EXPECT_NE("", run(at("s4"), {"a"}));
  EXPECT_ERR(ELOOP, exec(at("s6"), {"a"}));
}

TEST_F(ExecTest, ShellScript) {
  if (access("/bin/sh", X_OK) != 0) GTEST_SKIP() << "no /bin/sh";
  make_file("script", "#!/bin/sh\necho \"$1-$2\"\nexit 0\n", 0755);
  EXPECT_EQ("a-b\n", run(at("script"), {"x", "a", "b"}));
}

TEST_F(ExecTest, ExecveAt) {
  Fd dir(open(helper_path("").c_str(), O_RDONLY | O_CLOEXEC));
  Fd file(open(fixed_.c_str(), O_PATH | O_CLOEXEC));
  const char* argv[] = {"at", nullptr};
  EXPECT_EQ("[at]\n",
            output_of([&] { sys(SYS_execveat, dir, "exec_probe_fixed", argv, nullptr, 0); }));
  EXPECT_EQ("[at]\n",
            output_of([&] { sys(SYS_execveat, file, "", argv, nullptr, AT_EMPTY_PATH); }));
  EXPECT_ERR(ENOENT, sys(SYS_execveat, file, "", argv, nullptr, 0));
  EXPECT_ERR(EBADF, sys(SYS_execveat, dead_fd(), "x", argv, nullptr, 0));
  EXPECT_ERR(ENOENT, sys(SYS_execveat, dir, "x", argv, nullptr, 0));
  EXPECT_ERR(ENOTDIR, sys(SYS_execveat, file, "x", argv, nullptr, 0));
  EXPECT_ERR(EINVAL, sys(SYS_execveat, dir, "exec_probe_fixed", argv, nullptr, 0x8));
  EXPECT_ERR(EFAULT, sys(SYS_execveat, dir, bad(), argv, nullptr, 0));
  ASSERT_OK(symlink(fixed_.c_str(), at("l").c_str()));
  EXPECT_ERR(ELOOP,
             sys(SYS_execveat, AT_FDCWD, at("l").c_str(), argv, nullptr, AT_SYMLINK_NOFOLLOW));
}

TEST_F(ExecTest, ExecMemfd) {
  Fd fd(memfd_create("prog", MFD_CLOEXEC));
  const std::string image = read_file(fixed_);
  ASSERT_EQ(static_cast<ssize_t>(image.size()), write(fd, image.data(), image.size()));
  const char* argv[] = {"mem", nullptr};
  EXPECT_EQ("[mem]\n", output_of([&] { sys(SYS_execveat, fd, "", argv, nullptr, AT_EMPTY_PATH); }));
}

TEST_F(ExecTest, SetUserIdProgram) {
  SKIP_UNLESS_ROOT();
  struct statvfs fs = {};
  ASSERT_OK(statvfs(at(".").c_str(), &fs));
  if ((fs.f_flag & ST_NOSUID) != 0) GTEST_SKIP() << "the directory for temporary files is mounted nosuid";
  make_file("suid", read_file(self_path()), 0755);
  ASSERT_OK(chown(at("suid").c_str(), 1234, 4321));
  ASSERT_OK(chmod(at("suid").c_str(), 06755));
  in_user_child([&] {
    EXPECT_EQ("65534 1234 65534 4321\n", output_of([&] {
                exec(at("suid"), {"p", "--helper", "ids"});
              }));
  });
  in_user_child([&] {
    ASSERT_OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    EXPECT_EQ(1, prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
    EXPECT_EQ("65534 65534 65534 65534\n", output_of([&] {
                exec(at("suid"), {"p", "--helper", "ids"});
              }));
  });
}

TEST_F(ExecTest, NoExecutePermissionEvenForRoot) {
  make_file("f", read_file(fixed_), 0644);
  EXPECT_ERR(EACCES, exec(at("f"), {"x"}));
}

TEST_F(ExecTest, CloseOnExec) {
  int keep = open("/dev/null", O_RDONLY), drop = open("/dev/null", O_RDONLY | O_CLOEXEC);
  const std::string k = std::to_string(keep), d = std::to_string(drop);
  EXPECT_EQ("open closed\n", run(self_path(), {"p", "--helper", "fds", k.c_str(), d.c_str()}));
  close(keep);
  close(drop);
}

TEST_F(ExecTest, SignalStateAcrossExec) {
  // Handlers go back to the default, ignored stays ignored, the mask and pending signals stay.
  const std::string out = output_of([] {
    signal(SIGUSR1, [](int) {});
    signal(SIGUSR2, SIG_IGN);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, nullptr);
    raise(SIGTERM);
    exec(self_path(), {"p", "--helper", "signals"});
  });
  EXPECT_EQ("usr1=default usr2=ignored term=blocked,pending altstack=off\n", out);
}

TEST_F(ExecTest, PidStaysAndNameChanges) {
  Pipe p;
  const pid_t pid = spawn([&] {
    dup2(p.w, 1);
    exec(self_path(), {"p", "--helper", "pid"});
  });
  p.w.reset();
  char buffer[128] = {};
  read(p.r, buffer, sizeof(buffer) - 1);
  EXPECT_EQ(0, reap(pid));
  EXPECT_EQ(std::to_string(pid) + " exec_test\n", buffer);
}

void* exec_in_thread(void* path) {
  const char* argv[] = {"p", "--helper", "pid", nullptr};
  sys(SYS_execve, static_cast<const char*>(path), argv, nullptr);
  _exit(126);
}

TEST_F(ExecTest, ExecFromAThreadTakesTheLeadersPlace) {
  Pipe p;
  const pid_t pid = spawn([&] {
    dup2(p.w, 1);
    // Other threads, one blocked in the kernel, one spinning: all must go.
    pthread_t t;
    pthread_create(
        &t, nullptr,
        [](void*) -> void* {
          for (;;) pause();
        },
        nullptr);
    pthread_create(
        &t, nullptr,
        [](void*) -> void* {
          for (;;) asm volatile("pause");
        },
        nullptr);
    pthread_create(&t, nullptr, exec_in_thread, const_cast<char*>(self_path().c_str()));
    pthread_join(t, nullptr);
  });
  p.w.reset();
  char buffer[128] = {};
  read(p.r, buffer, sizeof(buffer) - 1);
  EXPECT_EQ(0, reap(pid));
  EXPECT_EQ(std::to_string(pid) + " exec_test\n", buffer);  // its tid is the process's id
}

TEST_F(ExecTest, LeaderExitsThenThreadExecs) {
  Pipe p;
  const pid_t pid = spawn([&] {
    dup2(p.w, 1);
    pthread_t t;
    pthread_create(&t, nullptr, exec_in_thread, const_cast<char*>(self_path().c_str()));
    sys(SYS_exit, 5);  // only this thread
  });
  p.w.reset();
  char buffer[128] = {};
  read(p.r, buffer, sizeof(buffer) - 1);
  EXPECT_EQ(0, reap(pid));
  EXPECT_EQ(std::to_string(pid) + " exec_test\n", buffer);
}

TEST_F(ExecTest, FailedExecChangesNothing) {
  auto* p = static_cast<int*>(map_anonymous(kPage));
  *p = 5;
  EXPECT_ERR(ENOENT, exec(at("x"), {"x"}));
  EXPECT_EQ(5, *p);
  munmap(p, kPage);
}

TEST_F(ExecTest, PosixSpawn) {
  pid_t pid = 0;
  char* argv[] = {const_cast<char*>("p"), const_cast<char*>("code"), nullptr};
  EXPECT_EQ(0, posix_spawn(&pid, fixed_.c_str(), nullptr, nullptr, argv, environ));
  EXPECT_EQ(42, WEXITSTATUS(reap(pid)));
  EXPECT_EQ(ENOENT, posix_spawn(&pid, at("x").c_str(), nullptr, nullptr, argv, environ));
  make_file("f", "", 0644);
  EXPECT_EQ(EACCES, posix_spawn(&pid, at("f").c_str(), nullptr, nullptr, argv, environ));
  EXPECT_ERR(ECHILD, waitpid(-1, nullptr, WNOHANG));  // nothing left behind
}

TEST_F(ExecTest, PosixSpawnFileActions) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 1, at("out").c_str(), O_WRONLY | O_CREAT, 0644);
  pid_t pid = 0;
  char* argv[] = {const_cast<char*>("p"), const_cast<char*>("hello"), nullptr};
  EXPECT_EQ(0, posix_spawn(&pid, pie_.c_str(), &actions, nullptr, argv, environ));
  EXPECT_EQ(0, reap(pid));
  EXPECT_EQ("[p][hello]\n", read_file(at("out")));
  posix_spawn_file_actions_destroy(&actions);
}

TEST_F(ExecTest, AuxiliaryVector) {
  EXPECT_EQ(kPage, getauxval(AT_PAGESZ));
  EXPECT_EQ(getuid(), getauxval(AT_UID));
  EXPECT_EQ(geteuid(), getauxval(AT_EUID));
  EXPECT_EQ(100u, getauxval(AT_CLKTCK));
  EXPECT_NE(0u, getauxval(AT_PHDR));
  EXPECT_NE(0u, getauxval(AT_ENTRY));
  EXPECT_NE(0u, getauxval(AT_SYSINFO_EHDR));
  EXPECT_EQ(0u, getauxval(AT_SECURE));
  ASSERT_NE(0u, getauxval(AT_RANDOM));
  const auto* platform = reinterpret_cast<const char*>(getauxval(AT_PLATFORM));
  ASSERT_NE(nullptr, platform);
  EXPECT_STREQ("x86_64", platform);
}

void copy(const std::string& from, const std::string& to) {
  Fd in(open(from.c_str(), O_RDONLY)), out(open(to.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755));
  char buffer[65536];
  for (ssize_t n; (n = read(in, buffer, sizeof buffer)) > 0;) ASSERT_EQ(n, write(out, buffer, n));
}

// Who writes a program and who runs it exclude each other.
TEST_F(ExecTest, TextFileBusy) {
  const std::string program = at("busy");
  copy(fixed_, program);
  {
    Fd writer(open(program.c_str(), O_WRONLY | O_CLOEXEC));
    ASSERT_OK(+writer);
    EXPECT_ERR(ETXTBSY, exec(program, {"busy"}));
  }
  Pipe go, ready;
  const pid_t pid = spawn([&] {
    dup2(go.r, 0);
    dup2(ready.w, 1);
    go.w.reset();
    exec(program, {"busy", "cat"});
    _exit(127);
  });
  go.notify();
  EXPECT_EQ('n', ready.await());
  EXPECT_ERR(ETXTBSY, open(program.c_str(), O_WRONLY));
  EXPECT_ERR(ETXTBSY, open(program.c_str(), O_RDWR));
  EXPECT_ERR(ETXTBSY, open(program.c_str(), O_RDONLY | O_TRUNC));
  EXPECT_ERR(ETXTBSY, truncate(program.c_str(), 0));
  EXPECT_OK(close(open(program.c_str(), O_RDONLY)));
  go.w.reset();
  EXPECT_EQ(0, reap(pid));
  EXPECT_OK(close(open(program.c_str(), O_WRONLY)));
}

TEST_F(ExecTest, CloseRange) {
  in_child([] {
    int fds[6];
    for (int& fd : fds) fd = fcntl(0, F_DUPFD, 100);
    EXPECT_OK(sys(SYS_close_range, 101, 103, 0));
    EXPECT_OK(fcntl(100, F_GETFD));
    EXPECT_ERR(EBADF, fcntl(101, F_GETFD));
    EXPECT_ERR(EBADF, fcntl(103, F_GETFD));
    EXPECT_OK(sys(SYS_close_range, 104, ~0u, CLOSE_RANGE_CLOEXEC));
    EXPECT_EQ(FD_CLOEXEC, fcntl(104, F_GETFD));
    EXPECT_OK(sys(SYS_close_range, 100, ~0u, CLOSE_RANGE_UNSHARE));
    EXPECT_ERR(EBADF, fcntl(105, F_GETFD));
    EXPECT_ERR(EINVAL, sys(SYS_close_range, 5, 4, 0));
    EXPECT_ERR(EINVAL, sys(SYS_close_range, 100, 101, 64));
  });
}

// ---------------------------------------------------------------- the old program is gone

// By posix_spawn, which gets a new process where fork gets a copy.
int spawned(const std::string& file, std::vector<const char*> argv, int out = 1) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, out, 1);
  argv.push_back(nullptr);
  pid_t child = 0;
  EXPECT_EQ(0, posix_spawn(&child, file.c_str(), &actions, nullptr, const_cast<char**>(argv.data()), environ));
  posix_spawn_file_actions_destroy(&actions);
  return reap(child);
}

TEST_F(ExecTest, NothingOfTheOldProgramIsMapped) {
  for (const char* address : {"10000000", "7000000000"}) {
    EXPECT_EQ("no\n", output_of([&] {
      auto* at = reinterpret_cast<void*>(strtoul(address, nullptr, 16));
      void* mapped = mmap(at, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
      if (mapped != at) _exit(1);
      memset(mapped, 'x', 1 << 20);
      exec(pie_, {"p", "mapped", address});
    }));
  }
}

TEST_F(ExecTest, CpuTimeGoesOn) {
  EXPECT_EQ("long\n", output_of([&] {
    timespec now;
    do {
      clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    } while (now.tv_sec == 0 && now.tv_nsec < 30'000'000);
    exec(fixed_, {"p", "time"});
  }));
}

// A sandbox may run a program in what is left of the last one's process.
TEST_F(ExecTest, AProgramAfterAnotherStartsFromNothing) {
  Pipe p;
  for (int i = 0; i < 6; ++i) {
    EXPECT_EQ(0, spawned(fixed_, {"p", "burn"}));
    EXPECT_EQ(0, spawned(fixed_, {"p", "time"}, p.w));
    char line[16] = {};
    ASSERT_LT(0, read(p.r, line, sizeof line - 1));
    EXPECT_STREQ("short\n", line);
  }
  for (int i = 0; i < 20; ++i) EXPECT_EQ(42, WEXITSTATUS(spawned(i % 2 ? fixed_ : pie_, {"p", "code"})));
}

TEST_F(ExecTest, ArgumentsFitIntoAQuarterOfTheStack) {
  const std::string big(100'000, 'x');
  const auto with_stack_of = [&](rlim_t bytes) {
    return [&, bytes] {
      const rlimit limit = {bytes, RLIM_INFINITY};
      setrlimit(RLIMIT_STACK, &limit);
      exec(fixed_, {"p", "size", big.c_str(), big.c_str(), big.c_str()});
      dprintf(1, "%s\n", errno == E2BIG ? "too big" : "other");
      _exit(0);
    };
  };
  EXPECT_EQ("5 300010\n", output_of(with_stack_of(4 << 20)));
  EXPECT_EQ("too big\n", output_of(with_stack_of(1 << 20)));
}

TEST_F(ExecTest, ASetUserIdProgramLearnsOfIt) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can give a file away";
  struct statvfs fs;
  ASSERT_EQ(0, statvfs(dir_.path().c_str(), &fs));
  if (fs.f_flag & ST_NOSUID) GTEST_SKIP() << "set-user-ID bits have no effect here";
  std::ifstream in(fixed_, std::ios::binary);
  const std::string copy = make_file("setuid", {std::istreambuf_iterator<char>(in), {}});
  ASSERT_EQ(0, chown(copy.c_str(), 1000, 1000));
  ASSERT_EQ(0, chmod(copy.c_str(), 04755));
  EXPECT_EQ("0 1000 1\n", run(copy, {"p", "ids"}));
  EXPECT_EQ("0 0 0\n", run(fixed_, {"p", "ids"}));
}

}  // namespace

int print_state(int argc, char** argv) {
  const std::string what = argv[0];
  if (what == "ids") printf("%d %d %d %d\n", getuid(), geteuid(), getgid(), getegid());
  if (what == "pid") {
    char name[16] = {};
    prctl(PR_GET_NAME, name);
    if (getpid() != get_tid()) strcpy(name, "not-leader");
    printf("%d %s\n", getpid(), name);
  }
  if (what == "fds" && argc >= 3) {
    auto state = [](const char* fd) { return fcntl(atoi(fd), F_GETFD) == -1 ? "closed" : "open"; };
    printf("%s %s\n", state(argv[1]), state(argv[2]));
  }
  if (what == "signals") {
    struct sigaction usr1, usr2;
    sigaction(SIGUSR1, nullptr, &usr1);
    sigaction(SIGUSR2, nullptr, &usr2);
    sigset_t mask, pending;
    sigprocmask(SIG_BLOCK, nullptr, &mask);
    sigpending(&pending);
    stack_t stack;
    sigaltstack(nullptr, &stack);
    printf("usr1=%s usr2=%s term=%s,%s altstack=%s\n",
           usr1.sa_handler == SIG_DFL ? "default" : "other",
           usr2.sa_handler == SIG_IGN ? "ignored" : "other",
           sigismember(&mask, SIGTERM) ? "blocked" : "open",
           sigismember(&pending, SIGTERM) ? "pending" : "none",
           stack.ss_flags == SS_DISABLE ? "off" : "on");
  }
  return 0;
}

}  // namespace run9::guest

extern "C" int helper_main(int argc, char** argv) {
  return argc > 0 ? run9::guest::print_state(argc, argv) : 2;
}
