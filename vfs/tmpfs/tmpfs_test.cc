#include "vfs/tmpfs/tmpfs.h"

#include <gtest/gtest.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "vfs/testing/context.h"

namespace run9::vfs::testing {
namespace {

TEST(TmpfsTest, Options) {
  auto o = parse_tmpfs_options("size=1m,nr_inodes=2k,mode=700,uid=3,gid=4");
  ASSERT_THAT(o, Works());
  EXPECT_EQ(o.value().size, 1u << 20);
  EXPECT_EQ(o.value().nr_inodes, 2048u);
  EXPECT_EQ(o.value().mode, 0700u);
  EXPECT_EQ(make_tmpfs(o.value(), {})->show_options(),
            ",size=1024k,nr_inodes=2048,mode=700,uid=3,gid=4");
  EXPECT_EQ(parse_tmpfs_options("size=50%", 1000).value().size, 500u);
  for (const char* bad : {"size=", "size=x", "mode=9", "what=1", "size=1kk"}) {
    EXPECT_THAT(parse_tmpfs_options(bad), Fails(EINVAL)) << bad;
  }
}

TEST(TmpfsTest, SizeLimit) {
  Tree t(make_tmpfs({.size = 40960, .mode = 0755}, {}));
  auto f = t.open("/f", O_CREAT | O_RDWR).value();
  EXPECT_THAT(f->write(t.ctx, as_bytes(std::string(100000, 'x'))), Gives(40960u));
  EXPECT_THAT(f->write(t.ctx, as_bytes("x")), Fails(ENOSPC));
  auto s = t.ns.statfs(t.ctx, t.fc.root).value();
  EXPECT_EQ(s.type, uint64_t{TMPFS_MAGIC});
  EXPECT_EQ(s.blocks, 10u);
  EXPECT_EQ(s.bfree, 0u);
  EXPECT_THAT(f->pwrite(t.ctx, as_bytes("y"), 0), Works()) << "what is there may be overwritten";
  EXPECT_THAT(f->fallocate(t.ctx, 0, 0, 81920), Fails(ENOSPC));
  f.reset();
  ASSERT_THAT(t.unlink("/f"), Works());
  EXPECT_THAT(t.put("/g", std::string(40960, 'x')), Works());
}

TEST(TmpfsTest, InodeLimit) {
  Tree t(make_tmpfs({.nr_inodes = 3, .mode = 0755}, {}));
  EXPECT_THAT(t.put("/a", ""), Works());
  EXPECT_THAT(t.put("/b", ""), Works());
  EXPECT_THAT(t.put("/c", ""), Fails(ENOSPC));
  EXPECT_THAT(t.unlink("/a"), Works());
  EXPECT_THAT(t.put("/c", ""), Works());
}

TEST(TmpfsTest, BlocksAndHoles) {
  Tree t(make_tmpfs({.mode = 0755}, {}));
  ASSERT_THAT(t.put("/f", "x"), Works());
  EXPECT_EQ(t.stat("/f").value().blocks, 8u);
  ASSERT_THAT(t.truncate("/f", 1 << 20), Works());
  EXPECT_EQ(t.stat("/f").value().blocks, 8u);
  auto f = t.open("/f", O_RDWR).value();
  ASSERT_THAT(f->pwrite(t.ctx, as_bytes("x"), 8192), Works());
  EXPECT_THAT(f->seek(t.ctx, 4096, SEEK_DATA), Gives(8192u));
  EXPECT_THAT(f->seek(t.ctx, 0, SEEK_HOLE), Gives(4096u));
}

TEST(TmpfsTest, FileSizeLimit) {
  Tree t(make_tmpfs({.mode = 0755}, {}));
  t.ctx.file_size_limit_ = 10;
  auto f = t.open("/f", O_CREAT | O_RDWR).value();
  EXPECT_THAT(f->write(t.ctx, as_bytes("0123456789abc")), Gives(10u));
  EXPECT_THAT(f->write(t.ctx, as_bytes("x")), Fails(EFBIG));
  EXPECT_THAT(t.truncate("/f", 11), Fails(EFBIG));
  EXPECT_THAT(t.truncate("/f", 5), Works());
}

TEST(TmpfsTest, LinkCountsAndTimes) {
  Tree t(make_tmpfs({.mode = 0755}, {}));
  EXPECT_EQ(t.stat("/").value().nlink, 2u);
  ASSERT_THAT(t.mkdir("/d"), Works());
  ASSERT_THAT(t.mkdir("/e"), Works());
  EXPECT_EQ(t.stat("/").value().nlink, 4u);
  ASSERT_THAT(t.rename("/d", "/e/d"), Works());
  EXPECT_EQ(t.stat("/").value().nlink, 3u);
  EXPECT_EQ(t.stat("/e").value().nlink, 3u);
  t.ctx.tick();
  ASSERT_THAT(t.put("/e/f", "x"), Works());
  EXPECT_EQ(t.stat("/e").value().mtime, t.ctx.now());
  EXPECT_LT(t.stat("/e/d").value().mtime, t.ctx.now());
}

TEST(TmpfsTest, RenameWhileReadingIsSeenOnce) {
  Tree t(make_tmpfs({.mode = 0755}, {}));
  for (int i = 0; i < 20; ++i) ASSERT_THAT(t.put("/f" + std::to_string(i), ""), Works());
  auto dir = t.open("/", O_RDONLY | O_DIRECTORY).value();
  struct Sink : DirSink {
    bool add(const DirEntry& e) override {
      if (!name.empty()) return false;
      name = e.name;
      return true;
    }
    std::string name;
  };
  int seen = 0;
  while (true) {
    Sink sink;
    ASSERT_THAT(dir->readdir(t.ctx, sink), Works());
    if (sink.name.empty()) break;
    if (sink.name == "." || sink.name == "..") continue;
    ++seen;
    ASSERT_THAT(t.rename("/" + sink.name, "/renamed" + sink.name), Works());
    ASSERT_THAT(t.put("/new" + sink.name, ""), Works());
  }
  EXPECT_EQ(seen, 20);
}

TEST(TmpfsTest, Whiteout) {
  Tree t(make_tmpfs({.mode = 0755}, {}));
  ASSERT_THAT(t.put("/a", ""), Works());
  ASSERT_THAT(t.rename("/a", "/b", RenameFlags::kWhiteout), Works());
  EXPECT_TRUE(S_ISCHR(t.stat("/a").value().mode));
  EXPECT_EQ(t.stat("/a").value().rdev, 0u);
}

TEST(TmpfsTest, ReadsThatOnlyTheHostSees) {
  Tree t(make_tmpfs({.mode = 0755}, {}), kMntRelAtime);
  ASSERT_THAT(t.put("/f", std::string(100'000, 't')), Works());
  auto f = t.open("/f", O_RDWR).value();
  const auto source = f->read_source(t.ctx).value();
  ASSERT_NE(nullptr, source.fd);
  EXPECT_TRUE(source.is_memory);
  EXPECT_EQ(nullptr, t.open("/f", O_WRONLY).value()->read_source(t.ctx).value().fd);
  const auto times_from = [&](int64_t atime, int64_t mtime) {
    return f->setattr(t.ctx, {.valid = kSetAtime | kSetMtime, .atime = {atime, 0}, .mtime = {mtime, 0}});
  };
  const auto read = [&] {
    char byte;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    EXPECT_EQ(1, ::pread(source.fd->get(), &byte, 1, 0));
  };
  const int64_t now = time(nullptr);
  ASSERT_THAT(times_from(100, 200), Works());
  EXPECT_EQ(100, t.stat("/f").value().atime.sec);
  read();
  EXPECT_GE(t.stat("/f").value().atime.sec, now);
  read();
  ASSERT_THAT(times_from(100, 200), Works());
  EXPECT_EQ(100, t.stat("/f").value().atime.sec) << "of a read before";
  t.ctx.now_ = {now, 0};
  ASSERT_THAT(times_from(now - 10, now - 20), Works());
  t.ctx.now_ = {now - 15, 0};
  ASSERT_THAT(f->setattr(t.ctx, {.valid = kSetMode, .mode = 0600}), Works());
  read();
  EXPECT_EQ(now - 10, t.stat("/f").value().atime.sec) << "relatime";
  auto internal = make_internal_mount(make_tmpfs({}, {}));
  EXPECT_EQ(nullptr, create_memfd(t.ctx, internal, "x", MFD_ALLOW_SEALING).value()->read_source(t.ctx).value().fd);
  auto unsealable = create_memfd(t.ctx, internal, "x", 0).value();
  ASSERT_THAT(unsealable->setattr(t.ctx, {.valid = kSetSize, .size = 100'000}), Works());
  EXPECT_NE(nullptr, unsealable->read_source(t.ctx).value().fd);
}

TEST(TmpfsTest, ReadsThatNobodyNotices) {
  Tree t(make_tmpfs({.mode = 0755}, {}), kMntRelAtime);
  t.ctx.now_ = {50, 0};
  ASSERT_THAT(t.put("/f", "some text"), Works());
  auto f = t.open("/f", O_RDWR).value();
  const auto read_unnoticed = [&](size_t room, int flags = O_RDONLY) {
    std::string text(room, '?');
    const auto n = t.open("/f", flags).value()->read_unnoticed(t.ctx, std::as_writable_bytes(std::span(text))).value();
    return n ? text.substr(0, *n) : "(no)";
  };
  ASSERT_THAT(f->setattr(t.ctx, {.valid = kSetAtime | kSetMtime, .atime = {100, 0}, .mtime = {200, 0}}), Works());
  t.ctx.now_ = {300, 0};
  EXPECT_EQ("(no)", read_unnoticed(100)) << "its access time would move";
  EXPECT_EQ(100, t.stat("/f").value().atime.sec);
  EXPECT_EQ("some text", read_unnoticed(100, O_RDONLY | O_NOATIME));
  EXPECT_THAT(t.get("/f"), Gives("some text"));
  ASSERT_EQ(300, t.stat("/f").value().atime.sec);
  t.ctx.now_ = {400, 0};
  EXPECT_EQ("some text", read_unnoticed(100));
  EXPECT_EQ("some", read_unnoticed(4));
  EXPECT_EQ("(no)", read_unnoticed(100, O_WRONLY));
  EXPECT_EQ(300, t.stat("/f").value().atime.sec);
  auto mapped = f->map_source(t.ctx, true, true).value();
  EXPECT_EQ("(no)", read_unnoticed(100)) << "somebody may write";
  mapped = {};
  EXPECT_EQ("some text", read_unnoticed(100));
}

// It is the host's file from then on, and copied from and to as before.
TEST(TmpfsTest, SmallFilesThatAreReadAtTheHost) {
  constexpr size_t kSmall = 64 * 1024;
  Tree t(make_tmpfs({.size = 2 * kSmall, .mode = 0755}, {}));
  ASSERT_THAT(t.put("/f", "0123456789"), Works());
  auto f = t.open("/f", O_RDWR).value();
  const auto host = f->read_source(t.ctx).value().fd;
  ASSERT_NE(nullptr, host);
  const auto at_host = [&] {
    std::string text(2 * kSmall, '?');
    text.resize(static_cast<size_t>(::pread(host->get(), text.data(), text.size(), 0)));
    return text;
  };
  EXPECT_EQ("0123456789", at_host());
  const auto write = [&](std::string_view text, uint64_t at) {
    EXPECT_THAT(f->pwrite(t.ctx, as_bytes(text), at), Gives(text.size()));
    EXPECT_EQ(t.slurp(*f).value(), at_host());
  };
  write("ab", 4);
  EXPECT_EQ("0123ab6789", at_host());
  write("xyz", 9);
  ASSERT_THAT(t.truncate("/f", 5), Works());
  EXPECT_EQ("0123a", at_host());
  write("-", 8);
  EXPECT_EQ(std::string("0123a\0\0\0-", 9), at_host()) << "what was cut off is gone";
  write(std::string(4096, 'p'), 4090);
  write(std::string(kSmall, 'q'), 100);
  write("over the end of what is mapped", kSmall - 3);
  ASSERT_THAT(t.truncate("/f", 0), Works());
  write("anew", 0);
  EXPECT_EQ(8u, t.stat("/f").value().blocks);
  ASSERT_THAT(t.truncate("/f", 5 * 4096), Works());
  EXPECT_EQ(std::string(4096, '\0'), t.slurp(*f).value().substr(4096, 4096));
  EXPECT_EQ(8u, t.stat("/f").value().blocks) << "a hole stays one";
  EXPECT_THAT(f->seek(t.ctx, 0, SEEK_HOLE), Gives(4096u));
}

TEST(TmpfsTest, MemfdSeals) {
  Tree t(make_tmpfs({.mode = 0755}, {}));
  auto internal = make_internal_mount(make_tmpfs({}, {}));
  auto f = create_memfd(t.ctx, internal, "x", MFD_ALLOW_SEALING).value();
  EXPECT_EQ(t.ns.path_name(f->path(), t.fc.root), "/memfd:x (deleted)");
  ASSERT_THAT(f->write(t.ctx, as_bytes("data")), Works());
  auto mapping = f->map_source(t.ctx, true, true).value();
  EXPECT_THAT(add_seals(*f, F_SEAL_WRITE), Fails(EBUSY));
  mapping.fd.reset();
  ASSERT_THAT(add_seals(*f, F_SEAL_SHRINK | F_SEAL_GROW), Works());
  EXPECT_THAT(f->setattr(t.ctx, {.valid = kSetSize, .size = 1}), Fails(EPERM));
  EXPECT_THAT(f->setattr(t.ctx, {.valid = kSetSize, .size = 9}), Fails(EPERM));
  EXPECT_THAT(f->pwrite(t.ctx, as_bytes("x"), 4), Fails(EPERM));
  EXPECT_THAT(f->pwrite(t.ctx, as_bytes("x"), 3), Works());
  ASSERT_THAT(add_seals(*f, F_SEAL_WRITE | F_SEAL_SEAL), Works());
  EXPECT_THAT(f->pwrite(t.ctx, as_bytes("x"), 0), Fails(EPERM));
  EXPECT_THAT(f->map_source(t.ctx, true, true), Fails(EPERM));
  EXPECT_THAT(f->map_source(t.ctx, false, true), Works());
  EXPECT_THAT(add_seals(*f, 0), Fails(EPERM));
  auto unsealable = create_memfd(t.ctx, internal, "y", 0).value();
  EXPECT_THAT(get_seals(*unsealable), Gives(unsigned{F_SEAL_SEAL}));
}

}  // namespace
}  // namespace run9::vfs::testing
