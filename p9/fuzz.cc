#include "p9/fuzz.h"

#include <algorithm>

#include "base/check.h"
#include "p9/mem_tree.h"
#include "p9/server/session.h"

namespace run9::p9 {

namespace {

ByteSpan span_of(const uint8_t* data, size_t size) { return {reinterpret_cast<const std::byte*>(data), size}; }

// So that inputs need not find the one size that decodes.
std::vector<std::byte> with_right_size(ByteSpan bytes) {
  std::vector<std::byte> frame(bytes.begin(), bytes.end());
  const auto size = static_cast<uint32_t>(frame.size());
  if (size >= sizeof size) std::memcpy(frame.data(), &size, sizeof size);
  return frame;
}

template <typename... M>
void decode_all(TypeList<M...>, ByteSpan frame) {
  (static_cast<void>(decode<M>(frame).has_value()), ...);
}

template <typename Entry>
void read_entries(ByteSpan data) {
  DirentReader<Entry> reader(data);
  for (;;) {
    const auto e = reader.next();
    if (!e || !e.assume_value()) return;
  }
}

template <typename T>
inline constexpr bool kEndsTrailing = false;
template <typename M, typename... F>
inline constexpr bool kEndsTrailing<std::tuple<F M::*...>> = (codec_detail::kIsTrailing<F> || ...);

// Every value has one encoding. Bytes after the last field are not kept, and a trailing field that was missing is written.
template <typename M>
void encode_one(ByteSpan frame) {
  const Result<M> msg = decode<M>(frame);
  if (!msg) return;
  const Tag tag = decode_header(frame).assume_value().tag;
  const auto once = encode(tag, msg.assume_value());
  constexpr bool may_grow = kEndsTrailing<std::remove_const_t<decltype(M::kFields)>>;
  CHECK(once.size() <= frame.size() || may_grow);
  const size_t common = std::min(once.size(), frame.size());
  CHECK(std::equal(once.begin() + sizeof(uint32_t), once.begin() + common, frame.begin() + sizeof(uint32_t)));
  const Result<M> again = decode<M>(once);
  CHECK(again.has_value());
  CHECK(encode(tag, again.assume_value()) == once);
}

template <typename... M>
void encode_all(TypeList<M...>, ByteSpan frame) {
  (encode_one<M>(frame), ...);
}

template <typename Entry>
void encode_entries(ByteSpan data) {
  DirentReader<Entry> reader(data);
  ByteWriter out;
  for (;;) {
    const auto e = reader.next();
    if (!e || !e.assume_value()) break;
    codec_detail::put(out, *e.assume_value());
  }
  CHECK(std::equal(out.bytes().begin(), out.bytes().end(), data.begin()));
}

// Exactly one reply, to this tag, below msize; but for one that waits, or ends a wait.
void check_reply(ByteSpan frame, const ReplyBatch& replies, const Session& session) {
  const Header asked = decode_header(frame).assume_value();
  ByteSpan bytes = replies.bytes.bytes();
  if (asked.type == MsgType::kTlockx && bytes.empty()) return;
  Header told = decode_header(bytes).assume_value();
  if (asked.type == MsgType::kTflush && told.size < bytes.size()) {
    bytes = bytes.subspan(told.size);
    told = decode_header(bytes).assume_value();
  }
  CHECK(told.size == bytes.size() && told.tag == asked.tag);
  CHECK(told.size < session.max_frame());
  CHECK(!is_request(told.type));
}

}  // namespace

int fuzz_decode(const uint8_t* data, size_t size) {
  const ByteSpan bytes = span_of(data, size);
  const auto frame = with_right_size(bytes);
  for (const ByteSpan one : {bytes, ByteSpan(frame)}) {
    decode_all(Requests{}, one);
    decode_all(Replies{}, one);
    static_cast<void>(describe(one));
  }
  read_entries<Dirent>(bytes);
  read_entries<DirentX>(bytes);
  return 0;
}

int fuzz_encode(const uint8_t* data, size_t size) {
  const ByteSpan bytes = span_of(data, size);
  const auto frame = with_right_size(bytes);
  encode_all(Requests{}, frame);
  encode_all(Replies{}, frame);
  encode_entries<Dirent>(bytes);
  encode_entries<DirentX>(bytes);
  return 0;
}

int fuzz_stream(const uint8_t* data, size_t size) {
  MemTree tree({.max_file_size = 1 << 16});
  const SessionOptions options{.max_msize = 65536, .max_fids = 256};
  Session session(tree, options);
  FrameSplitter splitter(session.max_frame());
  ReplyBatch replies;
  // So that inputs need not find a version and an attach first.
  session.handle_frame(encode(kNoTag, Tversion{.msize = 65536, .version = kVersionX}), replies);
  session.handle_frame(encode(Tag{0}, Tattach{.fid = Fid{0}}), replies);
  ByteSpan rest = span_of(data, size);
  while (!rest.empty()) {
    const size_t piece = std::min<size_t>(rest.size(), 1 + static_cast<size_t>(rest[0]));
    splitter.push(rest.first(piece));
    rest = rest.subspan(piece);
    for (;;) {
      const auto frame = splitter.next();
      if (!frame) return 0;
      if (frame.assume_value().empty()) break;
      replies.clear();
      if (session.handle_frame(frame.assume_value(), replies) == Verdict::kClose) return 0;
      check_reply(frame.assume_value(), replies, session);
      CHECK(session.fid_count() <= options.max_fids);
    }
  }
  return 0;
}

}  // namespace run9::p9
