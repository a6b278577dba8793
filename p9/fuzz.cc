#include "p9/fuzz.h"

#include "base/check.h"
#include "p9/mem_tree.h"
#include "p9/server/session.h"

namespace run9::p9 {

namespace {

// What decodes must survive encoding: the same bytes, but for bytes after the last field.
template <typename M>
void decode_one(ByteSpan frame) {
  const Result<M> msg = decode<M>(frame);
  if (!msg) return;
  const Tag tag = decode_header(frame).assume_value().tag;
  const auto once = encode(tag, msg.assume_value());
  const Result<M> again = decode<M>(once);
  CHECK(again.has_value());
  CHECK(encode(tag, again.assume_value()) == once);
}

template <typename... M>
void decode_all(TypeList<M...>, ByteSpan frame) {
  (decode_one<M>(frame), ...);
}

template <typename Entry>
void read_entries(ByteSpan data) {
  DirentReader<Entry> reader(data);
  for (;;) {
    const auto e = reader.next();
    if (!e || !e.assume_value()) return;
  }
}

void run_session(ByteSpan stream) {
  MemTree tree({.max_file_size = 1 << 16});
  const SessionOptions options{.max_msize = 65536, .max_fids = 256};
  Session session(tree, options);
  FrameSplitter splitter(session.max_frame());
  ReplyBatch replies;
  // So that inputs need not find a version and an attach first.
  session.handle_frame(encode(kNoTag, Tversion{.msize = 65536, .version = kVersionX}), replies);
  session.handle_frame(encode(Tag{0}, Tattach{.fid = Fid{0}}), replies);
  splitter.push(stream);
  for (;;) {
    const auto frame = splitter.next();
    if (!frame || frame.assume_value().empty()) return;
    replies.clear();
    if (session.handle_frame(frame.assume_value(), replies) == Verdict::kClose) return;
    // Exactly one reply, to this tag, below msize; but for one that waits, or ends a wait.
    const Header asked = decode_header(frame.assume_value()).assume_value();
    if (asked.type == MsgType::kTlockx && replies.bytes.size() == 0) continue;
    ByteSpan bytes = replies.bytes.bytes();
    Header told = decode_header(bytes).assume_value();
    if (asked.type == MsgType::kTflush && told.size < bytes.size()) {
      bytes = bytes.subspan(told.size);
      told = decode_header(bytes).assume_value();
    }
    CHECK(told.size == bytes.size() && told.tag == asked.tag);
    CHECK(told.size < session.max_frame());
    CHECK(session.fid_count() <= options.max_fids);
  }
}

}  // namespace

int fuzz_one(const uint8_t* data, size_t size) {
  const ByteSpan bytes(reinterpret_cast<const std::byte*>(data), size);
  decode_all(Requests{}, bytes);
  decode_all(Replies{}, bytes);
  read_entries<Dirent>(bytes);
  read_entries<DirentX>(bytes);
  static_cast<void>(describe(bytes));
  run_session(bytes);
  return 0;
}

}  // namespace run9::p9
