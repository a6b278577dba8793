// User and group ids, supplementary groups, capabilities.
#include <linux/capability.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>

#include "tests/syscalls/test_util.h"

namespace run9::guest {
namespace {

struct Ids {
  uid_t real = 77, effective = 77, saved = 77;
  bool operator==(const Ids& o) const {
    return real == o.real && effective == o.effective && saved == o.saved;
  }
};
std::ostream& operator<<(std::ostream& out, const Ids& i) {
  return out << i.real << "/" << i.effective << "/" << i.saved;
}
Ids users() {
  Ids i;
  EXPECT_OK(sys(SYS_getresuid, &i.real, &i.effective, &i.saved));
  return i;
}
Ids groups() {
  Ids i;
  EXPECT_OK(sys(SYS_getresgid, &i.real, &i.effective, &i.saved));
  return i;
}

TEST(IdsTest, Get) {
  EXPECT_EQ(users().real, sys(SYS_getuid));
  EXPECT_EQ(users().effective, sys(SYS_geteuid));
  EXPECT_EQ(groups().real, sys(SYS_getgid));
  EXPECT_EQ(groups().effective, sys(SYS_getegid));
  uid_t u;
  EXPECT_ERR(EFAULT, sys(SYS_getresuid, bad(), &u, &u));
  EXPECT_ERR(EFAULT, sys(SYS_getresuid, &u, bad(), &u));
  EXPECT_ERR(EFAULT, sys(SYS_getresgid, &u, &u, bad()));
}

TEST(IdsTest, SetAsRoot) {
  SKIP_UNLESS_ROOT();
  in_child([] {
    EXPECT_OK(sys(SYS_setresgid, 1, 2, 3));
    EXPECT_EQ((Ids{1, 2, 3}), groups());
    EXPECT_OK(sys(SYS_setregid, 4, 5));
    EXPECT_EQ((Ids{4, 5, 5}), groups());
    EXPECT_OK(sys(SYS_setgid, 6));
    EXPECT_EQ((Ids{6, 6, 6}), groups());
    EXPECT_OK(sys(SYS_setresuid, 1, 2, 3));
    EXPECT_EQ((Ids{1, 2, 3}), users());
    // Now without privilege: only among the three.
    EXPECT_ERR(EPERM, sys(SYS_setresuid, 9, -1, -1));
    EXPECT_OK(sys(SYS_setresuid, -1, 3, -1));
    EXPECT_EQ((Ids{1, 3, 3}), users());
    EXPECT_OK(sys(SYS_setuid, 1));  // only the effective one
    EXPECT_EQ((Ids{1, 1, 3}), users());
    EXPECT_ERR(EPERM, sys(SYS_setuid, 0));
    EXPECT_ERR(EPERM, sys(SYS_setreuid, 0, -1));
    EXPECT_ERR(EPERM, sys(SYS_setgid, 0));
    EXPECT_ERR(EPERM, sys(SYS_setregid, 0, -1));
    EXPECT_ERR(EPERM, sys(SYS_setresgid, 0, -1, -1));
    const gid_t g = 1;
    EXPECT_ERR(EPERM, sys(SYS_setgroups, 1, &g));
  });
  in_child([] {
    EXPECT_OK(sys(SYS_setreuid, 1, 2));
    EXPECT_EQ((Ids{1, 2, 2}), users());
    EXPECT_OK(sys(SYS_setreuid, 2, 1));  // swap
    EXPECT_EQ((Ids{2, 1, 1}), users());
  });
  EXPECT_ERR(EINVAL, sys(SYS_setuid, -1));
  EXPECT_ERR(EINVAL, sys(SYS_setgid, -1));
}

TEST(IdsTest, PrivilegeComesBackFromTheSavedId) {
  SKIP_UNLESS_ROOT();
  in_child([] {
    ASSERT_OK(sys(SYS_setresuid, 1000, 1000, 0));
    EXPECT_ERR(EPERM, sys(SYS_setgid, 5));
    EXPECT_OK(sys(SYS_setresuid, -1, 0, -1));
    EXPECT_OK(sys(SYS_setgid, 5));
  });
}

TEST(IdsTest, FileSystemIds) {
  SKIP_UNLESS_ROOT();
  TempDir dir;
  write_file(dir / "f", "x", 0600);
  in_child([&] {
    EXPECT_EQ(0, sys(SYS_setfsuid, 1234));
    EXPECT_EQ(1234, sys(SYS_setfsuid, -1));
    EXPECT_ERR(EACCES, open((dir / "f").c_str(), O_RDONLY));
    EXPECT_EQ(1234, sys(SYS_setfsuid, 0));
    EXPECT_EQ(0, sys(SYS_setfsgid, 77));
    write_file(dir / "g", "");
    struct stat st;
    ASSERT_OK(stat((dir / "g").c_str(), &st));
    EXPECT_EQ(77u, st.st_gid);
  });
}

TEST(IdsTest, Groups) {
  gid_t list[8] = {};
  EXPECT_GE(sys(SYS_getgroups, 0, nullptr), 0);
  EXPECT_ERR(EINVAL, sys(SYS_getgroups, -1, list));
  SKIP_UNLESS_ROOT();
  in_child([&] {
    const gid_t set[] = {10, 20, 30};
    EXPECT_OK(sys(SYS_setgroups, 3, set));
    EXPECT_EQ(3, sys(SYS_getgroups, 0, nullptr));
    EXPECT_EQ(3, sys(SYS_getgroups, 8, list));
    EXPECT_EQ(20u, list[1]);
    EXPECT_ERR(EINVAL, sys(SYS_getgroups, 2, list));
    EXPECT_ERR(EFAULT, sys(SYS_getgroups, 3, bad()));
    EXPECT_ERR(EFAULT, sys(SYS_setgroups, 3, bad()));
    EXPECT_ERR(EINVAL, sys(SYS_setgroups, 65537, list));
    EXPECT_OK(sys(SYS_setgroups, 0, nullptr));
    EXPECT_EQ(0, sys(SYS_getgroups, 0, nullptr));
  });
}

struct Caps {
  __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2] = {};
  long get() { return sys(SYS_capget, &header, data); }
  long set() { return sys(SYS_capset, &header, data); }
  bool has(int cap) const { return (data[cap / 32].effective & (1u << (cap % 32))) != 0; }
  void drop(int cap) {
    data[cap / 32].effective &= ~(1u << (cap % 32));
    data[cap / 32].permitted &= ~(1u << (cap % 32));
  }
};

TEST(CapsTest, GetAndSet) {
  Caps c;
  EXPECT_OK(c.get());
  c.header.version = 0;
  EXPECT_ERR(EINVAL, c.get());
  EXPECT_EQ(static_cast<uint32_t>(_LINUX_CAPABILITY_VERSION_3),
            c.header.version);  // it tells the one it knows
  EXPECT_ERR(EFAULT, sys(SYS_capget, bad(), c.data));
  EXPECT_ERR(EFAULT, sys(SYS_capget, &c.header, bad()));
  EXPECT_ERR(EFAULT, sys(SYS_capset, bad(), c.data));
  EXPECT_ERR(EFAULT, sys(SYS_capset, &c.header, bad()));
  c.header.pid = 999999;
  EXPECT_ERR(ESRCH, c.get());
  c.header.pid = 1;
  if (getpid() != 1) {
    EXPECT_ERR(EPERM, c.set());
  }
}

TEST(CapsTest, DroppedCapabilityIsGone) {
  SKIP_UNLESS_ROOT();
  TempDir dir;
  write_file(dir / "f", "x");
  in_child([&] {
    Caps c;
    ASSERT_OK(c.get());
    if (!c.has(CAP_CHOWN)) GTEST_SKIP() << "started without CAP_CHOWN";
    EXPECT_OK(chown((dir / "f").c_str(), 5, 5));
    c.drop(CAP_CHOWN);
    ASSERT_OK(c.set());
    EXPECT_ERR(EPERM, chown((dir / "f").c_str(), 6, 6));
    ASSERT_OK(c.get());
    EXPECT_FALSE(c.has(CAP_CHOWN));
    c.data[0].effective |= 1u << CAP_CHOWN;
    c.data[0].permitted |= 1u << CAP_CHOWN;
    EXPECT_ERR(EPERM, c.set());
  });
}

TEST(CapsTest, ChangingToAUserClearsThem) {
  SKIP_UNLESS_ROOT();
  in_user_child([] {
    Caps c;
    ASSERT_OK(c.get());
    EXPECT_EQ(0u, c.data[0].effective);
    EXPECT_EQ(0u, c.data[0].permitted);
  });
  in_child([] {
    ASSERT_OK(prctl(PR_SET_KEEPCAPS, 1));
    EXPECT_EQ(1, prctl(PR_GET_KEEPCAPS));
    ASSERT_OK(sys(SYS_setresuid, 1000, 1000, 1000));
    Caps c;
    ASSERT_OK(c.get());
    EXPECT_EQ(0u, c.data[0].effective);
    EXPECT_NE(0u, c.data[0].permitted);
  });
}

TEST(CapsTest, BoundingSet) {
  SKIP_UNLESS_ROOT();
  in_child([] {
    EXPECT_EQ(1, prctl(PR_CAPBSET_READ, CAP_CHOWN));
    EXPECT_OK(prctl(PR_CAPBSET_DROP, CAP_CHOWN));
    EXPECT_EQ(0, prctl(PR_CAPBSET_READ, CAP_CHOWN));
    EXPECT_ERR(EINVAL, prctl(PR_CAPBSET_READ, 999));
  });
}

TEST(CapsTest, OrdinaryUserMayNot) {
  SKIP_UNLESS_ROOT();
  in_user_child([] {
    EXPECT_ERR(EPERM, sys(SYS_sethostname, "x", 1));
    EXPECT_ERR(EPERM, sys(SYS_setdomainname, "x", 1));
    EXPECT_ERR(EPERM, sys(SYS_mount, "none", "/", "tmpfs", 0, nullptr));
    EXPECT_ERR(EPERM, sys(SYS_umount2, "/", 0));
    EXPECT_ERR(EPERM, sys(SYS_pivot_root, "/", "/"));
    EXPECT_ERR(EPERM, sys(SYS_reboot, 0xfee1dead, 672274793, 0, nullptr));
    EXPECT_ERR(EPERM, sys(SYS_vhangup));
    EXPECT_ERR(EPERM, sys(SYS_unshare, CLONE_NEWUTS));
  });
}

TEST(CapsTest, Namespaces) {
  Fd none(open("/dev/null", O_RDONLY));
  EXPECT_ERR(EBADF, sys(SYS_setns, dead_fd(), 0));
  EXPECT_ERR(EINVAL, sys(SYS_setns, none, 0)) << "not a namespace";
  EXPECT_ERR(EINVAL, sys(SYS_setns, none, CLONE_NEWUTS));
}

}  // namespace
}  // namespace run9::guest
