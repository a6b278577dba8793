// Names: mkdir, rmdir, rename, unlink, chdir, getcwd, getdents.
#include <dirent.h>

#include <algorithm>
#include <set>

#include "tests/syscalls/test_util.h"

namespace run9::guest {
namespace {

using DirectoryTest = DirTest;

enum { kRenameNoReplace = 1, kRenameExchange = 2 };

struct Dirent64 {
  uint64_t ino;
  int64_t off;
  uint16_t reclen;
  uint8_t type;
  char name[];
};

// Reads a directory with a buffer of the given size: name -> type.
std::vector<std::pair<std::string, int>> list(int fd, size_t buffer_size = 4096) {
  std::vector<std::pair<std::string, int>> out;
  std::vector<uint64_t> buffer(buffer_size / 8);
  long n;
  while ((n = sys(SYS_getdents64, fd, buffer.data(), buffer_size)) > 0) {
    const char* base = reinterpret_cast<const char*>(buffer.data());
    for (long at = 0; at < n;) {
      const auto* entry = reinterpret_cast<const Dirent64*>(base + at);
      EXPECT_EQ(0, entry->reclen % 8);
      EXPECT_NE(0u, entry->ino);
      out.emplace_back(entry->name, entry->type);
      at += entry->reclen;
    }
  }
  EXPECT_EQ(0, n) << errno_name(errno);
  std::sort(out.begin(), out.end());
  return out;
}

TEST_F(DirectoryTest, MkdirRmdir) {
  EXPECT_OK(sys(SYS_mkdir, at("d").c_str(), 0750));
  struct stat st;
  ASSERT_OK(stat(at("d").c_str(), &st));
  EXPECT_EQ(S_IFDIR | 0750u, st.st_mode);
  EXPECT_ERR(EEXIST, sys(SYS_mkdir, at("d").c_str(), 0750));
  EXPECT_OK(sys(SYS_mkdir, (at("slash") + "/").c_str(), 0755));
  EXPECT_ERR(ENOENT, sys(SYS_mkdir, at("x/y").c_str(), 0750));
  make_file("f");
  EXPECT_ERR(ENOTDIR, sys(SYS_mkdir, at("f/y").c_str(), 0750));
  EXPECT_ERR(EEXIST, sys(SYS_mkdir, at("f").c_str(), 0750));
  EXPECT_ERR(EEXIST, sys(SYS_mkdir, "/", 0750));
  EXPECT_ERR(ENAMETOOLONG, sys(SYS_mkdir, at(std::string(256, 'd')).c_str(), 0750));
  EXPECT_ERR(EFAULT, sys(SYS_mkdir, bad(), 0750));
  EXPECT_ERR(ENOENT, sys(SYS_mkdir, "", 0750));

  make_file("d/f");
  EXPECT_ERR(ENOTEMPTY, sys(SYS_rmdir, at("d").c_str()));
  ASSERT_OK(unlink(at("d/f").c_str()));
  EXPECT_ERR(EINVAL, sys(SYS_rmdir, at("d/.").c_str()));
  EXPECT_ERR(ENOTEMPTY, sys(SYS_rmdir, at("d/..").c_str()));
  EXPECT_OK(sys(SYS_rmdir, at("d").c_str()));
  EXPECT_ERR(ENOENT, sys(SYS_rmdir, at("d").c_str()));
  EXPECT_ERR(ENOTDIR, sys(SYS_rmdir, at("f").c_str()));
  EXPECT_ERR(EFAULT, sys(SYS_rmdir, bad()));
  EXPECT_ERR(EBUSY, sys(SYS_rmdir, "/"));
}

TEST_F(DirectoryTest, MkdirAt) {
  Fd dir(open(dir_.path().c_str(), O_RDONLY));
  EXPECT_OK(sys(SYS_mkdirat, dir, "d", 0755));
  EXPECT_TRUE(exists(at("d")));
  EXPECT_ERR(EEXIST, sys(SYS_mkdirat, dir, "d", 0755));
  EXPECT_ERR(EBADF, sys(SYS_mkdirat, dead_fd(), "d", 0755));
  EXPECT_ERR(EFAULT, sys(SYS_mkdirat, dir, bad(), 0755));
  Fd file = open_file("f");
  EXPECT_ERR(ENOTDIR, sys(SYS_mkdirat, file, "d", 0755));
}

TEST_F(DirectoryTest, LinkCountOfDirectory) {
  struct stat st;
  ASSERT_OK(stat(dir_.path().c_str(), &st));
  if (st.st_nlink != 2) GTEST_SKIP() << "this file system does not count subdirectories as links";
  ASSERT_OK(mkdir(at("d").c_str(), 0755));
  ASSERT_OK(stat(dir_.path().c_str(), &st));
  EXPECT_EQ(3u, st.st_nlink);
}

TEST_F(DirectoryTest, SetGidDirectoryPassesItsGroupOn) {
  SKIP_UNLESS_ROOT();
  ASSERT_OK(mkdir(at("d").c_str(), 0755));
  ASSERT_OK(chown(at("d").c_str(), 0, 1234));
  ASSERT_OK(chmod(at("d").c_str(), 02755));
  make_file("d/f");
  ASSERT_OK(mkdir(at("d/sub").c_str(), 0755));
  struct stat st;
  ASSERT_OK(stat(at("d/f").c_str(), &st));
  EXPECT_EQ(1234u, st.st_gid);
  ASSERT_OK(stat(at("d/sub").c_str(), &st));
  EXPECT_EQ(1234u, st.st_gid);
  EXPECT_EQ(02755u, st.st_mode & 07777);
}

TEST_F(DirectoryTest, Unlink) {
  make_file("f");
  EXPECT_OK(sys(SYS_unlink, at("f").c_str()));
  EXPECT_ERR(ENOENT, sys(SYS_unlink, at("f").c_str()));
  EXPECT_ERR(EISDIR, sys(SYS_unlink, dir_.path().c_str()));
  make_file("f");
  EXPECT_ERR(ENOTDIR, sys(SYS_unlink, at("f/x").c_str()));
  EXPECT_ERR(ENOTDIR, sys(SYS_unlink, (at("f") + "/").c_str()));
  EXPECT_ERR(EFAULT, sys(SYS_unlink, bad()));
  EXPECT_ERR(ENOENT, sys(SYS_unlink, ""));
  EXPECT_ERR(ENAMETOOLONG, sys(SYS_unlink, at(std::string(256, 'd')).c_str()));

  Fd dir(open(dir_.path().c_str(), O_RDONLY));
  ASSERT_OK(mkdir(at("d").c_str(), 0755));
  EXPECT_ERR(EISDIR, sys(SYS_unlinkat, dir, "d", 0));
  EXPECT_OK(sys(SYS_unlinkat, dir, "d", AT_REMOVEDIR));
  EXPECT_ERR(ENOTDIR, sys(SYS_unlinkat, dir, "f", AT_REMOVEDIR));
  EXPECT_OK(sys(SYS_unlinkat, dir, "f", 0));
  EXPECT_ERR(ENOENT, sys(SYS_unlinkat, dir, "f", 0));
  EXPECT_ERR(EINVAL, sys(SYS_unlinkat, dir, "f", 1));
  EXPECT_ERR(EBADF, sys(SYS_unlinkat, dead_fd(), "f", 0));
  EXPECT_ERR(EFAULT, sys(SYS_unlinkat, dir, bad(), 0));
}

TEST_F(DirectoryTest, StickyBitGuardsOtherPeoplesFiles) {
  SKIP_UNLESS_ROOT();
  ASSERT_OK(mkdir(at("sticky").c_str(), 0755));
  ASSERT_OK(mkdir(at("open").c_str(), 0755));
  ASSERT_OK(chmod(at("sticky").c_str(), 01777));
  ASSERT_OK(chmod(at("open").c_str(), 0777));
  make_file("sticky/root");
  make_file("open/root");
  in_user_child([&] {
    EXPECT_ERR(EPERM, unlink(at("sticky/root").c_str()));
    EXPECT_ERR(EPERM, rename(at("sticky/root").c_str(), at("sticky/mine").c_str()));
    make_file("sticky/own");
    EXPECT_ERR(EPERM, rename(at("sticky/own").c_str(), at("sticky/root").c_str()));
    EXPECT_OK(unlink(at("sticky/own").c_str()));
    EXPECT_OK(unlink(at("open/root").c_str()));
    EXPECT_ERR(EACCES, unlink(at("sticky").c_str()));
    EXPECT_ERR(EACCES, rmdir(at("open").c_str()));
    EXPECT_ERR(EACCES, mkdir(at("new").c_str(), 0755));
  });
}

TEST_F(DirectoryTest, DirectoryWithoutSearchPermission) {
  SKIP_UNLESS_ROOT();
  ASSERT_OK(mkdir(at("d").c_str(), 0755));
  make_file("d/f");
  ASSERT_OK(chmod(at("d").c_str(), 0644));
  in_user_child([&] {
    struct stat st;
    EXPECT_ERR(EACCES, stat(at("d/f").c_str(), &st));
    EXPECT_ERR(EACCES, chdir(at("d").c_str()));
    Fd dir(open(at("d").c_str(), O_RDONLY));
    EXPECT_EQ(3u, list(dir).size());  // names may be read
  });
}

TEST_F(DirectoryTest, Rename) {
  make_file("a", "A");
  make_file("b", "B");
  EXPECT_OK(sys(SYS_rename, at("a").c_str(), at("c").c_str()));
  EXPECT_FALSE(exists(at("a")));
  EXPECT_OK(sys(SYS_rename, at("c").c_str(), at("b").c_str()));  // over an existing file
  EXPECT_EQ("A", read_file(at("b")));
  EXPECT_FALSE(exists(at("c")));
  EXPECT_OK(sys(SYS_rename, at("b").c_str(), at("b").c_str()));
  EXPECT_ERR(ENOENT, sys(SYS_rename, at("x").c_str(), at("y").c_str()));
  EXPECT_ERR(ENOENT, sys(SYS_rename, at("b").c_str(), at("x/y").c_str()));
  EXPECT_ERR(ENOTDIR, sys(SYS_rename, at("b/x").c_str(), at("y").c_str()));
  EXPECT_ERR(EFAULT, sys(SYS_rename, bad(), at("y").c_str()));
  EXPECT_ERR(EFAULT, sys(SYS_rename, at("b").c_str(), bad()));
  EXPECT_ERR(ENAMETOOLONG, sys(SYS_rename, at("b").c_str(), at(std::string(256, 'r')).c_str()));

  ASSERT_OK(mkdir(at("d").c_str(), 0755));
  ASSERT_OK(mkdir(at("d/sub").c_str(), 0755));
  ASSERT_OK(mkdir(at("e").c_str(), 0755));
  EXPECT_ERR(EISDIR, sys(SYS_rename, at("b").c_str(), at("d").c_str()));
  EXPECT_ERR(ENOTDIR, sys(SYS_rename, at("d").c_str(), at("b").c_str()));
  EXPECT_ERR(ENOTEMPTY, sys(SYS_rename, at("e").c_str(), at("d").c_str()));
  EXPECT_ERR(EINVAL, sys(SYS_rename, at("d").c_str(), at("d/sub/x").c_str()));
  EXPECT_ERR(EBUSY, sys(SYS_rename, at("d/.").c_str(), at("z").c_str()));
  EXPECT_OK(sys(SYS_rename, at("d").c_str(), at("e").c_str()));  // over an empty directory
  EXPECT_TRUE(exists(at("e/sub")));
}

TEST_F(DirectoryTest, RenameHardLinksOfOneFileDoesNothing) {
  make_file("a", "A");
  ASSERT_OK(link(at("a").c_str(), at("b").c_str()));
  EXPECT_OK(rename(at("a").c_str(), at("b").c_str()));
  EXPECT_TRUE(exists(at("a")));
  EXPECT_TRUE(exists(at("b")));
}

TEST_F(DirectoryTest, RenameDirectoryMovesWhatIsBelowAndDotDot) {
  ASSERT_OK(mkdir(at("p").c_str(), 0755));
  ASSERT_OK(mkdir(at("p/d").c_str(), 0755));
  make_file("p/d/f", "x");
  make_file("top", "t");
  Fd dir(open(at("p/d").c_str(), O_RDONLY));
  ASSERT_OK(rename(at("p/d").c_str(), at("d2").c_str()));
  EXPECT_EQ("x", read_file(at("d2/f")));
  struct stat st;
  EXPECT_OK(fstatat(dir, "f", &st, 0));
  EXPECT_OK(fstatat(dir, "../top", &st, 0));
}

TEST_F(DirectoryTest, RenameAtAndRenameAt2) {
  make_file("a", "A");
  make_file("b", "B");
  Fd dir(open(dir_.path().c_str(), O_RDONLY));
  EXPECT_OK(sys(SYS_renameat, dir, "a", dir, "c"));
  EXPECT_ERR(ENOENT, sys(SYS_renameat, dir, "a", dir, "c"));
  EXPECT_ERR(EBADF, sys(SYS_renameat, dead_fd(), "c", dir, "a"));
  EXPECT_ERR(EBADF, sys(SYS_renameat, dir, "c", dead_fd(), "a"));
  EXPECT_ERR(EFAULT, sys(SYS_renameat, dir, bad(), dir, "a"));
  EXPECT_OK(sys(SYS_renameat2, dir, "c", dir, "a", 0));
  EXPECT_ERR(EEXIST, sys(SYS_renameat2, dir, "a", dir, "b", kRenameNoReplace));
  EXPECT_OK(sys(SYS_renameat2, dir, "a", dir, "new", kRenameNoReplace));
  EXPECT_OK(sys(SYS_renameat2, dir, "new", dir, "b", kRenameExchange));
  EXPECT_EQ("A", read_file(at("b")));
  EXPECT_EQ("B", read_file(at("new")));
  EXPECT_ERR(ENOENT, sys(SYS_renameat2, dir, "b", dir, "x", kRenameExchange));
  EXPECT_ERR(EINVAL, sys(SYS_renameat2, dir, "b", dir, "new", kRenameExchange | kRenameNoReplace));
  EXPECT_ERR(EINVAL, sys(SYS_renameat2, dir, "b", dir, "new", 1 << 10));
  EXPECT_ERR(EFAULT, sys(SYS_renameat2, dir, "b", dir, bad(), 0));
  ASSERT_OK(mkdir(at("d").c_str(), 0755));
  EXPECT_OK(sys(SYS_renameat2, dir, "d", dir, "b", kRenameExchange));
  EXPECT_EQ("A", read_file(at("d")));
}

TEST_F(DirectoryTest, ChdirAndGetcwd) {
  in_child([&] {
    char buffer[4096];
    EXPECT_OK(sys(SYS_chdir, dir_.path().c_str()));
    const std::string real = realpath(".", nullptr);
    EXPECT_EQ(static_cast<long>(real.size() + 1), sys(SYS_getcwd, buffer, sizeof(buffer)));
    EXPECT_EQ(real, buffer);
    EXPECT_EQ(static_cast<long>(real.size() + 1), sys(SYS_getcwd, buffer, real.size() + 1));
    EXPECT_ERR(ERANGE, sys(SYS_getcwd, buffer, real.size()));
    EXPECT_ERR(ERANGE, sys(SYS_getcwd, buffer, 0));
    for (void* p : bad_pointers()) EXPECT_ERR(EFAULT, sys(SYS_getcwd, p, 4096));
    Straddle page;
    EXPECT_ERR(EFAULT, sys(SYS_getcwd, page.last(3), 4096));
    EXPECT_OK(sys(SYS_getcwd, page.last(real.size() + 1), 4096));

    make_file("f");
    EXPECT_ERR(ENOTDIR, sys(SYS_chdir, "f"));
    EXPECT_ERR(ENOENT, sys(SYS_chdir, "x"));
    EXPECT_ERR(ENOENT, sys(SYS_chdir, ""));
    EXPECT_ERR(EFAULT, sys(SYS_chdir, bad()));
    Fd file(open("f", O_RDONLY)), root(open("/", O_RDONLY));
    EXPECT_ERR(ENOTDIR, sys(SYS_fchdir, file));
    EXPECT_ERR(EBADF, sys(SYS_fchdir, dead_fd()));
    EXPECT_OK(sys(SYS_fchdir, root));
    EXPECT_EQ(2, sys(SYS_getcwd, buffer, sizeof(buffer)));
    EXPECT_STREQ("/", buffer);
    EXPECT_OK(chdir(".."));
    EXPECT_EQ(2, sys(SYS_getcwd, buffer, sizeof(buffer)));
  });
}

TEST_F(DirectoryTest, RemovedWorkingDirectory) {
  in_child([&] {
    ASSERT_OK(mkdir(at("d").c_str(), 0755));
    ASSERT_OK(chdir(at("d").c_str()));
    ASSERT_OK(rmdir(at("d").c_str()));
    char buffer[4096];
    EXPECT_ERR(ENOENT, sys(SYS_getcwd, buffer, sizeof(buffer)));
    EXPECT_ERR(ENOENT, open("f", O_CREAT | O_WRONLY, 0644));
    EXPECT_ERR(ENOENT, mkdir("sub", 0755));
    struct stat st;
    EXPECT_OK(stat(".", &st));
    EXPECT_EQ(0u, st.st_nlink);
  });
}

TEST_F(DirectoryTest, WorkingDirectoryIsInherited) {
  in_child([&] {
    ASSERT_OK(chdir(dir_.path().c_str()));
    in_child([&] {
      EXPECT_OK(mkdir("made-by-child", 0755));
      EXPECT_OK(chdir("/"));
    });
    EXPECT_TRUE(exists("made-by-child"));
  });
}

TEST_F(DirectoryTest, Chroot) {
  SKIP_UNLESS_ROOT();
  make_file("inside", "in");
  in_child([&] {
    EXPECT_ERR(ENOENT, sys(SYS_chroot, at("x").c_str()));
    EXPECT_ERR(ENOTDIR, sys(SYS_chroot, at("inside").c_str()));
    EXPECT_ERR(EFAULT, sys(SYS_chroot, bad()));
    ASSERT_OK(chdir(dir_.path().c_str()));
    ASSERT_OK(sys(SYS_chroot, "."));
    EXPECT_EQ("in", read_file("/inside"));
    EXPECT_EQ("in", read_file("/../../inside"));
    EXPECT_FALSE(exists("/proc"));
    char buffer[100];
    EXPECT_EQ(2, sys(SYS_getcwd, buffer, sizeof(buffer)));
  });
  in_user_child([&] { EXPECT_ERR(EPERM, sys(SYS_chroot, dir_.path().c_str())); });
}

TEST_F(DirectoryTest, Getdents64) {
  make_file("file");
  ASSERT_OK(mkdir(at("dir").c_str(), 0755));
  ASSERT_OK(symlink("x", at("link").c_str()));
  ASSERT_OK(mkfifo(at("fifo").c_str(), 0600));
  Fd fd(open(dir_.path().c_str(), O_RDONLY | O_DIRECTORY));
  const auto names = list(fd);
  const decltype(list(fd)) want = {{".", DT_DIR},     {"..", DT_DIR},   {"dir", DT_DIR},
                                   {"fifo", DT_FIFO}, {"file", DT_REG}, {"link", DT_LNK}};
  EXPECT_EQ(want, names);
  EXPECT_TRUE(list(fd).empty());  // at the end
  EXPECT_EQ(0, lseek(fd, 0, SEEK_SET));
  EXPECT_EQ(want, list(fd, 32));  // one or two names a call
}

TEST_F(DirectoryTest, GetdentsErrors) {
  Fd fd(open(dir_.path().c_str(), O_RDONLY | O_DIRECTORY));
  Fd file = open_file("f");
  char buffer[1024];
  EXPECT_ERR(EBADF, sys(SYS_getdents64, dead_fd(), buffer, sizeof(buffer)));
  EXPECT_ERR(ENOTDIR, sys(SYS_getdents64, file, buffer, sizeof(buffer)));
  EXPECT_ERR(EINVAL, sys(SYS_getdents64, fd, buffer, 8));
  EXPECT_ERR(EFAULT, sys(SYS_getdents64, fd, bad(), sizeof(buffer)));
  ASSERT_OK(mkdir(at("gone").c_str(), 0755));
  Fd gone(open(at("gone").c_str(), O_RDONLY));
  ASSERT_OK(rmdir(at("gone").c_str()));
  EXPECT_ERR(ENOENT, sys(SYS_getdents64, gone, buffer, sizeof(buffer)));
}

TEST_F(DirectoryTest, OldGetdents) {
  make_file("file");
  Fd fd(open(dir_.path().c_str(), O_RDONLY | O_DIRECTORY));
  struct OldDirent {
    unsigned long ino, off;
    unsigned short reclen;
    char name[];
  };
  alignas(8) char buffer[1024];
  const long n = sys(SYS_getdents, fd, buffer, sizeof(buffer));
  ASSERT_GT(n, 0);
  std::set<std::string> names;
  for (long at = 0; at < n;) {
    const auto* entry = reinterpret_cast<const OldDirent*>(buffer + at);
    names.insert(entry->name);
    if (names.count("file") != 0 && strcmp(entry->name, "file") == 0) {
      EXPECT_EQ(DT_REG, buffer[at + entry->reclen - 1]);  // the type hides in the last byte
    }
    at += entry->reclen;
  }
  EXPECT_EQ((std::set<std::string>{".", "..", "file"}), names);
  EXPECT_ERR(EBADF, sys(SYS_getdents, dead_fd(), buffer, sizeof(buffer)));
  EXPECT_EQ(0, lseek(fd, 0, SEEK_SET));
  EXPECT_ERR(EINVAL, sys(SYS_getdents, fd, buffer, 4));
  EXPECT_ERR(EFAULT, sys(SYS_getdents, fd, bad(), sizeof(buffer)));
}

TEST_F(DirectoryTest, ManyEntriesComeOnceEach) {
  for (int i = 0; i < 300; ++i) make_file("entry-number-" + std::to_string(i));
  Fd fd(open(dir_.path().c_str(), O_RDONLY | O_DIRECTORY));
  EXPECT_EQ(302u, list(fd, 1024).size());
}

TEST_F(DirectoryTest, RemovalWhileReading) {
  for (int i = 0; i < 100; ++i) make_file("f" + std::to_string(i));
  DIR* d = opendir(dir_.path().c_str());
  int removed = 0;
  while (dirent* entry = readdir(d)) {
    if (entry->d_name[0] == '.') continue;
    EXPECT_OK(unlink(at(entry->d_name).c_str()));
    ++removed;
  }
  closedir(d);
  EXPECT_EQ(100, removed);
}

TEST_F(DirectoryTest, SeekdirGoesBack) {
  for (int i = 0; i < 10; ++i) make_file("f" + std::to_string(i));
  DIR* d = opendir(dir_.path().c_str());
  for (int i = 0; i < 5; ++i) readdir(d);
  const long where = telldir(d);
  const std::string name = readdir(d)->d_name;
  while (readdir(d) != nullptr) {
  }
  seekdir(d, where);
  EXPECT_EQ(name, readdir(d)->d_name);
  closedir(d);
}

// Not every file system has handles; what is wrong with the call is told in any case.
TEST_F(DirectoryTest, FileHandles) {
  const std::string f = make_file("f");
  struct {
    uint32_t bytes;
    int32_t type;
    char handle[128];
  } h = {128, 0, {}};
  int mount = 0;
  const long got = sys(SYS_name_to_handle_at, AT_FDCWD, f.c_str(), &h, &mount, 0);
  if (got == -1 && errno != EOPNOTSUPP) GTEST_SKIP() << "no file handles in this kernel";
  if (got == 0) EXPECT_LE(h.bytes, 128u);
  EXPECT_ERR(ENOENT, sys(SYS_name_to_handle_at, AT_FDCWD, at("missing").c_str(), &h, &mount, 0));
  EXPECT_ERR(EINVAL, sys(SYS_name_to_handle_at, AT_FDCWD, f.c_str(), &h, &mount, 0x10000));
  EXPECT_ERR(EFAULT, sys(SYS_name_to_handle_at, AT_FDCWD, bad(), &h, &mount, 0));
  if (got == 0) EXPECT_ERR(EFAULT, sys(SYS_name_to_handle_at, AT_FDCWD, f.c_str(), bad(), &mount, 0));
}

TEST_F(DirectoryTest, DotDotOfRootAndManySlashes) {
  struct stat root, other;
  ASSERT_OK(stat("/", &root));
  ASSERT_OK(stat("/../..//./", &other));
  EXPECT_EQ(root.st_ino, other.st_ino);
  EXPECT_EQ(root.st_dev, other.st_dev);
}

}  // namespace
}  // namespace run9::guest
