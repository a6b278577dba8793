// Extended attributes, in the user. name space, which both the host's file systems and 9P carry.
#include <sys/xattr.h>

#include "tests/syscalls/test_util.h"

namespace run9::guest {
namespace {

class XattrTest : public DirTest {
 protected:
  void SetUp() override {
    make_file("f");
    if (setxattr(at("f").c_str(), "user.probe", "", 0, 0) == -1 && errno == EOPNOTSUPP) {
      GTEST_SKIP() << "this file system has no user attributes";
    }
    removexattr(at("f").c_str(), "user.probe");
  }
};

TEST_F(XattrTest, ByPath) {
  const std::string f = at("f");
  char buffer[64] = {};
  EXPECT_OK(sys(SYS_setxattr, f.c_str(), "user.a", "value", 5, 0));
  EXPECT_EQ(5, sys(SYS_getxattr, f.c_str(), "user.a", buffer, sizeof(buffer)));
  EXPECT_STREQ("value", buffer);
  EXPECT_EQ(5, sys(SYS_getxattr, f.c_str(), "user.a", nullptr, 0));  // asks the size
  EXPECT_ERR(ERANGE, sys(SYS_getxattr, f.c_str(), "user.a", buffer, 2));
  EXPECT_EQ(7, sys(SYS_listxattr, f.c_str(), buffer, sizeof(buffer)));
  EXPECT_STREQ("user.a", buffer);
  EXPECT_EQ(7, sys(SYS_listxattr, f.c_str(), nullptr, 0));
  EXPECT_ERR(ERANGE, sys(SYS_listxattr, f.c_str(), buffer, 3));
  EXPECT_ERR(EEXIST, sys(SYS_setxattr, f.c_str(), "user.a", "v", 1, XATTR_CREATE));
  EXPECT_ERR(ENODATA, sys(SYS_setxattr, f.c_str(), "user.b", "v", 1, XATTR_REPLACE));
  EXPECT_OK(sys(SYS_setxattr, f.c_str(), "user.a", "", 0, XATTR_REPLACE));
  EXPECT_EQ(0, sys(SYS_getxattr, f.c_str(), "user.a", buffer, sizeof(buffer)));
  EXPECT_OK(sys(SYS_removexattr, f.c_str(), "user.a"));
  EXPECT_ERR(ENODATA, sys(SYS_removexattr, f.c_str(), "user.a"));
  EXPECT_ERR(ENODATA, sys(SYS_getxattr, f.c_str(), "user.a", buffer, sizeof(buffer)));
}

TEST_F(XattrTest, ByDescriptorAndOnLinks) {
  Fd fd(open(at("f").c_str(), O_RDWR));
  char buffer[64];
  EXPECT_OK(sys(SYS_fsetxattr, fd, "user.a", "xy", 2, XATTR_CREATE));
  EXPECT_EQ(2, sys(SYS_fgetxattr, fd, "user.a", buffer, sizeof(buffer)));
  EXPECT_EQ(7, sys(SYS_flistxattr, fd, buffer, sizeof(buffer)));
  EXPECT_EQ(2, sys(SYS_lgetxattr, at("f").c_str(), "user.a", buffer, sizeof(buffer)));
  EXPECT_EQ(7, sys(SYS_llistxattr, at("f").c_str(), buffer, sizeof(buffer)));
  EXPECT_OK(sys(SYS_lsetxattr, at("f").c_str(), "user.b", "z", 1, 0));
  EXPECT_OK(sys(SYS_lremovexattr, at("f").c_str(), "user.b"));
  EXPECT_OK(sys(SYS_fremovexattr, fd, "user.a"));
  EXPECT_ERR(ENODATA, sys(SYS_fremovexattr, fd, "user.a"));
  ASSERT_OK(symlink("f", at("l").c_str()));
  EXPECT_OK(sys(SYS_setxattr, at("l").c_str(), "user.via", "1", 1, 0));
  EXPECT_EQ(1, sys(SYS_fgetxattr, fd, "user.via", buffer, sizeof(buffer)));
  EXPECT_ERR(EPERM, sys(SYS_lsetxattr, at("l").c_str(), "user.a", "1", 1, 0));
  EXPECT_EQ(0, sys(SYS_llistxattr, at("l").c_str(), buffer, sizeof(buffer)));
}

TEST_F(XattrTest, Errors) {
  const std::string f = at("f"), x = at("x");
  char buffer[64];
  EXPECT_ERR(ENOENT, sys(SYS_setxattr, x.c_str(), "user.a", "v", 1, 0));
  EXPECT_ERR(ENOENT, sys(SYS_lsetxattr, x.c_str(), "user.a", "v", 1, 0));
  EXPECT_ERR(ENOENT, sys(SYS_getxattr, x.c_str(), "user.a", buffer, 1));
  EXPECT_ERR(ENOENT, sys(SYS_lgetxattr, x.c_str(), "user.a", buffer, 1));
  EXPECT_ERR(ENOENT, sys(SYS_listxattr, x.c_str(), buffer, 1));
  EXPECT_ERR(ENOENT, sys(SYS_llistxattr, x.c_str(), buffer, 1));
  EXPECT_ERR(ENOENT, sys(SYS_removexattr, x.c_str(), "user.a"));
  EXPECT_ERR(ENOENT, sys(SYS_lremovexattr, x.c_str(), "user.a"));
  EXPECT_ERR(EBADF, sys(SYS_fsetxattr, dead_fd(), "user.a", "v", 1, 0));
  EXPECT_ERR(EBADF, sys(SYS_fgetxattr, dead_fd(), "user.a", buffer, 1));
  EXPECT_ERR(EBADF, sys(SYS_flistxattr, dead_fd(), buffer, 1));
  EXPECT_ERR(EBADF, sys(SYS_fremovexattr, dead_fd(), "user.a"));
  EXPECT_ERR(EINVAL, sys(SYS_setxattr, f.c_str(), "user.a", "v", 1, 64));
  EXPECT_ERR(EOPNOTSUPP, sys(SYS_setxattr, f.c_str(), "nonsense.a", "v", 1, 0));
  EXPECT_ERR(EOPNOTSUPP, sys(SYS_setxattr, f.c_str(), "plain", "v", 1, 0));
  EXPECT_ERR(ERANGE, sys(SYS_setxattr, f.c_str(), "", "v", 1, 0));
  EXPECT_ERR(ERANGE,
             sys(SYS_setxattr, f.c_str(), ("user." + std::string(255, 'n')).c_str(), "v", 1, 0));
  EXPECT_ERR(E2BIG, sys(SYS_setxattr, f.c_str(), "user.a", "v", 65537, 0));
  EXPECT_ERR(EFAULT, sys(SYS_setxattr, bad(), "user.a", "v", 1, 0));
  EXPECT_ERR(EFAULT, sys(SYS_setxattr, f.c_str(), bad(), "v", 1, 0));
  EXPECT_ERR(EFAULT, sys(SYS_setxattr, f.c_str(), "user.a", bad(), 1, 0));
  ASSERT_OK(sys(SYS_setxattr, f.c_str(), "user.a", "v", 1, 0));
  EXPECT_ERR(EFAULT, sys(SYS_getxattr, f.c_str(), "user.a", bad(), 10));
  EXPECT_ERR(EFAULT, sys(SYS_getxattr, f.c_str(), bad(), buffer, 10));
  EXPECT_ERR(EFAULT, sys(SYS_listxattr, f.c_str(), bad(), 10));
  EXPECT_ERR(EFAULT, sys(SYS_removexattr, f.c_str(), bad()));
  Fd path(open(f.c_str(), O_PATH));
  EXPECT_ERR(EBADF, sys(SYS_fgetxattr, path, "user.a", buffer, 10));
}

// setxattrat(2) and its kin, of 6.13: newer than the headers.
constexpr long kSetxattrat = 463, kGetxattrat = 464, kListxattrat = 465, kRemovexattrat = 466;
struct XattrArgs {
  uint64_t value;
  uint32_t size, flags;
  uint64_t more = 0;
};

TEST_F(XattrTest, RelativeToADirectory) {
  Fd dir(open(dir_.path().c_str(), O_PATH | O_DIRECTORY));
  char buffer[16] = {};
  const XattrArgs in{reinterpret_cast<uint64_t>("value"), 5, 0}, out{reinterpret_cast<uint64_t>(buffer), 16, 0};
  const long done = sys(kSetxattrat, dir, "f", 0, "user.a", &in, 16);
  if (done == -1 && errno == ENOSYS) GTEST_SKIP() << "no setxattrat in this kernel";
  ASSERT_EQ(0, done);
  EXPECT_EQ(5, sys(kGetxattrat, dir, "f", 0, "user.a", &out, 16));
  EXPECT_STREQ("value", buffer);
  EXPECT_EQ(7, sys(kListxattrat, dir, "f", 0, buffer, 16));
  EXPECT_STREQ("user.a", buffer);
  Fd file(open(at("f").c_str(), O_RDONLY));
  EXPECT_EQ(5, sys(kGetxattrat, file, "", AT_EMPTY_PATH, "user.a", &out, 16)) << "the descriptor itself";
  EXPECT_EQ(5, sys(kGetxattrat, dir, "f", AT_SYMLINK_NOFOLLOW, "user.a", &out, 16));
  ASSERT_EQ(0, symlink("f", at("l").c_str()));
  EXPECT_EQ(5, sys(kGetxattrat, dir, "l", 0, "user.a", &out, 16));
  EXPECT_ERR(ENODATA, sys(kGetxattrat, dir, "l", AT_SYMLINK_NOFOLLOW, "user.a", &out, 16));
  const XattrArgs create{in.value, 5, XATTR_CREATE}, unknown{in.value, 5, 64}, longer{in.value, 5, 0, 1};
  EXPECT_ERR(EEXIST, sys(kSetxattrat, dir, "f", 0, "user.a", &create, 16));
  EXPECT_OK(sys(kRemovexattrat, dir, "f", 0, "user.a"));
  EXPECT_ERR(ENODATA, sys(kRemovexattrat, dir, "f", 0, "user.a"));
  EXPECT_ERR(EINVAL, sys(kSetxattrat, dir, "f", 0, "user.a", &unknown, 16));
  EXPECT_ERR(EINVAL, sys(kGetxattrat, dir, "f", 0, "user.a", &create, 16));
  EXPECT_ERR(EINVAL, sys(kSetxattrat, dir, "f", 0, "user.a", &in, 8)) << "shorter than the first version";
  EXPECT_ERR(E2BIG, sys(kSetxattrat, dir, "f", 0, "user.a", &longer, 24)) << "what we do not know is not 0";
  EXPECT_ERR(E2BIG, sys(kSetxattrat, dir, "f", 0, "user.a", &in, 100'000));
  for (const long flags : {0x1, 0x10000}) {
    EXPECT_ERR(EINVAL, sys(kSetxattrat, dir, "f", flags, "user.a", &in, 16));
    EXPECT_ERR(EINVAL, sys(kGetxattrat, dir, "f", flags, "user.a", &out, 16));
    EXPECT_ERR(EINVAL, sys(kListxattrat, dir, "f", flags, buffer, 16));
    EXPECT_ERR(EINVAL, sys(kRemovexattrat, dir, "f", flags, "user.a"));
  }
  EXPECT_ERR(EBADF, sys(kSetxattrat, dead_fd(), "f", 0, "user.a", &in, 16));
  EXPECT_ERR(ENOTDIR, sys(kListxattrat, file, "f", 0, buffer, 16));
  EXPECT_ERR(ENOENT, sys(kListxattrat, dir, "missing", 0, buffer, 16));
  EXPECT_ERR(ENOENT, sys(kListxattrat, dir, "", 0, buffer, 16));
  EXPECT_ERR(EFAULT, sys(kSetxattrat, dir, bad(), 0, "user.a", &in, 16));
  EXPECT_ERR(EFAULT, sys(kSetxattrat, dir, "f", 0, bad(), &in, 16));
  EXPECT_ERR(EFAULT, sys(kSetxattrat, dir, "f", 0, "user.a", bad(), 16));
  EXPECT_ERR(EFAULT, sys(kGetxattrat, dir, bad(), 0, "user.a", &out, 16));
  EXPECT_ERR(EFAULT, sys(kGetxattrat, dir, "f", 0, "user.a", bad(), 16));
  EXPECT_ERR(EFAULT, sys(kListxattrat, dir, bad(), 0, buffer, 16));
  EXPECT_ERR(EFAULT, sys(kRemovexattrat, dir, bad(), 0, "user.a"));
  EXPECT_ERR(EFAULT, sys(kRemovexattrat, dir, "f", 0, bad()));
}

TEST_F(XattrTest, PermissionFollowsTheFile) {
  SKIP_UNLESS_ROOT();
  ASSERT_OK(setxattr(at("f").c_str(), "user.a", "v", 1, 0));
  ASSERT_OK(chmod(at("f").c_str(), 0644));
  make_file("secret", "", 0600);
  in_user_child([&] {
    char buffer[8];
    EXPECT_OK(getxattr(at("f").c_str(), "user.a", buffer, 8));
    EXPECT_ERR(EACCES, setxattr(at("f").c_str(), "user.a", "w", 1, 0));
    EXPECT_ERR(EACCES, getxattr(at("secret").c_str(), "user.a", buffer, 8));
    EXPECT_ERR(EPERM, setxattr(at("f").c_str(), "trusted.a", "w", 1, 0));
  });
}

}  // namespace
}  // namespace run9::guest
