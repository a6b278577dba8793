// Names that are asked for again and again, and what becomes of the answer when something changes that it depends on: a kernel may remember
// that a name is not there, or no symbolic link (sentry/platform/name_calls.h), but nobody may notice.
#include <pthread.h>
#include <sys/mount.h>
#include <sys/resource.h>

#include <functional>

#include "tests/syscalls/test_util.h"

namespace run9::guest {
namespace {

constexpr int kOften = 4;

struct MissingNameTest : DirTest {
  // All calls that such an answer is for say that it is missing.
  void expect_missing(const std::string& path) {
    struct stat st;
    char text[8] = "x";
    const char* const p = path.c_str();
    char* const argv[] = {text, nullptr};
    for (int i = 0; i < kOften; ++i) {
      EXPECT_ERR(ENOENT, sys(SYS_execve, p, argv, argv + 1)) << path;
      EXPECT_ERR(ENOENT, sys(SYS_stat, p, &st)) << path;
      EXPECT_ERR(ENOENT, sys(SYS_lstat, p, &st)) << path;
      EXPECT_ERR(ENOENT, sys(SYS_newfstatat, AT_FDCWD, p, &st, AT_SYMLINK_NOFOLLOW)) << path;
      EXPECT_ERR(ENOENT, sys(SYS_access, p, F_OK)) << path;
      EXPECT_ERR(ENOENT, sys(SYS_faccessat, AT_FDCWD, p, R_OK)) << path;
      EXPECT_ERR(ENOENT, sys(SYS_open, p, O_RDONLY)) << path;
      EXPECT_ERR(ENOENT, sys(SYS_openat, AT_FDCWD, p, O_WRONLY | O_NOFOLLOW)) << path;
      EXPECT_ERR(ENOENT, sys(SYS_readlink, p, text, sizeof text)) << path;
    }
  }
  void expect_there(const std::string& path) {
    struct stat st;
    const char* const p = path.c_str();
    EXPECT_OK(sys(SYS_stat, p, &st)) << path;
    EXPECT_OK(sys(SYS_lstat, p, &st)) << path;
    EXPECT_OK(sys(SYS_access, p, F_OK)) << path;
    Fd fd(open(p, O_RDONLY | O_NONBLOCK));
    EXPECT_OK(static_cast<int>(fd)) << path;
  }
  // It exists and is no symbolic link.
  void expect_no_link(const std::string& path) {
    char text[8];
    for (int i = 0; i < kOften; ++i) EXPECT_ERR(EINVAL, readlink(path.c_str(), text, sizeof text)) << path;
  }
};

TEST_F(MissingNameTest, IsMadeInEachWay) {
  make_file("file", "x");
  const auto ways = std::vector<std::function<int(const char*)>>{
      [](const char* p) { return close(open(p, O_CREAT | O_WRONLY, 0644)); },
      [](const char* p) { return mkdir(p, 0755); },
      [](const char* p) { return mkfifo(p, 0644); },
      [this](const char* p) { return symlink(at("file").c_str(), p); },
      [this](const char* p) { return link(at("file").c_str(), p); },
      [this](const char* p) { return rename(at("file").c_str(), p); },
  };
  for (size_t i = 0; i < ways.size(); ++i) {
    const std::string path = at("name" + std::to_string(i));
    expect_missing(path);
    ASSERT_OK(ways[i](path.c_str())) << i;
    expect_there(path);
    if (i == 1) {
      ASSERT_OK(rmdir(path.c_str()));
    } else {
      ASSERT_OK(i == 5 ? rename(path.c_str(), at("file").c_str()) : unlink(path.c_str())) << i;
    }
    expect_missing(path);
    ASSERT_OK(mkdir(path.c_str(), 0755));
    expect_there(path);
  }
}

TEST_F(MissingNameTest, ByAnotherProcess) {
  for (int i = 0; i < 5; ++i) {
    const std::string path = at("name" + std::to_string(i));
    expect_missing(path);
    const pid_t child = fork();
    if (child == 0) {
      struct stat st;
      const bool missing = stat(path.c_str(), &st) != 0;
      _exit(missing && close(open(path.c_str(), O_CREAT | O_WRONLY, 0644)) == 0 ? 0 : 1);
    }
    int status = 0;
    waitpid(child, &status, 0);
    EXPECT_EQ(0, status);
    expect_there(path);
  }
}

TEST_F(MissingNameTest, NoLinkBecomesOne) {
  char text[8] = {};
  make_file("a", "x");
  make_file("b", "x");
  expect_no_link(at("a"));
  ASSERT_OK(unlink(at("a").c_str()));
  EXPECT_ERR(ENOENT, readlink(at("a").c_str(), text, sizeof text));
  ASSERT_OK(symlink("to", at("a").c_str()));
  EXPECT_EQ(2, readlink(at("a").c_str(), text, sizeof text));
  expect_no_link(at("b"));
  ASSERT_OK(rename(at("a").c_str(), at("b").c_str()));
  EXPECT_EQ(2, readlink(at("b").c_str(), text, sizeof text));
}

TEST_F(MissingNameTest, LinkToNothing) {
  struct stat st;
  char text[8];
  ASSERT_OK(symlink("there", at("l").c_str()));
  for (int i = 0; i < kOften; ++i) {
    EXPECT_ERR(ENOENT, stat(at("l").c_str(), &st));
    EXPECT_ERR(ENOENT, open(at("l").c_str(), O_RDONLY));
    EXPECT_OK(lstat(at("l").c_str(), &st));
    EXPECT_EQ(5, readlink(at("l").c_str(), text, sizeof text));
    EXPECT_ERR(ELOOP, open(at("l").c_str(), O_RDONLY | O_NOFOLLOW));
  }
  make_file("there", "x");
  expect_there(at("there"));
  EXPECT_OK(stat(at("l").c_str(), &st));
}

TEST_F(MissingNameTest, DirectoryOnTheWayMoves) {
  for (const char* d : {"d", "e", "f"}) ASSERT_OK(mkdir(at(d).c_str(), 0755));
  make_file("e/x", "x");
  expect_missing(at("d/x"));
  ASSERT_OK(rename(at("d").c_str(), at("g").c_str()));
  expect_missing(at("d/x"));
  ASSERT_OK(rename(at("e").c_str(), at("d").c_str()));
  expect_there(at("d/x"));
  expect_missing(at("f/x"));
  ASSERT_OK(rmdir(at("f").c_str()));
  ASSERT_OK(symlink("d", at("f").c_str()));
  expect_there(at("f/x"));
}

TEST_F(MissingNameTest, LinkOnTheWayChanges) {
  for (const char* d : {"d", "e"}) ASSERT_OK(mkdir(at(d).c_str(), 0755));
  make_file("e/x", "x");
  ASSERT_OK(symlink("d", at("l").c_str()));
  ASSERT_OK(symlink("e", at("m").c_str()));
  expect_missing(at("l/x"));
  ASSERT_OK(rename(at("m").c_str(), at("l").c_str()));
  expect_there(at("l/x"));
}

TEST_F(MissingNameTest, WorkingDirectory) {
  for (const char* d : {"d", "d/sub", "e"}) ASSERT_OK(mkdir(at(d).c_str(), 0755));
  make_file("e/x", "x");
  Fd before(open(".", O_RDONLY)), e(open(at("e").c_str(), O_RDONLY));
  ASSERT_OK(chdir(at("d").c_str()));
  expect_missing("x");
  ASSERT_OK(fchdir(e));
  expect_there("x");
  ASSERT_OK(chdir(at("d").c_str()));
  expect_missing("x");
  // In another one, and above this one.
  expect_missing("../x");
  make_file("x", "x");
  expect_there("../x");
  ASSERT_OK(chdir("sub"));
  expect_missing("../x");
  ASSERT_OK(rename(at("d/sub").c_str(), at("e/sub").c_str()));
  expect_there("../x");
  expect_missing("y");
  ASSERT_OK(rmdir(at("e/sub").c_str()));
  expect_missing("y");
  EXPECT_ERR(ENOENT, open("y", O_CREAT | O_WRONLY, 0644));
  ASSERT_OK(fchdir(before));
}

TEST_F(MissingNameTest, ThreadsWorkingDirectory) {
  for (const char* d : {"d", "e"}) ASSERT_OK(mkdir(at(d).c_str(), 0755));
  make_file("e/x", "x");
  Fd before(open(".", O_RDONLY));
  ASSERT_OK(chdir(at("d").c_str()));
  expect_missing("x");
  pthread_t thread;
  std::string e = at("e");
  pthread_create(&thread, nullptr, [](void* to) -> void* { return chdir(static_cast<const char*>(to)) == 0 ? nullptr : to; }, e.data());
  void* failed = nullptr;
  pthread_join(thread, &failed);
  EXPECT_EQ(nullptr, failed);
  expect_there("x");
  ASSERT_OK(fchdir(before));
}

TEST_F(MissingNameTest, Root) {
  SKIP_UNLESS_ROOT();
  ASSERT_OK(mkdir(at("d").c_str(), 0755));
  make_file("d/x-of-this-test", "x");
  expect_missing("/x-of-this-test");
  const pid_t child = fork();
  if (child == 0) {
    struct stat st;
    if (chroot(at("d").c_str()) != 0) _exit(1);
    _exit(stat("/x-of-this-test", &st) == 0 ? 0 : 2);
  }
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_EQ(0, status);
  expect_missing("/x-of-this-test");
}

TEST_F(MissingNameTest, RightsOfWhoAsks) {
  SKIP_UNLESS_ROOT();
  ASSERT_OK(chmod(dir_.path().c_str(), 0755));
  for (const char* d : {"mine", "all"}) ASSERT_OK(mkdir(at(d).c_str(), 0755));
  ASSERT_OK(chmod(at("mine").c_str(), 0700));
  expect_missing(at("mine/x"));
  int go[2], done[2];
  ASSERT_OK(pipe(go));
  ASSERT_OK(pipe(done));
  const pid_t child = fork();
  if (child == 0) {
    char c = 0;
    struct stat st;
    const auto gives = [&](const std::string& path, int error) {
      for (int i = 0; i < kOften; ++i) {
        if (stat(path.c_str(), &st) == 0 || errno != error) return false;
      }
      return true;
    };
    if (setresuid(kNobody, kNobody, kNobody) != 0) _exit(1);
    if (!gives(at("mine/x"), EACCES)) _exit(2);
    if (!gives(at("all/x"), ENOENT)) _exit(3);
    if (write(done[1], &c, 1) != 1 || read(go[0], &c, 1) != 1) _exit(4);
    _exit(gives(at("all/x"), EACCES) ? 0 : 5);
  }
  char c = 0;
  EXPECT_EQ(1, read(done[0], &c, 1));
  EXPECT_OK(chmod(at("all").c_str(), 0700));
  EXPECT_EQ(1, write(go[1], &c, 1));
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_EQ(0, status) << WEXITSTATUS(status);
  for (int fd : {go[0], go[1], done[0], done[1]}) close(fd);
}

TEST_F(MissingNameTest, RealAndEffectiveIds) {
  SKIP_UNLESS_ROOT();
  ASSERT_OK(mkdir(at("d").c_str(), 0700));
  struct stat st;
  for (int i = 0; i < kOften; ++i) {
    ASSERT_OK(seteuid(kNobody));
    EXPECT_ERR(ENOENT, access(at("d/x").c_str(), F_OK));
    EXPECT_ERR(EACCES, stat(at("d/x").c_str(), &st));
    ASSERT_OK(seteuid(0));
    EXPECT_ERR(ENOENT, stat(at("d/x").c_str(), &st));
  }
}

TEST_F(MissingNameTest, MountedOver) {
  SKIP_UNLESS_ROOT();
  for (const char* d : {"d", "d/m"}) ASSERT_OK(mkdir(at(d).c_str(), 0755));
  make_file("d/m/x", "x");
  expect_missing(at("d/m/y"));
  if (mount("none", at("d/m").c_str(), "tmpfs", 0, nullptr) != 0) GTEST_SKIP() << "may not mount: " << errno_name(errno);
  expect_missing(at("d/m/x"));
  make_file("d/m/y", "y");
  expect_there(at("d/m/y"));
  expect_missing(at("d/m/z"));
  EXPECT_OK(umount(at("d/m").c_str()));
  expect_there(at("d/m/x"));
  expect_missing(at("d/m/y"));
}

TEST_F(MissingNameTest, WrongArgumentsComeFirst) {
  struct stat st;
  char text[8];
  const std::string path = at("x");
  expect_missing(path);
  EXPECT_ERR(EINVAL, sys(SYS_access, path.c_str(), 8));
  EXPECT_ERR(EINVAL, sys(SYS_newfstatat, AT_FDCWD, path.c_str(), &st, 0x10000));
  EXPECT_ERR(EINVAL, sys(SYS_readlink, path.c_str(), text, 0));
  EXPECT_ERR(EFAULT, sys(SYS_stat, bad(), &st));
  EXPECT_ERR(ENOENT, sys(SYS_stat, "", &st));
  Fd dir(open(dir_.path().c_str(), O_RDONLY));
  for (int i = 0; i < kOften; ++i) EXPECT_ERR(EBADF, sys(SYS_newfstatat, 999, "x", &st, 0));
  make_file("z", "x");
  ASSERT_OK(chdir("/"));
  expect_missing("z-that-is-not-there");
  for (int i = 0; i < kOften; ++i) EXPECT_OK(sys(SYS_newfstatat, dir, "z", &st, 0));
}

TEST_F(MissingNameTest, NoDescriptorIsLeft) {
  make_file("file", "x");
  const std::string path = at("x");
  expect_missing(path);
  rlimit before, few{16, 16};
  ASSERT_OK(getrlimit(RLIMIT_NOFILE, &before));
  few.rlim_max = before.rlim_max;
  ASSERT_OK(setrlimit(RLIMIT_NOFILE, &few));
  std::vector<int> open_ones;
  for (int fd; (fd = open(at("file").c_str(), O_RDONLY)) >= 0;) open_ones.push_back(fd);
  EXPECT_EQ(EMFILE, errno);
  for (int i = 0; i < kOften; ++i) EXPECT_ERR(EMFILE, open(path.c_str(), O_RDONLY));
  for (int fd : open_ones) close(fd);
  EXPECT_ERR(ENOENT, open(path.c_str(), O_RDONLY));
  EXPECT_OK(setrlimit(RLIMIT_NOFILE, &before));
}

}  // namespace
}  // namespace run9::guest
