#include <linux/falloc.h>
#include <sys/xattr.h>

#include "vfs/testing/conformance.h"

namespace run9::vfs::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(Conformance);

std::string name_of(int i) { return "name" + std::to_string(i); }

TEST_P(Conformance, CreateWriteRead) {
  ASSERT_THAT(t.put("/f", "hello"), Works());
  EXPECT_THAT(t.get("/f"), Gives("hello"));
  auto st = t.stat("/f");
  ASSERT_THAT(st, Works());
  EXPECT_EQ(st.value().size, 5u);
  EXPECT_EQ(st.value().mode, S_IFREG | 0644u);
  EXPECT_EQ(st.value().nlink, 1u);
  EXPECT_NE(st.value().dev, 0u);
}

TEST_P(Conformance, OpenErrors) {
  ASSERT_THAT(t.put("/f", "x"), Works());
  ASSERT_THAT(t.mkdir("/d"), Works());
  ASSERT_THAT(t.symlink("f", "/l"), Works());
  EXPECT_THAT(t.open("/none", O_RDONLY), Fails(ENOENT));
  EXPECT_THAT(t.open("/f/x", O_RDONLY), Fails(ENOTDIR));
  EXPECT_THAT(t.open("/f/", O_RDONLY), Fails(ENOTDIR));
  EXPECT_THAT(t.open("/f", O_RDONLY | O_DIRECTORY), Fails(ENOTDIR));
  EXPECT_THAT(t.open("/d", O_WRONLY), Fails(EISDIR));
  EXPECT_THAT(t.open("/d", O_RDONLY | O_CREAT), Fails(EISDIR));
  EXPECT_THAT(t.open("/new/", O_RDONLY | O_CREAT), Fails(EISDIR));
  EXPECT_THAT(t.open("/f", O_RDONLY | O_CREAT | O_EXCL), Fails(EEXIST));
  EXPECT_THAT(t.open("/l", O_RDONLY | O_CREAT | O_EXCL), Fails(EEXIST));
  EXPECT_THAT(t.open("/l", O_RDONLY | O_NOFOLLOW), Fails(ELOOP));
  EXPECT_THAT(t.open("/l", O_RDONLY | O_NOFOLLOW | O_DIRECTORY), Fails(ENOTDIR));
  EXPECT_THAT(t.open("/l", O_PATH | O_NOFOLLOW), Works());
  EXPECT_THAT(t.open(std::string("/") + std::string(256, 'x'), O_RDONLY), Fails(ENAMETOOLONG));
  EXPECT_THAT(t.open(std::string(4096, '/'), O_RDONLY), Fails(ENAMETOOLONG));
  EXPECT_THAT(t.open("", O_RDONLY), Fails(ENOENT));
}

TEST_P(Conformance, CreateThroughDanglingLink) {
  ASSERT_THAT(t.mkdir("/d"), Works());
  ASSERT_THAT(t.symlink("d/target", "/l"), Works());
  ASSERT_THAT(t.put("/l", "through"), Works());
  EXPECT_THAT(t.get("/d/target"), Gives("through"));
}

TEST_P(Conformance, TruncateAndHoles) {
  ASSERT_THAT(t.put("/f", "0123456789"), Works());
  ASSERT_THAT(t.truncate("/f", 4), Works());
  EXPECT_THAT(t.get("/f"), Gives("0123"));
  ASSERT_THAT(t.truncate("/f", 6), Works());
  EXPECT_THAT(t.get("/f"), Gives(std::string("0123\0\0", 6)));
  ASSERT_THAT(t.open("/f", O_WRONLY | O_TRUNC), Works());
  EXPECT_EQ(t.stat("/f").value().size, 0u);
  EXPECT_THAT(t.truncate("/", 0), Fails(EISDIR));

  auto f = t.open("/f", O_RDWR).value();
  ASSERT_THAT(f->pwrite(t.ctx, as_bytes("end"), 1 << 20), Gives(3u));
  EXPECT_EQ(t.stat("/f").value().size, (1u << 20) + 3);
  std::byte hole[2];
  ASSERT_THAT(f->pread(t.ctx, hole, 5000), Gives(2u));
  EXPECT_EQ(hole[0], std::byte{0});
  EXPECT_THAT(f->seek(t.ctx, (1 << 20) + 3, SEEK_DATA), Fails(ENXIO));
}

TEST_P(Conformance, PositionsAndAppend) {
  auto f = t.open("/f", O_RDWR | O_CREAT | O_APPEND).value();
  ASSERT_THAT(f->write(t.ctx, as_bytes("ab")), Gives(2u));
  ASSERT_THAT(f->seek(t.ctx, 0, SEEK_SET), Gives(0u));
  ASSERT_THAT(f->write(t.ctx, as_bytes("cd")), Gives(2u));
  EXPECT_EQ(f->position(), 4u);
  EXPECT_THAT(t.get("/f"), Gives("abcd"));
  EXPECT_THAT(f->seek(t.ctx, -1, SEEK_END), Gives(3u));
  EXPECT_THAT(f->seek(t.ctx, -10, SEEK_CUR), Fails(EINVAL));
  std::byte b[8];
  EXPECT_THAT(f->read(t.ctx, b), Gives(1u));
  EXPECT_THAT(f->read(t.ctx, b), Gives(0u));
}

TEST_P(Conformance, Directories) {
  ASSERT_THAT(t.mkdir("/d"), Works());
  EXPECT_THAT(t.mkdir("/d"), Fails(EEXIST));
  EXPECT_THAT(t.mkdir("/d/"), Fails(EEXIST));
  EXPECT_THAT(t.mkdir("/none/x"), Fails(ENOENT));
  EXPECT_THAT(t.mkdir("/d/sub/"), Works());
  EXPECT_THAT(t.rmdir("/d"), Fails(ENOTEMPTY));
  EXPECT_THAT(t.rmdir("/d/sub/."), Fails(EINVAL));
  EXPECT_THAT(t.rmdir("/d/sub/.."), Fails(ENOTEMPTY));
  EXPECT_THAT(t.rmdir("/"), Fails(EBUSY));
  EXPECT_THAT(t.unlink("/d/sub"), Fails(EISDIR));
  EXPECT_THAT(t.rmdir("/d/sub"), Works());
  EXPECT_THAT(t.rmdir("/d/sub"), Fails(ENOENT));
  ASSERT_THAT(t.put("/d/f", ""), Works());
  EXPECT_THAT(t.rmdir("/d/f"), Fails(ENOTDIR));
  EXPECT_THAT(t.unlink("/d/f/"), Fails(ENOTDIR));
  EXPECT_THAT(t.unlink("/d/f"), Works());
  EXPECT_THAT(t.list("/d"), Gives(IsEmpty()));
}

TEST_P(Conformance, RemovedDirectoryTakesNoNames) {
  ASSERT_THAT(t.mkdir("/d"), Works());
  t.fc.cwd = t.at("/d").value();
  ASSERT_THAT(t.rmdir("/d"), Works());
  EXPECT_THAT(t.put("x", ""), Fails(ENOENT));
  EXPECT_THAT(t.mkdir("x"), Fails(ENOENT));
  EXPECT_THAT(t.stat("x"), Fails(ENOENT));
  EXPECT_THAT(t.stat("."), Works());
  EXPECT_EQ(t.ns.path_name(t.fc.cwd, t.fc.root), "/d (deleted)");
}

TEST_P(Conformance, UnlinkedFileLives) {
  auto f = t.open("/f", O_RDWR | O_CREAT).value();
  ASSERT_THAT(t.unlink("/f"), Works());
  EXPECT_THAT(t.stat("/f"), Fails(ENOENT));
  ASSERT_THAT(f->write(t.ctx, as_bytes("data")), Gives(4u));
  EXPECT_THAT(t.slurp(*f), Gives("data"));
  EXPECT_EQ(f->getattr(t.ctx).value().nlink, 0u);
  ASSERT_THAT(t.put("/f", "other"), Works());
  EXPECT_THAT(t.slurp(*f), Gives("data"));
}

TEST_P(Conformance, HardLinks) {
  ASSERT_THAT(t.put("/a", "one"), Works());
  ASSERT_THAT(t.link("/a", "/b"), Works());
  EXPECT_EQ(t.stat("/a").value().ino, t.stat("/b").value().ino);
  EXPECT_EQ(t.stat("/a").value().nlink, 2u);
  ASSERT_THAT(t.put("/b", "two"), Works());
  EXPECT_THAT(t.get("/a"), Gives("two"));
  EXPECT_THAT(t.link("/a", "/b"), Fails(EEXIST));
  ASSERT_THAT(t.mkdir("/d"), Works());
  EXPECT_THAT(t.link("/d", "/e"), Fails(EPERM));
  ASSERT_THAT(t.unlink("/a"), Works());
  EXPECT_EQ(t.stat("/b").value().nlink, 1u);
  ASSERT_THAT(t.symlink("b", "/s"), Works());
  ASSERT_THAT(t.link("/s", "/s2"), Works());
  EXPECT_THAT(t.readlink("/s2"), Gives("b"));
}

TEST_P(Conformance, Symlinks) {
  ASSERT_THAT(t.put("/f", "x"), Works());
  ASSERT_THAT(t.symlink("f", "/l1"), Works());
  ASSERT_THAT(t.symlink("/l1", "/l2"), Works());
  EXPECT_THAT(t.get("/l2"), Gives("x"));
  EXPECT_THAT(t.readlink("/l2"), Gives("/l1"));
  EXPECT_THAT(t.readlink("/f"), Fails(EINVAL));
  EXPECT_TRUE(S_ISLNK(t.lstat("/l2").value().mode));
  EXPECT_EQ(t.lstat("/l2").value().size, 3u);
  ASSERT_THAT(t.symlink("loop", "/loop"), Works());
  EXPECT_THAT(t.stat("/loop"), Fails(ELOOP));
  EXPECT_THAT(t.symlink("", "/empty"), Fails(ENOENT));
  EXPECT_THAT(t.symlink("x", "/f"), Fails(EEXIST));
}

TEST_P(Conformance, Rename) {
  ASSERT_THAT(t.mkdir("/d"), Works());
  ASSERT_THAT(t.mkdir("/e"), Works());
  ASSERT_THAT(t.put("/d/f", "f"), Works());
  ASSERT_THAT(t.rename("/d/f", "/e/g"), Works());
  EXPECT_THAT(t.stat("/d/f"), Fails(ENOENT));
  EXPECT_THAT(t.get("/e/g"), Gives("f"));
  EXPECT_THAT(t.rename("/d", "/e"), Fails(ENOTEMPTY));
  EXPECT_THAT(t.rename("/e", "/e/sub"), Fails(EINVAL));
  EXPECT_THAT(t.rename("/e/g", "/d"), Fails(EISDIR));
  EXPECT_THAT(t.rename("/d", "/e/g"), Fails(ENOTDIR));
  EXPECT_THAT(t.rename("/none", "/x"), Fails(ENOENT));
  EXPECT_THAT(t.rename("/e/g", "/x/"), Fails(ENOTDIR));
  EXPECT_THAT(t.rename("/e/.", "/x"), Fails(EBUSY));
  ASSERT_THAT(t.put("/x", "x"), Works());
  EXPECT_THAT(t.rename("/x", "/e/g", RenameFlags::kNoReplace), Fails(EEXIST));
  EXPECT_THAT(t.rename("/x", "/e/g"), Works());
  EXPECT_THAT(t.get("/e/g"), Gives("x"));
  EXPECT_THAT(t.list("/e"), Gives(ElementsAre("g")));
  EXPECT_THAT(t.rename("/e", "/d/moved"), Works());
  EXPECT_THAT(t.get("/d/moved/g"), Gives("x"));
  EXPECT_THAT(t.list("/"), Gives(ElementsAre("d")));
}

TEST_P(Conformance, RenameKeepsOpenPlaces) {
  ASSERT_THAT(t.mkdir("/d"), Works());
  ASSERT_THAT(t.mkdir("/d/sub"), Works());
  t.fc.cwd = t.at("/d/sub").value();
  ASSERT_THAT(t.rename("/d", "/e"), Works());
  EXPECT_EQ(t.ns.path_name(t.fc.cwd, t.fc.root), "/e/sub");
  ASSERT_THAT(t.put("../f", "up"), Works());
  EXPECT_THAT(t.get("/e/f"), Gives("up"));
}

TEST_P(Conformance, RenameSameInode) {
  ASSERT_THAT(t.put("/a", "x"), Works());
  ASSERT_THAT(t.link("/a", "/b"), Works());
  EXPECT_THAT(t.rename("/a", "/b"), Works());
  EXPECT_THAT(t.list("/"), Gives(ElementsAre("a", "b")));
}

TEST_P(Conformance, Exchange) {
  if (!GetParam().exchange) GTEST_SKIP();
  ASSERT_THAT(t.put("/a", "a"), Works());
  ASSERT_THAT(t.mkdir("/d"), Works());
  ASSERT_THAT(t.put("/d/b", "b"), Works());
  ASSERT_THAT(t.rename("/a", "/d/b", RenameFlags::kExchange), Works());
  EXPECT_THAT(t.get("/a"), Gives("b"));
  EXPECT_THAT(t.get("/d/b"), Gives("a"));
  EXPECT_THAT(t.rename("/a", "/none", RenameFlags::kExchange), Fails(ENOENT));
  EXPECT_THAT(t.rename("/a", "/d", RenameFlags::kExchange | RenameFlags::kNoReplace),
              Fails(EINVAL));
  EXPECT_THAT(t.rename("/a", "/d", RenameFlags::kExchange), Works());
  EXPECT_THAT(t.get("/d"), Gives("b"));
  EXPECT_THAT(t.get("/a/b"), Gives("a"));
}

TEST_P(Conformance, LinkCountsOfDirectories) {
  ASSERT_THAT(t.mkdir("/d"), Works());
  ASSERT_THAT(t.mkdir("/d/e"), Works());
  EXPECT_TRUE(S_ISDIR(t.stat("/d").value().mode));
  auto up = t.stat("/d/e/..");
  ASSERT_THAT(up, Works());
  EXPECT_EQ(up.value().ino, t.stat("/d").value().ino);
}

TEST_P(Conformance, ReadDirInPieces) {
  ASSERT_THAT(t.mkdir("/d"), Works());
  std::set<std::string> expected;
  for (int i = 0; i < 100; ++i) {
    ASSERT_THAT(t.put("/d/" + name_of(i), ""), Works());
    expected.insert(name_of(i));
  }
  EXPECT_THAT(t.list("/d"), Gives(expected));
}

TEST_P(Conformance, ReadDirWhileRemoving) {
  ASSERT_THAT(t.mkdir("/d"), Works());
  for (int i = 0; i < 50; ++i) ASSERT_THAT(t.put("/d/" + name_of(i), ""), Works());
  // rm -r: remove what was read, read on.
  auto dir = t.open("/d", O_RDONLY | O_DIRECTORY).value();
  struct Sink : DirSink {
    bool add(const DirEntry& e) override {
      if (names.size() == 7) return false;
      names.emplace_back(e.name);
      return true;
    }
    std::vector<std::string> names;
  };
  int removed = 0;
  while (true) {
    Sink sink;
    ASSERT_THAT(dir->readdir(t.ctx, sink), Works());
    if (sink.names.empty()) break;
    for (const auto& n : sink.names) {
      if (n == "." || n == "..") continue;
      ASSERT_THAT(t.unlink("/d/" + n), Works());
      ++removed;
    }
  }
  EXPECT_EQ(removed, 50);
  EXPECT_THAT(t.rmdir("/d"), Works());
}

TEST_P(Conformance, ModesAndOwners) {
  ASSERT_THAT(t.put("/f", "x", 0600), Works());
  ASSERT_THAT(t.chmod("/f", 04755), Works());
  EXPECT_EQ(t.stat("/f").value().mode, S_IFREG | 04755u);
  if (!GetParam().owners) return;
  ASSERT_THAT(t.chown("/f", 5, 6), Works());
  auto st = t.stat("/f").value();
  EXPECT_EQ(st.uid, 5u);
  EXPECT_EQ(st.gid, 6u);
  EXPECT_EQ(st.mode, S_IFREG | 0755u) << "chown clears set-user-ID";
  t.ctx.become(7, 7);
  EXPECT_THAT(t.chmod("/f", 0777), Fails(EPERM));
  EXPECT_THAT(t.chown("/f", 7, 7), Fails(EPERM));
  EXPECT_THAT(t.open("/f", O_WRONLY), Fails(EACCES));
  EXPECT_THAT(t.open("/f", O_RDONLY), Works());
}

TEST_P(Conformance, Umask) {
  t.fc.umask = 027;
  ASSERT_THAT(t.open("/f", O_CREAT | O_WRONLY, 0666), Works());
  ASSERT_THAT(t.mkdir("/d", 0777), Works());
  EXPECT_EQ(t.stat("/f").value().mode & 07777, 0640u);
  EXPECT_EQ(t.stat("/d").value().mode & 07777, 0750u);
}

TEST_P(Conformance, Times) {
  ASSERT_THAT(t.put("/f", "x"), Works());
  const SetAttr a{.valid = kSetAtime | kSetMtime, .atime = {5, 6}, .mtime = {7, 8}};
  ASSERT_THAT(t.ns.setattr(t.ctx, t.at("/f").value(), a), Works());
  auto st = t.stat("/f").value();
  EXPECT_EQ(st.atime, (Timespec{5, 6}));
  EXPECT_EQ(st.mtime, (Timespec{7, 8}));
}

TEST_P(Conformance, FifosAndSockets) {
  ASSERT_THAT(t.mknod("/fifo", S_IFIFO | 0600), Works());
  ASSERT_THAT(t.mknod("/sock", S_IFSOCK | 0600), Works());
  EXPECT_TRUE(S_ISFIFO(t.stat("/fifo").value().mode));
  EXPECT_TRUE(S_ISSOCK(t.stat("/sock").value().mode));
  EXPECT_THAT(t.mknod("/d", S_IFDIR | 0700), Fails(EPERM));
  if (!GetParam().devices) return;
  ASSERT_THAT(t.mknod("/null", S_IFCHR | 0666, 0x103), Works());
  EXPECT_EQ(t.stat("/null").value().rdev, 0x103u);
  EXPECT_THAT(t.open("/null", O_RDWR), Fails(ENXIO));
  t.ctx.become(0, 0);
  EXPECT_THAT(t.mknod("/null2", S_IFCHR | 0666, 0x103), Fails(EPERM));
}

TEST_P(Conformance, ExtendedAttributes) {
  if (!GetParam().xattrs) GTEST_SKIP();
  ASSERT_THAT(t.put("/f", ""), Works());
  const Path f = t.at("/f").value();
  ASSERT_THAT(t.ns.setxattr(t.ctx, f, "user.a", as_bytes("1"), 0), Works());
  EXPECT_THAT(t.ns.setxattr(t.ctx, f, "user.a", as_bytes("2"), XATTR_CREATE), Fails(EEXIST));
  EXPECT_THAT(t.ns.setxattr(t.ctx, f, "user.b", as_bytes("2"), XATTR_REPLACE), Fails(ENODATA));
  auto value = t.ns.getxattr(t.ctx, f, "user.a");
  ASSERT_THAT(value, Works());
  EXPECT_EQ(as_chars(value.value()), "1");
  EXPECT_THAT(t.ns.listxattr(t.ctx, f), Gives(ElementsAre("user.a")));
  EXPECT_THAT(t.ns.removexattr(t.ctx, f, "user.a"), Works());
  EXPECT_THAT(t.ns.getxattr(t.ctx, f, "user.a"), Fails(ENODATA));
}

TEST_P(Conformance, Tmpfile) {
  if (!GetParam().tmpfile) GTEST_SKIP();
  auto f = t.open("/", O_TMPFILE | O_RDWR, 0600);
  ASSERT_THAT(f, Works());
  ASSERT_THAT(f.value()->write(t.ctx, as_bytes("tmp")), Works());
  EXPECT_THAT(t.list("/"), Gives(IsEmpty()));
  ASSERT_THAT(t.ns.link(t.ctx, t.fc, f.value()->path(), t.fc.cwd, "/named"), Works());
  EXPECT_THAT(t.get("/named"), Gives("tmp"));
  auto excl = t.open("/", O_TMPFILE | O_RDWR | O_EXCL, 0600);
  ASSERT_THAT(excl, Works());
  EXPECT_THAT(t.ns.link(t.ctx, t.fc, excl.value()->path(), t.fc.cwd, "/no"), Fails(ENOENT));
}

TEST_P(Conformance, Fallocate) {
  if (!GetParam().fallocate) GTEST_SKIP();
  ASSERT_THAT(t.put("/f", std::string(10000, 'x')), Works());
  auto f = t.open("/f", O_RDWR).value();
  ASSERT_THAT(f->fallocate(t.ctx, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096, 4096), Works());
  auto text = t.slurp(*f).value();
  EXPECT_EQ(text.size(), 10000u);
  EXPECT_EQ(text[4095], 'x');
  EXPECT_EQ(text[4096], '\0');
  EXPECT_EQ(text[8192], 'x');
  ASSERT_THAT(f->fallocate(t.ctx, 0, 0, 20000), Works());
  EXPECT_EQ(f->getattr(t.ctx).value().size, 20000u);
  ASSERT_THAT(f->fallocate(t.ctx, FALLOC_FL_KEEP_SIZE, 0, 90000), Works());
  EXPECT_EQ(f->getattr(t.ctx).value().size, 20000u);
}

TEST_P(Conformance, MapSourceSharesTheData) {
  ASSERT_THAT(t.put("/f", "mapped"), Works());
  auto f = t.open("/f", O_RDWR).value();
  auto m = f->map_source(t.ctx, true, false);
  ASSERT_THAT(m, Works());
  char buf[6];
  ASSERT_EQ(::pread(m.value().fd->get(), buf, 6, 0), 6);
  EXPECT_EQ(std::string_view(buf, 6), "mapped");
  ASSERT_THAT(f->pwrite(t.ctx, as_bytes("M"), 0), Works());
  ASSERT_EQ(::pread(m.value().fd->get(), buf, 6, 0), 6);
  EXPECT_EQ(std::string_view(buf, 6), "Mapped");
}

TEST_P(Conformance, LongRelativeWalks) {
  std::string path;
  for (int i = 0; i < 30; ++i) {
    path += "/d";
    ASSERT_THAT(t.mkdir(path), Works());
  }
  ASSERT_THAT(t.put(path + "/f", "deep"), Works());
  t.ns.set_cache_limit(0);
  EXPECT_THAT(t.get(path + "/f"), Gives("deep"));
  EXPECT_THAT(t.get(path + "/../d/./f"), Gives("deep"));
  EXPECT_THAT(t.stat(path + "/none/f"), Fails(ENOENT));
  EXPECT_THAT(t.stat(path + "/f/none"), Fails(ENOTDIR));
}

}  // namespace
}  // namespace run9::vfs::testing
