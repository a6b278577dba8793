// Every operation of the gofer's backend, through a Session and a Client, on a real directory.
#include <dirent.h>
#include <sys/xattr.h>

#include <map>
#include <set>

#include "gofer/test_server.h"
#include "p9/codec.h"

namespace run9::gofer {
namespace {

using namespace p9;

class HostServerTest : public ::testing::Test {
 protected:
  void serve(const std::string& flags = "", JailOptions options = {}) {
    options.exports.push_back(parse_export(dir_.path() + ":t" + flags, 0).assume_value());
    exports_ = std::move(open_exports(options).assume_value());
    connection_ = std::make_unique<Connection>(exports_, 1);
    root_ = client().attach("t").assume_value().fid;
  }
  Client& client() { return connection_->client(); }
  ~HostServerTest() override { connection_.reset(); }

  Result<Fid> walk(std::vector<std::string> names) {
    const Fid fid = TRY(client().alloc_fid());
    Twalk t{.fid = root_, .newfid = fid};
    for (const auto& n : names) t.names.emplace_back(n);
    auto r = client().call(t);
    if (!r) return r.assume_error();
    if ((*r.assume_value()).qids.size() != names.size()) return Errno{ENOENT};
    return fid;
  }
  Result<Fid> open(const std::string& name, OpenFlags flags) {
    const Fid fid = TRY(walk({name}));
    TRY(client().call(Tlopen{.fid = fid, .flags = flags}));
    return fid;
  }
  Result<Fid> create(const std::string& name, OpenFlags flags, uint32_t mode = 0644) {
    const Fid fid = TRY(walk({}));
    TRY(client().call(
        Tlcreate{.fid = fid, .name = name, .flags = flags, .mode = mode, .gid = getgid()}));
    return fid;
  }
  Result<std::string> read(Fid fid, uint64_t offset = 0) {
    const auto r = TRY(client().call(Tread{.fid = fid, .offset = offset, .count = 4096}));
    return std::string(as_chars(r->data));
  }
  Result<uint32_t> write(Fid fid, std::string_view text, uint64_t offset = 0) {
    return TRY(client().call(Twrite{.fid = fid, .offset = offset, .data = as_bytes(text)}))->count;
  }
  Result<Rgetattr> getattr(Fid fid) {
    return TRY(client().call(Tgetattr{.fid = fid, .request_mask = kGetAll})).msg;
  }
  std::set<std::string> list(Fid fid) {
    std::set<std::string> names;
    for (uint64_t offset = 0;;) {
      auto r = client().call(Treaddir{.fid = fid, .offset = offset, .count = 600}).assume_value();
      DirentReader<Dirent> entries(r->data);
      size_t n = 0;
      while (auto e = entries.next().assume_value()) {
        EXPECT_TRUE(names.insert(std::string(e->name)).second) << e->name;
        offset = e->offset;
        ++n;
      }
      if (n == 0) return names;
    }
  }

  TempDir dir_;
  Exports exports_;
  std::unique_ptr<Connection> connection_;
  Fid root_{};
};

TEST_F(HostServerTest, CreatesWritesReads) {
  serve();
  const Fid f = create("f", kORdwr, 04711).assume_value();
  EXPECT_EQ(write(f, "hello").assume_value(), 5u);
  EXPECT_EQ(read(f, 1).assume_value(), "ello");
  EXPECT_EQ(dir_.read("f"), "hello");
  const Rgetattr a = getattr(f).assume_value();
  EXPECT_EQ(a.size, 5u);
  EXPECT_EQ(a.nlink, 1u);
  EXPECT_EQ(error_of(create("f", kORdwr | kOExcl)), EEXIST);
  const Fid again = create("f", kORdwr).assume_value();  // without O_EXCL an existing one opens
  EXPECT_EQ(read(again).assume_value(), "hello");
  EXPECT_EQ(error_of(client().call(Tfsync{.fid = f})), 0);
  EXPECT_EQ(error_of(open("f", kOWronly | kOTrunc)), 0);
  EXPECT_EQ(dir_.read("f"), "");
}

TEST_F(HostServerTest, NamesDoNotEscape) {
  dir_.write("file", "x");
  ASSERT_EQ(symlink("/etc", dir_.path("abs").c_str()), 0);
  ASSERT_EQ(symlink("../../etc/passwd", dir_.path("rel").c_str()), 0);
  std::filesystem::create_directory(dir_.path("d"));
  serve();
  EXPECT_EQ(error_of(walk({"a/b"})), EINVAL);
  EXPECT_EQ(error_of(walk({"/etc"})), EINVAL);
  EXPECT_EQ(error_of(walk({""})), ENOENT);
  // The directory itself; a file has none, and nothing can be made or removed by this name.
  EXPECT_EQ(error_of(walk({".", "d", ".", "..", "file"})), 0);
  EXPECT_EQ(error_of(client().call(Twalk{.fid = walk({"file"}).assume_value(), .newfid = Fid{999}, .names = {"."}})), ENOTDIR);
  EXPECT_EQ(error_of(client().call(Twalk{.fid = walk({"abs"}).assume_value(), .newfid = Fid{999}, .names = {"."}})), ENOTDIR);
  EXPECT_EQ(error_of(client().call(Tunlinkat{.dirfid = root_, .name = ".", .flags = kAtRemovedir})), EINVAL);
  EXPECT_EQ(error_of(walk({"abs", "passwd"})), ENOENT);  // stops at the link
  EXPECT_EQ(error_of(open("abs", kORdonly)), ELOOP);
  EXPECT_EQ(error_of(open("rel", kORdonly)), ELOOP);
  EXPECT_EQ(error_of(create("rel", kORdwr)), ELOOP);
  const uint64_t root = getattr(root_).assume_value().qid.path;
  const Fid up = walk({"d", "..", "..", "..", "d", ".."}).assume_value();
  EXPECT_EQ(getattr(up).assume_value().qid.path, root);
  EXPECT_EQ(getattr(walk({"d", "..", "."}).assume_value()).assume_value().qid.path, root);
  EXPECT_EQ(error_of(client().attach("/etc")), EPERM);
}

TEST_F(HostServerTest, ParentEntryOfRootIsRoot) {
  serve();
  auto r = client()
               .call(Treaddirx{.fid = root_, .count = 8192, .attrmask = kAttrBasic,
                               .flags = kReaddirOpen})
               .assume_value();
  DirentReader<DirentX> entries(r->data);
  const uint64_t root = getattr(root_).assume_value().qid.path;
  while (auto e = entries.next().assume_value()) EXPECT_EQ(e->attr.ino, root) << e->name;
}

TEST_F(HostServerTest, AttributesOfDirectoriesOnly) {
  ASSERT_EQ(mkdir(dir_.path("d").c_str(), 0755), 0);
  dir_.write("f", "text");
  ASSERT_EQ(symlink("f", dir_.path("l").c_str()), 0);
  serve();
  const auto list = [&](uint64_t mask) {
    const auto r = client().call(Treaddirx{.fid = root_, .count = 8192, .attrmask = mask, .flags = kReaddirOpen}).assume_value();
    DirentReader<DirentX> entries(r->data);
    std::map<std::string, DirentX> all;
    while (auto e = entries.next().assume_value()) all.emplace(e->name, *e);
    return all;
  };
  auto few = list(kAttrBasic | kAttrOfDirectories), all = list(kAttrBasic);
  ASSERT_EQ(few.size(), all.size());
  for (const auto& [name, e] : few) {
    EXPECT_EQ(e.qid.path, all[name].qid.path) << name;
    EXPECT_EQ(e.type, all[name].type) << name;
    EXPECT_EQ(e.attr.valid, e.type == DT_DIR && name != ".." ? all[name].attr.valid : 0u) << name;
  }
}

TEST_F(HostServerTest, EntriesWithoutExtendedAttributes) {
  ASSERT_EQ(mkdir(dir_.path("d").c_str(), 0755), 0);
  ASSERT_EQ(mkdir(dir_.path("marked").c_str(), 0755), 0);
  for (const char* name : {"f", "user", "kept", "hosts"}) dir_.write(name, "text");
  ASSERT_EQ(symlink("f", dir_.path("l").c_str()), 0);
  ASSERT_EQ(mkfifo(dir_.path("fifo").c_str(), 0600), 0);
  const auto set = [&](const char* name, const char* attribute) { return setxattr(dir_.path(name).c_str(), attribute, "v", 1, 0); };
  if (set("user", "user.a") != 0) GTEST_SKIP() << "no xattrs in /tmp: " << strerror(errno);
  ASSERT_EQ(set("kept", "user.run9.security.capability"), 0);
  ASSERT_EQ(set("hosts", "user.run9.other"), 0);  // which no client sees
  ASSERT_EQ(set("marked", "user.run9.trusted.overlay.opaque"), 0);
  serve();
  const auto without = [&](uint64_t mask) {
    const auto r = client().call(Treaddirx{.fid = root_, .count = 8192, .attrmask = mask, .flags = kReaddirOpen}).assume_value();
    DirentReader<DirentX> entries(r->data);
    std::set<std::string> names;
    while (auto e = entries.next().assume_value()) {
      if ((e->attr.valid & kAttrNoXattrs) != 0) names.emplace(e->name);
    }
    return names;
  };
  EXPECT_EQ(without(kAttrBasic | kAttrNoXattrs), (std::set<std::string>{".", "d", "f", "hosts", "l", "fifo"}));
  EXPECT_EQ(without(kAttrBasic), std::set<std::string>{});
}

TEST_F(HostServerTest, SpecialFilesAreNotOpened) {
  ASSERT_EQ(mkfifo(dir_.path("fifo").c_str(), 0666), 0);
  serve();
  EXPECT_EQ(error_of(open("fifo", kORdonly)), EPERM);
  EXPECT_EQ(error_of(open("fifo", kOWronly)), EPERM);
  EXPECT_EQ(error_of(create("fifo", kORdwr)), EPERM);
  const auto mk = [&](const char* name, uint32_t mode, uint32_t minor) {
    return error_of(client().call(
        Tmknod{.dfid = root_, .name = name, .mode = mode, .minor = minor, .gid = getgid()}));
  };
  EXPECT_EQ(mk("p", S_IFIFO | 0600, 0), 0);
  EXPECT_EQ(mk("s", S_IFSOCK | 0600, 0), 0);
  EXPECT_EQ(mk("r", S_IFREG | 0600, 0), 0);
  EXPECT_EQ(mk("c", S_IFCHR | 0600, 3), EPERM);
  EXPECT_EQ(mk("w", S_IFCHR | 0600, 0), EPERM);
  EXPECT_EQ(mk("b", S_IFBLK | 0600, 0), EPERM);
}

TEST_F(HostServerTest, ReadOnlyExport) {
  dir_.write("f", "x");
  serve(":ro");
  EXPECT_EQ(error_of(open("f", kORdwr)), EROFS);
  EXPECT_EQ(error_of(open("f", kORdonly | kOTrunc)), EROFS);
  EXPECT_EQ(error_of(create("g", kORdwr)), EROFS);
  EXPECT_EQ(error_of(client().call(Tmkdir{.dfid = root_, .name = "d", .mode = 0755})), EROFS);
  EXPECT_EQ(error_of(client().call(Tunlinkat{.dirfid = root_, .name = "f"})), EROFS);
  const auto fd = client().call(Tfdget{.fid = walk({"f"}).assume_value(), .oflags = kORdonly});
  ASSERT_TRUE(fd);
  EXPECT_EQ(fcntl(fd.assume_value().fd.get(), F_GETFL) & O_ACCMODE, O_RDONLY);
}

TEST_F(HostServerTest, HiddenAndEmptyNames) {
  dir_.write("secret", "x");
  std::filesystem::create_directories(dir_.path("d/keys"));
  std::filesystem::create_directories(dir_.path("run/inner"));
  dir_.write("d/open", "x");
  ASSERT_EQ(link(dir_.path("secret").c_str(), dir_.path("d/other").c_str()), 0);
  serve("", {.hide = {dir_.path("secret"), dir_.path("d/keys"), dir_.path("no/such")},
             .empty = {dir_.path("run")}});
  EXPECT_EQ(error_of(walk({"secret"})), ENOENT);
  EXPECT_EQ(error_of(walk({"d", "keys"})), ENOENT);
  EXPECT_EQ(error_of(walk({"d", "other"})), ENOENT) << "a second link of a hidden file";
  EXPECT_EQ(error_of(create("secret", kORdwr)), EACCES);
  EXPECT_EQ(error_of(client().call(Trenameat{
                .olddirfid = root_, .oldname = "secret", .newdirfid = root_, .newname = "s"})),
            EACCES);
  EXPECT_EQ(list(open("d", kORdonly).assume_value()), (std::set<std::string>{".", "..", "open"}));
  EXPECT_EQ(list(open("run", kORdonly).assume_value()), (std::set<std::string>{".", ".."}));
  EXPECT_EQ(error_of(walk({"run", "inner"})), ENOENT);
}

TEST_F(HostServerTest, WalkxOpensAndDonates) {
  std::filesystem::create_directories(dir_.path("a/b"));
  dir_.write("a/b/f", "data");
  ASSERT_EQ(symlink("b/f", dir_.path("a/l").c_str()), 0);
  serve();
  Twalkx t{.fid = root_, .wflags = kWalkOpen | kWalkWantFd, .attrmask = kAttrBasic};
  t.names = {"a", "b", "f"};
  auto r = client().call(t).assume_value();
  EXPECT_EQ(r->status, WalkStatus::kOk);
  ASSERT_EQ(r->walked.size(), 3u);
  EXPECT_EQ(r->walked[2].attr.size, 4u);
  char text[8];
  EXPECT_EQ(pread(r.fd.get(), text, sizeof text, 0), 4);
  EXPECT_EQ(::write(r.fd.get(), "x", 1), -1);
  EXPECT_EQ(fcntl(r.fd.get(), F_GETFL) & O_ACCMODE, O_RDONLY);

  t.names = {"a", "l"};
  auto link = client().call(t).assume_value();
  EXPECT_EQ(link->status, WalkStatus::kSymlink);
  EXPECT_EQ(link->target, "b/f");
  EXPECT_FALSE(link.fd.valid());

  t.names = {"a", "b"};  // a directory's descriptor never leaves
  auto dir = client().call(t).assume_value();
  EXPECT_EQ(dir->status, WalkStatus::kFailed);
  EXPECT_FALSE(dir.fd.valid());

  const Fid open = client().alloc_fid().assume_value();
  Twalkx c{.fid = root_, .openfid = open, .wflags = kWalkOpen | kWalkCreate | kWalkWantFd,
           .attrmask = kAttrBasic, .oflags = kORdwr, .mode = 0600};
  c.names = {"a", "new"};
  auto made = client().call(c).assume_value();
  EXPECT_EQ(made->status, WalkStatus::kCreated);
  EXPECT_EQ(::write(made.fd.get(), "via fd", 6), 6);
  EXPECT_EQ(read(open).assume_value(), "via fd");
}

TEST_F(HostServerTest, MopenOpensRegularFilesAlone) {
  std::filesystem::create_directories(dir_.path("d/sub"));
  for (const char* name : {"d/a", "d/b", "d/hidden", "secret"}) dir_.write(name, name);
  ASSERT_EQ(symlink("a", dir_.path("d/link").c_str()), 0);
  ASSERT_EQ(link(dir_.path("secret").c_str(), dir_.path("d/other").c_str()), 0);
  ASSERT_EQ(mkfifo(dir_.path("d/fifo").c_str(), 0666), 0);
  serve("", {.hide = {dir_.path("d/hidden"), dir_.path("secret")}});
  const Fid d = walk({"d"}).assume_value();
  const auto r = client().call(Tmopen{
      .fid = d, .names = {"fifo", "b", "sub", "link", "none", "hidden", "other", "a"}}).assume_value();
  std::vector<int> errors;
  for (const OpenedX& f : r->files) errors.push_back(static_cast<int>(f.error));
  EXPECT_EQ(errors, (std::vector<int>{EPERM, 0, EISDIR, ELOOP, ENOENT, ENOENT, ENOENT, 0}));
  ASSERT_EQ(r.fds.size(), 2u);
  char text[8] = {};
  EXPECT_EQ(pread(r.fds[0].get(), text, sizeof text, 0), 3);
  EXPECT_STREQ(text, "d/b");
  EXPECT_EQ(::write(r.fds[1].get(), "x", 1), -1);
  EXPECT_EQ(fcntl(r.fds[1].get(), F_GETFL) & O_ACCMODE, O_RDONLY);
  const auto a = walk({"d", "a"}).assume_value();
  EXPECT_EQ(r->files[7].qid.path, getattr(a).assume_value().qid.path);
}

TEST_F(HostServerTest, UnlinkedFileStaysUsable) {
  serve();
  const Fid f = create("f", kORdwr).assume_value();
  ASSERT_TRUE(write(f, "abc"));
  ASSERT_TRUE(client().call(Tunlinkat{.dirfid = root_, .name = "f"}));
  EXPECT_EQ(getattr(f).assume_value().nlink, 0u);
  EXPECT_TRUE(client().call(Tsetattr{.fid = f, .attr = {.valid = kSetSize, .size = 1}}));
  EXPECT_EQ(getattr(f).assume_value().size, 1u);
  EXPECT_EQ(error_of(walk({"f"})), ENOENT);
}

TEST_F(HostServerTest, SetsAttributes) {
  dir_.write("f", "12345");
  serve();
  const Fid f = walk({"f"}).assume_value();
  auto set = [&](SetAttr a) { return error_of(client().call(Tsetattr{.fid = f, .attr = a})); };
  EXPECT_EQ(set({.valid = kSetMode | kSetSize, .mode = 0600, .size = 2}), 0);
  EXPECT_EQ(set({.valid = kSetMtime | kSetMtimeGiven, .mtime = {1000, 5}}), 0);
  EXPECT_EQ(set({.valid = kSetMtime | kSetMtimeGiven, .mtime = {1, 1000000000}}), EINVAL);
  const Rgetattr a = getattr(f).assume_value();
  EXPECT_EQ(a.mode, S_IFREG | 0600u);
  EXPECT_EQ(a.size, 2u);
  EXPECT_EQ(a.mtime.sec, 1000u);
  EXPECT_EQ(a.mtime.nsec, 5u);
  auto x = client().call(Tsetx{.fid = f, .attr = {.valid = kSetSize, .size = 9},
                               .attrmask = kAttrBasic});
  EXPECT_EQ(x.assume_value()->attr.size, 9u);
}

TEST_F(HostServerTest, RenamesMoveTheTree) {
  std::filesystem::create_directories(dir_.path("a/sub"));
  std::filesystem::create_directory(dir_.path("b"));
  serve();
  const Fid sub = walk({"a", "sub"}).assume_value();
  const Fid a = walk({"a"}).assume_value(), b = walk({"b"}).assume_value();
  ASSERT_TRUE(client().call(
      Trenameat{.olddirfid = a, .oldname = "sub", .newdirfid = b, .newname = "moved"}));
  const Fid up = client().alloc_fid().assume_value();
  Twalk t{.fid = sub, .newfid = up};
  t.names = {".."};
  ASSERT_TRUE(client().call(t));
  EXPECT_EQ(getattr(up).assume_value().qid.path, getattr(b).assume_value().qid.path);
  EXPECT_EQ(error_of(client().call(Trename2{.olddirfid = root_, .oldname = "a", .newdirfid = root_,
                                            .newname = "b", .flags = kRenameNoreplace})),
            EEXIST);
  EXPECT_EQ(error_of(client().call(Trename2{.olddirfid = root_, .oldname = "a", .newdirfid = root_,
                                            .newname = "b", .flags = kRenameExchange})),
            0);
  EXPECT_TRUE(std::filesystem::exists(dir_.path("a/moved")));
  // By fid alone, and removal.
  ASSERT_TRUE(client().call(Trename{.fid = sub, .dfid = root_, .name = "top"}));
  EXPECT_TRUE(std::filesystem::exists(dir_.path("top")));
  EXPECT_EQ(error_of(client().call(Tremove{.fid = sub})), 0);
  EXPECT_FALSE(std::filesystem::exists(dir_.path("top")));
}

TEST_F(HostServerTest, LinksAndSymlinks) {
  dir_.write("f", "x");
  serve();
  ASSERT_TRUE(client().call(
      Tlink{.dfid = root_, .fid = walk({"f"}).assume_value(), .name = "g"}));
  EXPECT_EQ(getattr(walk({"g"}).assume_value()).assume_value().nlink, 2u);
  ASSERT_TRUE(client().call(
      Tsymlink{.dfid = root_, .name = "l", .target = "/anything", .gid = getgid()}));
  const auto target = client().call(Treadlink{.fid = walk({"l"}).assume_value()});
  EXPECT_EQ(target.assume_value()->target, "/anything");
}

TEST_F(HostServerTest, ReplacedFileIsNotOpenedByItsOldFid) {
  dir_.write("f", "old");
  serve();
  const Fid f = walk({"f"}).assume_value();
  dir_.write("g", "new");
  std::filesystem::rename(dir_.path("g"), dir_.path("f"));
  EXPECT_EQ(error_of(client().call(Tlopen{.fid = f, .flags = kORdonly})), ESTALE);
}

TEST_F(HostServerTest, ReadsTenThousandEntries) {
  for (int i = 0; i < 10000; ++i) {
    const UniqueFd fd(::open(dir_.path("n" + std::to_string(i)).c_str(), O_CREAT | O_WRONLY, 0600));
  }
  serve();
  const Fid fid = walk({}).assume_value();
  ASSERT_TRUE(client().call(Tlopen{.fid = fid, .flags = kORdonly}));
  EXPECT_EQ(list(fid).size(), 10002u);
}

TEST_F(HostServerTest, ExtendedAttributes) {
  dir_.write("f", "x");
  serve();
  const Fid f = walk({"f"}).assume_value();
  const auto set = [&](const char* name, std::string_view value) {
    return error_of(client().call(Tsetxa{.fid = f, .name = name, .value = as_bytes(value)}));
  };
  if (set("user.a", "1") == EOPNOTSUPP) GTEST_SKIP() << "no user.* attributes in /tmp";
  EXPECT_EQ(set("security.capability", "caps"), 0);
  EXPECT_EQ(set("user.run9.x", "1"), EOPNOTSUPP);
  EXPECT_EQ(set("system.posix_acl_access", "1"), EOPNOTSUPP);
  char buffer[16];
  EXPECT_EQ(getxattr(dir_.path("f").c_str(), "security.capability", buffer, sizeof buffer), -1);
  EXPECT_EQ(getxattr(dir_.path("f").c_str(), "user.run9.security.capability", buffer, 16), 4);
  auto value = client().call(Tgetxa{.fid = f, .name = "security.capability", .size = 64});
  EXPECT_EQ(as_chars(value.assume_value()->value), "caps");
  auto names = client().call(Tlistxa{.fid = f, .size = 1024});
  const std::string_view all = as_chars(names.assume_value()->names);
  EXPECT_NE(all.find("security.capability"), all.npos);
  EXPECT_EQ(all.find("run9"), all.npos);
  EXPECT_EQ(error_of(client().call(Trmxa{.fid = f, .name = "user.a"})), 0);
  EXPECT_EQ(error_of(client().call(Tgetxa{.fid = f, .name = "user.a"})), ENODATA);
}

TEST_F(HostServerTest, LocksConflictAcrossConnections) {
  dir_.write("f", "x");
  serve();
  Connection second(exports_, 2);
  const Fid root2 = second.client().attach("t").assume_value().fid;
  const Fid f2 = second.client().alloc_fid().assume_value();
  Twalk t{.fid = root2, .newfid = f2};
  t.names = {"f"};
  ASSERT_TRUE(second.client().call(t));
  ASSERT_TRUE(second.client().call(Tlopen{.fid = f2, .flags = kORdwr}));
  const Fid f1 = open("f", kORdwr).assume_value();
  const auto lock = [](Client& c, Fid fid, LockType type, uint64_t start, uint64_t length) {
    return c.call(Tlock{.fid = fid, .type = type, .start = start, .length = length, .proc_id = 7,
                        .client_id = "n"})
        .assume_value()
        ->status;
  };
  EXPECT_EQ(lock(client(), f1, LockType::kWrite, 0, 10), LockStatus::kSuccess);
  EXPECT_EQ(lock(second.client(), f2, LockType::kRead, 5, 1), LockStatus::kBlocked);
  EXPECT_EQ(lock(second.client(), f2, LockType::kWrite, 10, 0), LockStatus::kSuccess);
  EXPECT_EQ(lock(client(), f1, LockType::kUnlock, 4, 3), LockStatus::kSuccess);  // splits
  EXPECT_EQ(lock(second.client(), f2, LockType::kRead, 5, 1), LockStatus::kSuccess);
  auto in_way = second.client().call(Tgetlock{.fid = f2, .type = LockType::kWrite, .start = 0,
                                              .length = 0, .proc_id = 7, .client_id = "n"});
  EXPECT_EQ(in_way.assume_value()->type, LockType::kWrite);
  EXPECT_EQ(in_way.assume_value()->length, 4u);
  ASSERT_TRUE(client().clunk(f1));  // the last open file takes its locks along
  EXPECT_EQ(lock(second.client(), f2, LockType::kWrite, 0, 0), LockStatus::kSuccess);
}

TEST_F(HostServerTest, AllocatesAndSeeks) {
  serve();
  const Fid f = create("f", kORdwr).assume_value();
  auto r = client().call(Tfalloc{.fid = f, .offset = 0, .length = 8192, .attrmask = kAttrBasic});
  ASSERT_EQ(error_of(r), 0);
  EXPECT_EQ(r.assume_value()->attr.size, 8192u);
  EXPECT_EQ(error_of(client().call(Tseek{.fid = f, .offset = 0, .whence = kSeekHole})), 0);
  EXPECT_EQ(error_of(client().call(Tstatfs{.fid = root_})), 0);
}

TEST_F(HostServerTest, DeepTreesAreLetGoWithoutRecursion) {
  serve();
  Fid at = root_;
  for (int i = 0; i < 3000; ++i) {
    const Fid next = client().alloc_fid().assume_value();
    Twalkx t{.fid = at, .newfid = next, .wflags = kWalkMkdir | kWalkKeepControl, .mode = 0700};
    t.names = {"d"};
    ASSERT_EQ(client().call(t).assume_value()->status, WalkStatus::kCreated);
    if (at != root_) {
      ASSERT_TRUE(client().clunk(at));
    }
    at = next;
  }
  ASSERT_TRUE(client().clunk(at));
  // remove_all() of the fixture recurses by path; this does not.
  ASSERT_EQ(system(("rm -rf " + dir_.path("d")).c_str()), 0);
}

TEST_F(HostServerTest, DescriptorsDoNotLeak) {
  dir_.write("f", "x");
  serve();
  const auto count = [] {
    return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {});
  };
  const auto before = count();
  for (int i = 0; i < 50; ++i) {
    const Fid f = open("f", kORdonly).assume_value();
    { auto donated = client().call(Tfdget{.fid = f, .oflags = kORdonly}); }
    (void)walk({"nothing"});
    ASSERT_TRUE(client().clunk(f));
  }
  EXPECT_EQ(count(), before);
}

TEST(ExportSpecTest, Parses) {
  const auto spec = parse_export("/a:b/c:name:ro:xdev:lease", 3).assume_value();
  EXPECT_EQ(spec.dir, "/a:b/c");
  EXPECT_EQ(spec.name, "name");
  EXPECT_TRUE(spec.read_only && spec.cross_mounts);
  EXPECT_EQ(parse_export("/", 3).assume_value().name, "3");
  EXPECT_EQ(error_of(parse_export(":ro", 0)), EINVAL);
}

TEST_F(HostServerTest, MakesAnyKindAndTellsItsAttributes) {
  serve();
  Tmkx t{.dfid = root_, .newfid = client().alloc_fid().assume_value(), .name = "link", .mode = S_IFLNK,
         .uid = geteuid(), .gid = getegid(), .target = "to", .attrmask = kAttrAll};
  const auto link = client().call(t).assume_value();
  EXPECT_TRUE(is(link->qid, QidType::kSymlink));
  EXPECT_EQ(link->attr.size, 2u);
  EXPECT_EQ(link->attr.valid & kAttrBtime, kAttrBtime);
  EXPECT_EQ(client().call(Treadlink{.fid = t.newfid}).assume_value()->target, "to");
  t.name = "fifo";
  EXPECT_EQ(error_of(client().call(t)), EBADF);  // newfid is taken: nothing is made
  EXPECT_EQ(list(open(".", kORdonly).assume_value()).count("fifo"), 0u);
  t.newfid = kNoFid;
  t.mode = S_IFIFO | 0640;
  EXPECT_EQ(client().call(t).assume_value()->attr.mode, static_cast<uint32_t>(S_IFIFO | 0640));
  t.name = "dir";
  t.mode = S_IFDIR | 0750;
  EXPECT_TRUE(is(client().call(t).assume_value()->qid, QidType::kDir));
  t.name = "device";
  t.mode = S_IFCHR | 0600;
  EXPECT_EQ(error_of(client().call(t)), EPERM);
  t.name = "nowhere";
  t.mode = S_IFLNK;
  t.target = "";
  EXPECT_EQ(error_of(client().call(t)), ENOENT);
}

TEST_F(HostServerTest, CopiesBetweenFilesOpenOrNot) {
  serve();
  dir_.write("from", std::string(100'000, 'x') + "end");
  dir_.write("to", "before");
  std::filesystem::create_directory(dir_.path("dir"));
  const Fid from = walk({"from"}).assume_value(), to = walk({"to"}).assume_value();
  EXPECT_EQ(client().call(Tcopy{.infid = from, .inoffset = 99'999, .outfid = to, .outoffset = 6, .length = 50}).assume_value()->copied, 4u);
  EXPECT_EQ(dir_.read("to"), "beforexend");
  EXPECT_EQ(client().call(Tcopy{.infid = from, .inoffset = 100'003, .outfid = to, .length = 50}).assume_value()->copied, 0u);
  const Fid reader = open("from", kORdonly).assume_value(), writer = open("to", kOWronly).assume_value();
  EXPECT_EQ(client().call(Tcopy{.infid = reader, .inoffset = 100'000, .outfid = writer, .length = 3}).assume_value()->copied, 3u);
  EXPECT_EQ(dir_.read("to"), "endorexend");
  // Access is the open's.
  EXPECT_EQ(error_of(client().call(Tcopy{.infid = writer, .outfid = to, .length = 1})), EBADF);
  EXPECT_EQ(error_of(client().call(Tcopy{.infid = from, .outfid = reader, .length = 1})), EBADF);
  EXPECT_EQ(error_of(client().call(Tcopy{.infid = walk({"dir"}).assume_value(), .outfid = to, .length = 1})), EISDIR);
  for (const uint64_t far : {uint64_t{INT64_MAX}, UINT64_MAX}) {
    EXPECT_EQ(error_of(client().call(Tcopy{.infid = from, .inoffset = far, .outfid = to, .length = 2})), EINVAL);
    EXPECT_EQ(error_of(client().call(Tcopy{.infid = from, .outfid = to, .outoffset = far, .length = 2})), EINVAL);
  }
  EXPECT_TRUE(client().call(Tsyncfs{.fid = to}));
  EXPECT_TRUE(client().call(Tsyncfs{.fid = root_}));
}

}  // namespace
}  // namespace run9::gofer
