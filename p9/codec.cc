#include "p9/codec.h"

#include <algorithm>

#include "base/log.h"

namespace run9::p9 {

namespace {

// Room for a recv() when the splitter does not know a frame's size yet.
constexpr size_t kChunk = 16384;

template <typename T>
void print(std::string& out, const T& v);

template <typename T>
void print(std::string& out, const T& v) {
  using namespace codec_detail;
  if constexpr (std::is_enum_v<T>) {
    out += std::to_string(static_cast<std::underlying_type_t<T>>(v));
  } else if constexpr (std::is_unsigned_v<T>) {
    out += std::to_string(v);
  } else if constexpr (kIsText<T>) {
    out += quoted(v);
  } else if constexpr (std::is_same_v<T, ByteSpan>) {
    out += '<' + std::to_string(v.size()) + " bytes>";
  } else if constexpr (kIsTrailing<T>) {
    print(out, v.value);
  } else if constexpr (kIsList<T>) {
    out += '[';
    for (const auto& e : v) print(out += ' ', e);
    out += " ]";
  } else {
    out += '(';
    std::apply([&](auto... m) { (print(out += ' ', v.*m), ...); }, T::kFields);
    out += " )";
  }
}

template <typename M>
bool describe_as(std::string& out, MsgType type, ByteSpan frame) {
  if (type != M::kType) return false;
  const Result<M> msg = decode<M>(frame);
  if (!msg) {
    out += " malformed";
    return true;
  }
  print(out += ' ', msg.assume_value());
  return true;
}

template <typename... M>
void describe_any(TypeList<M...>, std::string& out, MsgType type, ByteSpan frame) {
  (describe_as<M>(out, type, frame) || ...);
}

}  // namespace

Result<Header> decode_header(ByteSpan bytes) {
  ByteReader in(bytes);
  Header h;
  h.size = TRY(in.read<uint32_t>());
  h.type = static_cast<MsgType>(TRY(in.read<uint8_t>()));
  h.tag = static_cast<Tag>(TRY(in.read<uint16_t>()));
  if (h.size < kHeaderSize) return Errno{EPROTO};
  return h;
}

Result<void> check_walk_name(std::string_view name) {
  if (name.empty()) return Errno{ENOENT};
  if (name.size() > kMaxName) return Errno{ENAMETOOLONG};
  if (name.find('/') != name.npos || name.find('\0') != name.npos) return Errno{EINVAL};
  return ok();
}

Result<void> check_name(std::string_view name) {
  if (name == "." || name == "..") return Errno{EINVAL};
  return check_walk_name(name);
}

namespace codec_detail {

Result<std::string_view> get_text(ByteReader& in) {
  const std::string_view text = TRY(in.read_string16());
  if (text.find('\0') != text.npos) return Errno{EPROTO};
  return text;
}

}  // namespace codec_detail

std::span<std::byte> FrameSplitter::space() {
  // Keep what is buffered at the front: at most one incomplete frame is ever moved.
  if (begin_ != 0) {
    std::copy(buffer_.begin() + begin_, buffer_.begin() + end_, buffer_.begin());
    end_ -= begin_;
    begin_ = 0;
  }
  size_t want = kChunk;
  if (const auto h = decode_header(ByteSpan(buffer_).first(end_))) {
    want = std::max<size_t>(want, std::min(h.assume_value().size, max_frame_));
  }
  if (end_ == buffer_.size() || want > buffer_.size()) {
    buffer_.resize(std::max(want, end_ + kChunk));
  }
  return std::span(buffer_).subspan(end_);
}

void FrameSplitter::push(ByteSpan bytes) {
  while (!bytes.empty()) {
    const auto to = space();
    const size_t n = std::min(to.size(), bytes.size());
    std::copy_n(bytes.begin(), n, to.begin());
    commit(n);
    bytes = bytes.subspan(n);
  }
}

Result<ByteSpan> FrameSplitter::next() {
  const ByteSpan have = ByteSpan(buffer_).subspan(begin_, end_ - begin_);
  if (have.size() < kHeaderSize) {
    // Refuse a hopeless size as soon as it is known, before its seven bytes are complete.
    if (have.size() >= 4) {
      const uint32_t size = TRY(ByteReader(have).read<uint32_t>());
      if (size < kHeaderSize || size > max_frame_) return Errno{EPROTO};
    }
    return ByteSpan{};
  }
  const Header h = TRY(decode_header(have));
  if (h.size > max_frame_) return Errno{EPROTO};
  if (have.size() < h.size) return ByteSpan{};
  begin_ += h.size;
  return have.first(h.size);
}

std::string describe(ByteSpan frame) {
  const auto h = decode_header(frame);
  if (!h) return "malformed frame";
  const Header& head = h.assume_value();
  std::string out(name_of(head.type));
  out += " tag=" + std::to_string(static_cast<uint16_t>(head.tag));
  describe_any(Requests{}, out, head.type, frame);
  describe_any(Replies{}, out, head.type, frame);
  return out;
}

}  // namespace run9::p9
