// The ring between peers that keep to the rules, and the two ends of it with a peer that does not.
#include "p9/transport/ring.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <random>
#include <thread>

#include "p9/client.h"
#include "p9/mem_tree.h"
#include "p9/transport/blocking_channel.h"
#include "p9/transport/serve_fd.h"

namespace run9::p9 {
namespace {

// Where a peer finds what it can forge: ring.cc's Page.
constexpr size_t kRequestsPut = 0, kRequestsTaken = 64, kRepliesPut = 128, kRepliesTaken = 192, kDescriptors = 384;
constexpr size_t kData = 4096;

// The memory as a hostile peer has it.
class Raw {
 public:
  explicit Raw(const RingMemory& memory)
      : size_(kData + 2 * size_t{memory.stream_size}),
        at_(static_cast<std::byte*>(mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_SHARED, memory.fd.get(), 0))) {
    CHECK(at_ != MAP_FAILED);
  }
  ~Raw() { munmap(at_, size_); }
  void write(size_t at, uint64_t value) { std::memcpy(at_ + at, &value, sizeof value); }
  std::byte* bytes() { return at_; }
  size_t size() const { return size_; }

 private:
  size_t size_;
  std::byte* at_;
};

TEST(PatienceTest, LooksAsLongAsItPays) {
  using std::chrono::microseconds;
  int looks = 0, sleeps = 0;
  const auto never = [&] { return ++looks, false; };
  const auto slowly = [&] {
    ++sleeps;
    std::this_thread::sleep_for(microseconds(2000));
  };
  Patience none(microseconds(0));
  none.wait(never, slowly);
  EXPECT_EQ(looks, 1);
  Patience little(microseconds(1));
  little.wait(never, slowly);
  EXPECT_GT(looks, 2);
  // The answer took longer than that: now it sleeps at once.
  looks = 0;
  little.wait(never, slowly);
  EXPECT_EQ(looks, 1);
  EXPECT_EQ(sleeps, 3);
  Patience much(microseconds(1'000'000'000));
  looks = 0;
  much.wait([&] { return ++looks == 200; }, [] { FAIL(); });
}

// Time that passes only where the host says so.
struct SlowHost {
  using Clock = std::chrono::steady_clock;
  static inline Clock::time_point time{std::chrono::hours(1)};
  static inline std::chrono::microseconds a_yield_takes{1};
  static inline int yields = 0;
  static Clock::time_point now() { return time; }
  static void pause() { time += std::chrono::microseconds(1); }
  static void yield() {
    ++yields;
    time += a_yield_takes;
  }
};

// Where a yield gives the CPU away for a time slice, whoever wants to be served is better off asleep.
TEST(PatienceTest, SleepsOnACrowdedCpu) {
  using std::chrono::microseconds, std::chrono::milliseconds;
  BasicPatience<SlowHost> patience(microseconds(150));
  int sleeps = 0;
  // Each answer comes after so much time, but a yield sees it when it comes back.
  const auto answer_after = [&](microseconds time) {
    const auto at = SlowHost::time + time;
    SlowHost::yields = sleeps = 0;
    patience.wait([&] { return SlowHost::time >= at; }, [&] { ++sleeps, SlowHost::time = std::max(SlowHost::time, at); });
  };
  answer_after(microseconds(20));
  EXPECT_GT(SlowHost::yields, 10);
  EXPECT_EQ(sleeps, 0);
  SlowHost::a_yield_takes = milliseconds(4);
  answer_after(microseconds(20));
  EXPECT_EQ(SlowHost::yields, 1);
  const auto crowded = SlowHost::time;
  // It takes a hundredth of the time to find out that it is still so.
  while (SlowHost::time < crowded + milliseconds(400)) {
    answer_after(microseconds(100));
    EXPECT_EQ(SlowHost::yields, 0);
    EXPECT_EQ(sleeps, 1);
  }
  answer_after(microseconds(20));
  EXPECT_EQ(SlowHost::yields, 1);
  SlowHost::time += milliseconds(500);
  SlowHost::a_yield_takes = microseconds(1);
  answer_after(microseconds(20));
  EXPECT_GT(SlowHost::yields, 10);
  EXPECT_EQ(sleeps, 0);
}

struct Ends {
  RingMemory memory = Ring::make(Ring::kMinStream).value();
  Ring client = Ring::map(memory, Ring::Side::kClient).value();
  Ring server = Ring::map(memory, Ring::Side::kServer).value();
};

TEST(RingTest, CarriesBytesBothWaysAroundItsEnd) {
  Ends e;
  std::mt19937 random(1);
  std::vector<std::byte> sent, got(50000);
  for (int i = 0; i < 200; ++i) {
    sent.resize(random() % got.size());
    for (auto& b : sent) b = std::byte(random());
    ASSERT_EQ(e.client.put(sent).value(), sent.size());
    ASSERT_EQ(e.server.take(got).value(), sent.size());
    EXPECT_TRUE(std::equal(sent.begin(), sent.end(), got.begin()));
    ASSERT_EQ(e.server.put(sent).value(), sent.size());
    ASSERT_EQ(e.client.available().value(), sent.size());
    ASSERT_EQ(e.client.take(got).value(), sent.size());
    EXPECT_TRUE(std::equal(sent.begin(), sent.end(), got.begin()));
  }
  const std::vector<std::byte> more(Ring::kMinStream + 5);
  EXPECT_EQ(e.client.put(more).value(), Ring::kMinStream);
  EXPECT_FALSE(e.client.can_put());
}

TEST(RingTest, ForgedCountersAreRefused) {
  for (const uint64_t lie : {uint64_t{Ring::kMinStream} + 1, ~uint64_t{0}, uint64_t{1} << 63}) {
    Ends e;
    Raw raw(e.memory);
    std::byte buffer[64];
    raw.write(kRequestsPut, lie);
    EXPECT_EQ(e.server.take(buffer).error(), Errno{EPROTO});
    raw.write(kRepliesPut, lie);
    EXPECT_EQ(e.client.take(buffer).error(), Errno{EPROTO});
    // More taken than was ever put.
    raw.write(kRequestsTaken, lie >> 1);
    EXPECT_EQ(e.client.put(buffer).error(), Errno{EPROTO});
    raw.write(kRepliesTaken, lie >> 1);
    EXPECT_EQ(e.server.put(buffer).error(), Errno{EPROTO});
  }
}

TEST(RingTest, AClientMapsOnlyWhatCannotShrink) {
  RingMemory bare{UniqueFd(memfd_create("x", MFD_CLOEXEC | MFD_ALLOW_SEALING)), Ring::kMinStream};
  ASSERT_EQ(ftruncate(bare.fd.get(), kData + 2 * Ring::kMinStream), 0);
  EXPECT_EQ(Ring::map(bare, Ring::Side::kClient).error(), Errno{EPROTO});
  RingMemory good = Ring::make(Ring::kMinStream).value();
  for (const uint32_t size : {0u, 4096u, 65537u, 131072u, 2097152u, 0x80000000u}) {
    good.stream_size = size;
    EXPECT_EQ(Ring::map(good, Ring::Side::kClient).error(), Errno{EPROTO}) << size;
  }
  RingMemory no_memfd{UniqueFd(open("/dev/zero", O_RDWR | O_CLOEXEC)), Ring::kMinStream};
  EXPECT_EQ(Ring::map(no_memfd, Ring::Side::kClient).error(), Errno{EPROTO});
}

// A server on a thread, and a client that does all by hand.
class RawClient {
 public:
  explicit RawClient(const ServeOptions& options = {}) {
    int raw[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, raw) == 0);
    socket = UniqueFd(raw[0]);
    servers_end = raw[1];
    thread_ = std::thread([this, end = UniqueFd(raw[1]), options] { result = serve_fd(end.borrow(), tree_, options); });
    call(Tversion{.msize = 65536, .version = kVersionX});
    call(Tattach{.fid = Fid{0}});
    memory = {std::move(call(Tring{.stream_size = Ring::kMinStream}).fds.at(0)), Ring::kMinStream};
    raw_.emplace(memory);
  }
  ~RawClient() { static_cast<void>(end()); }
  Result<void> end() {
    socket.reset();
    if (thread_.joinable()) thread_.join();
    return result;
  }
  template <typename T>
  Received call(const T& t) {
    CHECK(send_with_fds(socket.borrow(), encode(Tag{1}, t), {}).has_value());
    return receive_with_fds(socket.borrow(), buffer_, 0).value();
  }
  // A server that has hung up does not hear it.
  void bell() {
    const uint64_t bell = 0;
    static_cast<void>(send_with_fds(socket.borrow(), std::as_bytes(std::span(&bell, 1)), {}).has_value());
  }
  // Until the server has hung up (ECONNRESET: without having heard every bell).
  void expect_closed() {
    for (;;) {
      const auto got = receive_with_fds(socket.borrow(), buffer_, 0);
      if (!got || got.assume_value().bytes == 0) return;
    }
  }
  Raw& raw() { return *raw_; }

  // Far more bells than the server can have heard by the next time.
  void ring_without_end() {
    static const std::byte kBells[64 * 1024] = {};
    static_cast<void>(::send(socket.get(), kBells, sizeof kBells, MSG_DONTWAIT | MSG_NOSIGNAL));
  }
  bool is_closed() const {
    pollfd p{socket.get(), POLLRDHUP, 0};
    return poll(&p, 1, 0) > 0;
  }

  UniqueFd socket;
  int servers_end = -1;  // the server's own, while it serves
  RingMemory memory;
  Result<void> result = Errno{EAGAIN};

 private:
  MemTree tree_;
  std::thread thread_;
  std::optional<Raw> raw_;
  std::byte buffer_[4096];
};

TEST(RingServerTest, OneRingForAConnection) {
  RawClient peer;
  Ring ring = Ring::map(peer.memory, Ring::Side::kClient).value();
  ASSERT_TRUE(ring.put(encode(Tag{1}, Tring{.stream_size = Ring::kMinStream})));
  peer.bell();
  std::byte reply[64];
  while (!ring.can_take()) sched_yield();
  EXPECT_EQ(decode<Rlerror>(std::span(reply).first(ring.take(reply).value())).value().ecode, uint32_t{EBUSY});
  EXPECT_TRUE(peer.end());
}

TEST(RingServerTest, ForgedCountersEndTheConnection) {
  for (const size_t word : {kRequestsPut, kRepliesTaken}) {
    RawClient peer;
    Ring ring = Ring::map(peer.memory, Ring::Side::kClient).value();
    peer.raw().write(word, uint64_t{1} << 40);
    if (word == kRepliesTaken) {
      ASSERT_TRUE(ring.put(encode(Tag{1}, Tflush{})));
    }
    peer.bell();
    peer.expect_closed();
    EXPECT_EQ(peer.end().error(), Errno{EPROTO});
  }
}

TEST(RingServerTest, AFrameWithAForgedLengthEndsTheConnection) {
  RawClient peer;
  Ring ring = Ring::map(peer.memory, Ring::Side::kClient).value();
  const uint32_t length = 0xfffffff0;
  ASSERT_TRUE(ring.put(std::as_bytes(std::span(&length, 1))));
  peer.bell();
  peer.expect_closed();
  EXPECT_EQ(peer.end().error(), Errno{EPROTO});
}

TEST(RingServerTest, NothingMayFollowTringOnTheSocket) {
  int raw[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, raw), 0);
  UniqueFd a(raw[0]), b(raw[1]);
  ByteWriter all;
  encode_to(all, kNoTag, Tversion{.msize = 65536, .version = kVersionX});
  encode_to(all, Tag{1}, Tring{.stream_size = Ring::kMinStream});
  encode_to(all, Tag{2}, Tflush{});
  ASSERT_TRUE(send_with_fds(a.borrow(), all.bytes(), {}));
  MemTree tree;
  EXPECT_EQ(serve_fd(b.borrow(), tree).error(), Errno{EPROTO});
}

// Requests that change while they are read: each is answered or ends the connection, and the server lives.
TEST(RingServerTest, ScribblingOverTheMemoryBreaksNothing) {
  for (uint32_t seed = 0; seed < 20; ++seed) {
    RawClient peer;
    Ring ring = Ring::map(peer.memory, Ring::Side::kClient).value();
    const std::string text(300, 'x');
    std::vector<std::byte> frame = encode(Tag{1}, Twalkx{.fid = Fid{0}, .names = {"a", "b", Name(text.substr(0, 200))}});
    std::mt19937 random(seed);
    for (int i = 0; i < 300; ++i) {
      if (!ring.put(frame)) break;
      peer.bell();
      for (int k = 0; k < 200; ++k) peer.raw().bytes()[kData + random() % 4096] = std::byte(random());
      // And now and then all of the words.
      if (i % 100 == 99) peer.raw().write(random() % 49 * 8, random());
      std::byte reply[256];
      if (!ring.take(reply)) break;
      if (send(peer.socket.get(), "", 0, MSG_NOSIGNAL) < 0) break;
    }
    static_cast<void>(peer.end());
  }
}

// It asks and never takes an answer, nor a bell: the server waits for it alone, and ends with it.
TEST(RingServerTest, APeerThatNeverReadsHoldsNobody) {
  RawClient peer;
  Ring ring = Ring::map(peer.memory, Ring::Side::kClient).value();
  const auto frame = encode(Tag{1}, Tgetattr{.fid = Fid{0}, .request_mask = kGetAll});
  for (int i = 0; i < 2000; ++i) {
    if (ring.put(frame).value() == 0) break;
    if (i % 100 == 0) peer.bell();
  }
  static_cast<void>(peer.end());
}

// A server that drains shuts its socket down: no client may keep it from coming to that.
TEST(RingServerTest, AClientThatNeverRestsIsDrained) {
  RawClient peer({.busy_poll = std::chrono::seconds(1)});  // it does not sleep either
  Ring ring = Ring::map(peer.memory, Ring::Side::kClient).value();
  std::vector<std::byte> frames, replies(Ring::kMinStream);
  for (int i = 0; i < 1000; ++i) {
    const auto one = encode(Tag{1}, Tflush{});
    frames.insert(frames.end(), one.begin(), one.end());
  }
  ASSERT_TRUE(ring.put(frames));
  peer.bell();
  while (!ring.can_take()) sched_yield();
  shutdown(peer.servers_end, SHUT_RD);
  size_t sent = 0;
  while (!peer.is_closed()) {
    sent += ring.put(ByteSpan(frames).subspan(sent % frames.size())).value();
    ASSERT_TRUE(ring.take(replies));
  }
  EXPECT_TRUE(peer.end());
}

template <typename Act>
Errno ends_with(const ServeOptions& options, Act act) {
  RawClient peer(options);
  Ring ring = Ring::map(peer.memory, Ring::Side::kClient).value();
  act(peer, ring);
  while (!peer.is_closed()) peer.ring_without_end();
  const auto result = peer.end();
  return result ? Errno{} : result.error();
}

TEST(RingServerTest, BellsAloneDoNotStretchAFramesTime) {
  const ServeOptions options{.frame_timeout = std::chrono::milliseconds(50)};
  const auto request = encode(Tag{1}, Tgetattr{.fid = Fid{0}, .request_mask = kGetAll});
  EXPECT_EQ(ends_with(options, [&](RawClient&, Ring& ring) { CHECK(ring.put(ByteSpan(request).first(9)).has_value()); }),
            Errno{ETIMEDOUT});
  // It never takes its replies, of which there are more than the ring has room for.
  EXPECT_EQ(ends_with(options, [&](RawClient& peer, Ring& ring) {
    while (!peer.is_closed()) {
      CHECK(ring.put(request).has_value());
      peer.ring_without_end();
    }
  }), Errno{ETIMEDOUT});
}

// What a server can do to a client: each call fails, none hangs and nothing is read beyond the memory.
template <typename Forge>
Result<Reply> client_gets(Forge forge) {
  int raw[2];
  CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, raw) == 0);
  const UniqueFd server(raw[1]);
  RingMemory memory = Ring::make(Ring::kMinStream).value();
  RingMemory for_client{memory.fd.dup().value(), memory.stream_size};
  BlockingChannel channel{UniqueFd(raw[0])};
  CHECK(channel.start_ring(std::move(for_client)).has_value());
  Raw shared(memory);
  Ring ring = Ring::map(memory, Ring::Side::kServer).value();
  forge(shared, ring, server.borrow());
  // Whatever it waits for then, it will not come.
  shutdown(server.get(), SHUT_WR);
  return channel.round_trip(encode(Tag{1}, Tflush{}), Tag{1});
}
template <typename Forge>
Errno client_error(Forge forge) {
  const auto reply = client_gets(forge);
  return reply ? Errno{} : reply.error();
}

TEST(RingClientTest, AHostileServerIsALostConnection) {
  const auto reply = encode(Tag{1}, Rflush{});
  EXPECT_EQ(client_error([&](Raw&, Ring& ring, BorrowedFd) { CHECK(ring.put(reply).has_value()); }), Errno{});
  EXPECT_EQ(client_error([](Raw& raw, Ring&, BorrowedFd) { raw.write(kRepliesPut, 1u << 20); }), Errno{EPROTO});
  EXPECT_EQ(client_error([](Raw& raw, Ring&, BorrowedFd) { raw.write(kRequestsTaken, 7); }), Errno{EPROTO});
  EXPECT_EQ(client_error([](Raw&, Ring&, BorrowedFd) {}), Errno{ECONNRESET});
  // It counts a descriptor and sends none; or one for a frame that was there before; or one without a place.
  EXPECT_EQ(client_error([&](Raw& raw, Ring& ring, BorrowedFd) {
    raw.write(kDescriptors, 1);
    CHECK(ring.put(reply).has_value());
  }), Errno{ECONNRESET});
  const auto with = [&](uint64_t end, size_t bytes) {
    return client_error([&](Raw& raw, Ring& ring, BorrowedFd socket) {
      const UniqueFd fd(open("/dev/null", O_RDONLY | O_CLOEXEC));
      CHECK(send_with_fds(socket, std::as_bytes(std::span(&end, 1)).first(bytes), std::span(&fd, 1)).has_value());
      raw.write(kDescriptors, 1);
      CHECK(ring.put(reply).has_value());
    });
  };
  EXPECT_EQ(with(0, 8), Errno{EPROTO});
  EXPECT_EQ(with(7, 3), Errno{EPROTO});
  EXPECT_EQ(with(reply.size(), 8), Errno{});
}

TEST(RingClientTest, AFrameHasAllItsDescriptorsOrNone) {
  const auto reply = encode(Tag{1}, Rflush{});
  for (const size_t count : {size_t{2}, kMaxOpens, size_t{0}}) {  // none: they were left out on the way
    const auto got = client_gets([&](Raw& raw, Ring& ring, BorrowedFd socket) {
      std::vector<UniqueFd> fds;
      while (fds.size() < count) fds.emplace_back(open("/dev/null", O_RDONLY | O_CLOEXEC));
      const uint64_t end = reply.size();
      CHECK(send_with_fds(socket, std::as_bytes(std::span(&end, 1)), fds).has_value());
      raw.write(kDescriptors, 1);
      CHECK(ring.put(reply).has_value());
    });
    ASSERT_TRUE(got) << count;
    EXPECT_EQ(got.value().fds.size(), count);
  }
}

}  // namespace
}  // namespace run9::p9
