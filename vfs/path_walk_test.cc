#include "vfs/path_walk.h"

#include <gtest/gtest.h>
#include <sys/mount.h>

#include "vfs/testing/context.h"
#include "vfs/tmpfs/tmpfs.h"

namespace run9::vfs::testing {
namespace {

using ::testing::ElementsAre;

class PathWalkTest : public ::testing::Test {
 protected:
  static FileSystemRef fs(uint32_t mode = 0755) { return make_tmpfs({.mode = mode}, {}); }
  Result<Path> resolve(std::string_view start, std::string_view path, uint32_t flags) {
    return t.ns.walk(t.ctx, t.fc, TRY(t.at(start)), path, flags | kFollow);
  }
  MountRef mount(std::string_view where, uint32_t flags = 0, FileSystemRef what = fs()) {
    return t.ns.mount(t.ctx, std::move(what), t.at(where).value(), flags, "test").value();
  }
  std::string name(const Path& p) { return t.ns.path_name(p, t.fc.root); }
  Tree t{fs()};
};

TEST_F(PathWalkTest, DotsAndRootClamp) {
  ASSERT_THAT(t.mkdir("/a"), Works());
  ASSERT_THAT(t.mkdir("/a/b"), Works());
  EXPECT_EQ(name(t.at("/a/./b/../b//").value()), "/a/b");
  EXPECT_EQ(name(t.at("/../../a").value()), "/a");
  t.fc.root = t.at("/a").value();
  EXPECT_EQ(name(t.at("/..").value()), "/");
  EXPECT_EQ(name(t.at("/b/../..").value()), "/");
  EXPECT_THAT(t.at("/a"), Fails(ENOENT));
}

TEST_F(PathWalkTest, SearchPermissionOnEveryDirectory) {
  ASSERT_THAT(t.mkdir("/a", 0700), Works());
  ASSERT_THAT(t.put("/a/f", "x"), Works());
  t.ctx.become(1, 1);
  EXPECT_THAT(t.stat("/a/f"), Fails(EACCES));
  EXPECT_THAT(t.stat("/a/none"), Fails(EACCES));
  EXPECT_THAT(t.stat("/a"), Works());
}

TEST_F(PathWalkTest, FortyLinksAreFollowed) {
  ASSERT_THAT(t.put("/l0", "end"), Works());
  for (int i = 1; i <= 41; ++i) {
    ASSERT_THAT(t.symlink("l" + std::to_string(i - 1), "/l" + std::to_string(i)), Works());
  }
  EXPECT_THAT(t.get("/l40"), Gives("end"));
  EXPECT_THAT(t.get("/l41"), Fails(ELOOP));
}

TEST_F(PathWalkTest, ResolveFlags) {
  ASSERT_THAT(t.mkdir("/a"), Works());
  ASSERT_THAT(t.mkdir("/a/m"), Works());
  ASSERT_THAT(t.put("/a/f", ""), Works());
  ASSERT_THAT(t.symlink("/a/f", "/a/abs"), Works());
  ASSERT_THAT(t.symlink("/f", "/a/root"), Works());
  ASSERT_THAT(t.symlink("../x", "/a/out"), Works());
  mount("/a/m");
  EXPECT_THAT(resolve("/a", "f", kBeneath), Works());
  EXPECT_THAT(resolve("/a", "..", kBeneath), Fails(EXDEV));
  EXPECT_THAT(resolve("/a", "m/..", kBeneath), Works());
  EXPECT_THAT(resolve("/a", "out", kBeneath), Fails(EXDEV));
  EXPECT_THAT(resolve("/a", "abs", kBeneath), Fails(EXDEV));
  EXPECT_THAT(resolve("/a", "/a/f", kBeneath), Fails(EXDEV));
  EXPECT_THAT(resolve("/a", "root", kInRoot), Works());
  EXPECT_THAT(resolve("/a", "/../../f", kInRoot), Works());
  EXPECT_THAT(resolve("/a", "m", kNoXdev), Fails(EXDEV));
  EXPECT_THAT(resolve("/a/m", "..", kNoXdev), Fails(EXDEV));
  EXPECT_THAT(resolve("/a", "abs", kNoSymlinks), Fails(ELOOP));
}

TEST_F(PathWalkTest, StickyDirectories) {
  ASSERT_THAT(t.mkdir("/tmp", 0777), Works());
  ASSERT_THAT(t.chmod("/tmp", 01777), Works());
  t.ctx.become(1, 1);
  ASSERT_THAT(t.put("/tmp/f", ""), Works());
  ASSERT_THAT(t.put("/tmp/g", ""), Works());
  t.ctx.become(2, 2);
  EXPECT_THAT(t.unlink("/tmp/f"), Fails(EPERM));
  EXPECT_THAT(t.rename("/tmp/f", "/tmp/h"), Fails(EPERM));
  ASSERT_THAT(t.put("/tmp/mine", ""), Works());
  EXPECT_THAT(t.rename("/tmp/mine", "/tmp/f"), Fails(EPERM));
  t.ctx.become(1, 1);
  EXPECT_THAT(t.unlink("/tmp/f"), Works());
}

TEST_F(PathWalkTest, SetGroupIdDirectories) {
  ASSERT_THAT(t.mkdir("/d"), Works());
  ASSERT_THAT(t.chown("/d", 1, 50), Works());
  ASSERT_THAT(t.chmod("/d", 02777), Works());
  t.ctx.become(1, 1);
  ASSERT_THAT(t.open("/d/f", O_CREAT | O_WRONLY, 02777), Works());
  ASSERT_THAT(t.mkdir("/d/sub"), Works());
  EXPECT_EQ(t.stat("/d/f").value().gid, 50u);
  EXPECT_EQ(t.stat("/d/f").value().mode & 07777, 0777u);
  EXPECT_EQ(t.stat("/d/sub").value().gid, 50u);
  EXPECT_EQ(t.stat("/d/sub").value().mode & 07777, 02755u);
}

TEST_F(PathWalkTest, CreatorMayWriteReadOnlyFile) {
  ASSERT_THAT(t.mkdir("/d", 0777), Works());
  t.ctx.become(1, 1);
  EXPECT_THAT(t.open("/d/f", O_CREAT | O_RDWR, 0400), Works());
  EXPECT_THAT(t.open("/d/f", O_RDWR), Fails(EACCES));
  EXPECT_THAT(t.open("/d/f", O_RDONLY | O_TRUNC), Fails(EACCES));
  t.ctx.become(2, 2);
  EXPECT_THAT(t.open("/d/f", O_RDONLY | O_NOATIME), Fails(EACCES));
}

TEST_F(PathWalkTest, WriteClearsSetIds) {
  ASSERT_THAT(t.put("/f", ""), Works());
  ASSERT_THAT(t.chmod("/f", 06777), Works());
  t.ctx.become(1, 1);
  auto f = t.open("/f", O_WRONLY).value();
  EXPECT_EQ(t.stat("/f").value().mode & 07777, 06777u);
  ASSERT_THAT(f->write(t.ctx, as_bytes("x")), Works());
  EXPECT_EQ(t.stat("/f").value().mode & 07777, 0777u);
}

TEST_F(PathWalkTest, PathFilesOnlyName) {
  ASSERT_THAT(t.put("/f", "x"), Works());
  auto f = t.open("/f", O_PATH).value();
  std::byte b[1];
  EXPECT_THAT(f->read(t.ctx, b), Fails(EBADF));
  EXPECT_THAT(f->getattr(t.ctx), Works());
  EXPECT_THAT(t.ns.open_path(t.ctx, f->path(), O_RDONLY), Works());
}

TEST_F(PathWalkTest, MountsHideAndShow) {
  ASSERT_THAT(t.mkdir("/m"), Works());
  ASSERT_THAT(t.put("/m/under", ""), Works());
  mount("/m");
  ASSERT_THAT(t.put("/m/over", ""), Works());
  EXPECT_THAT(t.list("/m"), Gives(ElementsAre("over")));
  EXPECT_THAT(t.list("/m/.."), Gives(ElementsAre("m")));
  EXPECT_EQ(name(t.at("/m/over").value()), "/m/over");
  EXPECT_NE(t.stat("/m").value().dev, t.stat("/").value().dev);
  EXPECT_THAT(t.rmdir("/m"), Fails(EBUSY));
  EXPECT_THAT(t.rename("/m", "/n"), Fails(EBUSY));
  EXPECT_THAT(t.rename("/m/over", "/over"), Fails(EXDEV));
  EXPECT_THAT(t.link("/m/over", "/over"), Fails(EXDEV));
  auto busy = t.open("/m/over", O_RDONLY).value();
  EXPECT_THAT(t.ns.umount(t.ctx, t.at("/m").value(), 0), Fails(EBUSY));
  busy.reset();
  EXPECT_THAT(t.ns.umount(t.ctx, t.at("/m").value(), 0), Works());
  EXPECT_THAT(t.list("/m"), Gives(ElementsAre("under")));
  EXPECT_THAT(t.ns.umount(t.ctx, t.at("/m").value(), 0), Fails(EINVAL));
}

TEST_F(PathWalkTest, DetachedMountLivesOn) {
  ASSERT_THAT(t.mkdir("/m"), Works());
  mount("/m");
  auto f = t.open("/m/f", O_CREAT | O_RDWR).value();
  ASSERT_THAT(t.ns.umount(t.ctx, t.at("/m").value(), MNT_DETACH), Works());
  EXPECT_THAT(f->write(t.ctx, as_bytes("x")), Works());
  EXPECT_EQ(name(f->path()), "(unreachable)/f");
}

TEST_F(PathWalkTest, ReadOnlyMounts) {
  ASSERT_THAT(t.mkdir("/m"), Works());
  auto m = mount("/m");
  ASSERT_THAT(t.put("/m/f", "x"), Works());
  m->flags |= kMntReadOnly;
  EXPECT_THAT(t.put("/m/g", ""), Fails(EROFS));
  EXPECT_THAT(t.open("/m/f", O_WRONLY), Fails(EROFS));
  EXPECT_THAT(t.open("/m/f", O_RDONLY | O_CREAT), Works());
  EXPECT_THAT(t.unlink("/m/f"), Fails(EROFS));
  EXPECT_THAT(t.unlink("/m/none"), Fails(EROFS));
  EXPECT_THAT(t.mkdir("/m/f"), Fails(EEXIST));
  EXPECT_THAT(t.mkdir("/m/d"), Fails(EROFS));
  EXPECT_THAT(t.chmod("/m/f", 0), Fails(EROFS));
  EXPECT_THAT(t.truncate("/m/f", 0), Fails(EROFS));
  EXPECT_THAT(t.rename("/m/f", "/m/g"), Fails(EROFS));
  EXPECT_THAT(t.ns.access(t.ctx, t.at("/m/f").value(), kMayWrite), Fails(EROFS));
}

TEST_F(PathWalkTest, BindOfFilesAndTrees) {
  ASSERT_THAT(t.mkdir("/a"), Works());
  ASSERT_THAT(t.mkdir("/a/m"), Works());
  ASSERT_THAT(t.mkdir("/b"), Works());
  mount("/a/m");
  ASSERT_THAT(t.put("/a/m/f", "x"), Works());
  auto bind = [&](std::string_view from, std::string_view to, bool recursive) {
    return t.ns.bind(t.ctx, t.at(from).value(), t.at(to).value(), recursive, 0);
  };
  ASSERT_THAT(bind("/a", "/b", false), Works());
  EXPECT_THAT(t.stat("/b/m/f"), Fails(ENOENT));
  ASSERT_THAT(t.ns.umount(t.ctx, t.at("/b").value(), 0), Works());
  ASSERT_THAT(bind("/a", "/b", true), Works());
  EXPECT_THAT(t.get("/b/m/f"), Gives("x"));
  EXPECT_EQ(name(t.at("/b/m/f").value()), "/b/m/f");
  EXPECT_THAT(t.ns.umount(t.ctx, t.at("/b").value(), 0), Fails(EBUSY));
  ASSERT_THAT(t.put("/file", "1"), Works());
  ASSERT_THAT(t.put("/other", "2"), Works());
  ASSERT_THAT(bind("/file", "/other", false), Works());
  EXPECT_THAT(t.get("/other"), Gives("1"));
  EXPECT_THAT(bind("/file", "/a", false), Fails(ENOTDIR));
  EXPECT_THAT(t.unlink("/other"), Fails(EBUSY));
}

TEST_F(PathWalkTest, MoveAndPivot) {
  ASSERT_THAT(t.mkdir("/a"), Works());
  ASSERT_THAT(t.mkdir("/b"), Works());
  mount("/a");
  ASSERT_THAT(t.mkdir("/a/old"), Works());
  ASSERT_THAT(t.put("/a/here", ""), Works());
  ASSERT_THAT(t.ns.move(t.ctx, t.at("/a").value(), t.at("/b").value()), Works());
  EXPECT_THAT(t.stat("/a/here"), Fails(ENOENT));
  EXPECT_THAT(t.stat("/b/here"), Works());
  ASSERT_THAT(t.ns.pivot_root(t.ctx, t.fc, t.at("/b").value(), t.at("/b/old").value()), Works());
  EXPECT_THAT(t.list("/"), Gives(ElementsAre("here", "old")));
  EXPECT_THAT(t.list("/old"), Gives(ElementsAre("a", "b")));
  EXPECT_EQ(t.ns.root(), t.fc.root);
  EXPECT_EQ(name(t.at("/old/a").value()), "/old/a");
  EXPECT_THAT(t.ns.umount(t.ctx, t.at("/old").value(), MNT_DETACH), Works());
  EXPECT_THAT(t.list("/old"), Gives(::testing::IsEmpty()));
}

TEST_F(PathWalkTest, PivotOntoItself) {
  ASSERT_THAT(t.mkdir("/new"), Works());
  mount("/new");
  ASSERT_THAT(t.put("/new/here", ""), Works());
  t.fc.cwd = t.at("/new").value();
  ASSERT_THAT(t.ns.pivot_root(t.ctx, t.fc, t.at(".").value(), t.at(".").value()), Works());
  ASSERT_THAT(t.ns.umount(t.ctx, t.at(".").value(), MNT_DETACH), Works());
  EXPECT_THAT(t.list("/"), Gives(ElementsAre("here")));
  EXPECT_EQ(t.ns.mounts().size(), 1u);
}

TEST_F(PathWalkTest, ClonedNamespaceIsItsOwn) {
  ASSERT_THAT(t.mkdir("/m"), Works());
  ASSERT_THAT(t.mkdir("/n"), Works());
  mount("/m");
  ASSERT_THAT(t.put("/m/f", ""), Works());
  FsContext other = t.fc;
  auto copy = t.ns.clone(other);
  EXPECT_THAT(copy->walk(t.ctx, other, other.root, "/m/f", 0), Works());
  ASSERT_THAT(t.ns.umount(t.ctx, t.at("/m").value(), 0), Works());
  EXPECT_THAT(t.stat("/m/f"), Fails(ENOENT));
  EXPECT_THAT(copy->walk(t.ctx, other, other.root, "/m/f", 0), Works());
  mount("/n");
  const Path n = copy->walk(t.ctx, other, other.root, "/n", 0).value();
  EXPECT_EQ(n.mount, other.root.mount);
}

TEST_F(PathWalkTest, SmallCacheStillWorks) {
  t.ns.set_cache_limit(4);
  for (int i = 0; i < 50; ++i) ASSERT_THAT(t.put("/f" + std::to_string(i), "x"), Works());
  for (int i = 0; i < 50; ++i) EXPECT_THAT(t.get("/f" + std::to_string(i)), Gives("x"));
}

TEST_F(PathWalkTest, DeepTreesDieWithoutRecursion) {
  for (int i = 0; i < 50000; ++i) {
    ASSERT_THAT(t.mkdir("d"), Works());
    t.fc.cwd = t.at("d").value();
  }
  t.ns.set_cache_limit(0);
  t.fc.cwd = t.fc.root;
}

}  // namespace
}  // namespace run9::vfs::testing
