// What stat(2) gives of a path that is asked for again and again: a kernel may remember it (sentry/platform/told_stat.h), but nobody may notice. Each test asks
// often enough for that, changes something, and looks again.
#include <linux/aio_abi.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <sys/mount.h>
#include <sys/sendfile.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/xattr.h>

#include <atomic>
#include <functional>
#include <thread>

#include "tests/syscalls/partner.h"
#include "tests/syscalls/test_util.h"

namespace run9::guest {
namespace {

constexpr int kOften = 4;

bool same_time(const statx_timestamp& a, const timespec& b) { return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec; }

// All calls that give attributes of a path agree.
struct stat ask(const std::string& path, bool follow = true) {
  struct stat first = {}, again, at;
  struct statx all;
  const char* const p = path.c_str();
  EXPECT_OK(sys(follow ? SYS_stat : SYS_lstat, p, &first)) << path;
  for (int i = 0; i < kOften; ++i) {
    memset(&again, 0xee, sizeof again);
    memset(&at, 0xee, sizeof at);
    memset(&all, 0xee, sizeof all);
    EXPECT_OK(sys(follow ? SYS_stat : SYS_lstat, p, &again)) << path;
    EXPECT_OK(sys(SYS_newfstatat, AT_FDCWD, p, &at, follow ? 0 : AT_SYMLINK_NOFOLLOW)) << path;
    EXPECT_OK(sys(SYS_statx, AT_FDCWD, p, follow ? 0 : AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS | STATX_BTIME, &all)) << path;
    EXPECT_EQ(0, memcmp(&first, &again, sizeof first)) << path;
    EXPECT_EQ(0, memcmp(&first, &at, sizeof first)) << path;
    EXPECT_EQ(STATX_BASIC_STATS, all.stx_mask & STATX_BASIC_STATS);
    EXPECT_EQ(first.st_dev, makedev(all.stx_dev_major, all.stx_dev_minor));
    EXPECT_EQ(first.st_rdev, makedev(all.stx_rdev_major, all.stx_rdev_minor));
    EXPECT_EQ(first.st_ino, all.stx_ino);
    EXPECT_EQ(first.st_mode, all.stx_mode);
    EXPECT_EQ(first.st_nlink, all.stx_nlink);
    EXPECT_EQ(first.st_uid, all.stx_uid);
    EXPECT_EQ(first.st_gid, all.stx_gid);
    EXPECT_EQ(static_cast<uint64_t>(first.st_size), all.stx_size);
    EXPECT_EQ(static_cast<uint64_t>(first.st_blocks), all.stx_blocks);
    EXPECT_EQ(static_cast<uint32_t>(first.st_blksize), all.stx_blksize);
    EXPECT_TRUE(same_time(all.stx_atime, first.st_atim) && same_time(all.stx_mtime, first.st_mtim) && same_time(all.stx_ctime, first.st_ctim));
  }
  return first;
}

int64_t ns(const timespec& t) { return t.tv_sec * int64_t{1'000'000'000} + t.tv_nsec; }

// A time that is stamped now is another one.
void tick() { usleep(12'000); }

struct ToldStatTest : DirTest {
  // A file that nobody has asked for yet, as what has changed once may not be remembered again.
  struct Subject {
    std::string path;
    Fd fd, end;  // for reading and writing; for appending
  };
  // Makes one, and does `change`, which moves what `what` sees of it.
  template <typename Change, typename What>
  void moves(Change change, What what, int line) {
    Subject f{make_file("f" + std::to_string(files_++), "abc"), Fd(), Fd()};
    f.fd = Fd(open(f.path.c_str(), O_RDWR));
    f.end = Fd(open(f.path.c_str(), O_WRONLY | O_APPEND));
    expect_moved(f.path, [&] { change(f); }, what, line);
  }
  template <typename Change, typename What>
  void expect_moved(const std::string& path, Change change, What what, int line) {
    const auto before = what(ask(path));
    tick();
    change();
    const struct stat now = ask(path);
    EXPECT_NE(before, what(now)) << "line " << line;
    struct stat by_descriptor;
    Fd fd(open(path.c_str(), O_PATH));
    ASSERT_OK(fstat(fd, &by_descriptor));
    EXPECT_EQ(0, memcmp(&now, &by_descriptor, sizeof now)) << "line " << line;
  }
  int files_ = 0;
};
#define MOVES(what, ...) moves([&]([[maybe_unused]] Subject& f) __VA_ARGS__, [](const struct stat& st) { return what; }, __LINE__)

TEST_F(ToldStatTest, AttributesAreSet) {
  MOVES(st.st_mode, { EXPECT_OK(chmod(f.path.c_str(), 0600)); });
  MOVES(st.st_size, { EXPECT_OK(truncate(f.path.c_str(), 5000)); });
  MOVES(ns(st.st_ctim), { EXPECT_OK(truncate(f.path.c_str(), 5000)); });
  MOVES(ns(st.st_mtim), { const timespec t[] = {{1, 2}, {3, 4}}; EXPECT_OK(utimensat(AT_FDCWD, f.path.c_str(), t, 0)); });
  MOVES(ns(st.st_atim), { const timespec t[] = {{5, 2}, {0, UTIME_OMIT}}; EXPECT_OK(utimensat(AT_FDCWD, f.path.c_str(), t, 0)); });
  MOVES(ns(st.st_mtim), { const timespec t[] = {{0, UTIME_OMIT}, {7, 8}}; EXPECT_OK(utimensat(AT_FDCWD, f.path.c_str(), t, 0)); });
  if (getuid() == 0) {
    MOVES(st.st_uid, { EXPECT_OK(chown(f.path.c_str(), 7, 8)); });
    MOVES(st.st_gid, { EXPECT_OK(chown(f.path.c_str(), 7, 9)); });
  }
  const std::string with = make_file("with", "x");
  const auto ctime = [](const struct stat& st) { return ns(st.st_ctim); };
  if (setxattr(with.c_str(), "user.run9", "x", 1, 0) == 0) {
    MOVES(ns(st.st_ctim), { EXPECT_OK(setxattr(f.path.c_str(), "user.run9", "y", 1, 0)); });
    expect_moved(with, [&] { EXPECT_OK(removexattr(with.c_str(), "user.run9")); }, ctime, __LINE__);
  }
}

TEST_F(ToldStatTest, IsWrittenInEachWay) {
  make_file("source", std::string(9000, 's'));
  Fd source(open(at("source").c_str(), O_RDONLY));
  iovec v = {const_cast<char*>("12345678"), 8};
  MOVES(st.st_size, { EXPECT_EQ(8, write(f.fd, "12345678", 8)); });
  MOVES(st.st_size, { EXPECT_EQ(8, writev(f.fd, &v, 1)); });
  MOVES(st.st_size, { EXPECT_EQ(8, pwrite(f.fd, "12345678", 8, 100)); });
  MOVES(st.st_size, { EXPECT_EQ(8, pwritev(f.fd, &v, 1, 200)); });
  MOVES(st.st_size, { EXPECT_EQ(8, write(f.end, "12345678", 8)); });
  MOVES(ns(st.st_mtim), { EXPECT_EQ(8, pwrite(f.fd, "87654321", 8, 0)); });
  MOVES(st.st_size, { EXPECT_EQ(1000, sendfile(f.end, source, nullptr, 1000) == 1000 ? 1000 : write(f.end, std::string(1000, 'x').data(), 1000)); });
  MOVES(ns(st.st_mtim), { EXPECT_LT(0, copy_file_range(source, nullptr, f.fd, nullptr, 4000, 0)); });
  MOVES(st.st_size, {
    int p[2];
    ASSERT_OK(pipe(p));
    EXPECT_EQ(3, write(p[1], "abc", 3));
    loff_t to = 20'000;
    EXPECT_EQ(3, splice(p[0], nullptr, f.fd, &to, 3, 0));
    close(p[0]), close(p[1]);
  });
  MOVES(st.st_size, { EXPECT_OK(ftruncate(f.fd, 10)); });
  MOVES(st.st_size, { EXPECT_OK(fallocate(f.fd, 0, 0, 300'000)); });
  MOVES(st.st_size, { Fd other(open(f.path.c_str(), O_WRONLY | O_TRUNC)); EXPECT_OK(static_cast<int>(other)); });
  MOVES(st.st_size, {
    aio_context_t context = 0;
    ASSERT_OK(sys(SYS_io_setup, 4, &context));
    iocb cb = {};
    cb.aio_lio_opcode = IOCB_CMD_PWRITE;
    cb.aio_fildes = static_cast<uint32_t>(static_cast<int>(f.fd));
    cb.aio_buf = reinterpret_cast<uint64_t>("12345678");
    cb.aio_nbytes = 8;
    iocb* list[] = {&cb};
    EXPECT_EQ(1, sys(SYS_io_submit, context, 1, list));
    io_event event;
    EXPECT_EQ(1, sys(SYS_io_getevents, context, 1, 1, &event, nullptr));
    sys(SYS_io_destroy, context);
  });
}

// What a thread writes often it may come to write by itself.
TEST_F(ToldStatTest, IsWrittenOften) {
  make_file("f", "abc");
  const std::string f = at("f");
  Fd fd(open(f.c_str(), O_RDWR));
  for (int round = 0; round < 5; ++round) {
    for (int i = 0; i < 40; ++i) {
      const off_t size = ask(f).st_size;
      ASSERT_EQ(1, pwrite(fd, "x", 1, size));
      ASSERT_EQ(size + 1, ask(f).st_size);
    }
    for (int i = 0; i < 200; ++i) ASSERT_EQ(1, pwrite(fd, "x", 1, i));
  }
}

TEST_F(ToldStatTest, IsMappedAndWritten) {
  make_file("f", std::string(8192, 'x'));
  const std::string f = at("f");
  const struct stat before = ask(f);
  tick();
  {
    Fd fd(open(f.c_str(), O_RDWR));
    auto* const p = static_cast<char*>(mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
    ASSERT_NE(MAP_FAILED, p);
    p[0] = 'y';
    ASSERT_OK(msync(p, 8192, MS_SYNC));
    ASSERT_OK(munmap(p, 8192));
  }
  struct stat now;
  ASSERT_OK(stat(f.c_str(), &now));
  EXPECT_EQ(before.st_size, now.st_size);
  Fd fd(open(f.c_str(), O_RDONLY));
  struct stat by_descriptor;
  ASSERT_OK(fstat(fd, &by_descriptor));
  EXPECT_EQ(ns(by_descriptor.st_mtim), ns(now.st_mtim));
}

TEST_F(ToldStatTest, IsRead) {
  make_file("f", std::string(100, 'x'));
  ASSERT_OK(mkdir(at("d").c_str(), 0755));
  ASSERT_OK(symlink("f", at("l").c_str()));
  const std::string f = at("f"), d = at("d"), l = at("l");
  // Whether reads count depends on the mount: what fstat says is right.
  const auto agrees = [&](const std::string& path, bool follow) {
    const struct stat by_path = ask(path, follow);
    struct stat by_descriptor;
    Fd fd(open(path.c_str(), O_PATH | (follow ? 0 : O_NOFOLLOW)));
    ASSERT_OK(fstat(fd, &by_descriptor));
    EXPECT_EQ(ns(by_descriptor.st_atim), ns(by_path.st_atim)) << path;
  };
  for (int i = 0; i < 3; ++i) {
    agrees(f, true);
    tick();
    const int64_t before = ns(ask(f).st_atim);
    Fd fd(open(f.c_str(), O_RDONLY));
    char c;
    for (int k = 0; k < 30; ++k) ASSERT_EQ(1, read(fd, &c, 1));
    if (i == 0) {
      EXPECT_NE(before, ns(ask(f).st_atim)) << "the first read after a change";
    }
    agrees(f, true);
    agrees(d, true);
    tick();
    Fd dir(open(d.c_str(), O_RDONLY | O_DIRECTORY));
    char entries[1024];
    EXPECT_LT(0, sys(SYS_getdents64, static_cast<int>(dir), entries, sizeof entries));
    agrees(d, true);
    agrees(l, false);
    tick();
    EXPECT_EQ(1, readlink(l.c_str(), entries, sizeof entries));
    agrees(l, false);
    ASSERT_EQ(1, pwrite(Fd(open(f.c_str(), O_WRONLY)), "y", 1, 0));
  }
}

TEST_F(ToldStatTest, NamesComeAndGo) {
  const std::string g = at("g"), h = at("h");
  MOVES(st.st_nlink, { EXPECT_OK(link(f.path.c_str(), g.c_str())); });
  const auto links = [](const struct stat& st) { return st.st_nlink; };
  const std::string f = make_file("f", "abc"), second = at("second");
  ASSERT_OK(link(f.c_str(), second.c_str()));
  expect_moved(f, [&] { EXPECT_OK(unlink(second.c_str())); }, links, __LINE__);
  struct stat st;
  EXPECT_ERR(ENOENT, stat(second.c_str(), &st));
  const struct stat old = ask(f);
  tick();
  ASSERT_OK(rename(f.c_str(), h.c_str()));
  EXPECT_ERR(ENOENT, stat(f.c_str(), &st));
  EXPECT_EQ(old.st_ino, ask(h).st_ino);
  EXPECT_NE(ns(old.st_ctim), ns(ask(h).st_ctim));
  make_file("f", "another");
  EXPECT_EQ(7, ask(f).st_size);
  EXPECT_EQ(3, ask(h).st_size);
  ASSERT_OK(rename(f.c_str(), h.c_str()));
  EXPECT_EQ(7, ask(h).st_size);
  make_file("f", "1");
  ask(f);
  ASSERT_OK(sys(SYS_renameat2, AT_FDCWD, f.c_str(), AT_FDCWD, h.c_str(), 2 /* RENAME_EXCHANGE */));
  EXPECT_EQ(7, ask(f).st_size);
  EXPECT_EQ(1, ask(h).st_size);
  ASSERT_OK(unlink(f.c_str()));
  EXPECT_ERR(ENOENT, stat(f.c_str(), &st));
}

TEST_F(ToldStatTest, ADirectoryChanges) {
  const auto mtime = [](const struct stat& st) { return ns(st.st_mtim); };
  const auto ways = std::vector<std::function<int(const std::string& in)>>{
      [](const std::string& in) { return close(open((in + "new").c_str(), O_CREAT | O_WRONLY, 0644)); },
      [](const std::string& in) { return mkdir((in + "new").c_str(), 0755); },
      [](const std::string& in) { return symlink("z", (in + "new").c_str()); },
      [](const std::string& in) { return mknod((in + "new").c_str(), S_IFIFO | 0644, 0); },
      [](const std::string& in) { return link((in + "file").c_str(), (in + "new").c_str()); },
      [](const std::string& in) { return rename((in + "file").c_str(), (in + "new").c_str()); },
      [](const std::string& in) { return unlink((in + "file").c_str()); },
      [](const std::string& in) { return rmdir((in + "dir").c_str()); },
      [](const std::string& in) { return rename((in + "file").c_str(), (in + "../elsewhere").c_str()); },
  };
  for (size_t i = 0; i < ways.size(); ++i) {
    const std::string d = "d" + std::to_string(i);
    ASSERT_OK(mkdir(at(d).c_str(), 0755));
    ASSERT_OK(mkdir(at(d + "/dir").c_str(), 0755));
    make_file(d + "/file", "x");
    expect_moved(at(d), [&] { EXPECT_OK(ways[i](at(d) + "/")); }, mtime, static_cast<int>(i));
  }
}

TEST_F(ToldStatTest, AboveIt) {
  ASSERT_OK(mkdir(at("a").c_str(), 0755));
  ASSERT_OK(mkdir(at("b").c_str(), 0755));
  make_file("a/f", "abc");
  make_file("b/f", "abcdef");
  const std::string f = at("a/f");
  EXPECT_EQ(3, ask(f).st_size);
  ASSERT_OK(rename(at("a").c_str(), at("c").c_str()));
  struct stat st;
  EXPECT_ERR(ENOENT, stat(f.c_str(), &st));
  ASSERT_OK(symlink("b", at("a").c_str()));
  EXPECT_EQ(6, ask(f).st_size);
  ASSERT_OK(unlink(at("a").c_str()));
  ASSERT_OK(symlink("c", at("a").c_str()));
  EXPECT_EQ(3, ask(f).st_size);
  EXPECT_EQ(S_IFLNK, ask(at("a"), false).st_mode & S_IFMT);
  EXPECT_EQ(S_IFDIR, ask(at("a")).st_mode & S_IFMT);
}

TEST_F(ToldStatTest, LinksAndWhatTheyLeadTo) {
  make_file("f", "abc");
  ASSERT_OK(symlink("f", at("l").c_str()));
  const std::string l = at("l");
  for (int i = 0; i < kOften; ++i) {
    EXPECT_EQ(3, ask(l).st_size);
    EXPECT_EQ(1, ask(l, false).st_size);
  }
  make_file("f", "abcdef");
  EXPECT_EQ(6, ask(l).st_size);
  EXPECT_EQ(1, ask(l, false).st_size);
  struct stat st;
  for (int i = 0; i < kOften; ++i) EXPECT_ERR(ENOTDIR, stat((l + "/").c_str(), &st));
  EXPECT_EQ(ask(at(".")).st_ino, ask(at("")).st_ino);
}

TEST_F(ToldStatTest, FromTheWorkingDirectory) {
  ASSERT_OK(mkdir(at("a").c_str(), 0755));
  ASSERT_OK(mkdir(at("b").c_str(), 0755));
  make_file("a/f", "abc");
  make_file("b/f", "abcdef");
  ASSERT_OK(chdir(at("a").c_str()));
  EXPECT_EQ(3, ask("f").st_size);
  ASSERT_OK(chdir(at("b").c_str()));
  EXPECT_EQ(6, ask("f").st_size);
  EXPECT_EQ(3, ask("../a/f").st_size);
  Fd a(open(at("a").c_str(), O_PATH | O_DIRECTORY));
  struct stat st;
  for (int i = 0; i < kOften; ++i) {
    ASSERT_OK(sys(SYS_newfstatat, static_cast<int>(a), "f", &st, 0));
    EXPECT_EQ(3, st.st_size);
    ASSERT_OK(sys(SYS_newfstatat, AT_FDCWD, "f", &st, 0));
    EXPECT_EQ(6, st.st_size);
  }
  ASSERT_OK(chdir("/"));
}

TEST_F(ToldStatTest, ByAnotherProcess) {
  make_file("f", "");
  const std::string f = at("f");
  for (int i = 1; i < 6; ++i) {
    ask(f);
    const pid_t child = fork();
    if (child == 0) _exit(write(open(f.c_str(), O_WRONLY | O_APPEND), "x", 1) == 1 ? 0 : 1);
    int status = -1;
    waitpid(child, &status, 0);
    EXPECT_EQ(0, status);
    EXPECT_EQ(i, ask(f).st_size);
  }
}

TEST_F(ToldStatTest, ByAnotherThread) {
  make_file("f", "");
  const std::string f = at("f");
  Fd fd(open(f.c_str(), O_WRONLY));
  for (int i = 1; i < 50; ++i) {
    ask(f);
    std::thread([&] { EXPECT_EQ(1, pwrite(fd, "x", 1, i - 1)); }).join();
    EXPECT_EQ(i, ask(f).st_size);
  }
}

// One looks all the time while the other writes: it never goes back, and at the end it is right.
TEST_F(ToldStatTest, WhileItGrows) {
  make_file("f", "");
  const std::string f = at("f");
  Fd fd(open(f.c_str(), O_WRONLY | O_APPEND));
  constexpr int kTimes = 3000;
  std::thread writer([&] {
    for (int i = 0; i < kTimes; ++i) {
      if (write(fd, "x", 1) != 1) break;
    }
  });
  off_t last = 0;
  while (last < kTimes) {
    struct stat st;
    ASSERT_OK(stat(f.c_str(), &st));
    ASSERT_GE(st.st_size, last);
    last = st.st_size;
  }
  writer.join();
  EXPECT_EQ(kTimes, ask(f).st_size);
}

// Who hears by shared memory alone that a file has changed sees it changed.
TEST_F(ToldStatTest, HeardOfByMemory) {
  constexpr int kFiles = 400;
  struct Words {
    std::atomic<int> asked, changed;
  };
  SharedMemory<Words> words;
  for (int i = 0; i < kFiles; ++i) make_file("f" + std::to_string(i));
  const pid_t child = fork();
  if (child == 0) {
    int stale = 0;
    for (int i = 0; i < kFiles; ++i) {
      const std::string f = at("f" + std::to_string(i));
      struct stat st;
      for (int k = 0; k < kOften; ++k) stat(f.c_str(), &st);
      words->asked = i + 1;
      bool changed = false;
      while (!changed) {
        changed = words->changed > i;
        if (stat(f.c_str(), &st) != 0 || (changed && st.st_size != 1)) ++stale;
      }
    }
    _exit(stale == 0 ? 0 : 1);
  }
  for (int i = 0; i < kFiles; ++i) {
    Fd fd(open(at("f" + std::to_string(i)).c_str(), O_WRONLY));
    while (words->asked <= i) sched_yield();
    EXPECT_EQ(1, pwrite(fd, "x", 1, 0));
    words->changed = i + 1;
  }
  int status = -1;
  waitpid(child, &status, 0);
  EXPECT_EQ(0, status);
}

TEST_F(ToldStatTest, WhoMayNotSearch) {
  if (getuid() != 0) GTEST_SKIP() << "needs root: it becomes somebody else";
  ASSERT_OK(chmod(at("").c_str(), 0755));
  ASSERT_OK(mkdir(at("d").c_str(), 0755));
  make_file("d/f", "abc");
  const std::string f = at("d/f");
  const auto as_nobody = [&](const std::function<bool()>& check) {
    const pid_t child = fork();
    if (child == 0) {
      ask(f);
      _exit(setresgid(kNobody, kNobody, kNobody) == 0 && setresuid(kNobody, kNobody, kNobody) == 0 && check() ? 0 : 1);
    }
    int status = -1;
    waitpid(child, &status, 0);
    EXPECT_EQ(0, status);
  };
  as_nobody([&] { return ask(f).st_size == 3; });
  ASSERT_OK(chmod(at("d").c_str(), 0700));
  EXPECT_EQ(3, ask(f).st_size);
  as_nobody([&] {
    struct stat st;
    for (int i = 0; i < kOften; ++i) {
      if (stat(f.c_str(), &st) == 0 || errno != EACCES) return false;
    }
    return true;
  });
  EXPECT_EQ(3, ask(f).st_size);
}

TEST_F(ToldStatTest, MountsOverIt) {
  if (getuid() != 0 || unshare(CLONE_NEWNS) != 0 || mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
    if (mkdir(at("try").c_str(), 0755) != 0 || mount("none", at("try").c_str(), "tmpfs", 0, nullptr) != 0) GTEST_SKIP() << "may not mount";
    umount2(at("try").c_str(), MNT_DETACH);
  }
  ASSERT_OK(mkdir(at("m").c_str(), 0755));
  make_file("m/f", "abc");
  const std::string f = at("m/f");
  EXPECT_EQ(3, ask(f).st_size);
  ASSERT_OK(mount("none", at("m").c_str(), "tmpfs", 0, nullptr));
  struct stat st;
  EXPECT_ERR(ENOENT, stat(f.c_str(), &st));
  make_file("m/f", "abcdef");
  EXPECT_EQ(6, ask(f).st_size);
  ASSERT_OK(umount2(at("m").c_str(), 0)) << "nothing that was told keeps it busy";
  EXPECT_EQ(3, ask(f).st_size);
}

TEST_F(ToldStatTest, BadPointers) {
  make_file("f", "abc");
  const std::string f = at("f");
  ask(f);
  char* const page = static_cast<char*>(mmap(nullptr, 2 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  ASSERT_OK(munmap(page + kPage, kPage));
  for (int i = 0; i < kOften; ++i) {
    EXPECT_ERR(EFAULT, sys(SYS_stat, f.c_str(), page + kPage));
    EXPECT_ERR(EFAULT, sys(SYS_stat, f.c_str(), page + kPage - sizeof(struct stat) + 1));
    EXPECT_OK(sys(SYS_stat, f.c_str(), page + kPage - sizeof(struct stat)));
    EXPECT_ERR(EFAULT, sys(SYS_stat, f.c_str(), ~uint64_t{0}));
    EXPECT_ERR(EFAULT, sys(SYS_statx, AT_FDCWD, f.c_str(), 0, STATX_BASIC_STATS, page + kPage - 1));
    EXPECT_ERR(EINVAL, sys(SYS_newfstatat, AT_FDCWD, f.c_str(), page, 0x40000000));
    EXPECT_ERR(EINVAL, sys(SYS_statx, AT_FDCWD, f.c_str(), 0, 0x80000000u, page));
    EXPECT_ERR(EINVAL, sys(SYS_statx, AT_FDCWD, f.c_str(), AT_STATX_FORCE_SYNC | AT_STATX_DONT_SYNC, 0, page));
  }
  munmap(page, kPage);
}

TEST_F(ToldStatTest, ManyFiles) {
  constexpr int kFiles = 2500;
  for (int i = 0; i < kFiles; ++i) make_file("f" + std::to_string(i), std::string(static_cast<size_t>(i % 97), 'x'));
  struct stat st;
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < kFiles; ++i) {
      ASSERT_OK(stat(at("f" + std::to_string(i)).c_str(), &st));
      ASSERT_EQ(i % 97, st.st_size);
    }
  }
  for (int i = 0; i < kFiles; i += 7) ASSERT_OK(truncate(at("f" + std::to_string(i)).c_str(), 200));
  for (int i = 0; i < kFiles; ++i) {
    ASSERT_OK(stat(at("f" + std::to_string(i)).c_str(), &st));
    ASSERT_EQ(i % 7 == 0 ? 200 : i % 97, st.st_size);
  }
}

}  // namespace
}  // namespace run9::guest
