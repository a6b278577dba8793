// Starts run9-gofer as runtime/ does and looks at it from outside.
#include <netinet/in.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <set>

#include "gofer/landlock.h"
#include "gofer/seccomp.h"
#include "gofer/test_server.h"
#include "p9/transport/address.h"

namespace run9::gofer {
namespace {

using namespace p9;

// run9-gofer serving one connection. The program's path is a definition of the build's.
class Program {
 public:
  explicit Program(std::vector<std::string> args) {
    int pair[2], ready[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    CHECK(pipe2(ready, O_CLOEXEC) == 0);
    args.insert(args.begin(), RUN9_GOFER);
    args.insert(args.end(), {"--listen", "fd:5", "--ready-fd", "6"});
    std::vector<char*> argv;
    for (auto& a : args) argv.push_back(a.data());
    argv.push_back(nullptr);
    pid_ = fork();
    if (pid_ == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      // Out of the way of 5 and 6 first.
      const int socket = fcntl(pair[1], F_DUPFD, 20), go = fcntl(ready[1], F_DUPFD, 20);
      dup2(socket, 5);
      dup2(go, 6);
      execv(argv[0], argv.data());
      _exit(127);
    }
    close(pair[1]);
    close(ready[1]);
    socket_ = UniqueFd(pair[0]);
    const UniqueFd go(ready[0]);
    char byte;
    serving_ = ::read(go.get(), &byte, 1) == 1;
  }
  ~Program() {
    if (pid_ > 0) {
      kill(pid_, SIGKILL);
      waitpid(pid_, nullptr, 0);
    }
  }
  bool serving() const { return serving_; }
  UniqueFd take_socket() { return std::move(socket_); }
  int wait() {
    int status = 0;
    waitpid(pid_, &status, 0);
    pid_ = 0;
    return status;
  }
  std::string proc(const std::string& name) const {
    return "/proc/" + std::to_string(pid_) + "/" + name;
  }
  std::string status(const std::string& field) const {
    std::ifstream in(proc("status"));
    for (std::string line; std::getline(in, line);) {
      if (line.starts_with(field + ":")) return line.substr(line.find('\t') + 1);
    }
    return "";
  }

 private:
  pid_t pid_ = -1;
  UniqueFd socket_;
  bool serving_ = false;
};

std::set<std::string> names_in(const std::string& dir) {
  std::set<std::string> out;
  for (const auto& e : std::filesystem::directory_iterator(dir)) out.insert(e.path().filename());
  return out;
}

TEST(JailTest, GivesUpWhatItDoesNotNeed) {
  TempDir dir;
  Program gofer({"--export", dir.path() + ":t"});
  ASSERT_TRUE(gofer.serving());
  EXPECT_EQ(gofer.status("Seccomp"), "2");
  EXPECT_EQ(gofer.status("NoNewPrivs"), "1");
  // CHOWN, DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER, FSETID.
  EXPECT_EQ(gofer.status("CapEff"), "000000000000001f");
  EXPECT_EQ(gofer.status("CapPrm"), "000000000000001f");
  for (const char* set : {"CapInh", "CapBnd", "CapAmb"}) {
    EXPECT_EQ(gofer.status(set), "0000000000000000") << set;
  }
  if (geteuid() == 0) {
    EXPECT_EQ(names_in(gofer.proc("root/")), (std::set<std::string>{"blank", "empty", "export0"}));
    // stdin, stdout, stderr, the connection, what tells of locks, and the export's root.
    // The ready descriptor is closed right after its byte was written: it may be seen for a moment.
    for (int i = 0; i < 500 && names_in(gofer.proc("fd")).size() != 6; ++i) usleep(10'000);
    EXPECT_EQ(names_in(gofer.proc("fd")).size(), 6u);
    for (const char* ns : {"mnt", "net", "ipc", "uts", "cgroup"}) {
      EXPECT_NE(std::filesystem::read_symlink(gofer.proc("ns/") + ns),
                std::filesystem::read_symlink(std::string("/proc/self/ns/") + ns))
          << ns;
    }
  }
}

// What the process could do with descriptors of directories that it should not have: without the mount namespace, which
// leaves none to be had. Gives the number of the first check that fails, 0 if all hold, 100 where the kernel has no Landlock.
int inside_the_fence(const TempDir& dir) {
  const UniqueFd outside(open(dir.path("outside").c_str(), O_PATH | O_CLOEXEC));
  auto exports = open_exports({.exports = {{.dir = dir.path("rw")}, {.dir = dir.path("ro"), .read_only = true}}});
  if (!exports) return 1;
  const int rw = exports.assume_value()[0]->root.get(), ro = exports.assume_value()[1]->root.get();
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  if (!fence_exports(exports.assume_value())) return 100;
  const auto opens = [](int at, const char* name, int flags) {
    return UniqueFd(openat(at, name, flags | O_CLOEXEC, 0600)).valid();
  };
  if (opens(outside.get(), "f", O_RDONLY) || errno != EACCES) return 2;
  if (opens(outside.get(), "new", O_WRONLY | O_CREAT) || mkdirat(outside.get(), "d", 0700) == 0) return 3;
  if (unlinkat(outside.get(), "f", 0) == 0 || linkat(outside.get(), "f", rw, "g", 0) == 0) return 4;
  if (!opens(rw, "f", O_RDWR | O_TRUNC) || !opens(rw, "new", O_WRONLY | O_CREAT)) return 5;
  if (mkdirat(rw, "d", 0700) != 0 || renameat(rw, "new", rw, "d/new") != 0 || linkat(rw, "f", rw, "d/f", 0) != 0) return 6;
  if (symlinkat("f", rw, "s") != 0 || mknodat(rw, "p", S_IFIFO | 0600, 0) != 0 || renameat(rw, "p", rw, "d/p") != 0) return 7;
  if (unlinkat(rw, "d/f", 0) != 0 || unlinkat(rw, "d/p", 0) != 0) return 8;
  if (!opens(ro, "f", O_RDONLY) || !opens(ro, ".", O_RDONLY | O_DIRECTORY)) return 9;
  if (opens(ro, "f", O_WRONLY) || opens(ro, "new", O_WRONLY | O_CREAT) || renameat(ro, "f", rw, "h") == 0) return 10;
  return 0;
}

TEST(JailTest, HeldDirectoriesOutsideOpenNothing) {
  TempDir dir;
  for (const char* name : {"outside", "rw", "ro"}) {
    std::filesystem::create_directory(dir.path(name));
    dir.write(std::string(name) + "/f", name);
  }
  const pid_t child = fork();
  if (child == 0) _exit(inside_the_fence(dir));
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  if (WEXITSTATUS(status) == 100) GTEST_SKIP() << "this kernel has no Landlock, or an old one";
  EXPECT_EQ(WEXITSTATUS(status), 0);
  EXPECT_EQ(dir.read("outside/f"), "outside");
}

// A session that makes every call of the backend: the filter kills for one that is missing.
void use_everything(Client& c) {
  ASSERT_TRUE(c.start());
  const Fid root = c.attach("t").assume_value().fid;
  const Fid f = c.alloc_fid().assume_value(), o = c.alloc_fid().assume_value();
  Twalkx create{.fid = root, .newfid = f, .openfid = o,
                .wflags = kWalkOpen | kWalkCreate | kWalkKeepControl | kWalkWantFd,
                .attrmask = kAttrAll, .oflags = kORdwr, .mode = 0644};
  create.names = {"f"};
  auto made = c.call(create).assume_value();
  ASSERT_EQ(made->status, WalkStatus::kCreated);
  ASSERT_TRUE(made.fd.valid());
  EXPECT_TRUE(c.call(Twrite{.fid = o, .data = as_bytes("text")}));
  EXPECT_TRUE(c.call(Tread{.fid = o, .count = 1 << 18}));
  EXPECT_TRUE(c.call(Tfsync{.fid = o}));
  EXPECT_TRUE(c.call(Tfsync{.fid = o, .datasync = {1}}));
  EXPECT_TRUE(c.call(Tfalloc{.fid = o, .length = 4096}));
  EXPECT_TRUE(c.call(Tseek{.fid = o, .whence = kSeekHole}));
  EXPECT_TRUE(c.call(Tlock{.fid = o, .type = LockType::kWrite}));
  EXPECT_TRUE(c.call(Tlockx{.fid = o, .type = LockType::kWrite}));
  EXPECT_TRUE(c.call(Tlockx{.fid = o, .type = LockType::kWrite, .flags = kLockWhole}));
  EXPECT_EQ(c.call(Tcopy{.infid = f, .outfid = o, .outoffset = 8192, .length = 4}).assume_value()->copied, 4u);
  EXPECT_TRUE(c.call(Tsyncfs{.fid = root}));
  EXPECT_TRUE(c.call(Tmkx{.dfid = root, .name = "x", .mode = S_IFLNK, .target = "f", .attrmask = kAttrAll}));
  EXPECT_TRUE(c.call(Tsetattr{
      .fid = f, .attr = {.valid = kSetMode | kSetUid | kSetGid | kSetSize | kSetAtime | kSetMtime,
                         .mode = 0600, .uid = geteuid(), .gid = getegid(), .size = 100}}));
  EXPECT_TRUE(c.call(Tsetattr{.fid = f, .attr = {.valid = kSetCtime}}));
  (void)c.call(Tsetxa{.fid = f, .name = "user.a", .value = as_bytes("v")});
  (void)c.call(Tgetxa{.fid = f, .name = "user.a", .size = 10});
  EXPECT_TRUE(c.call(Tlistxa{.fid = f, .size = 100}));
  (void)c.call(Trmxa{.fid = f, .name = "user.a"});
  EXPECT_TRUE(c.call(Tstatfs{.fid = root}));
  EXPECT_TRUE(c.call(Tmkdir{.dfid = root, .name = "d", .mode = 0755, .gid = getegid()}));
  EXPECT_TRUE(c.call(Tsymlink{.dfid = root, .name = "s", .target = "f", .gid = getegid()}));
  EXPECT_TRUE(c.call(Tmknod{.dfid = root, .name = "p", .mode = S_IFIFO | 0600, .gid = getegid()}));
  EXPECT_TRUE(c.call(Tlink{.dfid = root, .fid = f, .name = "l"}));
  EXPECT_TRUE(c.call(
      Trenameat{.olddirfid = root, .oldname = "l", .newdirfid = root, .newname = "m"}));
  Twalkx link{.fid = root};
  link.names = {"s"};
  EXPECT_EQ(c.call(link).assume_value()->target, "f");
  EXPECT_TRUE(c.call(Treaddirx{.fid = root, .count = 1 << 16, .attrmask = kAttrAll,
                               .flags = kReaddirOpen}));
  EXPECT_EQ(c.call(Tmopen{.fid = root, .names = {"f", "m", "p"}}).assume_value().fds.size(), 2u);
  for (const char* name : {"f", "s", "p", "m", "x"}) {
    EXPECT_TRUE(c.call(Tunlinkat{.dirfid = root, .name = name})) << name;
  }
  EXPECT_TRUE(c.call(Tunlinkat{.dirfid = root, .name = "d", .flags = kAtRemovedir}));
}

void serve_everything(std::vector<std::string> more) {
  TempDir dir;
  more.insert(more.end(), {"--export", dir.path() + ":t"});
  Program gofer(more);
  ASSERT_TRUE(gofer.serving());
  {
    BlockingChannel channel(gofer.take_socket());
    Client client(channel);
    use_everything(client);
  }
  const int status = gofer.wait();
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
}

TEST(JailTest, ServesEverythingUnderItsFilter) { serve_everything({}); }

TEST(JailTest, LogsEachName) {
  TempDir out;
  const UniqueFd file(open(out.path("log").c_str(), O_CREAT | O_WRONLY | O_APPEND, 0600));
  const UniqueFd log(fcntl(file.get(), F_DUPFD, 40));  // out of the way of Program's
  serve_everything({"--log-9p", "--log-fd", std::to_string(log.get())});
  const std::string text = out.read("log");
  EXPECT_NE(text.find("Twalkx"), text.npos);
  EXPECT_NE(text.find("Rlistxa"), text.npos);
  EXPECT_NE(text.find("\"m\""), text.npos) << text;
}

TEST(JailTest, AcceptsConnectionsBesideInheritedOnes) {
  TempDir dir, where;
  dir.write("f", "x");
  Program gofer({"--export", dir.path() + ":t", "--listen", "unix:" + where.path("socket")});
  ASSERT_TRUE(gofer.serving());
  for (int i = 0; i < 20; ++i) {
    UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{.sun_family = AF_UNIX};
    where.path("socket").copy(address.sun_path, sizeof address.sun_path - 1);
    ASSERT_EQ(connect(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    if (i % 3 == 0) {
      ASSERT_EQ(::send(socket.get(), "\1\0\0\0junk", 8, 0), 8);  // ends this connection alone
      continue;
    }
    BlockingChannel channel(std::move(socket));
    Client client(channel);
    ASSERT_TRUE(client.start());
    EXPECT_EQ(error_of(client.attach("")), 0);
  }
  BlockingChannel channel(gofer.take_socket());
  Client client(channel);
  EXPECT_TRUE(client.start());
}

// A loopback port that nobody had a moment ago.
int free_port() {
  const UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in at{.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
  socklen_t size = sizeof at;
  CHECK(bind(fd.get(), reinterpret_cast<sockaddr*>(&at), size) == 0);
  CHECK(getsockname(fd.get(), reinterpret_cast<sockaddr*>(&at), &size) == 0);
  return ntohs(at.sin_port);
}

// Under the filter too; and nothing is said of descriptors, which no such connection can carry.
TEST(JailTest, ServesOverTcp) {
  TempDir dir;
  const std::string at = "tcp:127.0.0.1:" + std::to_string(free_port());
  Program gofer({"--export", dir.path() + ":t", "--listen", at});
  ASSERT_TRUE(gofer.serving());
  for (int i = 0; i < 20; ++i) {
    BlockingChannel channel(dial(*parse_address(at)).assume_value());
    Client client(channel);
    ASSERT_TRUE(client.start());
    EXPECT_TRUE(client.dialect());
    EXPECT_FALSE(client.has_cap(kCapFd));
    const Fid root = client.attach("t").assume_value().fid;
    const Fid o = client.alloc_fid().assume_value();
    Twalkx create{.fid = root, .openfid = o, .wflags = kWalkOpen | kWalkCreate | kWalkWantFd, .oflags = kORdwr, .mode = 0644};
    create.names = {"f"};
    const auto made = client.call(create).assume_value();
    EXPECT_EQ(made->rflags, 0);
    EXPECT_FALSE(made.fd.valid());
    EXPECT_TRUE(client.call(Twrite{.fid = o, .data = as_bytes("text")}));
    create.openfid = kNoFid;
    EXPECT_EQ(client.call(create).assume_value()->error, static_cast<uint32_t>(EOPNOTSUPP));
    EXPECT_EQ(error_of(client.call(Tfdget{.fid = root})), EOPNOTSUPP);
    // Large buffers that come and go, on a thread that is not the first: the allocator stays within the filter.
    const std::string block(400'000, 'x');
    const std::vector<Twrite> writes(8, {.fid = o, .offset = 4, .data = as_bytes(block)});
    client.call_all<Twrite>(writes, [](size_t, auto got) { EXPECT_TRUE(got); });
    const std::vector<Tread> reads(8, {.fid = o, .offset = 4, .count = 400'000});
    client.call_all<Tread>(reads, [](size_t, auto got) {
      ASSERT_TRUE(got);
      EXPECT_EQ(got.assume_value()->data.size(), 400'000u);
    });
    EXPECT_TRUE(client.call(Tsetattr{.fid = o, .attr = {.valid = kSetSize, .size = 4}}));
  }
  EXPECT_EQ(dir.read("f"), "text");
}

TEST(JailTest, HiddenNamesAreCovered) {
  if (geteuid() != 0) GTEST_SKIP() << "looks through /proc/PID/root";
  TempDir dir;
  dir.write("secret", "x");
  std::filesystem::create_directories(dir.path("home/alice"));
  Program gofer({"--export", dir.path() + ":t:ro", "--hide", dir.path("secret"), "--empty",
                 dir.path("home")});
  ASSERT_TRUE(gofer.serving());
  std::ifstream secret(gofer.proc("root/export0/secret"));
  EXPECT_EQ(secret.get(), EOF);
  EXPECT_TRUE(names_in(gofer.proc("root/export0/home")).empty());
}

TEST(JailTest, SaysWhatIsWrong) {
  Program gofer({"--export", "/no/such/directory"});
  EXPECT_FALSE(gofer.serving());
  EXPECT_EQ(WEXITSTATUS(gofer.wait()), 1);
}

TEST(SeccompTableTest, HasNothingThatTakesAFreePath) {
  for (const auto row : seccomp_table({.accepts = Accepts::kConnections, .multi_user = true})) {
    if (row == "clone(a thread)" || row == "clone3: ENOSYS") continue;
    for (const char* bad : {"execve", "socket", "connect", "clone", "ptrace", "ioctl", "bind", "listen"}) {
      EXPECT_FALSE(row.starts_with(bad)) << row;
    }
  }
}

}  // namespace
}  // namespace run9::gofer
