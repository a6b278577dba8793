// What a process reads about itself in /proc.
#include <dirent.h>
#include <sys/prctl.h>

#include <algorithm>
#include <set>
#include <thread>

#include "tests/syscalls/test_util.h"

namespace run9::guest {
namespace {

std::string link_of(const std::string& path) {
  char buffer[4096];
  const ssize_t n = readlink(path.c_str(), buffer, sizeof(buffer));
  return n < 0 ? "error " + errno_name(errno) : std::string(buffer, n);
}

std::set<std::string> names_in(const std::string& path) {
  std::set<std::string> out;
  DIR* d = opendir(path.c_str());
  if (d == nullptr) return out;
  while (dirent* e = readdir(d)) out.insert(e->d_name);
  closedir(d);
  return out;
}

std::string field(const std::string& text, const std::string& name) {
  const size_t at = text.find(name + ":");
  if (at == std::string::npos) return "missing";
  const size_t start = text.find_first_not_of(" \t", at + name.size() + 1);
  return text.substr(start, text.find('\n', start) - start);
}

TEST(ProcSelfTest, Links) {
  EXPECT_EQ(std::to_string(getpid()), link_of("/proc/self"));
  EXPECT_EQ(std::to_string(getpid()) + "/task/" + std::to_string(get_tid()),
            link_of("/proc/thread-self"));
  EXPECT_EQ(self_path(), link_of("/proc/self/exe"));
  char cwd[4096];
  EXPECT_EQ(getcwd(cwd, sizeof(cwd)), link_of("/proc/self/cwd"));
  EXPECT_EQ("/", link_of("/proc/self/root"));
  in_child([] { EXPECT_EQ(std::to_string(getpid()), link_of("/proc/self")); });
}

TEST(ProcSelfTest, Descriptors) {
  TempDir dir;
  write_file(dir / "f", "abc");
  Fd fd(open((dir / "f").c_str(), O_RDONLY));
  const std::string link = "/proc/self/fd/" + std::to_string(fd);
  EXPECT_EQ(realpath((dir / "f").c_str(), nullptr), link_of(link));
  EXPECT_EQ(1u, names_in("/proc/self/fd").count(std::to_string(fd)));
  EXPECT_EQ("abc", read_file(link));
  ASSERT_EQ(1, lseek(fd, 1, SEEK_SET));
  EXPECT_EQ("abc", read_file(link));  // a fresh open: its own offset
  EXPECT_EQ("1", field(read_file("/proc/self/fdinfo/" + std::to_string(fd)), "pos"));
  unlink((dir / "f").c_str());
  EXPECT_NE(std::string::npos, link_of(link).find(" (deleted)"));
  EXPECT_EQ("abc", read_file(link));  // still opens the file itself
  Pipe p;
  EXPECT_EQ(0u, link_of("/proc/self/fd/" + std::to_string(p.r)).find("pipe:["));
  EXPECT_EQ("error ENOENT", link_of("/proc/self/fd/9999"));
}

TEST(ProcSelfTest, Maps) {
  auto* p = static_cast<char*>(map_anonymous(3 * kPage));
  mprotect(p + kPage, kPage, PROT_READ | PROT_EXEC);
  mprotect(p, kPage, PROT_READ);
  mprotect(p + 2 * kPage, kPage, PROT_NONE);
  const std::string maps = read_file("/proc/self/maps");
  auto line_for = [&](const void* at) {
    char want[64];
    snprintf(want, sizeof(want), "%lx-", reinterpret_cast<unsigned long>(at));
    const size_t start = maps.find(want);
    return start == std::string::npos ? "missing"
                                      : maps.substr(start, maps.find('\n', start) - start);
  };
  EXPECT_NE(std::string::npos, line_for(p).find(" r--p ")) << maps;
  EXPECT_NE(std::string::npos, line_for(p + kPage).find(" r-xp "));
  EXPECT_NE(std::string::npos, line_for(p + 2 * kPage).find(" ---p "));
  EXPECT_NE(std::string::npos, maps.find("[stack]"));
  EXPECT_NE(std::string::npos, maps.find("[heap]"));
  EXPECT_NE(std::string::npos, maps.find("[vdso]"));
  EXPECT_NE(std::string::npos, maps.find(self_path()));
  munmap(p, 3 * kPage);
}

TEST(ProcSelfTest, Status) {
  const std::string s = read_file("/proc/self/status");
  EXPECT_EQ(std::to_string(getpid()), field(s, "Pid"));
  EXPECT_EQ(std::to_string(getpid()), field(s, "Tgid"));
  EXPECT_EQ(std::to_string(getppid()), field(s, "PPid"));
  EXPECT_EQ("1", field(s, "Threads"));
  EXPECT_EQ("R (running)", field(s, "State"));
  const std::string uid = std::to_string(getuid());
  EXPECT_EQ(0u, field(s, "Uid").find(uid + "\t" + uid));
  EXPECT_NE("missing", field(s, "VmRSS"));
  EXPECT_NE("missing", field(s, "SigBlk"));
  EXPECT_NE("missing", field(s, "CapEff"));
}

TEST(ProcSelfTest, SignalMasksInStatus) {
  ScopedBlock block({SIGUSR1});
  ScopedHandler handler(
      SIGUSR2, +[](int) {});
  raise(SIGUSR1);
  const std::string s = read_file("/proc/self/status");
  EXPECT_EQ("0000000000000200", field(s, "SigBlk"));
  EXPECT_EQ("0000000000000200", field(s, "SigPnd"));
  EXPECT_NE(0u, strtoull(field(s, "SigCgt").c_str(), nullptr, 16) & sig_bit(SIGUSR2));
  const timespec zero = {};
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  sigtimedwait(&set, nullptr, &zero);
}

TEST(ProcSelfTest, Stat) {
  const std::string s = read_file("/proc/self/stat");
  int pid = 0, ppid = 0, pgrp = 0, session = 0;
  char state = 0;
  ASSERT_EQ(5, sscanf(s.c_str(), "%d (%*[^)]) %c %d %d %d", &pid, &state, &ppid, &pgrp, &session))
      << s;
  EXPECT_EQ(getpid(), pid);
  EXPECT_EQ('R', state);
  EXPECT_EQ(getppid(), ppid);
  EXPECT_EQ(getpgrp(), pgrp);
  EXPECT_EQ(getsid(0), session);
  EXPECT_EQ(51, std::count(s.begin(), s.end(), ' '));
}

TEST(ProcSelfTest, CommandLineEnvironmentAndAuxv) {
  const std::string cmdline = read_file("/proc/self/cmdline");
  EXPECT_NE(std::string::npos, cmdline.find("proc_self_test"));
  EXPECT_EQ('\0', cmdline.back());
  EXPECT_EQ(0u, read_file("/proc/self/auxv").size() % 16);
  EXPECT_NE(0u, read_file("/proc/self/auxv").size());
  EXPECT_EQ("proc_self_test\n", read_file("/proc/self/comm"));
}

TEST(ProcSelfTest, Tasks) {
  Pipe ready, go;
  std::thread t([&] {
    prctl(PR_SET_NAME, "worker");
    ready.notify();
    go.await();
  });
  ready.await();
  const auto tasks = names_in("/proc/self/task");
  EXPECT_EQ(4u, tasks.size());  // two threads and the dots
  std::string names;
  for (const std::string& task : tasks) names += read_file("/proc/self/task/" + task + "/comm");
  EXPECT_NE(std::string::npos, names.find("worker\n"));
  go.notify();
  t.join();
}

TEST(ProcSelfTest, Zombie) {
  const pid_t pid = spawn([] {});
  siginfo_t info;
  ASSERT_OK(waitid(P_PID, pid, &info, WEXITED | WNOWAIT));
  const std::string path = "/proc/" + std::to_string(pid);
  EXPECT_EQ("Z (zombie)", field(read_file(path + "/status"), "State"));
  reap(pid);
  EXPECT_FALSE(exists(path));
}

TEST(ProcSelfTest, Mem) {
  volatile int secret = 0x1234;
  Fd fd(open("/proc/self/mem", O_RDWR));
  if (fd < 0) GTEST_SKIP() << "no /proc/self/mem";
  int got = 0;
  EXPECT_EQ(4, pread(fd, &got, 4, reinterpret_cast<off_t>(&secret)));
  EXPECT_EQ(0x1234, got);
  got = 0x5678;
  EXPECT_EQ(4, pwrite(fd, &got, 4, reinterpret_cast<off_t>(&secret)));
  EXPECT_EQ(0x5678, secret);
  EXPECT_ERR(EIO, pread(fd, &got, 4, 0x10));
}

TEST(ProcSelfTest, SystemFiles) {
  EXPECT_NE("missing", field(read_file("/proc/meminfo"), "MemTotal"));
  EXPECT_NE(std::string::npos, read_file("/proc/cpuinfo").find("processor"));
  EXPECT_EQ(0u, read_file("/proc/stat").find("cpu "));
  EXPECT_NE(std::string::npos, read_file("/proc/filesystems").find("nodev\tproc"));
  EXPECT_NE(std::string::npos, read_file("/proc/mounts").find(" /proc proc "));
  EXPECT_NE("", read_file("/proc/self/mountinfo"));
  double up = 0, idle = 0;
  EXPECT_EQ(2, sscanf(read_file("/proc/uptime").c_str(), "%lf %lf", &up, &idle));
  EXPECT_GT(up, 0);
  double load = -1;
  EXPECT_EQ(1, sscanf(read_file("/proc/loadavg").c_str(), "%lf", &load));
  EXPECT_GT(atoi(read_file("/proc/sys/kernel/pid_max").c_str()), 100);
}

TEST(ProcSelfTest, ReadOnlyInNature) {
  EXPECT_ERR(ENOENT, open("/proc/new", O_CREAT | O_WRONLY, 0644));
  EXPECT_EQ(-1, mkdir("/proc/new", 0755));
  EXPECT_ERR(ENOENT, open("/proc/999999/stat", O_RDONLY));
}

}  // namespace
}  // namespace run9::guest
