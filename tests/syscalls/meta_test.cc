// Metadata: stat and its relatives, chmod, chown, times, access, statfs, mknod, umask.
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/vfs.h>
#include <utime.h>

#include "tests/syscalls/test_util.h"

namespace run9::guest {
namespace {

using MetaTest = DirTest;
constexpr long kFchmodat2 = 452;  // newer than the headers of Debian 12

TEST_F(MetaTest, Stat) {
  make_file("f", "hello", 0640);
  struct stat a, b, c, d;
  EXPECT_OK(sys(SYS_stat, at("f").c_str(), &a));
  EXPECT_EQ(S_IFREG | 0640u, a.st_mode);
  EXPECT_EQ(5, a.st_size);
  EXPECT_EQ(1u, a.st_nlink);
  EXPECT_EQ(geteuid(), a.st_uid);
  Fd fd(open(at("f").c_str(), O_RDONLY));
  EXPECT_OK(sys(SYS_fstat, fd, &b));
  EXPECT_OK(sys(SYS_lstat, at("f").c_str(), &c));
  EXPECT_OK(sys(SYS_newfstatat, AT_FDCWD, at("f").c_str(), &d, 0));
  for (const struct stat& s : {b, c, d}) {
    EXPECT_EQ(a.st_ino, s.st_ino);
    EXPECT_EQ(a.st_dev, s.st_dev);
    EXPECT_EQ(a.st_mode, s.st_mode);
    EXPECT_EQ(a.st_mtim.tv_nsec, s.st_mtim.tv_nsec);
  }
  Fd dir(open(dir_.path().c_str(), O_RDONLY));
  EXPECT_OK(sys(SYS_newfstatat, dir, "f", &d, 0));
  EXPECT_EQ(a.st_ino, d.st_ino);
  EXPECT_OK(sys(SYS_newfstatat, fd, "", &d, AT_EMPTY_PATH));
  EXPECT_EQ(a.st_ino, d.st_ino);
}

TEST_F(MetaTest, StatErrors) {
  make_file("f");
  struct stat st;
  const std::string long_name = at(std::string(256, 'x'));
  for (long nr : {SYS_stat, SYS_lstat}) {
    EXPECT_ERR(ENOENT, sys(nr, at("x").c_str(), &st));
    EXPECT_ERR(ENOENT, sys(nr, "", &st));
    EXPECT_ERR(ENOTDIR, sys(nr, at("f/x").c_str(), &st));
    EXPECT_ERR(ENOTDIR, sys(nr, (at("f") + "/").c_str(), &st));
    EXPECT_ERR(ENAMETOOLONG, sys(nr, long_name.c_str(), &st));
    for (void* p : bad_pointers()) {
      EXPECT_ERR(EFAULT, sys(nr, p, &st));
      EXPECT_ERR(EFAULT, sys(nr, at("f").c_str(), p));
    }
    Straddle page;
    EXPECT_ERR(EFAULT, sys(nr, at("f").c_str(), page.last(sizeof(st) - 1)));
    EXPECT_OK(sys(nr, at("f").c_str(), page.last(sizeof(st))));
  }
  Fd dir(open(dir_.path().c_str(), O_RDONLY));
  EXPECT_ERR(EBADF, sys(SYS_fstat, dead_fd(), &st));
  EXPECT_ERR(EFAULT, sys(SYS_fstat, dir, bad()));
  EXPECT_ERR(EBADF, sys(SYS_newfstatat, dead_fd(), "f", &st, 0));
  EXPECT_ERR(ENOENT, sys(SYS_newfstatat, dir, "", &st, 0));
  EXPECT_ERR(EINVAL, sys(SYS_newfstatat, dir, "f", &st, 0x8));
  EXPECT_ERR(EFAULT, sys(SYS_newfstatat, dir, bad(), &st, 0));
  EXPECT_ERR(EFAULT, sys(SYS_newfstatat, dir, "f", bad(), 0));
  Fd file(open(at("f").c_str(), O_RDONLY));
  EXPECT_ERR(ENOTDIR, sys(SYS_newfstatat, file, "f", &st, 0));
}

TEST_F(MetaTest, StatOfPipeAndDevice) {
  Pipe p;
  struct stat st;
  ASSERT_OK(fstat(p.r, &st));
  EXPECT_TRUE(S_ISFIFO(st.st_mode));
  ASSERT_OK(stat("/dev/null", &st));
  EXPECT_TRUE(S_ISCHR(st.st_mode));
  EXPECT_EQ(1u, major(st.st_rdev));
  EXPECT_EQ(3u, minor(st.st_rdev));
}

TEST_F(MetaTest, Statx) {
  make_file("f", "hello", 0604);
  struct statx stx = {};
  EXPECT_OK(sys(SYS_statx, AT_FDCWD, at("f").c_str(), 0, STATX_BASIC_STATS, &stx));
  EXPECT_EQ(STATX_BASIC_STATS, stx.stx_mask & STATX_BASIC_STATS);
  EXPECT_EQ(S_IFREG | 0604u, stx.stx_mode);
  EXPECT_EQ(5u, stx.stx_size);
  struct stat st;
  ASSERT_OK(stat(at("f").c_str(), &st));
  EXPECT_EQ(st.st_ino, stx.stx_ino);
  EXPECT_EQ(major(st.st_dev), stx.stx_dev_major);
  EXPECT_EQ(minor(st.st_dev), stx.stx_dev_minor);
  EXPECT_EQ(st.st_mtim.tv_sec, stx.stx_mtime.tv_sec);
  EXPECT_EQ(static_cast<uint32_t>(st.st_mtim.tv_nsec), stx.stx_mtime.tv_nsec);
  Fd fd(open(at("f").c_str(), O_RDONLY));
  EXPECT_OK(sys(SYS_statx, fd, "", AT_EMPTY_PATH, STATX_SIZE, &stx));
  EXPECT_OK(sys(SYS_statx, AT_FDCWD, at("f").c_str(), AT_SYMLINK_NOFOLLOW | AT_STATX_SYNC_AS_STAT,
                STATX_ALL, &stx));
  EXPECT_ERR(ENOENT, sys(SYS_statx, AT_FDCWD, at("x").c_str(), 0, STATX_ALL, &stx));
  EXPECT_ERR(ENOENT, sys(SYS_statx, fd, "", 0, STATX_ALL, &stx));
  EXPECT_ERR(EBADF, sys(SYS_statx, dead_fd(), "x", 0, STATX_ALL, &stx));
  EXPECT_ERR(ENOTDIR, sys(SYS_statx, fd, "x", 0, STATX_ALL, &stx));
  EXPECT_ERR(EINVAL, sys(SYS_statx, AT_FDCWD, at("f").c_str(), 0x8, STATX_ALL, &stx));
  EXPECT_ERR(EINVAL,
             sys(SYS_statx, AT_FDCWD, at("f").c_str(), AT_STATX_SYNC_TYPE, STATX_ALL, &stx));
  EXPECT_ERR(EINVAL, sys(SYS_statx, AT_FDCWD, at("f").c_str(), 0, 0x80000000u, &stx));
  EXPECT_ERR(EFAULT, sys(SYS_statx, AT_FDCWD, bad(), 0, STATX_ALL, &stx));
  EXPECT_ERR(EFAULT, sys(SYS_statx, AT_FDCWD, at("f").c_str(), 0, STATX_ALL, bad()));
  Straddle page;
  EXPECT_ERR(EFAULT, sys(SYS_statx, AT_FDCWD, at("f").c_str(), 0, STATX_ALL, page.last(100)));
}

TEST_F(MetaTest, Chmod) {
  make_file("f");
  auto mode = [&] {
    struct stat st;
    EXPECT_OK(stat(at("f").c_str(), &st));
    return st.st_mode & 07777;
  };
  EXPECT_OK(sys(SYS_chmod, at("f").c_str(), 0600));
  EXPECT_EQ(0600u, mode());
  Fd fd(open(at("f").c_str(), O_RDONLY));
  EXPECT_OK(sys(SYS_fchmod, fd, 04755));
  EXPECT_EQ(04755u, mode());
  EXPECT_OK(sys(SYS_fchmodat, AT_FDCWD, at("f").c_str(), 0111));
  EXPECT_EQ(0111u, mode());
  EXPECT_ERR(ENOENT, sys(SYS_chmod, at("x").c_str(), 0600));
  EXPECT_ERR(ENOTDIR, sys(SYS_chmod, at("f/x").c_str(), 0600));
  EXPECT_ERR(EFAULT, sys(SYS_chmod, bad(), 0600));
  EXPECT_ERR(EBADF, sys(SYS_fchmod, dead_fd(), 0600));
  EXPECT_ERR(EBADF, sys(SYS_fchmodat, dead_fd(), "f", 0600));
  EXPECT_ERR(EFAULT, sys(SYS_fchmodat, AT_FDCWD, bad(), 0600));
  EXPECT_ERR(ENOENT, sys(SYS_fchmodat, AT_FDCWD, at("x").c_str(), 0600));
}

TEST_F(MetaTest, Fchmodat2) {
  make_file("f");
  ASSERT_OK(symlink("f", at("l").c_str()));
  struct stat st;
  EXPECT_OK(sys(kFchmodat2, AT_FDCWD, at("f").c_str(), 0611, 0));  // SYS_fchmodat2
  ASSERT_OK(stat(at("f").c_str(), &st));
  EXPECT_EQ(0611u, st.st_mode & 07777);
  EXPECT_ERR(EOPNOTSUPP, sys(kFchmodat2, AT_FDCWD, at("l").c_str(), 0600, AT_SYMLINK_NOFOLLOW));
  Fd fd(open(at("f").c_str(), O_PATH));
  EXPECT_OK(sys(kFchmodat2, fd, "", 0622, AT_EMPTY_PATH));
  EXPECT_ERR(EINVAL, sys(kFchmodat2, AT_FDCWD, at("f").c_str(), 0600, 0x8));
  EXPECT_ERR(EBADF, sys(kFchmodat2, dead_fd(), "f", 0600, 0));
  EXPECT_ERR(EFAULT, sys(kFchmodat2, AT_FDCWD, bad(), 0600, 0));
}

TEST_F(MetaTest, Chown) {
  SKIP_UNLESS_ROOT();
  make_file("f");
  ASSERT_OK(symlink("f", at("l").c_str()));
  auto owner = [&](const char* name) {
    struct stat st;
    EXPECT_OK(lstat(at(name).c_str(), &st));
    return std::pair<unsigned, unsigned>(st.st_uid, st.st_gid);
  };
  using Ids = std::pair<unsigned, unsigned>;
  EXPECT_OK(sys(SYS_chown, at("l").c_str(), 1, 2));
  EXPECT_EQ(Ids(1, 2), owner("f"));
  EXPECT_EQ(Ids(0, 0), owner("l"));
  EXPECT_OK(sys(SYS_lchown, at("l").c_str(), 3, 4));
  EXPECT_EQ(Ids(3, 4), owner("l"));
  EXPECT_OK(sys(SYS_chown, at("f").c_str(), -1, 5));
  EXPECT_EQ(Ids(1, 5), owner("f"));
  Fd fd(open(at("f").c_str(), O_RDONLY));
  EXPECT_OK(sys(SYS_fchown, fd, 6, -1));
  EXPECT_EQ(Ids(6, 5), owner("f"));
  EXPECT_OK(sys(SYS_fchownat, AT_FDCWD, at("l").c_str(), 7, 7, AT_SYMLINK_NOFOLLOW));
  EXPECT_EQ(Ids(7, 7), owner("l"));
  EXPECT_OK(sys(SYS_fchownat, fd, "", 8, 8, AT_EMPTY_PATH));
  EXPECT_EQ(Ids(8, 8), owner("f"));
  for (long nr : {SYS_chown, SYS_lchown}) {
    EXPECT_ERR(ENOENT, sys(nr, at("x").c_str(), 0, 0));
    EXPECT_ERR(EFAULT, sys(nr, bad(), 0, 0));
    EXPECT_ERR(ENOTDIR, sys(nr, at("f/x").c_str(), 0, 0));
  }
  EXPECT_ERR(EBADF, sys(SYS_fchown, dead_fd(), 0, 0));
  EXPECT_ERR(EBADF, sys(SYS_fchownat, dead_fd(), "f", 0, 0, 0));
  EXPECT_ERR(EINVAL, sys(SYS_fchownat, AT_FDCWD, at("f").c_str(), 0, 0, 0x8));
  EXPECT_ERR(EFAULT, sys(SYS_fchownat, AT_FDCWD, bad(), 0, 0, 0));
}

TEST_F(MetaTest, ChownDropsSetuidBits) {
  SKIP_UNLESS_ROOT();
  make_file("f", "", 06755);
  ASSERT_OK(chown(at("f").c_str(), 1, 1));
  struct stat st;
  ASSERT_OK(stat(at("f").c_str(), &st));
  EXPECT_EQ(0755u, st.st_mode & 07777);
}

TEST_F(MetaTest, WriteByUserDropsSetuidBits) {
  SKIP_UNLESS_ROOT();
  make_file("f", "", 04777);
  in_user_child([&] {
    Fd fd(open(at("f").c_str(), O_WRONLY));
    EXPECT_EQ(1, write(fd, "x", 1));
  });
  struct stat st;
  ASSERT_OK(stat(at("f").c_str(), &st));
  EXPECT_EQ(0777u, st.st_mode & 07777);
}

TEST_F(MetaTest, OnlyTheOwnerMayChange) {
  SKIP_UNLESS_ROOT();
  make_file("root", "", 0666);
  make_file("mine", "", 0644);
  ASSERT_OK(chown(at("mine").c_str(), kNobody, kNobody));
  in_user_child([&] {
    EXPECT_ERR(EPERM, chmod(at("root").c_str(), 0777));
    EXPECT_ERR(EPERM, chown(at("root").c_str(), kNobody, -1));
    EXPECT_ERR(EPERM, chown(at("mine").c_str(), 0, -1));
    EXPECT_ERR(EPERM, chown(at("mine").c_str(), -1, 0));
    EXPECT_OK(chown(at("mine").c_str(), -1, kNobody));
    EXPECT_OK(chmod(at("mine").c_str(), 0600));
    const timespec times[2] = {{1, 0}, {2, 0}};
    EXPECT_ERR(EPERM, utimensat(AT_FDCWD, at("root").c_str(), times, 0));
    EXPECT_OK(
        utimensat(AT_FDCWD, at("root").c_str(), nullptr, 0));  // "now" needs only write permission
    EXPECT_OK(utimensat(AT_FDCWD, at("mine").c_str(), times, 0));
  });
}

TEST_F(MetaTest, Utimensat) {
  make_file("f");
  struct stat st;
  timespec times[2] = {{1000, 123456789}, {2000, 987654321}};
  EXPECT_OK(sys(SYS_utimensat, AT_FDCWD, at("f").c_str(), times, 0));
  ASSERT_OK(stat(at("f").c_str(), &st));
  EXPECT_EQ(1000, st.st_atim.tv_sec);
  EXPECT_EQ(123456789, st.st_atim.tv_nsec);
  EXPECT_EQ(2000, st.st_mtim.tv_sec);
  EXPECT_EQ(987654321, st.st_mtim.tv_nsec);
  times[0].tv_nsec = UTIME_OMIT;
  times[1].tv_nsec = UTIME_NOW;
  EXPECT_OK(sys(SYS_utimensat, AT_FDCWD, at("f").c_str(), times, 0));
  ASSERT_OK(stat(at("f").c_str(), &st));
  EXPECT_EQ(1000, st.st_atim.tv_sec);
  EXPECT_GT(st.st_mtim.tv_sec, 1'000'000'000);
  Fd fd(open(at("f").c_str(), O_RDONLY));
  EXPECT_OK(sys(SYS_utimensat, fd, nullptr, nullptr, 0));
  ASSERT_OK(symlink("x", at("l").c_str()));
  times[0] = times[1] = {77, 0};
  EXPECT_OK(sys(SYS_utimensat, AT_FDCWD, at("l").c_str(), times, AT_SYMLINK_NOFOLLOW));
  ASSERT_OK(lstat(at("l").c_str(), &st));
  EXPECT_EQ(77, st.st_mtim.tv_sec);
  EXPECT_ERR(ENOENT, sys(SYS_utimensat, AT_FDCWD, at("l").c_str(), times, 0));
  times[0].tv_nsec = 1'000'000'000;
  EXPECT_ERR(EINVAL, sys(SYS_utimensat, AT_FDCWD, at("f").c_str(), times, 0));
  EXPECT_ERR(EINVAL, sys(SYS_utimensat, AT_FDCWD, at("f").c_str(), nullptr, 0x8));
  EXPECT_ERR(EFAULT, sys(SYS_utimensat, AT_FDCWD, at("f").c_str(), bad(), 0));
  EXPECT_ERR(EFAULT, sys(SYS_utimensat, AT_FDCWD, bad(), nullptr, 0));
  EXPECT_ERR(EFAULT, sys(SYS_utimensat, AT_FDCWD, nullptr, nullptr, 0));
  EXPECT_ERR(EBADF, sys(SYS_utimensat, dead_fd(), "f", nullptr, 0));
}

TEST_F(MetaTest, OldUtimes) {
  make_file("f");
  struct stat st;
  const utimbuf buf = {10, 20};
  EXPECT_OK(sys(SYS_utime, at("f").c_str(), &buf));
  ASSERT_OK(stat(at("f").c_str(), &st));
  EXPECT_EQ(10, st.st_atime);
  EXPECT_EQ(20, st.st_mtime);
  timeval tv[2] = {{30, 1}, {40, 2}};
  EXPECT_OK(sys(SYS_utimes, at("f").c_str(), tv));
  ASSERT_OK(stat(at("f").c_str(), &st));
  EXPECT_EQ(30, st.st_atime);
  EXPECT_EQ(2000, st.st_mtim.tv_nsec);
  tv[0].tv_sec = 50;
  EXPECT_OK(sys(SYS_futimesat, AT_FDCWD, at("f").c_str(), tv));
  ASSERT_OK(stat(at("f").c_str(), &st));
  EXPECT_EQ(50, st.st_atime);
  EXPECT_OK(sys(SYS_utime, at("f").c_str(), nullptr));
  EXPECT_OK(sys(SYS_utimes, at("f").c_str(), nullptr));
  tv[0].tv_usec = 1'000'000;
  EXPECT_ERR(EINVAL, sys(SYS_utimes, at("f").c_str(), tv));
  EXPECT_ERR(EINVAL, sys(SYS_futimesat, AT_FDCWD, at("f").c_str(), tv));
  EXPECT_ERR(ENOENT, sys(SYS_utime, at("x").c_str(), nullptr));
  EXPECT_ERR(ENOENT, sys(SYS_utimes, at("x").c_str(), nullptr));
  EXPECT_ERR(EFAULT, sys(SYS_utime, at("f").c_str(), bad()));
  EXPECT_ERR(EFAULT, sys(SYS_utimes, at("f").c_str(), bad()));
  EXPECT_ERR(EFAULT, sys(SYS_futimesat, AT_FDCWD, at("f").c_str(), bad()));
  EXPECT_ERR(EFAULT, sys(SYS_utime, bad(), nullptr));
  EXPECT_ERR(EBADF, sys(SYS_futimesat, dead_fd(), "f", nullptr));
}

TEST_F(MetaTest, ChangesTouchTheRightTimes) {
  make_file("f", "abc");
  const timespec old[2] = {{1000, 0}, {1000, 0}};
  struct stat st;
  auto reset = [&] { ASSERT_OK(utimensat(AT_FDCWD, at("f").c_str(), old, 0)); };
  auto mtime = [&] {
    EXPECT_OK(stat(at("f").c_str(), &st));
    return st.st_mtime;
  };
  reset();
  ASSERT_OK(chmod(at("f").c_str(), 0600));
  EXPECT_EQ(1000, mtime());
  EXPECT_GT(st.st_ctime, 1000);
  Fd fd(open(at("f").c_str(), O_WRONLY));
  EXPECT_EQ(1000, mtime());
  ASSERT_EQ(1, write(fd, "x", 1));
  EXPECT_GT(mtime(), 1000);
  reset();
  ASSERT_OK(truncate(at("f").c_str(), 1));
  EXPECT_GT(mtime(), 1000);
  // Making a name changes the directory.
  ASSERT_OK(utimensat(AT_FDCWD, dir_.path().c_str(), old, 0));
  make_file("g");
  ASSERT_OK(stat(dir_.path().c_str(), &st));
  EXPECT_GT(st.st_mtime, 1000);
}

TEST_F(MetaTest, Access) {
  make_file("f", "", 0640);
  EXPECT_OK(sys(SYS_access, at("f").c_str(), F_OK));
  EXPECT_OK(sys(SYS_access, at("f").c_str(), R_OK | W_OK));
  EXPECT_ERR(EACCES, sys(SYS_access, at("f").c_str(), X_OK));  // not even for root
  EXPECT_ERR(ENOENT, sys(SYS_access, at("x").c_str(), F_OK));
  EXPECT_ERR(ENOTDIR, sys(SYS_access, at("f/x").c_str(), F_OK));
  EXPECT_ERR(EINVAL, sys(SYS_access, at("f").c_str(), 8));
  EXPECT_ERR(EFAULT, sys(SYS_access, bad(), F_OK));
  EXPECT_OK(sys(SYS_faccessat, AT_FDCWD, at("f").c_str(), R_OK));
  EXPECT_ERR(EBADF, sys(SYS_faccessat, dead_fd(), "f", R_OK));
  EXPECT_ERR(EINVAL, sys(SYS_faccessat, AT_FDCWD, at("f").c_str(), 8));
  EXPECT_ERR(EFAULT, sys(SYS_faccessat, AT_FDCWD, bad(), R_OK));
  EXPECT_OK(sys(SYS_faccessat2, AT_FDCWD, at("f").c_str(), R_OK, AT_EACCESS));
  EXPECT_ERR(EINVAL, sys(SYS_faccessat2, AT_FDCWD, at("f").c_str(), R_OK, 0x8));
  EXPECT_ERR(ENOENT, sys(SYS_faccessat2, AT_FDCWD, at("x").c_str(), R_OK, 0));
  EXPECT_ERR(EFAULT, sys(SYS_faccessat2, AT_FDCWD, bad(), R_OK, 0));
  ASSERT_OK(symlink("x", at("l").c_str()));
  EXPECT_ERR(ENOENT, sys(SYS_faccessat2, AT_FDCWD, at("l").c_str(), F_OK, 0));
  EXPECT_OK(sys(SYS_faccessat2, AT_FDCWD, at("l").c_str(), F_OK, AT_SYMLINK_NOFOLLOW));
}

TEST_F(MetaTest, AccessUsesTheRealIds) {
  SKIP_UNLESS_ROOT();
  make_file("f", "", 0600);
  in_child([&] {
    ASSERT_OK(sys(SYS_setresuid, kNobody, 0, 0));
    EXPECT_ERR(EACCES, sys(SYS_access, at("f").c_str(), R_OK));
    EXPECT_OK(sys(SYS_faccessat2, AT_FDCWD, at("f").c_str(), R_OK, AT_EACCESS));
  });
}

TEST_F(MetaTest, GroupPermission) {
  SKIP_UNLESS_ROOT();
  make_file("f", "x", 0040);
  make_file("own", "x", 0044);  // the owner class decides, even if others could read
  ASSERT_OK(chown(at("f").c_str(), 0, 4321));
  ASSERT_OK(chown(at("own").c_str(), kNobody, kNobody));
  in_child([&] {
    const gid_t groups[] = {4321};
    ASSERT_OK(sys(SYS_setgroups, 1, groups));
    ASSERT_OK(sys(SYS_setresgid, kNobody, kNobody, kNobody));
    ASSERT_OK(sys(SYS_setresuid, kNobody, kNobody, kNobody));
    EXPECT_EQ("x", read_file(at("f")));
    EXPECT_ERR(EACCES, open(at("own").c_str(), O_RDONLY));
  });
}

TEST_F(MetaTest, Umask) {
  in_child([] {
    sys(SYS_umask, 022);
    EXPECT_EQ(022, sys(SYS_umask, 0777777));
    EXPECT_EQ(0777, sys(SYS_umask, 0));
    in_child([] { EXPECT_EQ(0, sys(SYS_umask, 7)); });
    EXPECT_EQ(0, sys(SYS_umask, 0));
  });
}

TEST_F(MetaTest, Statfs) {
  make_file("f");
  struct statfs a = {}, b = {};
  EXPECT_OK(sys(SYS_statfs, at("f").c_str(), &a));
  EXPECT_GT(a.f_bsize, 0);
  EXPECT_EQ(255, a.f_namelen);
  Fd fd(open(at("f").c_str(), O_RDONLY));
  EXPECT_OK(sys(SYS_fstatfs, fd, &b));
  EXPECT_EQ(a.f_type, b.f_type);
  EXPECT_OK(sys(SYS_statfs, "/proc", &a));
  EXPECT_EQ(0x9fa0, a.f_type);
  EXPECT_ERR(ENOENT, sys(SYS_statfs, at("x").c_str(), &a));
  EXPECT_ERR(ENOTDIR, sys(SYS_statfs, at("f/x").c_str(), &a));
  EXPECT_ERR(EBADF, sys(SYS_fstatfs, dead_fd(), &a));
  EXPECT_ERR(EFAULT, sys(SYS_statfs, bad(), &a));
  EXPECT_ERR(EFAULT, sys(SYS_statfs, "/", bad()));
  EXPECT_ERR(EFAULT, sys(SYS_fstatfs, fd, bad()));
  Straddle page;
  EXPECT_ERR(EFAULT, sys(SYS_statfs, "/", page.last(sizeof(a) - 1)));
}

TEST_F(MetaTest, Mknod) {
  struct stat st;
  EXPECT_OK(sys(SYS_mknod, at("fifo").c_str(), S_IFIFO | 0600, 0));
  ASSERT_OK(stat(at("fifo").c_str(), &st));
  EXPECT_TRUE(S_ISFIFO(st.st_mode));
  EXPECT_OK(sys(SYS_mknod, at("file").c_str(), 0644, 0));  // type 0 means a regular file
  ASSERT_OK(stat(at("file").c_str(), &st));
  EXPECT_TRUE(S_ISREG(st.st_mode));
  EXPECT_OK(sys(SYS_mknod, at("sock").c_str(), S_IFSOCK | 0600, 0));
  Fd dir(open(dir_.path().c_str(), O_RDONLY));
  EXPECT_OK(sys(SYS_mknodat, dir, "fifo2", S_IFIFO | 0600, 0));
  EXPECT_ERR(EEXIST, sys(SYS_mknod, at("fifo").c_str(), S_IFIFO | 0600, 0));
  EXPECT_ERR(EEXIST, sys(SYS_mknodat, dir, "fifo", S_IFIFO | 0600, 0));
  EXPECT_ERR(ENOENT, sys(SYS_mknod, at("x/y").c_str(), S_IFIFO | 0600, 0));
  EXPECT_ERR(ENOTDIR, sys(SYS_mknod, at("file/y").c_str(), S_IFIFO | 0600, 0));
  EXPECT_ERR(EPERM, sys(SYS_mknod, at("d").c_str(), S_IFDIR | 0600, 0));
  EXPECT_ERR(EINVAL, sys(SYS_mknod, at("d").c_str(), 0150000, 0));
  EXPECT_ERR(EFAULT, sys(SYS_mknod, bad(), S_IFIFO | 0600, 0));
  EXPECT_ERR(EBADF, sys(SYS_mknodat, dead_fd(), "d", S_IFIFO | 0600, 0));
  EXPECT_ERR(EFAULT, sys(SYS_mknodat, dir, bad(), S_IFIFO | 0600, 0));
}

TEST_F(MetaTest, DeviceNodesNeedPrivilege) {
  SKIP_UNLESS_ROOT();
  ASSERT_OK(chmod(dir_.path().c_str(), 0777));
  in_user_child(
      [&] { EXPECT_ERR(EPERM, mknod(at("null").c_str(), S_IFCHR | 0666, makedev(1, 3))); });
}

}  // namespace
}  // namespace run9::guest
