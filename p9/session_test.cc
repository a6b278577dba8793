// A Session over a MemTree, driven by the Client over a channel without a socket; and once over a
// real one, for descriptors.
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <thread>

#include "p9/client.h"
#include "p9/fuzz.h"
#include "p9/mem_tree.h"
#include "p9/server/session.h"
#include "p9/session_fuzz.h"
#include "p9/transport/blocking_channel.h"
#include "p9/transport/serve_fd.h"
#include "p9/transport/socket_io.h"

namespace run9::p9 {
namespace {

std::string text_of(ByteSpan b) { return std::string(as_chars(b)); }

// Hands each request to a session on the spot.
class DirectChannel final : public Channel {
 public:
  explicit DirectChannel(Session& session) : session_(session) {}
  Result<Reply> round_trip(std::vector<std::byte> frame, Tag) override {
    ReplyBatch batch;
    if (session_.handle_frame(frame, batch) == Verdict::kClose) return Errno{ECONNRESET};
    Reply reply;
    reply.frame.assign(batch.bytes.bytes().begin(), batch.bytes.bytes().end());
    if (!batch.donations.empty()) reply.fds = std::move(batch.donations[0].fds);
    return reply;
  }
  void set_msize(uint32_t) override {}

 private:
  Session& session_;
};

struct SessionTest : ::testing::Test {
  explicit SessionTest(ClientOptions options = {.msize = 65536})
      : session(tree, {.max_fids = 100}), channel(session), client(channel, options) {
    CHECK(client.start());
    root = client.attach("").value().fid;
  }
  Fid fid() { return client.alloc_fid().value(); }
  Fid walk(List<WalkName, kMaxWalk> names) {
    const Fid f = fid();
    CHECK(client.call(Twalk{.fid = root, .newfid = f, .names = names}));
    return f;
  }
  Fid make_file(std::string_view name, std::string_view data) {
    const Fid f = walk({});
    CHECK(client.call(Tlcreate{.fid = f, .name = name, .flags = kORdwr, .mode = 0644}));
    CHECK(client.call(Twrite{.fid = f, .data = as_bytes(data)}));
    return f;
  }
  void make_dir(Fid parent, std::string_view name) {
    CHECK(client.call(Tmkdir{.dfid = parent, .name = name, .mode = 0755}));
  }
  template <typename T>
  Errno error_of(const T& t) {
    const auto r = client.call(t);
    return r ? Errno{0} : r.error();
  }

  MemTree tree;
  Session session;
  DirectChannel channel;
  Client client;
  Fid root{};
};

struct PlainTest : SessionTest {
  PlainTest() : SessionTest({.msize = 4096, .dialect = false}) {}
};

TEST_F(PlainTest, CreateWriteReadClunk) {
  EXPECT_FALSE(client.dialect());
  const Fid f = make_file("a", "hello");
  EXPECT_EQ(text_of(client.call(Tread{.fid = f, .count = 100}).value()->data), "hello");
  EXPECT_EQ(text_of(client.call(Tread{.fid = f, .offset = 4, .count = 100}).value()->data), "o");
  EXPECT_EQ(client.call(Tread{.fid = f, .offset = 9, .count = 9}).value()->data.size(), 0u);
  const auto attr = client.call(Tgetattr{.fid = f, .request_mask = kGetAll}).value();
  EXPECT_EQ(attr->size, 5u);
  EXPECT_EQ(attr->valid, kGetBasic | kGetBtime);
  EXPECT_TRUE(client.clunk(f));
  EXPECT_TRUE(client.clunk(walk({"a"})));
}

TEST_F(PlainTest, ReadIsClampedBelowMsize) {
  const Fid f = make_file("a", std::string(4000, 'x'));
  ASSERT_TRUE(client.call(Twrite{.fid = f, .offset = 4000, .data = as_bytes("0123456789abcdef")}));
  const auto big = client.call(Tsetattr{.fid = f, .attr = {.valid = kSetSize, .size = 100000}});
  ASSERT_TRUE(big);
  EXPECT_EQ(client.call(Tread{.fid = f, .count = 0xffffffff}).value()->data.size(), 4096u - 24);
}

TEST_F(PlainTest, PartialWalkLeavesNewfidUnbound) {
  make_dir(root, "d");
  const Fid n = fid();
  EXPECT_EQ(client.call(Twalk{.fid = root, .newfid = n, .names = {"d", "no"}}).value()->qids.size(),
            1u);
  EXPECT_EQ(error_of(Tgetattr{.fid = n}), Errno{EBADF});
  EXPECT_EQ(error_of(Twalk{.fid = root, .newfid = n, .names = {"no"}}), Errno{ENOENT});
  EXPECT_EQ(error_of(Twalk{.fid = root, .newfid = root, .names = {"no"}}), Errno{ENOENT});
}

TEST_F(PlainTest, DotDotStaysAtTheRoot) {
  make_dir(root, "d");
  const auto up = client.call(Twalk{.fid = root, .newfid = fid(), .names = {"d", "..", "..", "d"}});
  EXPECT_EQ(up.value()->qids.size(), 4u);
  EXPECT_EQ(error_of(Tmkdir{.dfid = root, .name = ".."}), Errno{EINVAL});
  EXPECT_EQ(error_of(Tunlinkat{.dirfid = root, .name = "d/x"}), Errno{EINVAL});
}

TEST_F(PlainTest, WalkStopsAtASymlinkWithItsQid) {
  ASSERT_TRUE(client.call(Tsymlink{.dfid = root, .name = "l", .target = "/etc"}));
  const auto r = client.call(Twalk{.fid = root, .newfid = fid(), .names = {"l", "passwd"}}).value();
  ASSERT_EQ(r->qids.size(), 1u);
  EXPECT_EQ(r->qids[0].type, QidType::kSymlink);
  const Fid l = walk({"l"});
  EXPECT_EQ(client.call(Treadlink{.fid = l}).value()->target, "/etc");
  EXPECT_EQ(error_of(Tlopen{.fid = l}), Errno{ELOOP});
}

TEST_F(PlainTest, FidRules) {
  EXPECT_EQ(error_of(Tattach{.fid = root}), Errno{EBADF});
  EXPECT_EQ(error_of(Tattach{.fid = kNoFid}), Errno{EBADF});
  EXPECT_EQ(error_of(Tattach{.fid = Fid{9}, .aname = "/etc"}), Errno{EPERM});
  EXPECT_EQ(error_of(Tattach{.fid = Fid{9}, .afid = Fid{1}}), Errno{EBADF});
  const Fid f = make_file("a", "x");
  EXPECT_EQ(error_of(Twalk{.fid = root, .newfid = f}), Errno{EBADF});
  EXPECT_EQ(error_of(Tlopen{.fid = f}), Errno{EINVAL});  // open already
  const Fid w = walk({"a"});
  EXPECT_EQ(error_of(Tread{.fid = w, .count = 1}), Errno{EBADF});
  ASSERT_TRUE(client.call(Tlopen{.fid = w, .flags = kOWronly}));
  EXPECT_EQ(error_of(Tread{.fid = w, .count = 1}), Errno{EBADF});
  EXPECT_EQ(error_of(Tclunk{.fid = Fid{77}}), Errno{EBADF});
  EXPECT_EQ(error_of(Tauth{.afid = Fid{5}}), Errno{ENOENT});
  EXPECT_EQ(error_of(Tflush{.oldtag = Tag{99}}), Errno{0});
}

TEST_F(PlainTest, FidsAreLimited) {
  Errno last{0};
  for (uint32_t i = 1000; i < 1200 && last == Errno{0}; ++i) {
    last = error_of(Twalk{.fid = root, .newfid = Fid{i}});
  }
  EXPECT_EQ(last, Errno{ENFILE});
  EXPECT_EQ(session.fid_count(), 100u);
}

TEST_F(PlainTest, OpenDirectoryFidStillNames) {
  const Fid d = walk({});
  ASSERT_TRUE(client.call(Tlopen{.fid = d}));
  make_dir(d, "x");
  EXPECT_EQ(error_of(Tunlinkat{.dirfid = d, .name = "x", .flags = kAtRemovedir}), Errno{0});
  EXPECT_EQ(error_of(Tunlinkat{.dirfid = d, .name = "x", .flags = 1}), Errno{EINVAL});
}

TEST_F(PlainTest, ReaddirResumesAndRefusesATinyCount) {
  for (const char* name : {"a", "b", "c"}) make_dir(root, name);
  const Fid d = walk({});
  ASSERT_TRUE(client.call(Tlopen{.fid = d}));
  EXPECT_EQ(error_of(Treaddir{.fid = d, .count = 5}), Errno{EINVAL});
  std::string names;
  uint64_t offset = 0;
  for (int calls = 0; calls < 10; ++calls) {
    const auto r = client.call(Treaddir{.fid = d, .offset = offset, .count = 60}).value();
    DirentReader<Dirent> entries(r->data);
    if (r->data.empty()) break;
    while (auto e = entries.next().value()) {
      names += std::string(e->name) + ' ';
      offset = e->offset;
    }
  }
  EXPECT_EQ(names, ". .. a b c ");
}

TEST_F(PlainTest, XattrsByFid) {
  const Fid f = make_file("a", "");
  const auto set = [&](std::string_view value, uint64_t size, uint32_t flags) {
    const Fid x = walk({"a"});
    EXPECT_EQ(error_of(Txattrcreate{.fid = x, .name = "user.k", .attr_size = size, .flags = flags}),
              Errno{0});
    if (!value.empty()) {
      EXPECT_EQ(error_of(Twrite{.fid = x, .data = as_bytes(value)}), Errno{0});
    }
    const auto r = client.clunk(x);
    return r ? Errno{0} : r.error();
  };
  EXPECT_EQ(set("value", 5, 0), Errno{0});
  const Fid x = fid();
  EXPECT_EQ(client.call(Txattrwalk{.fid = f, .newfid = x, .name = "user.k"}).value()->size, 5u);
  EXPECT_EQ(text_of(client.call(Tread{.fid = x, .count = 50}).value()->data), "value");
  EXPECT_EQ(set("val", 5, 0), Errno{EINVAL});  // less than announced
  EXPECT_EQ(set("", 0, 0), Errno{0});          // an empty value
  EXPECT_EQ(set("", 0, kXattrReplace), Errno{0});  // v9fs's removexattr
  EXPECT_EQ(error_of(Txattrwalk{.fid = f, .newfid = fid(), .name = "user.k"}), Errno{ENODATA});
  EXPECT_EQ(error_of(Txattrcreate{.fid = walk({"a"}), .name = "user.k", .attr_size = 1 << 30}),
            Errno{E2BIG});
}

TEST_F(PlainTest, RemoveAlwaysClunks) {
  make_dir(root, "d");
  const Fid d = walk({"d"});
  make_dir(d, "x");
  EXPECT_EQ(error_of(Tremove{.fid = d}), Errno{ENOTEMPTY});
  EXPECT_EQ(error_of(Tgetattr{.fid = d}), Errno{EBADF});
}

TEST_F(PlainTest, RenameAndUseAfterUnlink) {
  const Fid f = make_file("a", "x");
  ASSERT_TRUE(client.call(Trenameat{.olddirfid = root, .oldname = "a", .newdirfid = root,
                                    .newname = "b"}));
  EXPECT_EQ(error_of(Trename{.fid = f, .dfid = root, .name = "c"}), Errno{0});
  EXPECT_EQ(error_of(Tunlinkat{.dirfid = root, .name = "c"}), Errno{0});
  EXPECT_EQ(error_of(Tsetattr{.fid = f, .attr = {.valid = kSetSize, .size = 3}}), Errno{0});
  EXPECT_EQ(client.call(Tgetattr{.fid = f, .request_mask = kGetAll}).value()->nlink, 0u);
}

TEST_F(PlainTest, DialectMessagesAreUnsupported) {
  ReplyBatch batch;
  session.handle_frame(encode(Tag{5}, Tmclunk{.fids = {root}}), batch);
  EXPECT_EQ(decode<Rlerror>(batch.bytes.bytes()).value().ecode, uint32_t{EOPNOTSUPP});
}

TEST_F(PlainTest, StrangeFramesGetAnErrorAndTheSessionGoesOn) {
  const auto ecode = [&](std::vector<std::byte> frame) {
    ReplyBatch batch;
    EXPECT_EQ(session.handle_frame(frame, batch), Verdict::kContinue);
    return decode<Rlerror>(batch.bytes.bytes()).value().ecode;
  };
  EXPECT_EQ(ecode(encode(Tag{1}, Rclunk{})), uint32_t{EINVAL});
  auto frame = encode(Tag{1}, Tclunk{.fid = root});
  frame[4] = std::byte{112};  // Topen
  EXPECT_EQ(ecode(frame), uint32_t{EOPNOTSUPP});
  frame[4] = std::byte{110};  // Twalk, too short
  EXPECT_EQ(ecode(frame), uint32_t{EINVAL});
  EXPECT_EQ(error_of(Tgetattr{.fid = root}), Errno{0});
}

TEST_F(PlainTest, ReadOnlyRefusesChangesBeforeTheBackend) {
  const Fid f = make_file("a", "x");
  const Fid g = walk({"a"});
  tree.set_read_only(true);
  EXPECT_EQ(error_of(Twrite{.fid = f, .data = as_bytes("y")}), Errno{EROFS});
  EXPECT_EQ(error_of(Tlopen{.fid = g, .flags = kORdonly | kOTrunc}), Errno{EROFS});
  EXPECT_EQ(error_of(Tlopen{.fid = g}), Errno{0});
  EXPECT_EQ(error_of(Tremove{.fid = f}), Errno{EROFS});
  EXPECT_EQ(error_of(Tgetattr{.fid = f}), Errno{EBADF});
}

TEST(VersionTest, NegotiationAndReset) {
  MemTree tree;
  Session session(tree);
  const auto ask = [&](std::string_view version, uint32_t msize) {
    ReplyBatch batch;
    session.handle_frame(encode(kNoTag, Tversion{.msize = msize, .version = version}), batch);
    const auto r = decode<Rversion>(batch.bytes.bytes());
    return r ? std::string(r.value().version) + ' ' + std::to_string(r.value().msize) : "error";
  };
  EXPECT_EQ(ask("9P2000.L.x", 65536), "9P2000.L.x 65536");
  EXPECT_EQ(ask("9P2000.L.x", 8192), "9P2000.L 8192");  // too small for the dialect
  EXPECT_EQ(ask("9P2000.u", 8192), "unknown 8192");
  EXPECT_EQ(ask("9P2000.L", 100), "error");
  EXPECT_EQ(ask("9P2000.L", 0xffffffff), "9P2000.L 1048576");
  ReplyBatch batch;
  session.handle_frame(encode(Tag{1}, Tattach{.fid = Fid{0}}), batch);
  EXPECT_EQ(session.fid_count(), 1u);
  ask("9P2000.L", 8192);
  EXPECT_EQ(session.fid_count(), 0u);
}

TEST(VersionTest, OneRequestBeforeItIsRefusedTheNextHangsUp) {
  MemTree tree;
  Session session(tree);
  ReplyBatch batch;
  const auto frame = encode(Tag{1}, Tclunk{});
  EXPECT_EQ(session.handle_frame(frame, batch), Verdict::kContinue);
  EXPECT_EQ(decode<Rlerror>(batch.bytes.bytes()).value().ecode, uint32_t{EPROTO});
  EXPECT_EQ(session.handle_frame(frame, batch), Verdict::kClose);
}

// A server that answers Tversion from a script.
class ScriptedChannel final : public Channel {
 public:
  std::vector<std::vector<std::byte>> replies;
  Result<Reply> round_trip(std::vector<std::byte>, Tag) override {
    CHECK(at_ < replies.size());
    return Reply{replies[at_++], {}};
  }
  void set_msize(uint32_t) override {}

 private:
  size_t at_ = 0;
};

TEST(ClientVersionTest, FallsBackQuietly) {
  const auto plain = encode(kNoTag, Rversion{.msize = 8192, .version = "9P2000.L"});
  const auto unknown = encode(kNoTag, Rversion{.msize = 8192, .version = "unknown"});
  const auto error = encode(kNoTag, Rlerror{.ecode = EIO});
  for (const auto& first : {unknown, error, plain}) {
    ScriptedChannel channel;
    channel.replies = {first, plain};
    Client client(channel);
    EXPECT_TRUE(client.start());
    EXPECT_FALSE(client.dialect());
    EXPECT_EQ(client.msize(), 8192u);
  }
  ScriptedChannel channel;
  channel.replies = {unknown, unknown};
  Client client(channel);
  EXPECT_EQ(client.start().error(), Errno{EPROTONOSUPPORT});
}

TEST(IdPoolTest, LowestFirstAndRuns) {
  IdPool pool(8);
  EXPECT_EQ(pool.take().value(), 0u);
  EXPECT_EQ(pool.take(3).value(), 1u);
  pool.give_back(2);
  EXPECT_EQ(pool.take(2).value(), 4u);
  EXPECT_EQ(pool.take().value(), 2u);
  EXPECT_EQ(pool.take(3).error(), Errno{ENFILE});
  EXPECT_EQ(pool.take(2).value(), 6u);
  EXPECT_EQ(pool.take().error(), Errno{ENFILE});
}

struct DialectTest : SessionTest {};

TEST_F(DialectTest, WalkxReportsEveryComponent) {
  EXPECT_EQ(client.caps(), kCapAll & ~kCapRing);
  make_dir(root, "d");
  make_file("f", "12345");
  const Fid control = fid();
  auto r = client.call(Twalkx{.fid = root, .newfid = control, .wflags = kWalkKeepControl,
                              .attrmask = kAttrBasic, .names = {"f"}}).value();
  EXPECT_EQ(r->status, WalkStatus::kOk);
  ASSERT_EQ(r->walked.size(), 1u);
  EXPECT_EQ(r->walked[0].attr.size, 5u);
  EXPECT_EQ(error_of(Tgetattr{.fid = control}), Errno{0});
  r = client.call(Twalkx{.fid = root, .names = {"d", "no", "x"}}).value();
  EXPECT_EQ(r->status, WalkStatus::kMissing);
  EXPECT_EQ(r->walked.size(), 1u);
  r = client.call(Twalkx{.fid = root, .names = {"f", "x"}}).value();
  EXPECT_EQ(r->status, WalkStatus::kNotDir);
  r = client.call(Twalkx{.fid = root, .wflags = kWalkDirectory, .names = {"f"}}).value();
  EXPECT_EQ(r->status, WalkStatus::kNotDir);
  r = client.call(Twalkx{.fid = control}).value();  // no names: the fid itself
  ASSERT_EQ(r->walked.size(), 1u);
  EXPECT_EQ(r->walked[0].attr.size, 5u);
  EXPECT_EQ(error_of(Twalkx{.fid = root, .wflags = 1 << 20}), Errno{EINVAL});
  EXPECT_EQ(error_of(Twalkx{.fid = root, .wflags = kWalkOpen}), Errno{EINVAL});
}

TEST_F(DialectTest, WalkxStopsAtSymlinksWithTheTarget) {
  make_dir(root, "d");
  ASSERT_TRUE(client.call(Tsymlink{.dfid = root, .name = "l", .target = "d"}));
  const Fid base = client.alloc_fids(2).value();
  const auto r = client.call(Twalkx{.fid = root, .newfid = base, .wflags = kWalkAllFids,
                                    .names = {"l", "x"}}).value();
  EXPECT_EQ(r->status, WalkStatus::kSymlink);
  EXPECT_EQ(r->target, "d");
  EXPECT_EQ(r->walked.size(), 1u);
  EXPECT_EQ(error_of(Tgetattr{.fid = base}), Errno{0});  // the link itself is bound, no more
  EXPECT_EQ(error_of(Tgetattr{.fid = Fid{static_cast<uint32_t>(base) + 1}}), Errno{EBADF});
}

TEST_F(DialectTest, WalkxCreatesOpensAndDonates) {
  const Fid control = fid(), open = fid();
  Twalkx t{.fid = root, .newfid = control, .openfid = open,
           .wflags = kWalkOpen | kWalkCreate | kWalkKeepControl | kWalkWantFd,
           .oflags = kORdwr, .mode = 0600, .uid = 7, .gid = 8, .names = {"n"}};
  auto r = client.call(t).value();
  EXPECT_EQ(r->status, WalkStatus::kCreated);
  EXPECT_EQ(r->walked.at(0).attr.uid, 7u);
  EXPECT_EQ(r->rflags, kWalkxFd);
  EXPECT_TRUE(r.fd.valid());
  EXPECT_EQ(error_of(Twrite{.fid = open, .data = as_bytes("data")}), Errno{0});
  t.newfid = fid();
  t.openfid = kNoFid;
  t.oflags = kORdonly;
  r = client.call(t).value();
  EXPECT_EQ(r->status, WalkStatus::kOk);  // it was there
  char buf[8];
  EXPECT_EQ(pread(r.fd.get(), buf, sizeof buf, 0), 4);
  t.newfid = fid();
  t.wflags |= kWalkExclusive;
  r = client.call(t).value();
  EXPECT_EQ(r->status, WalkStatus::kFailed);
  EXPECT_EQ(r->error, uint32_t{EEXIST});
}

TEST_F(DialectTest, WalkxKeepsTheControlFidOfAFileItMayNotOpen) {
  ASSERT_TRUE(client.call(Tmknod{.dfid = root, .name = "p", .mode = S_IFIFO | 0644}));
  const Fid control = fid(), open = fid();
  const auto r = client.call(Twalkx{.fid = root, .newfid = control, .openfid = open,
                                    .wflags = kWalkOpen | kWalkKeepControl, .names = {"p"}});
  EXPECT_EQ(r.value()->status, WalkStatus::kFailed);
  EXPECT_EQ(r.value()->error, uint32_t{EPERM});
  EXPECT_EQ(r.value()->walked.size(), 1u);
  EXPECT_EQ(error_of(Tgetattr{.fid = control}), Errno{0});
  EXPECT_EQ(error_of(Tgetattr{.fid = open}), Errno{EBADF});
}

TEST_F(DialectTest, WalkxMkdirAndReadOnly) {
  const auto make = [&] {
    return client.call(Twalkx{.fid = root, .wflags = kWalkMkdir, .mode = 0700, .names = {"m"}})
        .value();
  };
  EXPECT_EQ(make()->status, WalkStatus::kCreated);
  EXPECT_EQ(make()->error, uint32_t{EEXIST});
  tree.set_read_only(true);
  const auto r = client.call(Twalkx{.fid = root, .wflags = kWalkMkdir, .names = {"q"}}).value();
  EXPECT_EQ(r->error, uint32_t{EROFS});
}

TEST_F(DialectTest, ReaddirxNeedsNoOpenFidAndSaysWhenItIsDone) {
  make_file("f", "abc");
  const auto r = client.call(Treaddirx{.fid = root, .count = 8192, .attrmask = kAttrBasic,
                                       .flags = kReaddirOpen}).value();
  EXPECT_EQ(r->flags, kReaddirEof);
  DirentReader<DirentX> entries(r->data);
  EXPECT_EQ(entries.next().value()->name, ".");
  EXPECT_EQ(entries.next().value()->name, "..");
  EXPECT_EQ(entries.next().value()->attr.size, 3u);
  EXPECT_FALSE(entries.next().value().has_value());
  const auto part = client.call(Treaddirx{.fid = root, .count = 400, .flags = kReaddirOpen});
  EXPECT_EQ(part.value()->flags, 0u);
  EXPECT_EQ(error_of(Treaddirx{.fid = root, .count = 8192}), Errno{EBADF});
}

TEST_F(DialectTest, OneShotRequests) {
  const Fid f = make_file("f", "abc");
  EXPECT_EQ(error_of(Tsetxa{.fid = f, .name = "user.a", .value = as_bytes("v")}), Errno{0});
  EXPECT_EQ(client.call(Tgetxa{.fid = f, .name = "user.a"}).value()->size, 1u);
  EXPECT_EQ(text_of(client.call(Tgetxa{.fid = f, .name = "user.a", .size = 9}).value()->value),
            "v");
  EXPECT_EQ(client.call(Tlistxa{.fid = f, .size = 99}).value()->names.size(), 7u);
  EXPECT_EQ(error_of(Trmxa{.fid = f, .name = "user.a"}), Errno{0});
  EXPECT_EQ(error_of(Tgetxa{.fid = f, .name = "user.a"}), Errno{ENODATA});
  const auto set = client.call(Tsetx{.fid = f, .attr = {.valid = kSetMode | kSetSize,
                                                        .mode = 0600, .size = 1}}).value();
  EXPECT_EQ(set->attr.size, 1u);
  EXPECT_EQ(set->attr.mode & 07777, 0600u);
  EXPECT_EQ(client.call(Tfalloc{.fid = f, .length = 10}).value()->attr.size, 10u);
  EXPECT_EQ(client.call(Tseek{.fid = f, .offset = 2, .whence = kSeekHole}).value()->offset, 10u);
  make_file("g", "");
  EXPECT_EQ(error_of(Trename2{.olddirfid = root, .oldname = "f", .newdirfid = root,
                              .newname = "g", .flags = kRenameNoreplace}),
            Errno{EEXIST});
  EXPECT_TRUE(client.call(Tfdget{.fid = walk({"f"})}).value().fd.valid());
}

TEST_F(DialectTest, MopenOpensWhatItCan) {
  make_file("f", "first");
  make_file("g", "second");
  make_dir(root, "d");
  const auto r = client.call(Tmopen{.fid = root, .names = {"g", "none", "d", "f"}}).value();
  ASSERT_EQ(r->files.size(), 4u);
  EXPECT_EQ(r->files[1].error, uint32_t{ENOENT});
  EXPECT_EQ(r->files[2].error, uint32_t{EISDIR});
  ASSERT_EQ(r.fds.size(), 2u);
  char text[8] = {};
  EXPECT_EQ(pread(r.fds[0].get(), text, sizeof text, 0), 6);
  EXPECT_STREQ(text, "second");
  EXPECT_EQ(pread(r.fds[1].get(), text, sizeof text, 0), 5);
  EXPECT_EQ(error_of(Tmopen{.fid = walk({"f"}), .names = {"x"}}), Errno{0});
  EXPECT_EQ(client.call(Tmopen{.fid = walk({"f"}), .names = {"x"}}).value()->files[0].error, uint32_t{ENOTDIR});
}

TEST_F(DialectTest, DroppedFidsGoInOneMessage) {
  const size_t before = session.fid_count();
  for (int i = 0; i < 10; ++i) client.drop(walk({}));
  EXPECT_EQ(session.fid_count(), before + 10);
  client.flush_drops();
  EXPECT_EQ(session.fid_count(), before);
  const auto r = client.call(Tmclunk{.fids = {Fid{50}}}).value();
  EXPECT_EQ(r->errors.at(0), uint32_t{EBADF});
}

struct SocketPair {
  SocketPair() {
    int raw[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, raw) == 0);
    a = UniqueFd(raw[0]);
    b = UniqueFd(raw[1]);
  }
  UniqueFd a, b;
};

// By the socket and by a ring, asleep and awake.
TEST(SocketTest, ServesUntilThePeerHangsUpAndPassesDescriptors) {
  for (const auto& [poll_us, ring] : {std::pair{0, 0u}, {50, 0u}, {0, 1u}, {50, 1u}}) {
    SocketPair pair;
    MemTree tree;
    Result<void> served = Errno{EAGAIN};
    std::thread server([&, poll_us = poll_us] {
      served = serve_fd(pair.b.borrow(), tree, {.busy_poll = std::chrono::microseconds(poll_us)});
    });
    {
      BlockingChannel channel(std::move(pair.a), std::chrono::microseconds(poll_us));
      Client client(channel, {.ring = ring});
      ASSERT_TRUE(client.start());
      EXPECT_EQ(channel.has_ring(), ring != 0);
      const Fid root = client.attach("").value().fid;
      const Fid open = client.alloc_fid().value();
      auto r = client.call(Twalkx{.fid = root, .openfid = open,
                                  .wflags = kWalkOpen | kWalkCreate | kWalkWantFd,
                                  .oflags = kORdwr, .names = {"f"}}).value();
      EXPECT_TRUE(r.fd.valid());
      const std::string big(400000, 'x');
      ASSERT_TRUE(client.call(Twrite{.fid = open, .data = as_bytes(big)}));
      EXPECT_EQ(client.call(Tread{.fid = open, .count = 400000}).value()->data.size(), big.size());
    }
    server.join();
    EXPECT_TRUE(served);
  }
}

struct LockxTest : SessionTest {
  LockxTest() : first(make_file("f", "text")), second(walk({"f"})) {
    CHECK(client.call(Tlopen{.fid = second, .flags = kORdwr}));
    CHECK(client.call(Tlockx{.fid = first, .type = LockType::kWrite}).value()->status == LockStatus::kSuccess);
  }
  // What the session says to a request that DirectChannel would miss the reply to.
  template <typename T>
  std::vector<std::string> ask(Tag tag, const T& t) {
    ReplyBatch batch;
    CHECK(session.handle_frame(encode(tag, t), batch) == Verdict::kContinue);
    return told(batch);
  }
  std::vector<std::string> late() {
    ReplyBatch batch;
    session.take_late_replies(batch);
    return told(batch);
  }
  static std::vector<std::string> told(const ReplyBatch& batch) {
    std::vector<std::string> lines;
    for (ByteSpan rest = batch.bytes.bytes(); !rest.empty();) {
      const size_t size = decode_header(rest).value().size;
      lines.push_back(describe(rest.first(size)));
      rest = rest.subspan(size);
    }
    return lines;
  }
  static Tlockx wait_of(Fid fid) { return {.fid = fid, .type = LockType::kWrite, .flags = kLockWait}; }
  using Lines = std::vector<std::string>;
  Fid first, second;
};

TEST_F(LockxTest, IsAnsweredWhenItIsLocked) {
  EXPECT_EQ(client.call(Tlockx{.fid = second, .type = LockType::kRead}).value()->status, LockStatus::kBlocked);
  EXPECT_EQ(ask(Tag{700}, wait_of(second)), Lines{});
  EXPECT_EQ(late(), Lines{});
  ASSERT_TRUE(client.call(Tclunk{.fid = second})) << "the wait goes on without the fid";
  ASSERT_TRUE(client.call(Tlockx{.fid = first, .type = LockType::kUnlock}));
  EXPECT_EQ(late(), Lines{"Rlockx tag=700 ( 0 )"});
  EXPECT_EQ(late(), Lines{});
}

TEST_F(LockxTest, FlushEndsIt) {
  EXPECT_EQ(ask(Tag{700}, wait_of(second)), Lines{});
  EXPECT_EQ(ask(Tag{701}, Tflush{.oldtag = Tag{5}}), Lines{"Rflush tag=701 ( )"});
  EXPECT_EQ(ask(Tag{701}, Tflush{.oldtag = Tag{700}}), (Lines{"Rlerror tag=700 ( 4 )", "Rflush tag=701 ( )"}));
  // One that has its lock already says so first.
  EXPECT_EQ(ask(Tag{700}, wait_of(second)), Lines{});
  ASSERT_TRUE(client.call(Tlockx{.fid = first, .type = LockType::kUnlock}));
  EXPECT_EQ(ask(Tag{701}, Tflush{.oldtag = Tag{700}}), (Lines{"Rlockx tag=700 ( 0 )", "Rflush tag=701 ( )"}));
}

TEST_F(LockxTest, HasItsLimitsAndItsEnd) {
  for (uint16_t n = 0; n < kMaxLockWaits; ++n) EXPECT_EQ(ask(Tag(1000 + n), wait_of(second)), Lines{});
  EXPECT_EQ(ask(Tag{900}, wait_of(second)), Lines{"Rlerror tag=900 ( 37 )"});
  ReplyBatch batch;
  EXPECT_EQ(session.handle_frame(encode(Tag{1000}, Tstatfs{.fid = root}), batch), Verdict::kClose);
  EXPECT_EQ(ask(kNoTag, Tversion{.msize = 65536, .version = kVersionX}).size(), 1u);
  EXPECT_EQ(late(), Lines{});
}

// Many requests in one write: replies with descriptors among plain ones, each with its own.
TEST(SocketTest, DescriptorsArePairedWithTheirFramesInAPipeline) {
  SocketPair pair;
  MemTree tree;
  Session session(tree);
  ReplyBatch batch;
  session.handle_frame(encode(kNoTag, Tversion{.msize = 65536, .version = kVersionX}), batch);
  session.handle_frame(encode(Tag{0}, Tattach{.fid = Fid{0}}), batch);
  for (uint16_t i = 1; i < 20; ++i) {
    if (i % 5 == 0) {  // some of them with several
      session.handle_frame(encode(Tag{i}, Tmopen{.fid = Fid{0}, .names = {"n3", "none", "n3"}}), batch);
      continue;
    }
    const uint32_t wflags = i % 3 == 0 ? kWalkOpen | kWalkCreate | kWalkWantFd : 0;
    session.handle_frame(encode(Tag{i}, Twalkx{.fid = Fid{0}, .wflags = wflags, .oflags = kORdwr,
                                               .names = {"n" + std::to_string(i)}}),
                         batch);
  }
  ASSERT_TRUE(ServerLine(pair.b.borrow(), {}, {}).send(batch));
  pair.b.reset();
  Demux demux(65536);
  size_t frames = 0, receives = 0;
  for (;;) {
    const auto space = demux.space();
    const size_t most = std::array<size_t, 4>{3, 50, 300, 100000}[receives++ % 4];
    auto got = receive_with_fds(pair.a.borrow(), space.first(std::min(most, space.size())), 0);
    ASSERT_TRUE(got);
    if (got.value().bytes == 0) break;
    ASSERT_TRUE(demux.commit(got.value().bytes, std::move(got.value().fds)));
    while (auto in = demux.next().value()) {
      ++frames;
      if (in->tag == kNoTag) continue;
      const auto tag = static_cast<uint16_t>(in->tag);
      EXPECT_EQ(in->fds.size(), tag == 0 ? 0u : tag % 5 == 0 ? 2u : tag % 3 == 0 ? 1u : 0u) << tag;
    }
  }
  EXPECT_EQ(frames, 21u);
}

TEST(SocketTest, BrokenFramingEndsTheConnection) {
  SocketPair pair;
  MemTree tree;
  ASSERT_EQ(write(pair.a.get(), "\xff\xff\xff\xff", 4), 4);
  const auto served = serve_fd(pair.b.borrow(), tree);
  EXPECT_EQ(served.error(), Errno{EPROTO});
}

// The fuzzer's entry on bytes that a simple generator makes from valid frames.
TEST(FuzzTest, MutatedFramesBreakNothing) {
  std::vector<std::byte> seed;
  const auto add = [&](const std::vector<std::byte>& f) {
    seed.insert(seed.end(), f.begin(), f.end());
  };
  add(encode(Tag{1}, Twalkx{.fid = Fid{0}, .newfid = Fid{1}, .openfid = Fid{2},
                            .wflags = kWalkOpen | kWalkCreate | kWalkKeepControl,
                            .oflags = kORdwr, .names = {"a"}}));
  add(encode(Tag{2}, Twrite{.fid = Fid{2}, .data = as_bytes("hello")}));
  add(encode(Tag{3}, Tread{.fid = Fid{2}, .count = 100}));
  add(encode(Tag{4}, Treaddirx{.fid = Fid{0}, .count = 1000, .flags = kReaddirOpen}));
  add(encode(Tag{5}, Txattrcreate{.fid = Fid{1}, .name = "user.a", .attr_size = 3}));
  add(encode(Tag{6}, Twrite{.fid = Fid{1}, .data = as_bytes("abc")}));
  add(encode(Tag{7}, Tmclunk{.fids = {Fid{1}, Fid{2}}}));
  uint32_t random = 1;
  const auto next = [&](size_t below) {
    random = random * 1664525 + 1013904223;
    return (random >> 8) % below;
  };
  for (int round = 0; round < 3000; ++round) {
    auto bytes = seed;
    for (size_t n = next(4) + 1; n > 0; --n) bytes[next(bytes.size())] = std::byte(next(256));
    const auto* data = reinterpret_cast<const uint8_t*>(bytes.data());
    fuzz_decode(data, bytes.size());
    fuzz_encode(data, bytes.size());
    fuzz_stream(data, bytes.size());
  }
}

TEST(FuzzTest, WholeSessionsOfRandomRequests) {
  uint64_t state = 1;
  for (int round = 0; round < 4000; ++round) {
    std::vector<uint8_t> program(2000);
    for (uint8_t& b : program) b = static_cast<uint8_t>((state = state * 6364136223846793005u + 1442695040888963407u) >> 56);
    fuzz_session(program.data(), program.size());
  }
}

}  // namespace
}  // namespace run9::p9
