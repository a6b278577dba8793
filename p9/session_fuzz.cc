#include "p9/session_fuzz.h"

#include <poll.h>

#include <algorithm>
#include <set>

#include "p9/mem_tree.h"
#include "p9/server/session.h"
#include "p9/transport/ring.h"

namespace run9::p9 {

namespace {

// Few enough for the same fid and the same name to be met again.
constexpr uint32_t kFids = 8;
constexpr size_t kMaxRequests = 300;
constexpr std::string_view kLongName =
    "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"
    "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"
    "01234567890123456789012345678901234567890123456789012345";
static_assert(kLongName.size() == kMaxName + 1);
constexpr std::string_view kNames[] = {"a", "b", "c"};
constexpr std::string_view kOddNames[] = {".", "..", "", "a/b", {"x\0y", 3}, kLongName};
constexpr std::string_view kTexts[] = {"", "/", "a", "..", "../..", "../outside", "/etc/passwd", "user.a", "user.b", "system.x",
                                       "trusted.overlay.opaque", "9P2000.L", "9P2000.L.x", "9P2000"};
constexpr uint64_t kNumbers[] = {0, 1, 2, 3, 4, 7, 23, 24, 255, 256, 4095, 4096, 65535, 65536, 1u << 20,
                                 0x7fffffff, 0xffffffff, 1ull << 32, 1ull << 62, ~0ull};

// The input, taken apart. Past its end everything is 0.
class Dice {
 public:
  explicit Dice(ByteSpan bytes) : bytes_(bytes) {}
  bool empty() const { return bytes_.empty(); }
  uint8_t byte() {
    if (bytes_.empty()) return 0;
    const auto b = static_cast<uint8_t>(bytes_[0]);
    bytes_ = bytes_.subspan(1);
    return b;
  }
  size_t below(size_t n) { return byte() % n; }
  template <typename T, size_t N>
  const T& one_of(const T (&all)[N]) {
    return all[below(N)];
  }
  uint64_t number() {
    const uint8_t kind = byte();
    return kind < 200 ? kNumbers[kind % std::size(kNumbers)] : static_cast<uint64_t>(byte()) << (byte() % 40);
  }
  // Half of the time one that is bound, so that the request may do something.
  Fid fid() {
    const uint8_t b = byte();
    if (b < 128 && !bound.empty()) return bound[b % bound.size()];
    return b == 255 ? kNoFid : Fid{b % kFids};
  }
  std::string_view name() {
    const uint8_t b = byte();
    return b < 192 ? kNames[b % std::size(kNames)] : kOddNames[b % std::size(kOddNames)];
  }
  std::vector<Fid> bound;
  ByteSpan data() {
    const size_t n = std::min<size_t>(byte() * size_t{17}, sizeof kData);
    return ByteSpan(kData, n);
  }

 private:
  static constexpr std::byte kData[3000]{};
  ByteSpan bytes_;
};

template <typename T>
void roll(Dice& dice, T& v) {
  using namespace codec_detail;
  if constexpr (std::is_same_v<T, Fid>) {
    v = dice.fid();
  } else if constexpr (std::is_enum_v<T>) {
    v = static_cast<T>(dice.number());
  } else if constexpr (std::is_unsigned_v<T>) {
    v = static_cast<T>(dice.number());
  } else if constexpr (std::is_same_v<T, std::string_view>) {
    v = dice.one_of(kTexts);
  } else if constexpr (kIsText<T>) {
    v.text = dice.name();
  } else if constexpr (std::is_same_v<T, ByteSpan>) {
    v = dice.data();
  } else if constexpr (kIsTrailing<T>) {
    roll(dice, v.value);
  } else if constexpr (kIsList<T>) {
    const size_t n = std::min(dice.below(5), T::kMax);
    for (size_t i = 0; i < n; ++i) roll(dice, v.emplace_back());
  } else {
    std::apply([&](auto... m) { (roll(dice, v.*m), ...); }, T::kFields);
  }
}

// What is bound, by what the replies say. `r` is null after Rlerror.
class Model {
 public:
  const std::set<Fid>& bound() const { return bound_; }
  void follow(const Tversion&, const Rversion*) { bound_.clear(); }  // even one that fails
  void follow(const Tattach& t, const Rattach* r) { bind_if(r != nullptr, t.fid); }
  void follow(const Twalk& t, const Rwalk* r) { bind_if(r != nullptr && r->qids.size() == t.names.size(), t.newfid); }
  void follow(const Txattrwalk& t, const Rxattrwalk* r) { bind_if(r != nullptr, t.newfid); }
  void follow(const Twalkdir& t, const Rwalkdir* r) { bind_if(r != nullptr && t.newfid != kNoFid, t.newfid); }
  void follow(const Tmkx& t, const Rmkx* r) { bind_if(r != nullptr && t.newfid != kNoFid, t.newfid); }
  void follow(const Twalkx& t, const Rwalkx* r) {
    if (r == nullptr) return;
    const size_t walked = r->walked.size();
    const bool complete = walked == std::max<size_t>(t.names.size(), 1);
    if ((t.wflags & kWalkAllFids) != 0) {
      for (size_t i = 0; i < walked; ++i) bind_if(true, Fid{static_cast<uint32_t>(t.newfid) + static_cast<uint32_t>(i)});
    } else {
      bind_if(complete && (t.wflags & kWalkKeepControl) != 0, t.newfid);
    }
    const bool opened = r->status == WalkStatus::kOk || r->status == WalkStatus::kCreated;
    bind_if(opened && (t.wflags & kWalkOpen) != 0 && t.openfid != kNoFid, t.openfid);
  }
  void follow(const Tclunk& t, const Rclunk*) { bound_.erase(t.fid); }  // whatever its result
  void follow(const Tremove& t, const Rremove*) { bound_.erase(t.fid); }
  void follow(const Tmclunk& t, const Rmclunk* r) {
    if (r == nullptr) return;
    for (const Fid f : t.fids) bound_.erase(f);
  }
  template <typename T, typename R>
  void follow(const T&, const R*) {}

 private:
  void bind_if(bool is_bound, Fid fid) {
    if (is_bound) bound_.insert(fid);
  }
  std::set<Fid> bound_;
};

class Run {
 public:
  Run(FileServer& server, Dice dice, ReplyWatcher* watcher)
      : dice_(dice), session_(server, {.max_msize = 65536, .max_fids = 64, .make_ring = Ring::make}), watcher_(watcher) {
    ask(Tversion{.msize = 65536, .version = dice_.below(4) == 0 ? kVersionL : kVersionX});
    ask(Tattach{.fid = Fid{0}});
    ask(Tmkdir{.dfid = Fid{0}, .name = "a"});
  }

  void run() {
    for (size_t n = 0; n < kMaxRequests && !dice_.empty() && !closed_; ++n) roll_one(Requests{}, dice_.byte());
    if (closed_) return;
    // Nothing of it is left.
    dice_ = Dice({});  // whole
    ask(Tversion{.msize = 65536, .version = kVersionL});
    CHECK(session_.fid_count() == 0);
  }

 private:
  template <typename... T>
  void roll_one(TypeList<T...>, uint8_t which) {
    size_t i = 0;
    ((which % sizeof...(T) == i++ ? roll_and_ask<T>() : void()), ...);
  }
  template <typename T>
  void roll_and_ask() {
    T t;
    roll(dice_, t);
    if constexpr (std::is_same_v<T, Tversion>) {
      if (dice_.below(8) != 0) return;  // most often nothing comes after it
    }
    ask(t);
    // Something for the others to work on.
    if constexpr (std::is_same_v<T, Tversion>) ask(Tattach{.fid = Fid{0}});
  }

  template <typename T>
  void ask(const T& t) {
    if (closed_) return;
    const Tag tag{static_cast<uint16_t>(next_tag_++)};
    auto frame = encode(tag, t);
    // Now and then a body that is cut.
    const bool cut = dice_.byte() == 255 && frame.size() > kHeaderSize;
    if (cut) {
      frame.resize(frame.size() - 1);
      const auto size = static_cast<uint32_t>(frame.size());
      std::memcpy(frame.data(), &size, sizeof size);
    }
    ReplyBatch replies;
    if (session_.handle_frame(frame, replies) == Verdict::kClose) {
      closed_ = true;
      return;
    }
    if (replies.bytes.size() == 0) {
      CHECK((std::is_same_v<T, Tlockx>));
      waiting_.insert(tag);
      return;
    }
    // What does not decode resets nothing.
    if (std::is_same_v<T, Tversion> && decode<T>(frame).has_value()) waiting_.clear();
    check<T>(frame, tag, replies);
    replies.clear();
    session_.take_late_replies(replies);
    take_late(replies.bytes.bytes());
  }

  // Replies to requests that waited.
  void take_late(ByteSpan bytes) {
    while (!bytes.empty()) {
      const Header h = decode_header(bytes).assume_value();
      CHECK(h.size <= bytes.size() && waiting_.erase(h.tag) == 1);
      CHECK(h.type == MsgType::kRlockx || h.type == MsgType::kRlerror);
      bytes = bytes.subspan(h.size);
    }
  }

  template <typename T>
  void check(ByteSpan request, Tag tag, const ReplyBatch& replies) {
    FrameSplitter splitter(65536);
    splitter.push(replies.bytes.bytes());
    ByteSpan reply = splitter.next().assume_value();
    size_t earlier = 0;
    if (std::is_same_v<T, Tflush> && reply.size() < replies.bytes.size()) {
      take_late(reply);
      earlier = reply.size();
      reply = splitter.next().assume_value();
    }
    const Header h = decode_header(reply).assume_value();
    CHECK(h.tag == tag && h.size == replies.bytes.size() - earlier && h.size < session_.max_frame());
    const auto asked = decode<T>(request);
    if (h.type == MsgType::kRlerror) {
      const uint32_t ecode = decode<Rlerror>(reply).assume_value().ecode;
      CHECK(ecode > 0 && ecode < 512);
      // What did not decode was not looked at: it has changed nothing.
      if (asked) model_.follow(asked.assume_value(), static_cast<const typename T::Reply*>(nullptr));
    } else {
      CHECK(h.type == T::Reply::kType && asked.has_value());
      const auto told = decode<typename T::Reply>(reply);
      CHECK(told.has_value());
      model_.follow(asked.assume_value(), &told.assume_value());
    }
    CHECK(session_.fid_count() == model_.bound().size());
    dice_.bound.assign(model_.bound().begin(), model_.bound().end());
    size_t descriptors = expected_descriptors(h.type, reply);
    if constexpr (std::is_same_v<T, Tevents>) {  // the one whose reply does not say
      descriptors = h.type == MsgType::kRevents && (asked.assume_value().flags & kEventsFd) != 0 ? 1 : 0;
    }
    check_descriptors(descriptors, reply, replies.donations);
  }

  void check_descriptors(size_t expected, ByteSpan reply, const std::vector<ReplyBatch::Donation>& donations) {
    CHECK(donations.size() <= 1);
    const auto fds = donations.empty() ? std::span<const UniqueFd>() : donations.front().fds;
    CHECK(fds.size() == expected);
    if (watcher_ != nullptr) watcher_->replied(reply, fds);
  }

  static size_t expected_descriptors(MsgType type, ByteSpan reply) {
    switch (type) {
      case MsgType::kRfdget:
      case MsgType::kRring:
      case MsgType::kRsock:
      case MsgType::kRlease: return 1;
      case MsgType::kRwalkx: return (decode<Rwalkx>(reply).assume_value().rflags & kWalkxFd) != 0 ? 1 : 0;
      case MsgType::kRmopen: {
        const auto opened = decode<Rmopen>(reply).assume_value().files;
        return static_cast<size_t>(std::count_if(opened.begin(), opened.end(), [](const OpenedX& o) { return o.error == 0; }));
      }
      default: return 0;
    }
  }

  Dice dice_;
  Session session_;
  ReplyWatcher* const watcher_;
  Model model_;
  std::set<Tag> waiting_;
  uint16_t next_tag_ = 0;
  bool closed_ = false;
};

MemOptions mem_options(Dice& dice) {
  const uint64_t caps = dice.below(3) == 0 ? uint64_t{dice.byte()} << 3 : kCapAll;
  return {.max_file_size = 1 << 16, .caps = caps, .read_only = dice.below(16) == 0};
}

}  // namespace

DescriptorsCheck::DescriptorsCheck() : before_(open_now()) {}
DescriptorsCheck::~DescriptorsCheck() { CHECK(open_now() == before_); }

DescriptorsCheck::Open DescriptorsCheck::open_now() {
  std::array<pollfd, std::tuple_size_v<Open>> all;
  for (size_t i = 0; i < all.size(); ++i) all[i] = {static_cast<int>(i), 0, 0};
  CHECK(poll(all.data(), all.size(), 0) >= 0);
  Open open;
  for (size_t i = 0; i < all.size(); ++i) open[i] = all[i].revents != POLLNVAL;
  return open;
}

void fuzz_session_of(FileServer& server, ByteSpan program, ReplyWatcher* watcher) {
  Run(server, Dice(program), watcher).run();
}

int fuzz_session(const uint8_t* data, size_t size) {
  const DescriptorsCheck descriptors;
  Dice dice(ByteSpan(reinterpret_cast<const std::byte*>(data), size));
  MemTree tree(mem_options(dice));
  const uint64_t before = tree.changes();
  Run(tree, dice, nullptr).run();
  CHECK(!tree.read_only() || tree.changes() == before);
  return 0;
}

}  // namespace run9::p9
