// open, read, write and their relatives on regular files.
#include <sys/resource.h>
#include <sys/uio.h>

#include "tests/syscalls/test_util.h"

namespace run9::guest {
namespace {

using FileTest = DirTest;

TEST_F(FileTest, OpenReadWriteClose) {
  const int fd = sys(SYS_open, at("f").c_str(), O_RDWR | O_CREAT | O_EXCL, 0640);
  ASSERT_GE(fd, 0);
  EXPECT_EQ(5, sys(SYS_write, fd, "hello", 5));
  EXPECT_EQ(0, sys(SYS_lseek, fd, 0, SEEK_SET));
  char buffer[16] = {};
  EXPECT_EQ(5, sys(SYS_read, fd, buffer, sizeof(buffer)));
  EXPECT_STREQ("hello", buffer);
  EXPECT_EQ(0, sys(SYS_read, fd, buffer, sizeof(buffer)));
  EXPECT_EQ(0, sys(SYS_read, fd, buffer, 0));
  EXPECT_EQ(0, sys(SYS_write, fd, buffer, 0));
  EXPECT_EQ(0, sys(SYS_close, fd));
  EXPECT_ERR(EBADF, sys(SYS_close, fd));
}

TEST_F(FileTest, OpenErrors) {
  make_file("f");
  ASSERT_OK(mkdir(at("d").c_str(), 0755));
  ASSERT_OK(symlink("loop", at("loop").c_str()));
  ASSERT_OK(symlink("nowhere", at("dangling").c_str()));
  EXPECT_ERR(ENOENT, sys(SYS_open, at("x").c_str(), O_RDONLY));
  EXPECT_ERR(ENOENT, sys(SYS_open, "", O_RDONLY));
  EXPECT_ERR(ENOENT, sys(SYS_open, at("x/y").c_str(), O_CREAT | O_RDWR, 0644));
  EXPECT_ERR(ENOENT, sys(SYS_open, at("dangling").c_str(), O_RDONLY));
  EXPECT_ERR(ENOTDIR, sys(SYS_open, at("f/y").c_str(), O_RDONLY));
  EXPECT_ERR(ENOTDIR, sys(SYS_open, at("f").c_str(), O_RDONLY | O_DIRECTORY));
  EXPECT_ERR(ENOTDIR, sys(SYS_open, (at("f") + "/").c_str(), O_RDONLY));
  EXPECT_ERR(EISDIR, sys(SYS_open, at("d").c_str(), O_WRONLY));
  EXPECT_ERR(EISDIR, sys(SYS_open, at("d").c_str(), O_RDWR));
  EXPECT_ERR(EISDIR, sys(SYS_open, at("d").c_str(), O_RDONLY | O_CREAT, 0644));
  EXPECT_ERR(EISDIR, sys(SYS_open, (at("new") + "/").c_str(), O_WRONLY | O_CREAT, 0644));
  EXPECT_ERR(EEXIST, sys(SYS_open, at("f").c_str(), O_CREAT | O_EXCL | O_RDWR, 0644));
  EXPECT_ERR(EEXIST, sys(SYS_open, at("dangling").c_str(), O_CREAT | O_EXCL | O_RDWR, 0644));
  EXPECT_ERR(ELOOP, sys(SYS_open, at("loop").c_str(), O_RDONLY));
  EXPECT_ERR(ELOOP, sys(SYS_open, at("dangling").c_str(), O_RDONLY | O_NOFOLLOW));
  EXPECT_ERR(ENAMETOOLONG, sys(SYS_open, at(std::string(256, 'n')).c_str(), O_RDONLY));
  EXPECT_ERR(ENAMETOOLONG, sys(SYS_open, std::string(5000, '/').c_str(), O_RDONLY));
  for (void* p : bad_pointers()) EXPECT_ERR(EFAULT, sys(SYS_open, p, O_RDONLY));
}

TEST_F(FileTest, OpenThroughDanglingLinkCreatesTarget) {
  ASSERT_OK(symlink("target", at("link").c_str()));
  Fd fd(open(at("link").c_str(), O_CREAT | O_RDWR, 0600));
  ASSERT_OK(+fd);
  EXPECT_TRUE(exists(at("target")));
}

TEST_F(FileTest, PathThatEndsAtUnmappedPage) {
  Straddle page;
  char* path = page.last(5);
  memcpy(path, "/proc", 5);  // the zero byte would be on the page that is not there
  EXPECT_ERR(EFAULT, sys(SYS_open, path, O_RDONLY));
  path = page.last(6);
  memcpy(path, "/proc", 6);
  Fd fd(sys(SYS_open, path, O_RDONLY));
  EXPECT_OK(+fd);
}

TEST_F(FileTest, LongestName) {
  const std::string name(255, 'n');
  make_file(name, "x");
  EXPECT_EQ("x", read_file(at(name)));
}

TEST_F(FileTest, OpenModeAndUmask) {
  const mode_t old = umask(027);
  EXPECT_OK(Fd(open(at("f").c_str(), O_CREAT | O_WRONLY, 0777)) + 0);
  Fd creat_fd(sys(SYS_creat, at("c").c_str(), 0666));
  umask(old);
  struct stat st;
  ASSERT_OK(stat(at("f").c_str(), &st));
  EXPECT_EQ(0750u, st.st_mode & 07777);
  ASSERT_OK(stat(at("c").c_str(), &st));
  EXPECT_EQ(0640u, st.st_mode & 07777);
}

TEST_F(FileTest, CreateReadOnlyFileStillWritableThroughItsDescriptor) {
  Fd fd(open(at("f").c_str(), O_CREAT | O_WRONLY, 0444));
  ASSERT_OK(+fd);
  EXPECT_EQ(1, write(fd, "x", 1));
}

TEST_F(FileTest, Creat) {
  make_file("f", "content");
  Fd fd(sys(SYS_creat, at("f").c_str(), 0600));
  ASSERT_OK(+fd);
  struct stat st;
  ASSERT_OK(fstat(fd, &st));
  EXPECT_EQ(0, st.st_size);
  char c;
  EXPECT_ERR(EBADF, read(fd, &c, 1));
  EXPECT_ERR(ENOENT, sys(SYS_creat, at("x/y").c_str(), 0600));
  EXPECT_ERR(EFAULT, sys(SYS_creat, bad(), 0600));
  EXPECT_ERR(EISDIR, sys(SYS_creat, dir_.path().c_str(), 0600));
}

TEST_F(FileTest, OpenAt) {
  make_file("f", "abc");
  Fd dir(open(dir_.path().c_str(), O_RDONLY | O_DIRECTORY));
  Fd fd(sys(SYS_openat, dir, "f", O_RDONLY));
  ASSERT_OK(+fd);
  EXPECT_ERR(EBADF, sys(SYS_openat, dead_fd(), "f", O_RDONLY));
  EXPECT_ERR(EBADF, sys(SYS_openat, -1, "f", O_RDONLY));
  EXPECT_ERR(ENOTDIR, sys(SYS_openat, fd, "f", O_RDONLY));
  EXPECT_ERR(ENOENT, sys(SYS_openat, dir, "x", O_RDONLY));
  EXPECT_ERR(EFAULT, sys(SYS_openat, dir, bad(), O_RDONLY));
  Fd absolute(sys(SYS_openat, dead_fd(), at("f").c_str(), O_RDONLY));
  EXPECT_OK(+absolute);  // an absolute path does not look at the descriptor
}

struct OpenHow {
  uint64_t flags = 0, mode = 0, resolve = 0;
};
enum : uint64_t { kNoXdev = 1, kNoMagicLinks = 2, kNoSymlinks = 4, kBeneath = 8, kInRoot = 16 };

TEST_F(FileTest, OpenAt2) {
  make_file("f", "abc");
  ASSERT_OK(mkdir(at("d").c_str(), 0755));
  ASSERT_OK(symlink("../f", at("d/up").c_str()));
  ASSERT_OK(symlink("/", at("d/root").c_str()));
  Fd dir(open(at("d").c_str(), O_RDONLY | O_DIRECTORY));
  auto call = [&](const char* path, OpenHow how, size_t size = sizeof(OpenHow)) {
    return Fd(sys(SYS_openat2, dir, path, &how, size));
  };
  EXPECT_OK(+call("up", {}));
  EXPECT_OK(+call("../f", {}));
  EXPECT_ERR(EXDEV, +call("../f", {.resolve = kBeneath}));
  EXPECT_ERR(EXDEV, +call("up", {.resolve = kBeneath}));
  EXPECT_ERR(EXDEV, +call("/", {.resolve = kBeneath}));
  EXPECT_ERR(ELOOP, +call("up", {.resolve = kNoSymlinks}));
  EXPECT_ERR(ENOENT, +call("up", {.resolve = kInRoot}));
  EXPECT_OK(+call("root", {.resolve = kInRoot}));
  EXPECT_ERR(ENOENT, +call("/proc/self/status", {.resolve = kInRoot}));  // absolute: from that directory
  EXPECT_OK(+call("/up", {.flags = O_PATH | O_NOFOLLOW, .resolve = kInRoot}));
  EXPECT_OK(+call("new", {.flags = O_CREAT | O_RDWR, .mode = 0600}));
  EXPECT_ERR(EINVAL, +call("up", {.flags = 1ull << 40}));
  EXPECT_ERR(EINVAL, +call("up", {.mode = 0600}));  // a mode without O_CREAT
  EXPECT_ERR(EINVAL, +call("up", {.resolve = 1 << 20}));
  EXPECT_ERR(EINVAL, +call("up", {}, 8));
  EXPECT_ERR(E2BIG, sys(SYS_openat2, dir, "up", bad(), 1 << 20));
  EXPECT_ERR(EFAULT, sys(SYS_openat2, dir, "up", bad(), sizeof(OpenHow)));
  OpenHow how;
  EXPECT_ERR(EFAULT, sys(SYS_openat2, dir, bad(), &how, sizeof(how)));
}

TEST_F(FileTest, OPathOpensWithoutAccess) {
  make_file("f", "abc", 0);
  Fd fd(open(at("f").c_str(), O_PATH));
  ASSERT_OK(+fd);
  char c;
  EXPECT_ERR(EBADF, read(fd, &c, 1));
  EXPECT_ERR(EBADF, write(fd, &c, 1));
  EXPECT_ERR(EBADF, lseek(fd, 0, SEEK_SET));
  EXPECT_ERR(EBADF, fchmod(fd, 0600));
  struct stat st;
  EXPECT_OK(fstat(fd, &st));
  EXPECT_EQ(O_PATH, fcntl(fd, F_GETFL) & O_PATH);
  ASSERT_OK(symlink("f", at("l").c_str()));
  Fd link(open(at("l").c_str(), O_PATH | O_NOFOLLOW));
  ASSERT_OK(fstat(link, &st));
  EXPECT_TRUE(S_ISLNK(st.st_mode));
}

TEST_F(FileTest, TmpFileHasNoName) {
  Fd fd(open(dir_.path().c_str(), O_TMPFILE | O_RDWR, 0600));
  if (fd < 0 && errno == EOPNOTSUPP) GTEST_SKIP() << "this file system has no O_TMPFILE";
  ASSERT_OK(+fd);
  EXPECT_EQ(3, write(fd, "abc", 3));
  struct stat st;
  ASSERT_OK(fstat(fd, &st));
  EXPECT_EQ(0u, st.st_nlink);
  EXPECT_ERR(EINVAL, open(dir_.path().c_str(), O_TMPFILE | O_RDONLY, 0600));
}

TEST_F(FileTest, TruncatingOpen) {
  make_file("f", "content");
  Fd fd(open(at("f").c_str(), O_WRONLY | O_TRUNC));
  EXPECT_EQ("", read_file(at("f")));
}

TEST_F(FileTest, ReadErrors) {
  Fd fd = open_file("f", "0123456789");
  char c;
  EXPECT_ERR(EBADF, sys(SYS_read, dead_fd(), &c, 1));
  EXPECT_ERR(EBADF, sys(SYS_read, -1, &c, 1));
  Fd write_only(open(at("f").c_str(), O_WRONLY));
  EXPECT_ERR(EBADF, sys(SYS_read, write_only, &c, 1));
  Fd dir(open(dir_.path().c_str(), O_RDONLY));
  EXPECT_ERR(EISDIR, sys(SYS_read, dir, &c, 1));
  for (void* p : bad_pointers()) EXPECT_ERR(EFAULT, sys(SYS_read, fd, p, 10));
  EXPECT_EQ(0, lseek(fd, 0, SEEK_CUR));  // nothing was consumed
  const void* read_only = map_anonymous(kPage, PROT_READ);
  EXPECT_ERR(EFAULT, sys(SYS_read, fd, read_only, 10));
}

TEST_F(FileTest, ReadIntoStraddlingBufferStopsAtTheHole) {
  Fd fd = open_file("f", "0123456789");
  Straddle page;
  EXPECT_EQ(4, sys(SYS_read, fd, page.last(4), 10));
  EXPECT_EQ(0, memcmp(page.last(4), "0123", 4));
  EXPECT_EQ(4, lseek(fd, 0, SEEK_CUR));
}

TEST_F(FileTest, WriteErrors) {
  Fd fd = open_file("f", "");
  EXPECT_ERR(EBADF, sys(SYS_write, dead_fd(), "x", 1));
  Fd read_only(open(at("f").c_str(), O_RDONLY));
  EXPECT_ERR(EBADF, sys(SYS_write, read_only, "x", 1));
  for (void* p : bad_pointers()) EXPECT_ERR(EFAULT, sys(SYS_write, fd, p, 10));
  EXPECT_EQ("", read_file(at("f")));
}

TEST_F(FileTest, WriteFromStraddlingBufferWritesWhatIsThere) {
  Fd fd = open_file("f", "");
  Straddle page;
  const ssize_t n = sys(SYS_write, fd, page.last(4), 10);
  EXPECT_EQ(4, n);
  EXPECT_EQ("SSSS", read_file(at("f")));
}

TEST_F(FileTest, WritePastFileSizeLimit) {
  in_child([&] {
    Fd fd = open_file("f", "");
    signal(SIGXFSZ, SIG_IGN);
    const rlimit limit = {10, RLIM_INFINITY};
    ASSERT_OK(setrlimit(RLIMIT_FSIZE, &limit));
    EXPECT_EQ(10, write(fd, "0123456789abcdef", 16));  // up to the limit
    EXPECT_ERR(EFBIG, write(fd, "x", 1));
    EXPECT_ERR(EFBIG, ftruncate(fd, 11));
  });
  const int status = child_status([&] {
    Fd fd = open_file("g", "");
    const rlimit limit = {1, RLIM_INFINITY};
    setrlimit(RLIMIT_FSIZE, &limit);
    (void)!write(fd, "x", 1);
    (void)!write(fd, "x", 1);
  });
  EXPECT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(SIGXFSZ, WTERMSIG(status));
}

TEST_F(FileTest, Seek) {
  Fd fd = open_file("f", "0123456789");
  EXPECT_EQ(3, sys(SYS_lseek, fd, 3, SEEK_SET));
  EXPECT_EQ(5, sys(SYS_lseek, fd, 2, SEEK_CUR));
  EXPECT_EQ(9, sys(SYS_lseek, fd, -1, SEEK_END));
  EXPECT_EQ(1000, sys(SYS_lseek, fd, 1000, SEEK_SET));
  char c;
  EXPECT_EQ(0, read(fd, &c, 1));
  EXPECT_ERR(EINVAL, sys(SYS_lseek, fd, -1, SEEK_SET));
  EXPECT_ERR(EINVAL, sys(SYS_lseek, fd, -11, SEEK_END));
  EXPECT_ERR(EINVAL, sys(SYS_lseek, fd, 0, 99));
  EXPECT_ERR(EBADF, sys(SYS_lseek, dead_fd(), 0, SEEK_SET));
  EXPECT_EQ(1000, lseek(fd, 0, SEEK_CUR));
  Pipe p;
  EXPECT_ERR(ESPIPE, lseek(p.r, 0, SEEK_SET));
}

TEST_F(FileTest, SeekDataAndHole) {
  Fd fd = open_file("f", "0123456789");
  EXPECT_EQ(0, lseek(fd, 0, SEEK_DATA));
  EXPECT_EQ(10, lseek(fd, 0, SEEK_HOLE));
  EXPECT_ERR(ENXIO, lseek(fd, 10, SEEK_DATA));
  EXPECT_ERR(ENXIO, lseek(fd, 10, SEEK_HOLE));
}

TEST_F(FileTest, WriteBeyondTheEndLeavesZeros) {
  Fd fd = open_file("f", "ab");
  ASSERT_EQ(5, lseek(fd, 5, SEEK_SET));
  ASSERT_EQ(1, write(fd, "c", 1));
  EXPECT_EQ(std::string("ab\0\0\0c", 6), read_file(at("f")));
}

TEST_F(FileTest, OffsetIsSharedByDupAndForkButNotByOpen) {
  Fd fd = open_file("f", "0123456789");
  Fd copy(dup(fd));
  Fd other(open(at("f").c_str(), O_RDONLY));
  in_child([&] { EXPECT_EQ(4, lseek(fd, 4, SEEK_SET)); });
  EXPECT_EQ(4, lseek(copy, 0, SEEK_CUR));
  EXPECT_EQ(0, lseek(other, 0, SEEK_CUR));
}

TEST_F(FileTest, Append) {
  make_file("f", "base");
  Fd one(open(at("f").c_str(), O_RDWR | O_APPEND));
  Fd two(open(at("f").c_str(), O_RDWR | O_APPEND));
  EXPECT_EQ(1, write(one, "1", 1));
  EXPECT_EQ(1, write(two, "2", 1));
  EXPECT_EQ(0, lseek(one, 0, SEEK_SET));
  EXPECT_EQ(1, write(one, "3", 1));
  EXPECT_EQ(7, lseek(one, 0, SEEK_CUR));
  EXPECT_EQ(1, pwrite(one, "4", 1, 0));  // Linux appends here too
  EXPECT_EQ("base1234", read_file(at("f")));
  ASSERT_OK(fcntl(one, F_SETFL, 0));
  EXPECT_EQ(1, pwrite(one, "B", 1, 0));
  EXPECT_EQ("Base1234", read_file(at("f")));
}

TEST_F(FileTest, AppendFromManyProcessesLosesNothing) {
  make_file("f");
  std::vector<pid_t> pids;
  for (int i = 0; i < 4; ++i) {
    pids.push_back(spawn([&] {
      Fd fd(open(at("f").c_str(), O_WRONLY | O_APPEND));
      for (int j = 0; j < 50; ++j) EXPECT_EQ(4, write(fd, "abc\n", 4));
    }));
  }
  for (pid_t pid : pids) EXPECT_EQ(0, reap(pid));
  std::string want;
  for (int i = 0; i < 200; ++i) want += "abc\n";
  EXPECT_EQ(want, read_file(at("f")));
}

TEST_F(FileTest, PreadPwrite) {
  Fd fd = open_file("f", "0123456789");
  char buffer[8] = {};
  EXPECT_EQ(4, sys(SYS_pread64, fd, buffer, 4, 3));
  EXPECT_STREQ("3456", buffer);
  EXPECT_EQ(2, sys(SYS_pwrite64, fd, "XY", 2, 1));
  EXPECT_EQ(0, lseek(fd, 0, SEEK_CUR));
  EXPECT_EQ("0XY3456789", read_file(at("f")));
  EXPECT_EQ(0, sys(SYS_pread64, fd, buffer, 4, 100));
  EXPECT_ERR(EINVAL, sys(SYS_pread64, fd, buffer, 4, -1l));
  EXPECT_ERR(EINVAL, sys(SYS_pwrite64, fd, buffer, 4, -1l));
  EXPECT_ERR(EBADF, sys(SYS_pread64, dead_fd(), buffer, 4, 0));
  EXPECT_ERR(EBADF, sys(SYS_pwrite64, dead_fd(), buffer, 4, 0));
  EXPECT_ERR(EFAULT, sys(SYS_pread64, fd, bad(), 4, 0));
  EXPECT_ERR(EFAULT, sys(SYS_pwrite64, fd, bad(), 4, 0));
  Straddle page;
  EXPECT_EQ(2, sys(SYS_pread64, fd, page.last(2), 4, 0));
  Pipe p;
  EXPECT_ERR(ESPIPE, sys(SYS_pread64, p.r, buffer, 1, 0));
  EXPECT_ERR(ESPIPE, sys(SYS_pwrite64, p.w, buffer, 1, 0));
}

TEST_F(FileTest, ReadvWritev) {
  Fd fd = open_file("f", "");
  iovec out[3] = {{(void*)"ab", 2}, {nullptr, 0}, {(void*)"cde", 3}};
  EXPECT_EQ(5, sys(SYS_writev, fd, out, 3));
  ASSERT_EQ(0, lseek(fd, 0, SEEK_SET));
  char a[3] = {}, b[10] = {};
  iovec in[2] = {{a, 2}, {b, 9}};
  EXPECT_EQ(5, sys(SYS_readv, fd, in, 2));
  EXPECT_STREQ("ab", a);
  EXPECT_STREQ("cde", b);
  EXPECT_EQ(0, sys(SYS_readv, fd, in, 0));
  EXPECT_ERR(EINVAL, sys(SYS_readv, fd, in, -1));
  EXPECT_ERR(EINVAL, sys(SYS_writev, fd, in, 1025));
  EXPECT_ERR(EBADF, sys(SYS_readv, dead_fd(), in, 2));
  EXPECT_ERR(EBADF, sys(SYS_writev, dead_fd(), in, 2));
  for (void* p : bad_pointers()) {
    EXPECT_ERR(EFAULT, sys(SYS_readv, fd, p, 1));
    EXPECT_ERR(EFAULT, sys(SYS_writev, fd, p, 1));
  }
  iovec negative = {a, (size_t)-1};
  EXPECT_ERR(EINVAL, sys(SYS_readv, fd, &negative, 1));
  Straddle page;
  auto* cut = page.last<iovec>(sizeof(iovec));
  *cut = {a, 1};
  EXPECT_ERR(EFAULT, sys(SYS_readv, fd, cut, 2));
}

TEST_F(FileTest, VectorWithBadSecondElement) {
  Fd fd = open_file("f", "0123456789");
  char a[4];
  iovec in[2] = {{a, 4}, {bad(), 4}};
  EXPECT_EQ(4, readv(fd, in, 2));
  EXPECT_EQ(4, lseek(fd, 0, SEEK_CUR));
  iovec bad_first[2] = {{bad(), 4}, {a, 4}};
  EXPECT_ERR(EFAULT, readv(fd, bad_first, 2));
}

TEST_F(FileTest, PreadvPwritev) {
  Fd fd = open_file("f", "0123456789");
  char a[3] = {}, b[3] = {};
  iovec v[2] = {{a, 2}, {b, 2}};
  EXPECT_EQ(4, sys(SYS_preadv, fd, v, 2, 2, 0));
  EXPECT_STREQ("23", a);
  EXPECT_STREQ("45", b);
  EXPECT_EQ(4, sys(SYS_pwritev, fd, v, 2, 6, 0));
  EXPECT_EQ("0123452345", read_file(at("f")));
  EXPECT_EQ(4, sys(SYS_preadv2, fd, v, 2, -1l, -1l, 0));  // -1: the file's own offset
  EXPECT_EQ(4, lseek(fd, 0, SEEK_CUR));
  EXPECT_EQ(4, sys(SYS_pwritev2, fd, v, 2, 0l, 0l, 2 /* RWF_DSYNC */));
  EXPECT_EQ(4, sys(SYS_pwritev2, fd, v, 2, 0l, 0l, 16 /* RWF_APPEND */));
  EXPECT_EQ(14u, read_file(at("f")).size());
  EXPECT_ERR(EOPNOTSUPP, sys(SYS_preadv2, fd, v, 2, 0l, 0l, 1 << 30));
  EXPECT_ERR(EOPNOTSUPP, sys(SYS_pwritev2, fd, v, 2, 0l, 0l, 1 << 30));
  EXPECT_ERR(EINVAL, sys(SYS_preadv, fd, v, 2, -1l, -1l));
  EXPECT_ERR(EINVAL, sys(SYS_pwritev, fd, v, 2, -1l, -1l));
  EXPECT_ERR(EBADF, sys(SYS_preadv, dead_fd(), v, 2, 0, 0));
  EXPECT_ERR(EBADF, sys(SYS_pwritev, dead_fd(), v, 2, 0, 0));
  EXPECT_ERR(EFAULT, sys(SYS_preadv, fd, bad(), 2, 0, 0));
  EXPECT_ERR(EFAULT, sys(SYS_pwritev, fd, bad(), 2, 0, 0));
  EXPECT_ERR(EFAULT, sys(SYS_preadv2, fd, bad(), 2, 0, 0, 0));
  EXPECT_ERR(EFAULT, sys(SYS_pwritev2, fd, bad(), 2, 0, 0, 0));
  Pipe p;
  EXPECT_ERR(ESPIPE, sys(SYS_preadv, p.r, v, 2, 0, 0));
  EXPECT_ERR(ESPIPE, sys(SYS_pwritev, p.w, v, 2, 0, 0));
}

TEST_F(FileTest, LargeTransferIsWhole) {
  const size_t size = 3 << 20;
  std::string data(size, 0);
  for (size_t i = 0; i < size; ++i) data[i] = static_cast<char>(i * 31 + (i >> 12));
  Fd fd = open_file("f", "");
  ASSERT_EQ(static_cast<ssize_t>(size), write(fd, data.data(), size));
  std::string back(size, 0);
  ASSERT_EQ(static_cast<ssize_t>(size), pread(fd, back.data(), size, 0));
  EXPECT_TRUE(data == back);
}

TEST_F(FileTest, Truncate) {
  make_file("f", "0123456789");
  EXPECT_OK(sys(SYS_truncate, at("f").c_str(), 4));
  EXPECT_EQ("0123", read_file(at("f")));
  EXPECT_OK(sys(SYS_truncate, at("f").c_str(), 6));
  EXPECT_EQ(std::string("0123\0\0", 6), read_file(at("f")));
  EXPECT_ERR(ENOENT, sys(SYS_truncate, at("x").c_str(), 0));
  EXPECT_ERR(EISDIR, sys(SYS_truncate, dir_.path().c_str(), 0));
  EXPECT_ERR(EINVAL, sys(SYS_truncate, at("f").c_str(), -1l));
  EXPECT_ERR(ENOTDIR, sys(SYS_truncate, at("f/x").c_str(), 0));
  EXPECT_ERR(EFAULT, sys(SYS_truncate, bad(), 0));
  ASSERT_OK(mkfifo(at("p").c_str(), 0600));
  EXPECT_ERR(EINVAL, sys(SYS_truncate, at("p").c_str(), 0));
}

TEST_F(FileTest, Ftruncate) {
  Fd fd = open_file("f", "0123456789");
  ASSERT_EQ(8, lseek(fd, 8, SEEK_SET));
  EXPECT_OK(sys(SYS_ftruncate, fd, 3));
  EXPECT_EQ(8, lseek(fd, 0, SEEK_CUR));
  EXPECT_EQ("012", read_file(at("f")));
  EXPECT_ERR(EINVAL, sys(SYS_ftruncate, fd, -1l));
  EXPECT_ERR(EBADF, sys(SYS_ftruncate, dead_fd(), 0));
  Fd read_only(open(at("f").c_str(), O_RDONLY));
  EXPECT_ERR(EINVAL, sys(SYS_ftruncate, read_only, 0));
  Pipe p;
  EXPECT_ERR(EINVAL, sys(SYS_ftruncate, p.w, 0));
}

TEST_F(FileTest, Sync) {
  Fd fd = open_file("f", "x");
  EXPECT_OK(sys(SYS_fsync, fd));
  EXPECT_OK(sys(SYS_fdatasync, fd));
  EXPECT_OK(sys(SYS_syncfs, fd));
  EXPECT_OK(sys(SYS_sync));
  EXPECT_OK(sys(SYS_sync_file_range, fd, 0, 0, 7));
  EXPECT_OK(sys(SYS_readahead, fd, 0, 100));
  EXPECT_OK(sys(SYS_fadvise64, fd, 0, 0, POSIX_FADV_SEQUENTIAL));
  for (long nr : {SYS_fsync, SYS_fdatasync, SYS_syncfs}) EXPECT_ERR(EBADF, sys(nr, dead_fd()));
  EXPECT_ERR(EBADF, sys(SYS_sync_file_range, dead_fd(), 0, 0, 0));
  EXPECT_ERR(EINVAL, sys(SYS_sync_file_range, fd, 0, 0, 64));
  EXPECT_ERR(EINVAL, sys(SYS_sync_file_range, fd, -1l, 0, 0));
  EXPECT_ERR(EBADF, sys(SYS_readahead, dead_fd(), 0, 1));
  EXPECT_ERR(EBADF, sys(SYS_fadvise64, dead_fd(), 0, 0, POSIX_FADV_NORMAL));
  EXPECT_ERR(EINVAL, sys(SYS_fadvise64, fd, 0, 0, 99));
  Pipe p;
  EXPECT_ERR(EINVAL, sys(SYS_fsync, p.r));
  EXPECT_ERR(ESPIPE, sys(SYS_fadvise64, p.r, 0, 0, POSIX_FADV_NORMAL));
  EXPECT_ERR(EINVAL, sys(SYS_readahead, p.r, 0, 1));
}

TEST_F(FileTest, Fallocate) {
  Fd fd = open_file("f", "ab");
  if (sys(SYS_fallocate, fd, 0, 0, 100) == -1 && errno == EOPNOTSUPP) {
    GTEST_SKIP() << "this file system has no fallocate";
  }
  struct stat st;
  ASSERT_OK(fstat(fd, &st));
  EXPECT_EQ(100, st.st_size);
  EXPECT_OK(sys(SYS_fallocate, fd, 1 /* FALLOC_FL_KEEP_SIZE */, 0, 8192));
  ASSERT_OK(fstat(fd, &st));
  EXPECT_EQ(100, st.st_size);
  EXPECT_EQ(std::string("ab"), read_file(at("f")).substr(0, 2));
  EXPECT_ERR(EINVAL, sys(SYS_fallocate, fd, 0, 0, 0));
  EXPECT_ERR(EINVAL, sys(SYS_fallocate, fd, 0, -1l, 10));
  EXPECT_ERR(EOPNOTSUPP, sys(SYS_fallocate, fd, 1 << 20, 0, 10));
  EXPECT_ERR(EBADF, sys(SYS_fallocate, dead_fd(), 0, 0, 10));
  Fd read_only(open(at("f").c_str(), O_RDONLY));
  EXPECT_ERR(EBADF, sys(SYS_fallocate, read_only, 0, 0, 10));
  Pipe p;
  EXPECT_ERR(ESPIPE, sys(SYS_fallocate, p.w, 0, 0, 10));
  EXPECT_ERR(EFBIG, sys(SYS_fallocate, fd, 0, INT64_MAX - 10, 100));
}

TEST_F(FileTest, FallocatePunchesHole) {
  Fd fd = open_file("f", std::string(3 * kPage, 'x'));
  const int kPunchKeep = 3;
  if (fallocate(fd, kPunchKeep, kPage, kPage) == -1 && errno == EOPNOTSUPP) {
    GTEST_SKIP() << "this file system has no hole punching";
  }
  const std::string got = read_file(at("f"));
  EXPECT_EQ(std::string(kPage, 'x') + std::string(kPage, 0) + std::string(kPage, 'x'), got);
  EXPECT_ERR(EOPNOTSUPP, fallocate(fd, 2, 0, kPage));  // PUNCH_HOLE needs KEEP_SIZE
}

TEST_F(FileTest, UnlinkedFileLivesOn) {
  Fd fd = open_file("f", "0123456789");
  ASSERT_OK(unlink(at("f").c_str()));
  EXPECT_FALSE(exists(at("f")));
  EXPECT_EQ(3, pwrite(fd, "abc", 3, 0));
  char buffer[16] = {};
  EXPECT_EQ(10, pread(fd, buffer, 16, 0));
  EXPECT_STREQ("abc3456789", buffer);
  struct stat st;
  ASSERT_OK(fstat(fd, &st));
  EXPECT_EQ(0u, st.st_nlink);
  EXPECT_EQ(10, st.st_size);
  EXPECT_OK(ftruncate(fd, 2));
  EXPECT_OK(fchmod(fd, 0600));
  make_file("f", "other");  // a new file under the old name is another file
  EXPECT_EQ(2, pread(fd, buffer, 16, 0));
}

TEST_F(FileTest, RenamedFileStaysOpen) {
  Fd fd = open_file("f", "abc");
  make_file("g", "old");
  Fd old(open(at("g").c_str(), O_RDONLY));
  ASSERT_OK(rename(at("f").c_str(), at("g").c_str()));
  EXPECT_EQ(3, write(fd, "new", 3));
  EXPECT_EQ("new", read_file(at("g")));
  char buffer[4] = {};
  EXPECT_EQ(3, read(old, buffer, 4));
  EXPECT_STREQ("old", buffer);
}

TEST_F(FileTest, PermissionIsCheckedAtOpen) {
  SKIP_UNLESS_ROOT();
  make_file("none", "x", 0);
  make_file("read", "x", 0444);
  make_file("write", "x", 0222);
  in_user_child([&] {
    EXPECT_ERR(EACCES, open(at("none").c_str(), O_RDONLY));
    EXPECT_OK(open(at("read").c_str(), O_RDONLY));
    EXPECT_ERR(EACCES, open(at("read").c_str(), O_WRONLY));
    EXPECT_ERR(EACCES, open(at("read").c_str(), O_RDONLY | O_TRUNC));
    EXPECT_OK(open(at("write").c_str(), O_WRONLY));
    EXPECT_ERR(EACCES, open(at("write").c_str(), O_RDWR));
    EXPECT_ERR(EACCES, open(at("new").c_str(), O_CREAT | O_WRONLY, 0644));
    EXPECT_ERR(EACCES, truncate(at("read").c_str(), 0));
    EXPECT_ERR(EACCES, sys(SYS_creat, at("read").c_str(), 0644));
  });
}

TEST_F(FileTest, CopyFileRange) {
  Fd in = open_file("in", "0123456789");
  Fd out = open_file("out", "");
  ASSERT_EQ(2, lseek(in, 2, SEEK_SET));
  EXPECT_EQ(3, sys(SYS_copy_file_range, in, nullptr, out, nullptr, 3, 0));
  EXPECT_EQ(5, lseek(in, 0, SEEK_CUR));
  EXPECT_EQ("234", read_file(at("out")));
  int64_t from = 8, to = 1;
  EXPECT_EQ(2, sys(SYS_copy_file_range, in, &from, out, &to, 100, 0));
  EXPECT_EQ(10, from);
  EXPECT_EQ(3, to);
  EXPECT_EQ("289", read_file(at("out")));
  EXPECT_EQ(0, sys(SYS_copy_file_range, in, &from, out, &to, 100, 0));
  EXPECT_ERR(EINVAL, sys(SYS_copy_file_range, in, nullptr, out, nullptr, 3, 1));
  EXPECT_ERR(EBADF, sys(SYS_copy_file_range, dead_fd(), nullptr, out, nullptr, 3, 0));
  EXPECT_ERR(EBADF, sys(SYS_copy_file_range, in, nullptr, dead_fd(), nullptr, 3, 0));
  EXPECT_ERR(EFAULT, sys(SYS_copy_file_range, in, bad(), out, nullptr, 3, 0));
  from = 0;
  to = 2;
  EXPECT_ERR(EINVAL, sys(SYS_copy_file_range, in, &from, in, &to, 5, 0));  // overlap
  Fd append(open(at("out").c_str(), O_WRONLY | O_APPEND));
  EXPECT_ERR(EBADF, sys(SYS_copy_file_range, in, &from, append, nullptr, 3, 0));
  Fd dir(open(dir_.path().c_str(), O_RDONLY));
  EXPECT_ERR(EISDIR, sys(SYS_copy_file_range, dir, nullptr, out, nullptr, 3, 0));
  Pipe p;
  EXPECT_ERR(EINVAL, sys(SYS_copy_file_range, p.r, nullptr, out, nullptr, 3, 0));
}

TEST_F(FileTest, DevicesBehave) {
  Fd null(open("/dev/null", O_RDWR));
  ASSERT_OK(+null);
  char buffer[16] = "xxxxxxxxxxxxxxx";
  EXPECT_EQ(0, read(null, buffer, 16));
  EXPECT_EQ(1000000, write(null, bad(), 1000000));  // it never looks at the bytes
  Fd zero(open("/dev/zero", O_RDWR));
  ASSERT_OK(+zero);
  EXPECT_EQ(16, read(zero, buffer, 16));
  EXPECT_EQ(std::string(16, 0), std::string(buffer, 16));
  EXPECT_EQ(0, lseek(zero, 10, SEEK_SET) * 0);
  EXPECT_ERR(EFAULT, read(zero, bad(), 16));
  Fd full(open("/dev/full", O_RDWR));
  ASSERT_OK(+full);
  EXPECT_ERR(ENOSPC, write(full, buffer, 1));
  Fd random(open("/dev/urandom", O_RDONLY));
  ASSERT_OK(+random);
  EXPECT_EQ(16, read(random, buffer, 16));
  EXPECT_NE(std::string(16, 0), std::string(buffer, 16));
  EXPECT_ERR(EFAULT, read(random, bad(), 16));
}

TEST_F(FileTest, OpenFileLimit) {
  in_child([] {
    const rlimit limit = {20, 20};
    ASSERT_OK(setrlimit(RLIMIT_NOFILE, &limit));
    int last = -1, fd;
    while ((fd = open("/dev/null", O_RDONLY)) >= 0) last = fd;
    EXPECT_EQ(EMFILE, errno);
    EXPECT_EQ(19, last);
    EXPECT_ERR(EMFILE, dup(0));
    EXPECT_ERR(EMFILE, sys(SYS_eventfd, 0));
    EXPECT_ERR(EMFILE, sys(SYS_inotify_init));
    int fds[2];
    EXPECT_ERR(EMFILE, pipe(fds));
    EXPECT_ERR(EBADF, dup2(0, 20));
    close(7);
    EXPECT_EQ(7, open("/dev/null", O_RDONLY));  // the lowest free number
  });
}

TEST_F(FileTest, CloseOnExecFlagOfOpen) {
  Fd a(open("/dev/null", O_RDONLY | O_CLOEXEC)), b(open("/dev/null", O_RDONLY));
  EXPECT_EQ(FD_CLOEXEC, fcntl(a, F_GETFD));
  EXPECT_EQ(0, fcntl(b, F_GETFD));
}

}  // namespace
}  // namespace run9::guest
