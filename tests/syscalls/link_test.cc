// Hard links and symbolic links.
#include "tests/syscalls/test_util.h"

namespace run9::guest {
namespace {

using LinkTest = DirTest;

TEST_F(LinkTest, HardLink) {
  make_file("a", "x");
  EXPECT_OK(sys(SYS_link, at("a").c_str(), at("b").c_str()));
  struct stat a, b;
  ASSERT_OK(stat(at("a").c_str(), &a));
  ASSERT_OK(stat(at("b").c_str(), &b));
  EXPECT_EQ(a.st_ino, b.st_ino);
  EXPECT_EQ(2u, a.st_nlink);
  ASSERT_OK(unlink(at("a").c_str()));
  ASSERT_OK(stat(at("b").c_str(), &b));
  EXPECT_EQ(1u, b.st_nlink);
  EXPECT_EQ("x", read_file(at("b")));

  EXPECT_ERR(ENOENT, sys(SYS_link, at("a").c_str(), at("c").c_str()));
  EXPECT_ERR(EEXIST, sys(SYS_link, at("b").c_str(), at("b").c_str()));
  EXPECT_ERR(EPERM, sys(SYS_link, dir_.path().c_str(), at("d").c_str()));
  EXPECT_ERR(ENOTDIR, sys(SYS_link, at("b/x").c_str(), at("d").c_str()));
  EXPECT_ERR(ENOTDIR, sys(SYS_link, at("b").c_str(), at("b/x").c_str()));
  EXPECT_ERR(EFAULT, sys(SYS_link, bad(), at("c").c_str()));
  EXPECT_ERR(EFAULT, sys(SYS_link, at("b").c_str(), bad()));
  EXPECT_ERR(ENAMETOOLONG, sys(SYS_link, at("b").c_str(), at(std::string(256, 'n')).c_str()));
  EXPECT_ERR(EXDEV, sys(SYS_link, "/proc/version", at("c").c_str()));
}

TEST_F(LinkTest, RenameAcrossFileSystems) {
  make_file("a", "x");
  EXPECT_ERR(EXDEV, rename(at("a").c_str(), "/proc/a"));
}

TEST_F(LinkTest, LinkAt) {
  make_file("a", "x");
  ASSERT_OK(symlink("a", at("l").c_str()));
  Fd dir(open(dir_.path().c_str(), O_RDONLY));
  struct stat st;
  EXPECT_OK(sys(SYS_linkat, dir, "a", dir, "b", 0));
  EXPECT_OK(sys(SYS_linkat, dir, "l", dir, "link-to-link", 0));
  ASSERT_OK(lstat(at("link-to-link").c_str(), &st));
  EXPECT_TRUE(S_ISLNK(st.st_mode));
  EXPECT_OK(sys(SYS_linkat, dir, "l", dir, "link-to-file", AT_SYMLINK_FOLLOW));
  ASSERT_OK(lstat(at("link-to-file").c_str(), &st));
  EXPECT_TRUE(S_ISREG(st.st_mode));
  EXPECT_EQ(3u, st.st_nlink);
  EXPECT_ERR(EBADF, sys(SYS_linkat, dead_fd(), "a", dir, "c", 0));
  EXPECT_ERR(EBADF, sys(SYS_linkat, dir, "a", dead_fd(), "c", 0));
  EXPECT_ERR(EINVAL, sys(SYS_linkat, dir, "a", dir, "c", 0x8));
  EXPECT_ERR(EEXIST, sys(SYS_linkat, dir, "a", dir, "b", 0));
  EXPECT_ERR(EFAULT, sys(SYS_linkat, dir, bad(), dir, "c", 0));
}

TEST_F(LinkTest, NamelessFileCanBeGivenAName) {
  SKIP_UNLESS_ROOT();
  Fd fd(open(dir_.path().c_str(), O_TMPFILE | O_RDWR, 0600));
  if (fd < 0) GTEST_SKIP() << "this file system has no O_TMPFILE";
  ASSERT_EQ(1, write(fd, "x", 1));
  EXPECT_OK(sys(SYS_linkat, fd, "", AT_FDCWD, at("named").c_str(), AT_EMPTY_PATH));
  EXPECT_EQ("x", read_file(at("named")));
}

TEST_F(LinkTest, Symlink) {
  EXPECT_OK(sys(SYS_symlink, "some/target", at("l").c_str()));
  char buffer[64] = {};
  EXPECT_EQ(11, sys(SYS_readlink, at("l").c_str(), buffer, sizeof(buffer)));
  EXPECT_STREQ("some/target", buffer);
  EXPECT_EQ(4, sys(SYS_readlink, at("l").c_str(), buffer, 4));  // cut without an error
  struct stat st;
  ASSERT_OK(lstat(at("l").c_str(), &st));
  EXPECT_TRUE(S_ISLNK(st.st_mode));
  EXPECT_EQ(11, st.st_size);
  EXPECT_EQ(0777u, st.st_mode & 07777);
  EXPECT_ERR(ENOENT, stat(at("l").c_str(), &st));

  EXPECT_ERR(EEXIST, sys(SYS_symlink, "t", at("l").c_str()));
  EXPECT_ERR(ENOENT, sys(SYS_symlink, "t", at("x/y").c_str()));
  EXPECT_ERR(ENOENT, sys(SYS_symlink, "", at("empty").c_str()));
  EXPECT_ERR(EFAULT, sys(SYS_symlink, bad(), at("z").c_str()));
  EXPECT_ERR(EFAULT, sys(SYS_symlink, "t", bad()));
  EXPECT_ERR(ENAMETOOLONG, sys(SYS_symlink, std::string(4096, 't').c_str(), at("z").c_str()));
  make_file("f");
  EXPECT_ERR(ENOTDIR, sys(SYS_symlink, "t", at("f/z").c_str()));

  EXPECT_ERR(EINVAL, sys(SYS_readlink, at("f").c_str(), buffer, 4));
  EXPECT_ERR(ENOENT, sys(SYS_readlink, at("x").c_str(), buffer, 4));
  EXPECT_ERR(EINVAL, sys(SYS_readlink, at("l").c_str(), buffer, 0));
  EXPECT_ERR(EFAULT, sys(SYS_readlink, bad(), buffer, 4));
  for (void* p : bad_pointers()) EXPECT_ERR(EFAULT, sys(SYS_readlink, at("l").c_str(), p, 64));
  Straddle page;
  EXPECT_ERR(EFAULT, sys(SYS_readlink, at("l").c_str(), page.last(4), 64));
  EXPECT_EQ(11, sys(SYS_readlink, at("l").c_str(), page.last(11), 64));
}

TEST_F(LinkTest, SymlinkAtReadlinkAt) {
  Fd dir(open(dir_.path().c_str(), O_RDONLY));
  EXPECT_OK(sys(SYS_symlinkat, "t", dir, "l"));
  char buffer[8] = {};
  EXPECT_EQ(1, sys(SYS_readlinkat, dir, "l", buffer, sizeof(buffer)));
  Fd link(open(at("l").c_str(), O_PATH | O_NOFOLLOW));
  EXPECT_EQ(1, sys(SYS_readlinkat, link, "", buffer, sizeof(buffer)));
  EXPECT_ERR(EBADF, sys(SYS_symlinkat, "t", dead_fd(), "m"));
  EXPECT_ERR(EBADF, sys(SYS_readlinkat, dead_fd(), "l", buffer, sizeof(buffer)));
  EXPECT_ERR(ENOENT, sys(SYS_readlinkat, dir, "", buffer, sizeof(buffer)));
  EXPECT_ERR(EFAULT, sys(SYS_symlinkat, bad(), dir, "m"));
  EXPECT_ERR(EFAULT, sys(SYS_readlinkat, dir, "l", bad(), 8));
  EXPECT_ERR(EINVAL, sys(SYS_readlinkat, dir, "l", buffer, -1));
  EXPECT_ERR(EEXIST, sys(SYS_symlinkat, "t", dir, "l"));
}

TEST_F(LinkTest, LinksAreFollowedInTheMiddleOfAPath) {
  ASSERT_OK(mkdir(at("d").c_str(), 0755));
  make_file("d/f", "x");
  ASSERT_OK(symlink("d", at("rel").c_str()));
  ASSERT_OK(symlink(at("d").c_str(), at("abs").c_str()));
  ASSERT_OK(symlink("../rel/f", at("d/back").c_str()));
  EXPECT_EQ("x", read_file(at("rel/f")));
  EXPECT_EQ("x", read_file(at("abs/f")));
  EXPECT_EQ("x", read_file(at("abs/back")));
  struct stat st;
  ASSERT_OK(lstat((at("rel") + "/").c_str(), &st));  // a trailing slash follows
  EXPECT_TRUE(S_ISDIR(st.st_mode));
  ASSERT_OK(lstat(at("rel/../d/f").c_str(), &st));
}

TEST_F(LinkTest, FortyLinksAreTheLimit) {
  make_file("l0", "x");
  for (int i = 1; i <= 41; ++i) {
    ASSERT_OK(symlink(("l" + std::to_string(i - 1)).c_str(), at("l" + std::to_string(i)).c_str()));
  }
  EXPECT_EQ("x", read_file(at("l40")));
  EXPECT_ERR(ELOOP, open(at("l41").c_str(), O_RDONLY));
}

TEST_F(LinkTest, RemovingALinkKeepsItsTarget) {
  make_file("f", "x");
  ASSERT_OK(symlink("f", at("l").c_str()));
  ASSERT_OK(unlink(at("l").c_str()));
  EXPECT_TRUE(exists(at("f")));
  ASSERT_OK(symlink("f", at("l").c_str()));
  ASSERT_OK(rename(at("l").c_str(), at("m").c_str()));  // renames the link itself
  char buffer[8];
  EXPECT_EQ(1, readlink(at("m").c_str(), buffer, 8));
  EXPECT_ERR(ENOTDIR, rmdir(at("m").c_str()));
}

}  // namespace
}  // namespace run9::guest
