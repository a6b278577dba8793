// Addresses, and how long a served connection may take.
#include <gtest/gtest.h>
#include <linux/vm_sockets.h>
#include <sys/socket.h>
#include <unistd.h>

#include <thread>

#include "p9/client.h"
#include "p9/mem_tree.h"
#include "p9/transport/address.h"
#include "p9/transport/blocking_channel.h"
#include "p9/transport/serve_fd.h"

namespace run9::p9 {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

TEST(AddressTest, Vsock) {
  const Address a = parse_address("vsock:3:564").value();
  EXPECT_EQ(a.kind, Address::Kind::kVsock);
  EXPECT_EQ(a.cid, 3u);
  EXPECT_EQ(a.port, 564u);
  EXPECT_EQ(parse_listen_address("vsock:3:564")->cid, 3u);
  EXPECT_EQ(parse_listen_address("vsock:564")->cid, VMADDR_CID_ANY);
  EXPECT_EQ(parse_listen_address("vsock:564")->port, 564u);
  EXPECT_EQ(parse_listen_address("unix:/s")->path, "/s");
  // Nobody can be reached at any number.
  EXPECT_FALSE(parse_address("vsock:564"));
  for (const char* bad : {"vsock:", "vsock:x", "vsock:1:", "vsock:1:2:3", "vsock:-1:2"}) {
    EXPECT_FALSE(parse_listen_address(bad)) << bad;
  }
}

// A server on a thread, and our end of its connection.
class Served {
 public:
  explicit Served(milliseconds frame_timeout) {
    int raw[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, raw) == 0);
    ours = UniqueFd(raw[0]);
    thread_ = std::thread([this, frame_timeout, theirs = UniqueFd(raw[1])] {
      result = serve_fd(theirs.borrow(), tree_, {.frame_timeout = frame_timeout});
    });
  }
  ~Served() {
    if (thread_.joinable()) join();
  }
  void send(ByteSpan bytes) {
    CHECK(write(ours.get(), bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
  }
  void join() { thread_.join(); }
  Errno ended() {
    join();
    return result ? Errno{} : result.error();
  }
  UniqueFd ours;
  Result<void> result = Errno{EAGAIN};

 private:
  MemTree tree_;
  std::thread thread_;
};

TEST(FrameTimeoutTest, HalfAFrameEndsTheConnection) {
  const auto frame = encode(kNoTag, Tversion{.msize = 65536, .version = kVersionL});
  for (const size_t sent : {size_t{1}, size_t{6}, frame.size() - 1}) {
    Served s(milliseconds(50));
    s.send(ByteSpan(frame).first(sent));
    EXPECT_EQ(s.ended(), Errno{ETIMEDOUT}) << sent;
  }
}

TEST(FrameTimeoutTest, ByteByByteIsNotEnough) {
  Served s(milliseconds(100));
  const auto start = steady_clock::now();
  const auto frame = encode(kNoTag, Tversion{.msize = 65536, .version = kVersionL});
  for (size_t i = 0; i + 1 < frame.size(); ++i) {
    if (::send(s.ours.get(), frame.data() + i, 1, MSG_NOSIGNAL) != 1) break;
    std::this_thread::sleep_for(milliseconds(20));
  }
  EXPECT_EQ(s.ended(), Errno{ETIMEDOUT});
  EXPECT_GE(steady_clock::now() - start, milliseconds(100));
}

TEST(FrameTimeoutTest, BetweenFramesThereIsNoLimit) {
  Served s(milliseconds(20));
  {
    BlockingChannel channel(std::move(s.ours));
    Client client(channel);
    ASSERT_TRUE(client.start());
    std::this_thread::sleep_for(milliseconds(100));
    EXPECT_TRUE(client.attach(""));
  }
  EXPECT_EQ(s.ended(), Errno{});
}

TEST(FrameTimeoutTest, AFrameInPartsIsAFrame) {
  Served s(milliseconds(2000));
  const auto frame = encode(kNoTag, Tversion{.msize = 65536, .version = kVersionL});
  s.send(ByteSpan(frame).first(10));
  std::this_thread::sleep_for(milliseconds(20));
  s.send(ByteSpan(frame).subspan(10));
  char reply[64];
  EXPECT_EQ(read(s.ours.get(), reply, sizeof reply), 21);
  s.ours.reset();
  EXPECT_EQ(s.ended(), Errno{});
}

// It asks and asks, and reads nothing: the server holds one batch of replies at most, and not for
// ever.
TEST(FrameTimeoutTest, WhoNeverReadsIsHungUpOn) {
  Served s(milliseconds(50));
  s.send(encode(kNoTag, Tversion{.msize = 65536, .version = kVersionL}));
  s.send(encode(Tag{0}, Tattach{.fid = Fid{0}}));
  const auto ask = encode(Tag{1}, Tgetattr{.fid = Fid{0}, .request_mask = kGetAll});
  while (::send(s.ours.get(), ask.data(), ask.size(), MSG_NOSIGNAL) > 0) {
  }
  EXPECT_EQ(s.ended(), Errno{ETIMEDOUT});
}

class Seen final : public ServeObserver {
 public:
  void requested(ByteSpan frame) override { types.push_back(decode_header(frame).value().type); }
  void replied(ByteSpan frame, size_t fds, const Session& session) override {
    types.push_back(decode_header(frame).value().type);
    donated += fds;
    fids = session.fid_count();
  }
  std::vector<MsgType> types;
  size_t donated = 0;
  size_t fids = 0;
};

TEST(ObserverTest, SeesRequestsAndReplies) {
  int raw[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, raw), 0);
  MemTree tree;
  Seen seen;
  std::thread server([&, theirs = UniqueFd(raw[1])] {
    (void)serve_fd(theirs.borrow(), tree, {.observer = &seen});
  });
  {
    BlockingChannel channel{UniqueFd(raw[0])};
    Client client(channel);
    ASSERT_TRUE(client.start());
    const Fid root = client.attach("").value().fid;
    Twalkx t{.fid = root, .wflags = kWalkOpen | kWalkCreate | kWalkWantFd, .oflags = kORdwr};
    t.names = {"f"};
    EXPECT_TRUE(client.call(t).value().fd.valid());
    EXPECT_EQ(client.call(Tmopen{.fid = root, .names = {"f", "none", "f"}}).value().fds.size(), 2u);
    EXPECT_FALSE(client.call(Tgetattr{.fid = Fid{99}}));
  }
  server.join();
  const std::vector<MsgType> end(seen.types.end() - 6, seen.types.end());
  EXPECT_EQ(end, (std::vector{MsgType::kTwalkx, MsgType::kRwalkx, MsgType::kTmopen, MsgType::kRmopen,
                              MsgType::kTgetattr, MsgType::kRlerror}));
  EXPECT_EQ(seen.donated, 4u);  // the ring that the client asked for, and the file three times
  EXPECT_EQ(seen.fids, 1u);
}

}  // namespace
}  // namespace run9::p9
