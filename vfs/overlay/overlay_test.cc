#include "vfs/overlay/overlay.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "vfs/testing/context.h"
#include "vfs/tmpfs/tmpfs.h"

namespace run9::vfs::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class OverlayTest : public ::testing::Test {
 protected:
  OverlayTest() {
    EXPECT_THAT(low.mkdir("/d"), Works());
    EXPECT_THAT(low.mkdir("/d/sub"), Works());
    EXPECT_THAT(low.put("/d/f", "lower f"), Works());
    EXPECT_THAT(low.put("/d/g", "lower g"), Works());
    EXPECT_THAT(low.put("/big", std::string(700000, 'b')), Works());
    EXPECT_THAT(low.chmod("/d/f", 0640), Works());
  }
  static OverlayLayer layer(const FileSystemRef& fs) { return {fs, fs->root()}; }
  FileSystemRef lower = make_tmpfs({.mode = 0755}, {});
  FileSystemRef upper = make_tmpfs({.mode = 0755}, {});
  Tree low{lower};
  Tree up{upper};
  Tree t{make_overlay(layer(upper), {layer(lower)}).value()};
};

TEST_F(OverlayTest, ReadsThrough) {
  EXPECT_THAT(t.get("/d/f"), Gives("lower f"));
  EXPECT_THAT(t.list("/d"), Gives(ElementsAre("f", "g", "sub")));
  EXPECT_THAT(t.list("/"), Gives(ElementsAre("big", "d")));
}

TEST_F(OverlayTest, WriteCopiesUp) {
  auto reader = t.open("/d/f", O_RDONLY).value();
  const Stat before = t.stat("/d/f").value();
  auto f = t.open("/d/f", O_RDWR).value();
  ASSERT_THAT(f->pwrite(t.ctx, as_bytes("UPPER"), 0), Works());
  EXPECT_THAT(t.get("/d/f"), Gives("UPPER f"));
  EXPECT_THAT(t.slurp(*reader), Gives("UPPER f"));
  EXPECT_THAT(low.get("/d/f"), Gives("lower f"));
  const Stat after = t.stat("/d/f").value();
  EXPECT_EQ(after.ino, before.ino);
  EXPECT_EQ(after.mode, before.mode);
  EXPECT_THAT(t.list("/d"), Gives(ElementsAre("f", "g", "sub")));
  t.ns.set_cache_limit(0);
  reader.reset();
  f.reset();
  EXPECT_EQ(t.stat("/d/f").value().ino, before.ino) << "looked up anew";
  EXPECT_THAT(t.ns.listxattr(t.ctx, t.at("/d/f").value()), Gives(IsEmpty()));
}

TEST_F(OverlayTest, WhoReadsByDescriptorsHearsOfCopies) {
  auto reader = t.open("/big", O_RDONLY).value(), other = t.open("/d/f", O_RDONLY).value();
  const auto source = reader->read_source(t.ctx).value();
  ASSERT_NE(nullptr, source.fd);
  EXPECT_TRUE(source.is_memory);
  ASSERT_THAT(t.chmod("/d/f", 0600), Works());
  EXPECT_EQ(0, t.ctx.copied_up_);
  ASSERT_THAT(t.chmod("/big", 0600), Works());
  EXPECT_EQ(1, t.ctx.copied_up_);
  ASSERT_THAT(t.open("/big", O_RDWR).value()->pwrite(t.ctx, as_bytes("new"), 0), Works());
  char text[4] = {};
  ASSERT_EQ(3, ::pread(source.fd->get(), text, 3, 0));
  EXPECT_STREQ("bbb", text);
  ASSERT_EQ(3, ::pread(reader->read_source(t.ctx).value().fd->get(), text, 3, 0));
  EXPECT_STREQ("new", text);
  EXPECT_EQ(1, t.ctx.copied_up_);
}

TEST_F(OverlayTest, BigFilesAndTruncation) {
  ASSERT_THAT(t.chmod("/big", 0600), Works());
  EXPECT_THAT(t.get("/big"), Gives(std::string(700000, 'b')));
  ASSERT_THAT(t.truncate("/d/g", 5), Works());
  EXPECT_THAT(t.get("/d/g"), Gives("lower"));
}

TEST_F(OverlayTest, RemovedNamesStayRemoved) {
  auto open = t.open("/d/f", O_RDONLY).value();
  ASSERT_THAT(t.unlink("/d/f"), Works());
  EXPECT_EQ(open->getattr(t.ctx).value().nlink, 0u);
  EXPECT_THAT(t.slurp(*open), Gives("lower f"));
  t.ns.set_cache_limit(0);
  EXPECT_THAT(t.stat("/d/f"), Fails(ENOENT));
  EXPECT_THAT(t.list("/d"), Gives(ElementsAre("g", "sub")));
  EXPECT_TRUE(S_ISCHR(up.stat("/d/f").value().mode));
  ASSERT_THAT(t.put("/d/f", "new"), Works());
  EXPECT_THAT(t.get("/d/f"), Gives("new"));
  EXPECT_THAT(t.list("/d"), Gives(ElementsAre("f", "g", "sub")));
}

TEST_F(OverlayTest, RemovedAndMadeDirectoriesAreOpaque) {
  EXPECT_THAT(t.rmdir("/d"), Fails(ENOTEMPTY));
  ASSERT_THAT(t.unlink("/d/f"), Works());
  ASSERT_THAT(t.unlink("/d/g"), Works());
  ASSERT_THAT(t.rmdir("/d/sub"), Works());
  EXPECT_THAT(t.list("/d"), Gives(IsEmpty()));
  ASSERT_THAT(t.rmdir("/d"), Works());
  EXPECT_THAT(t.stat("/d"), Fails(ENOENT));
  ASSERT_THAT(t.mkdir("/d"), Works());
  t.ns.set_cache_limit(0);
  EXPECT_THAT(t.list("/d"), Gives(IsEmpty()));
  EXPECT_THAT(t.stat("/d/f"), Fails(ENOENT));
}

TEST_F(OverlayTest, Renames) {
  EXPECT_THAT(t.rename("/d", "/e"), Fails(EXDEV));
  ASSERT_THAT(t.rename("/d/f", "/d/g"), Works());
  t.ns.set_cache_limit(0);
  EXPECT_THAT(t.get("/d/g"), Gives("lower f"));
  EXPECT_THAT(t.list("/d"), Gives(ElementsAre("g", "sub")));
  ASSERT_THAT(t.mkdir("/new"), Works());
  ASSERT_THAT(t.put("/new/x", "x"), Works());
  ASSERT_THAT(t.rename("/new", "/d/sub"), Works());
  EXPECT_THAT(t.list("/d/sub"), Gives(ElementsAre("x")));
  EXPECT_THAT(t.stat("/new"), Fails(ENOENT));
  ASSERT_THAT(t.rename("/d/g", "/big", RenameFlags::kExchange), Works());
  EXPECT_THAT(t.get("/big"), Gives("lower f"));
}

TEST_F(OverlayTest, HardLinksCopyUpOnce) {
  ASSERT_THAT(t.link("/d/f", "/h"), Works());
  EXPECT_EQ(t.stat("/h").value().nlink, 2u);
  t.ns.set_cache_limit(0);
  EXPECT_EQ(t.stat("/h").value().ino, t.stat("/d/f").value().ino);
  ASSERT_THAT(t.put("/h", "both"), Works());
  EXPECT_THAT(t.get("/d/f"), Gives("both"));
}

TEST_F(OverlayTest, WritableNamelessFile) {
  auto reader = t.open("/d/f", O_RDONLY).value();
  ASSERT_THAT(t.unlink("/d/f"), Works());
  auto writer = t.ns.open_path(t.ctx, reader->path(), O_RDWR);
  ASSERT_THAT(writer, Works());
  EXPECT_THAT(writer.value()->pwrite(t.ctx, as_bytes("L"), 0), Works());
  EXPECT_THAT(t.slurp(*reader), Gives("Lower f"));
  EXPECT_THAT(t.stat("/d/f"), Fails(ENOENT));
}

TEST_F(OverlayTest, ReadOnlyWithoutUpper) {
  Tree ro(make_overlay({}, {layer(lower)}).value());
  EXPECT_THAT(ro.get("/d/f"), Gives("lower f"));
  EXPECT_THAT(ro.put("/x", ""), Fails(EROFS));
  EXPECT_THAT(ro.open("/d/f", O_WRONLY), Fails(EROFS));
}

}  // namespace
}  // namespace run9::vfs::testing
