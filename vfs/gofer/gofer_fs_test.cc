// What the file system does, against a real gofer on a real directory: with and without the dialect,
// in a tree of its own and in one that others change.
#include <dirent.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "vfs/gofer/testing.h"

namespace run9::vfs::gofer {
namespace {

int code(const auto& result) { return result.has_value() ? 0 : to_int(result.error()); }

class GoferFsTest : public testing::TestWithParam<RigOptions> {
 protected:
  Rig rig{GetParam()};
  TestContext& ctx = rig.ctx;
  bool dialect() const { return GetParam().dialect; }
};

TEST_P(GoferFsTest, WritesAndReadsBack) {
  ASSERT_EQ(code(rig.write("/file", "hello")), 0);
  EXPECT_EQ(rig.host_read("file"), "hello");
  EXPECT_EQ(rig.read("/file").value(), "hello");
  EXPECT_EQ(rig.stat("/file").value().size, 5u);
  EXPECT_EQ(rig.stat("/file").value().mode, S_IFREG | 0644u);
  EXPECT_EQ(code(rig.open("/file", O_CREAT | O_EXCL | O_RDWR)), EEXIST);
  EXPECT_EQ(code(rig.read("/none")), ENOENT);
  EXPECT_EQ(code(rig.stat("/file/below")), ENOTDIR);
}

TEST_P(GoferFsTest, DataLargerThanAMessage) {
  std::string big(1'000'000, 'a');
  for (size_t i = 0; i < big.size(); ++i) big[i] = static_cast<char>('a' + i % 23);
  ASSERT_EQ(code(rig.write("/big", big)), 0);
  EXPECT_EQ(rig.host_read("big"), big);
  EXPECT_EQ(rig.read("/big").value(), big);
}

TEST_P(GoferFsTest, AppendsAndTruncates) {
  ASSERT_EQ(code(rig.write("/file", "one")), 0);
  const FileRef file = rig.open("/file", O_RDWR | O_APPEND).value();
  ASSERT_EQ(file->write(ctx, as_bytes("two")).value(), 3u);
  EXPECT_EQ(file->position(), 6u);
  EXPECT_EQ(rig.read("/file").value(), "onetwo");
  EXPECT_EQ(file->getattr(ctx).value().size, 6u);
  ASSERT_EQ(code(rig.ns->setattr(ctx, file->path(), {.valid = kSetSize, .size = 2}, file.get())), 0);
  EXPECT_EQ(file->getattr(ctx).value().size, 2u);
  ASSERT_EQ(file->write(ctx, as_bytes("!")).value(), 1u);
  EXPECT_EQ(rig.host_read("file"), "on!");
  ASSERT_EQ(code(rig.write("/file", "x", O_WRONLY | O_TRUNC)), 0);
  EXPECT_EQ(rig.host_read("file"), "x");
}

TEST_P(GoferFsTest, UnlinkedFileWorksOn) {
  ASSERT_EQ(code(rig.write("/file", "kept")), 0);
  const FileRef file = rig.open("/file", O_RDWR).value();
  ASSERT_EQ(code(rig.unlink("/file")), 0);
  EXPECT_FALSE(std::filesystem::exists(rig.at_host("file")));
  EXPECT_EQ(code(rig.stat("/file")), ENOENT);
  EXPECT_EQ(rig.read_all(file).value(), "kept");
  EXPECT_EQ(file->getattr(ctx).value().nlink, 0u);
  ASSERT_EQ(code(file->setattr(ctx, {.valid = kSetSize, .size = 1})), 0);
  EXPECT_EQ(file->getattr(ctx).value().size, 1u);
  // A new file of that name is another one.
  ASSERT_EQ(code(rig.write("/file", "new")), 0);
  EXPECT_EQ(rig.read_all(file).value(), "k");
  EXPECT_EQ(rig.read("/file").value(), "new");
}

TEST_P(GoferFsTest, HardLinksShareOneInode) {
  ASSERT_EQ(code(rig.write("/one", "x")), 0);
  ASSERT_EQ(code(rig.link("/one", "/two")), 0);
  EXPECT_EQ(rig.walk("/one").value().inode(), rig.walk("/two").value().inode());
  EXPECT_EQ(rig.stat("/two").value().nlink, 2u);
  ASSERT_EQ(code(rig.write("/two", "longer")), 0);
  EXPECT_EQ(rig.stat("/one").value().size, 6u);
  ASSERT_EQ(code(rig.unlink("/one")), 0);
  EXPECT_EQ(rig.stat("/two").value().nlink, 1u);
  EXPECT_EQ(rig.read("/two").value(), "longer");
}

TEST_P(GoferFsTest, OpensByTheNameThatIsLeft) {
  rig.host_write("one", "text");
  ASSERT_EQ(code(rig.stat("/one")), 0);
  ASSERT_EQ(code(rig.link("/one", "/two")), 0);
  ASSERT_EQ(code(rig.unlink("/one")), 0);
  const auto text = rig.read("/two");
  ASSERT_EQ(code(text), 0);
  EXPECT_EQ(text.value(), "text");
}

TEST_P(GoferFsTest, DirectoriesAndListings) {
  ASSERT_EQ(code(rig.mkdir("/dir")), 0);
  EXPECT_EQ(rig.list("/dir").value().size(), 0u);
  ASSERT_EQ(code(rig.write("/dir/a", "1")), 0);
  ASSERT_EQ(code(rig.mkdir("/dir/sub")), 0);
  ASSERT_EQ(code(rig.symlink("/dir/link", "a")), 0);
  const auto names = rig.list("/dir").value();
  ASSERT_EQ(names.size(), 3u);
  EXPECT_EQ(names.at("a"), rig.stat("/dir/a").value().ino);
  EXPECT_EQ(names.at("sub"), rig.stat("/dir/sub").value().ino);
  EXPECT_EQ(rig.stat("/dir").value().nlink, 3u);
  EXPECT_EQ(code(rig.rmdir("/dir")), ENOTEMPTY);
  ASSERT_EQ(code(rig.rename("/dir/a", "/dir/sub/b")), 0);
  EXPECT_EQ(code(rig.stat("/dir/a")), ENOENT);
  EXPECT_EQ(rig.read("/dir/sub/b").value(), "1");
  EXPECT_EQ(rig.list("/dir/sub").value().count("b"), 1u);
  EXPECT_EQ(rig.list("/dir").value().count("a"), 0u);
  ASSERT_EQ(code(rig.unlink("/dir/sub/b")), 0);
  ASSERT_EQ(code(rig.rmdir("/dir/sub")), 0);
  ASSERT_EQ(code(rig.unlink("/dir/link")), 0);
  ASSERT_EQ(code(rig.rmdir("/dir")), 0);
  EXPECT_TRUE(std::filesystem::is_empty(rig.host));
}

struct OneByOne final : DirSink {
  std::string name;
  uint64_t next = 0;
  bool taken = false;
  bool add(const DirEntry& e) override {
    if (taken) return false;
    name = e.name;
    next = e.next;
    return taken = true;
  }
};

TEST_P(GoferFsTest, RemovalDuringAnIteration) {
  for (int i = 0; i < 50; ++i) rig.host_write("f" + std::to_string(i), "");
  const FileRef dir = rig.open("/", O_RDONLY | O_DIRECTORY).value();
  int seen = 0;
  for (;;) {
    OneByOne sink;
    ASSERT_EQ(code(dir->readdir(ctx, sink)), 0);
    if (!sink.taken) break;
    EXPECT_EQ(dir->position(), sink.next);
    if (sink.name == "." || sink.name == "..") continue;
    ASSERT_EQ(code(rig.unlink("/" + sink.name)), 0) << sink.name;
    ++seen;
  }
  EXPECT_EQ(seen, 50);
  ASSERT_EQ(dir->seek(ctx, 0, SEEK_SET).value(), 0u);
  EXPECT_EQ(rig.list("/").value().size(), 0u);
}

TEST_P(GoferFsTest, ADirectoryOfSeveralMessages) {
  for (int i = 0; i < 3000; ++i) rig.host_write("a-rather-long-name-" + std::to_string(i), "");
  EXPECT_EQ(rig.list("/").value().size(), 3000u);
}

TEST_P(GoferFsTest, RenameReplacesAndExchanges) {
  ASSERT_EQ(code(rig.write("/a", "A")), 0);
  ASSERT_EQ(code(rig.write("/b", "B")), 0);
  EXPECT_EQ(code(rig.rename("/a", "/b", RenameFlags::kNoReplace)), EEXIST);
  const FileRef old = rig.open("/b", O_RDONLY).value();
  ASSERT_EQ(code(rig.rename("/a", "/b")), 0);
  EXPECT_EQ(rig.read("/b").value(), "A");
  EXPECT_EQ(old->getattr(ctx).value().nlink, 0u);
  EXPECT_EQ(rig.read_all(old).value(), "B");
  if (!dialect()) return;
  ASSERT_EQ(code(rig.write("/c", "C")), 0);
  ASSERT_EQ(code(rig.mkdir("/dir")), 0);
  ASSERT_EQ(code(rig.rename("/c", "/dir", RenameFlags::kExchange)), 0);
  EXPECT_EQ(rig.read("/dir").value(), "C");
  EXPECT_TRUE(S_ISDIR(rig.stat("/c").value().mode));
}

TEST_P(GoferFsTest, RenamedBeforeItHadAFid) {
  std::filesystem::create_directory(rig.at_host("to"));
  rig.host_write("file", "x");
  ASSERT_TRUE(rig.list("/"));
  ASSERT_TRUE(rig.stat("/file"));
  ASSERT_EQ(code(rig.rename("/file", "/to/new")), 0);
  EXPECT_EQ(rig.read("/to/new").value(), "x");
}

TEST_P(GoferFsTest, Symlinks) {
  rig.host_write("target", "x");
  ASSERT_EQ(code(rig.symlink("/link", "target")), 0);
  EXPECT_EQ(rig.ns->readlink(ctx, rig.walk("/link").value()).value(), "target");
  EXPECT_EQ(rig.stat("/link").value().size, 6u);
  EXPECT_EQ(rig.read("/link").value(), "x");
  std::filesystem::create_symlink("nowhere", rig.at_host("dangling"));
  EXPECT_EQ(rig.ns->readlink(ctx, rig.walk("/dangling").value()).value(), "nowhere");
  EXPECT_EQ(code(rig.read("/dangling")), ENOENT);
}

TEST_P(GoferFsTest, Attributes) {
  ASSERT_EQ(code(rig.write("/file", "x")), 0);
  const Path path = rig.walk("/file").value();
  ASSERT_EQ(code(rig.ns->setattr(ctx, path, {.valid = kSetMode, .mode = 0751})), 0);
  EXPECT_EQ(rig.stat("/file").value().mode, S_IFREG | 0751u);
  ASSERT_EQ(code(rig.ns->setattr(
                ctx, path, {.valid = kSetAtime | kSetMtime, .atime = {7, 8}, .mtime = {9, 10}})),
            0);
  EXPECT_EQ(rig.stat("/file").value().atime, (Timespec{7, 8}));
  EXPECT_EQ(rig.stat("/file").value().mtime, (Timespec{9, 10}));
  const FileRef file = rig.open("/file", O_WRONLY).value();
  ASSERT_EQ(file->write(ctx, as_bytes("y")).value(), 1u);
  EXPECT_GT(rig.stat("/file").value().mtime, (Timespec{9, 10}));
  if (getuid() != 0) return;
  ASSERT_EQ(code(rig.ns->setattr(ctx, path, {.valid = kSetUid | kSetGid, .uid = 3, .gid = 4})), 0);
  EXPECT_EQ(rig.stat("/file").value().uid, 3u);
  EXPECT_EQ(rig.stat("/file").value().gid, 4u);
}

// Whatever the host's mounts say of access times.
TEST_P(GoferFsTest, AccessTimesAreTheHosts) {
  if (!GetParam().dialect && GetParam().caching == Caching::kAuthoritative) GTEST_SKIP() << "who owns all, and reads by messages, does not ask again";
  rig.host_write("file", "x");
  const FileRef file = rig.open("/file", O_RDWR).value();
  const auto expect_the_hosts = [&](const char* when) {
    struct stat st;
    ASSERT_EQ(::stat(rig.at_host("file").c_str(), &st), 0);
    EXPECT_EQ(rig.stat("/file").value().atime, (Timespec{st.st_atim.tv_sec, static_cast<uint32_t>(st.st_atim.tv_nsec)})) << when;
  };
  const auto read = [&] {
    std::byte b[1];
    ASSERT_EQ(file->pread(ctx, b, 0).value(), 1u);
  };
  read();
  expect_the_hosts("after the first read");
  std::this_thread::sleep_for(std::chrono::milliseconds(1100));
  for (int i = 0; i < 3; ++i) {
    read();
    expect_the_hosts("a second later");
  }
  ASSERT_EQ(file->pwrite(ctx, as_bytes("y"), 0).value(), 1u);
  read();
  expect_the_hosts("after a write");
  constexpr int64_t kDay = 24 * 3600;
  const Timespec old{time(nullptr) - 2 * kDay, 0};
  ASSERT_EQ(code(rig.ns->setattr(ctx, rig.walk("/file").value(), {.valid = kSetAtime | kSetMtime, .atime = old, .mtime = old})), 0);
  expect_the_hosts("once it is two days old");
  for (int i = 0; i < 2; ++i) {
    read();
    expect_the_hosts("after reads then");
  }
  const auto source = file->read_source(ctx).value();
  if (source.fd == nullptr) return;
  for (int i = 0; i < 3; ++i) {
    ASSERT_EQ(code(rig.ns->setattr(ctx, rig.walk("/file").value(), {.valid = kSetAtime | kSetMtime, .atime = old, .mtime = old})), 0);
    expect_the_hosts("made old once more");
    std::byte b[1];
    ASSERT_EQ(1, ::pread(source.fd->get(), b, 1, 0));
    expect_the_hosts("after a read by the descriptor");
  }
}

TEST_P(GoferFsTest, ReadsThatNobodyNotices) {
  rig.host_write("file", "some text");
  const auto read_unnoticed = [&](size_t room, int flags = O_RDONLY) {
    std::string text(room, '?');
    const auto n = rig.open("/file", flags).value()->read_unnoticed(ctx, std::as_writable_bytes(std::span(text))).value();
    return n ? text.substr(0, *n) : "(no)";
  };
  const auto times = [&](int64_t atime, int64_t mtime) {
    const timespec t[] = {{atime, 0}, {mtime, 0}};
    ASSERT_EQ(0, utimensat(AT_FDCWD, rig.at_host("file").c_str(), t, 0));
  };
  const int64_t now = time(nullptr);
  times(now + 5, now - 100);
  struct statvfs fs;
  ASSERT_EQ(0, statvfs(rig.at_host("file").c_str(), &fs));
  const std::string known = dialect() && (fs.f_flag & (ST_RELATIME | ST_NOATIME)) != 0 ? "some text" : "(no)";
  EXPECT_EQ(known, read_unnoticed(100));
  EXPECT_EQ(known.substr(0, 4), read_unnoticed(4).substr(0, 4));
  EXPECT_EQ("(no)", read_unnoticed(100, O_WRONLY));
  {
    const FileRef writer = rig.open("/file", O_RDWR).value();
    const auto mapped = writer->map_source(ctx, true, true);
    EXPECT_EQ("(no)", read_unnoticed(100)) << "somebody may write";
  }
  const auto old = [&] { return rig.ns->setattr(ctx, rig.walk("/file").value(), {.valid = kSetAtime | kSetMtime, .atime = {1000, 0}, .mtime = {2000, 0}}); };
  ASSERT_EQ(code(old()), 0);
  EXPECT_EQ("(no)", read_unnoticed(100)) << "its access time would move";
  EXPECT_EQ(1000, rig.stat("/file").value().atime.sec);
}

TEST_P(GoferFsTest, WhatFilesAreReadBy) {
  ASSERT_EQ(code(rig.write("/file", "some text")), 0);
  for (const int flags : {O_RDONLY, O_RDWR, O_WRONLY}) {
    const FileRef first = rig.open("/file", O_RDWR).value(), file = rig.open("/file", flags).value();
    const auto source = file->read_source(ctx).value();
    ASSERT_EQ(dialect() && flags != O_WRONLY, source.fd != nullptr);
    if (source.fd == nullptr) continue;
    EXPECT_EQ(flags, fcntl(source.fd->get(), F_GETFL) & O_ACCMODE);
    EXPECT_FALSE(source.is_memory);
    char text[5] = {};
    EXPECT_EQ(4, ::pread(source.fd->get(), text, 4, 5));
    EXPECT_STREQ("text", text);
  }
}

// What is written past the file system shows as long as that goes on, and afterwards.
TEST_P(GoferFsTest, WritesThatAreNotSeen) {
  ASSERT_EQ(code(rig.write("/file", "some text")), 0);
  EXPECT_EQ(nullptr, rig.open("/file", O_RDONLY).value()->write_source(ctx).value().fd);
  for (const int flags : {O_RDWR, O_WRONLY}) {
    const FileRef file = rig.open("/file", flags).value();
    auto source = file->write_source(ctx).value();
    ASSERT_EQ(dialect(), source.fd != nullptr);
    if (source.fd == nullptr) continue;
    EXPECT_TRUE(file->inode().written_unseen());
    auto second = file->write_source(ctx).value();
    for (off_t size = 100; size < 105; ++size) {
      ASSERT_EQ(1, ::pwrite(source.fd->get(), "x", 1, size - 1));
      EXPECT_EQ(static_cast<uint64_t>(size), rig.stat("/file").value().size);
      EXPECT_EQ(static_cast<uint64_t>(size), file->getattr(ctx).value().size);
    }
    const FileRef end = rig.open("/file", O_WRONLY | O_APPEND).value();
    ASSERT_EQ(2u, end->write(ctx, as_bytes("ab")).value());
    ASSERT_EQ(1, ::pwrite(source.fd->get(), "x", 1, 199));
    ASSERT_EQ(2u, end->write(ctx, as_bytes("cd")).value());
    EXPECT_EQ(202u, end->position());
    second.unseen->over();
    EXPECT_TRUE(file->inode().written_unseen());
    ASSERT_EQ(1, ::pwrite(source.fd->get(), "x", 1, 299));
    source.unseen->over();
    source.unseen->over();
    EXPECT_FALSE(file->inode().written_unseen());
    EXPECT_EQ(300u, rig.stat("/file").value().size);
    EXPECT_EQ(300u, rig.stat("/file").value().size);
    ASSERT_EQ(code(file->setattr(ctx, {.valid = kSetSize, .size = 9})), 0);
  }
  if (!dialect()) return;
  // Of one that did not say that it was over.
  {
    const FileRef file = rig.open("/file", O_RDWR).value();
    const auto fd = file->write_source(ctx).value().fd;
    EXPECT_TRUE(file->inode().written_unseen());
    ASSERT_EQ(1, ::pwrite(fd->get(), "x", 1, 399));
    EXPECT_EQ(400u, rig.stat("/file").value().size);
    ASSERT_EQ(1, ::pwrite(fd->get(), "x", 1, 499));
  }
  EXPECT_EQ(500u, rig.stat("/file").value().size);
  ASSERT_EQ(code(rig.ns->setattr(ctx, rig.walk("/file").value(), {.valid = kSetMode, .mode = 06755})), 0);
  EXPECT_EQ(nullptr, rig.open("/file", O_RDWR).value()->write_source(ctx).value().fd);
}

TEST_P(GoferFsTest, NewFilesBelongToTheCaller) {
  if (getuid() != 0) GTEST_SKIP() << "only root gives files away";
  ctx.mutable_creds().fsuid = 1234;
  ctx.mutable_creds().fsgid = 4321;
  ASSERT_EQ(code(rig.write("/file", "x")), 0);
  ASSERT_EQ(code(rig.mkdir("/dir")), 0);
  ASSERT_EQ(code(rig.symlink("/link", "x")), 0);
  for (const char* name : {"/file", "/dir", "/link"}) {
    EXPECT_EQ(rig.stat(name).value().uid, 1234u) << name;
    EXPECT_EQ(rig.stat(name).value().gid, 4321u) << name;
  }
}

TEST_P(GoferFsTest, Holes) {
  const FileRef file = rig.open("/file", O_CREAT | O_RDWR).value();
  ASSERT_EQ(file->pwrite(ctx, as_bytes("x"), 1 << 20).value(), 1u);
  EXPECT_EQ(file->seek(ctx, 0, SEEK_END).value(), (1u << 20) + 1);
  if (dialect()) {
    EXPECT_EQ(file->seek(ctx, 0, SEEK_HOLE).value(), 0u);
    EXPECT_EQ(file->seek(ctx, 0, SEEK_DATA).value(), 1u << 20);
    ASSERT_EQ(code(file->fallocate(ctx, 0, 0, 2 << 20)), 0);
    EXPECT_EQ(file->getattr(ctx).value().size, 2u << 20);
  }
  EXPECT_EQ(code(file->fsync(ctx, false)), 0);
  EXPECT_EQ(code(file->fsync(ctx, true)), 0);
  EXPECT_EQ(code(rig.open("/", O_RDONLY | O_DIRECTORY).value()->fsync(ctx, false)), 0);
}

TEST_P(GoferFsTest, CopiesBelow) {
  ASSERT_EQ(code(rig.write("/from", "some text")), 0);
  ASSERT_EQ(code(rig.write("/to", "-")), 0);
  const FileRef from = rig.open("/from", O_RDONLY).value(), to = rig.open("/to", O_WRONLY).value();
  const auto copied = to->copy_from(ctx, *from, 5, 1, 100);
  if (!dialect()) {
    EXPECT_EQ(code(copied), EOPNOTSUPP);
    return;
  }
  EXPECT_EQ(copied.value(), 4u);
  EXPECT_EQ(to->getattr(ctx).value().size, 5u);
  EXPECT_EQ(rig.read("/to").value(), "-text");
  EXPECT_EQ(code(rig.fs->sync(ctx)), 0);
}

TEST_P(GoferFsTest, Mappings) {
  ASSERT_EQ(code(rig.write("/file", "mapped")), 0);
  const FileRef file = rig.open("/file", O_RDWR).value();
  const auto source = file->map_source(ctx, /*shared=*/false, /*writable=*/true);
  ASSERT_EQ(code(source), 0);
  void* at = mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE, source.value().fd->get(), 0);
  ASSERT_NE(at, MAP_FAILED);
  EXPECT_EQ(std::string_view(static_cast<char*>(at), 6), "mapped");
  munmap(at, 4096);
  const auto shared = file->map_source(ctx, /*shared=*/true, /*writable=*/true);
  EXPECT_EQ(code(shared), dialect() ? 0 : ENODEV);
  const FileRef reader = rig.open("/file", O_RDONLY).value();
  const auto read_only = reader->map_source(ctx, /*shared=*/true, /*writable=*/false);
  ASSERT_EQ(code(read_only), 0);
  if (dialect()) {
    EXPECT_EQ(fcntl(read_only.value().fd->get(), F_GETFL) & O_ACCMODE, O_RDONLY);
  }
}

TEST_P(GoferFsTest, Xattrs) {
  ASSERT_EQ(code(rig.write("/file", "x")), 0);
  const Path path = rig.walk("/file").value();
  EXPECT_EQ(code(rig.ns->getxattr(ctx, path, "user.a")), ENODATA);
  const auto set = rig.ns->setxattr(ctx, path, "user.a", as_bytes("value"), 0);
  if (code(set) == EOPNOTSUPP) GTEST_SKIP() << "no xattrs in /tmp";
  ASSERT_EQ(code(set), 0);
  EXPECT_EQ(as_chars(rig.ns->getxattr(ctx, path, "user.a").value()), "value");
  EXPECT_EQ(code(rig.ns->setxattr(ctx, path, "user.a", as_bytes("v"), XATTR_CREATE)), EEXIST);
  const auto names = rig.ns->listxattr(ctx, path).value();
  EXPECT_EQ(std::count(names.begin(), names.end(), "user.a"), 1);
  ASSERT_EQ(code(rig.ns->removexattr(ctx, path, "user.a")), 0);
  EXPECT_EQ(code(rig.ns->getxattr(ctx, path, "user.a")), ENODATA);
}

TEST_P(GoferFsTest, FifosAreInert) {
  ASSERT_EQ(mkfifo(rig.at_host("fifo").c_str(), 0600), 0);
  EXPECT_TRUE(S_ISFIFO(rig.stat("/fifo").value().mode));
  Inode& fifo = *rig.walk("/fifo").value().inode();
  EXPECT_EQ(code(fifo.open(ctx, rig.walk("/fifo").value(), O_RDONLY)), ENXIO);
  EXPECT_GT(rig.fs->statfs(ctx).value().blocks, 0u);
}

TEST_P(GoferFsTest, WithoutAGofer) {
  ASSERT_EQ(code(rig.write("/file", "kept")), 0);
  rig.host_write("other", "x");
  const FileRef file = rig.open("/file", O_RDWR).value();
  rig.kill_gofer();
  EXPECT_EQ(code(rig.stat("/other")), EIO);
  EXPECT_EQ(code(rig.mkdir("/dir")), EIO);
  if (!dialect()) return;
  EXPECT_EQ(rig.read_all(file).value(), "kept");
  EXPECT_EQ(file->pwrite(ctx, as_bytes("K"), 0).value(), 1u);
  EXPECT_EQ(rig.host_read("file"), "Kept");
}

std::string param_name(const testing::TestParamInfo<RigOptions>& info) {
  return std::string(info.param.dialect ? "Dialect" : "Plain") +
         (info.param.caching == Caching::kAuthoritative ? "Own" : "Shared");
}
INSTANTIATE_TEST_SUITE_P(
    All, GoferFsTest,
    testing::Values(RigOptions{}, RigOptions{.caching = Caching::kRevalidate},
                    RigOptions{.dialect = false},
                    RigOptions{.dialect = false, .caching = Caching::kRevalidate}),
    param_name);

class SharedTreeTest : public testing::TestWithParam<bool> {
 protected:
  Rig rig{{.dialect = GetParam(), .caching = Caching::kRevalidate}};
};

TEST_P(SharedTreeTest, SeesWhatTheHostDoes) {
  EXPECT_EQ(code(rig.stat("/file")), ENOENT);
  rig.host_write("file", "one");
  EXPECT_EQ(rig.stat("/file").value().size, 3u);
  rig.host_write("file", "three");
  EXPECT_EQ(rig.stat("/file").value().size, 5u);
  EXPECT_EQ(rig.read("/file").value(), "three");
  EXPECT_EQ(rig.list("/").value().size(), 1u);
  rig.host_write("more", "");
  EXPECT_EQ(rig.list("/").value().size(), 2u);
  std::filesystem::remove(rig.at_host("file"));
  EXPECT_EQ(code(rig.stat("/file")), ENOENT);
}

TEST_P(SharedTreeTest, AReplacedFileIsAnother) {
  rig.host_write("file", "old");
  const FileRef old = rig.open("/file", O_RDONLY).value();
  const uint64_t ino = rig.stat("/file").value().ino;
  rig.host_write("new", "newer");
  std::filesystem::rename(rig.at_host("new"), rig.at_host("file"));
  EXPECT_NE(rig.stat("/file").value().ino, ino);
  EXPECT_EQ(rig.read("/file").value(), "newer");
  EXPECT_EQ(rig.read_all(old).value(), "old");
}

TEST_P(SharedTreeTest, AppendsAfterWhatOthersAppended) {
  rig.host_write("log", "a");
  const FileRef file = rig.open("/log", O_WRONLY | O_APPEND).value();
  ASSERT_EQ(file->write(rig.ctx, as_bytes("b")).value(), 1u);
  std::ofstream(rig.at_host("log"), std::ios::app) << "c";
  ASSERT_EQ(file->write(rig.ctx, as_bytes("d")).value(), 1u);
  EXPECT_EQ(rig.host_read("log"), "abcd");
}

INSTANTIATE_TEST_SUITE_P(All, SharedTreeTest, testing::Bool());

TEST(StalenessTest, BelievesForATime) {
  Rig rig({.caching = Caching::kRevalidate, .staleness = std::chrono::hours(1)});
  std::filesystem::create_directories(rig.at_host("a/b"));
  rig.host_write("a/b/file", "x");
  ASSERT_EQ(code(rig.stat("/a/b/file")), 0);
  rig.channel->take();
  for (int i = 0; i < 3; ++i) EXPECT_EQ(rig.stat("/a/b/file").value().size, 1u);
  EXPECT_EQ(rig.channel->take(), 0) << "all of the path is believed";
  // What we do ourselves is seen at once.
  ASSERT_EQ(code(rig.write("/a/b/file", "longer")), 0);
  rig.channel->take();
  EXPECT_EQ(rig.stat("/a/b/file").value().size, 6u);
  EXPECT_EQ(rig.read("/a/b/file").value(), "longer");
  EXPECT_EQ(rig.channel->take(), 0) << "the descriptor knows";
  ASSERT_EQ(code(rig.unlink("/a/b/file")), 0);
  EXPECT_EQ(code(rig.stat("/a/b/file")), ENOENT);
}

TEST(HostFilesTest, IdleDescriptorsAreBounded) {
  Rig rig({.max_host_files = 4});
  for (int i = 0; i < 64; ++i) ASSERT_EQ(code(rig.write("/f" + std::to_string(i), "text")), 0);
  auto& cache = static_cast<GoferFs&>(*rig.fs).host_files();
  EXPECT_LE(cache.size(), 4u);
  std::vector<FileRef> held;
  for (int i = 0; i < 64; ++i) {
    held.push_back(rig.open("/f" + std::to_string(i), O_RDONLY).value());
    EXPECT_EQ(rig.read_all(held.back()).value(), "text");
  }
  EXPECT_GE(cache.size(), 60u);
  held.clear();
  for (int i = 0; i < 64; ++i) ASSERT_EQ(code(rig.read("/f" + std::to_string(i))), 0);
  EXPECT_LE(cache.size(), 4u);
  // Each knows its size though its descriptor is closed.
  for (int i = 0; i < 64; ++i) EXPECT_EQ(rig.stat("/f" + std::to_string(i)).value().size, 4u);
}

// Who goes through more files than are kept finds most of those the next time; who then wants others finds these.
TEST(HostFilesTest, GoingInCircles) {
  constexpr int kKept = 32;
  Rig rig({.max_host_files = kKept});
  for (int i = 0; i < 3 * kKept; ++i) rig.host_write("f" + std::to_string(i), "text");
  const auto messages = [&](int from, int to) {
    rig.channel->take();
    for (int i = from; i < to; ++i) EXPECT_EQ(code(rig.read("/f" + std::to_string(i))), 0);
    return rig.channel->take();
  };
  messages(0, 3 * kKept);
  for (int again = 0; again < 3; ++again) EXPECT_LE(messages(0, 3 * kKept), 3 * kKept - kKept / 2);
  // Few enough to be kept are so from the second time on.
  for (int again = 0; again < 2; ++again) messages(0, kKept / 2);
  EXPECT_EQ(messages(0, kKept / 2), 0);
  EXPECT_LE(static_cast<GoferFs&>(*rig.fs).host_files().size(), static_cast<size_t>(kKept));
}

TEST(ReadOnlyTest, NothingChanges) {
  Rig rig({.read_only = true});
  rig.host_write("file", "x");
  EXPECT_EQ(rig.read("/file").value(), "x");
  EXPECT_EQ(code(rig.write("/file", "y")), EROFS);
  EXPECT_EQ(code(rig.mkdir("/dir")), EROFS);
  EXPECT_EQ(code(rig.unlink("/file")), EROFS);
  EXPECT_EQ(rig.host_read("file"), "x");
}

// One that came out of a listing has no fid as long as nothing needs one.
TEST(GoferFsOpenTest, AListedFileIsWholeAfterItsNameHasGone) {
  Rig rig;
  std::filesystem::create_directory(rig.at_host("dir"));
  rig.host_write("dir/file", "text");
  rig.host_write("dir/other", "text");
  ASSERT_TRUE(rig.list("/dir"));
  const FileRef file = rig.open("/dir/file", O_RDONLY).value();
  const FileRef other = rig.open("/dir/other", O_RDONLY).value();
  ASSERT_TRUE(rig.unlink("/dir/file"));
  ASSERT_TRUE(rig.write("/new", "new"));
  ASSERT_TRUE(rig.rename("/new", "/dir/other"));
  for (const FileRef& f : {file, other}) {
    ASSERT_TRUE(f->setattr(rig.ctx, {.valid = kSetMode, .mode = 0600}));
    EXPECT_EQ(f->getattr(rig.ctx).value().mode & 07777, 0600u);
    EXPECT_EQ(rig.read_all(f).value(), "text");
  }
}

TEST(FidBudgetTest, ForgetsNamesBeforeFidsRunOut) {
  constexpr size_t kMost = 40, kFiles = 400;
  MountNamespace* ns = nullptr;
  int forgotten = 0;
  const auto fids = std::make_shared<FidBudget>(kMost, [&] {
    ++forgotten;
    ns->forget_names(16);
  });
  Rig rig({.fids = fids});
  ns = rig.ns.get();
  for (size_t i = 0; i < kFiles; ++i) rig.host_write(std::to_string(i), "x");
  // The second time round each is known anew, or still.
  for (size_t i = 0; i < 2 * kFiles; ++i) {
    const auto path = rig.walk(std::to_string(i % kFiles));
    ASSERT_TRUE(path.has_value());
    EXPECT_TRUE(static_cast<GoferInode&>(*path.value().inode()).fid().has_value());
  }
  EXPECT_GT(forgotten, 0);
  // Some have been let go of, and wait to be clunked together.
  EXPECT_LT(static_cast<GoferFs&>(*rig.fs).wire().fids_in_use(), 3 * kMost + 64);
}

// One of a directory that is listed is worth less than its names.
TEST(FidBudgetTest, ListedDirectoriesNeedNone) {
  constexpr size_t kMost = 1600, kDirectories = 2000;
  const auto fids = std::make_shared<FidBudget>(kMost, [] { FAIL() << "names are to be forgotten"; });
  Rig rig({.fids = fids});
  for (size_t i = 0; i < kDirectories; ++i) {
    const std::string dir = "top/" + std::to_string(i);
    std::filesystem::create_directories(rig.at_host(dir));
    rig.host_write(dir + "/file", "x");
  }
  const std::vector<std::string> names = rig.in_order("/top");
  ASSERT_EQ(names.size(), kDirectories);
  const auto list_all = [&] {
    for (const std::string& name : names) EXPECT_EQ(rig.list("/top/" + name).value().size(), 1u);
  };
  list_all();
  EXPECT_LT(static_cast<GoferFs&>(*rig.fs).wire().fids_in_use(), kMost);
  rig.channel->take();
  list_all();
  EXPECT_EQ(rig.channel->take(), 0);
  // The last of them is whole otherwise.
  const std::string dir = "/top/" + names.back();
  ASSERT_TRUE(rig.write(dir + "/new", "new").has_value());
  EXPECT_EQ(rig.read(dir + "/file").value(), "x");
  ASSERT_TRUE(rig.rename(dir, "/moved").has_value());
  EXPECT_EQ(rig.list("/moved").value().size(), 2u);
  EXPECT_EQ(rig.host_read("moved/new"), "new");
}

TEST(FidBudgetTest, WhatWasWrittenIsKnownWhenTheNameIsForgotten) {
  Rig rig;
  std::filesystem::create_directory(rig.at_host("d"));
  rig.host_write("d/f", "1");
  const auto dir = rig.walk("d");
  ASSERT_TRUE(dir.has_value());
  ASSERT_TRUE(rig.list("d").has_value());
  // By its name: no fid is needed.
  ASSERT_TRUE(rig.write("d/f", "12345", O_WRONLY).has_value());
  rig.ns->forget_names(100);
  const auto st = rig.stat("d/f");
  ASSERT_TRUE(st.has_value());
  EXPECT_EQ(st.value().size, 5u);
}

}  // namespace
}  // namespace run9::vfs::gofer
