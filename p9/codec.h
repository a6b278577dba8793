// Messages to bytes and back. A frame is one whole message: size[4] type[1] tag[2] body, where size
// counts itself. Decoding is strict about what is missing (EPROTO on every truncation) and lenient
// about what is too much: bytes after the last field are ignored, as every peer does.
#pragma once
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

#include "base/check.h"
#include "p9/messages.h"

namespace run9::p9 {

struct Header {
  uint32_t size = 0;
  MsgType type{};
  Tag tag{};
};
// The first kHeaderSize bytes of a frame. EPROTO if there are fewer or size is below kHeaderSize.
Result<Header> decode_header(ByteSpan bytes);

// The one judge of names. ENOENT for "", EINVAL for ".", "..", '/' and NUL, ENAMETOOLONG.
Result<void> check_name(std::string_view name);
// The same with "." and ".." allowed.
Result<void> check_walk_name(std::string_view name);

namespace codec_detail {

template <typename T>
concept Composite = requires { T::kFields; };
template <typename T>
inline constexpr bool kIsList = false;
template <typename T, size_t N>
inline constexpr bool kIsList<List<T, N>> = true;
template <typename T>
inline constexpr bool kIsTrailing = false;
template <typename T>
inline constexpr bool kIsTrailing<Trailing<T>> = true;
template <typename T>
inline constexpr bool kIsText = std::is_same_v<T, std::string_view> || std::is_same_v<T, Name> ||
                                std::is_same_v<T, WalkName>;

// Sink: ByteWriter or FrameBuffer.
template <typename Sink, typename T>
void put(Sink& out, const T& v) {
  if constexpr (std::is_enum_v<T>) {
    out.write(static_cast<std::underlying_type_t<T>>(v));
  } else if constexpr (std::is_unsigned_v<T>) {
    out.write(v);
  } else if constexpr (kIsText<T>) {
    out.write_string16(v);
  } else if constexpr (std::is_same_v<T, ByteSpan>) {
    out.write(static_cast<uint32_t>(v.size()));
    out.append(v);
  } else if constexpr (kIsTrailing<T>) {
    put(out, v.value);
  } else if constexpr (kIsList<T>) {
    CHECK(v.size() <= T::kMax);
    out.write(static_cast<uint16_t>(v.size()));
    for (const auto& e : v) put(out, e);
  } else {
    std::apply([&](auto... m) { (put(out, v.*m), ...); }, T::kFields);
  }
}

// A string that reaches a system call as a C string must not end early.
Result<std::string_view> get_text(ByteReader& in);

template <typename T>
Result<void> get(ByteReader& in, T& v) {
  if constexpr (std::is_enum_v<T>) {
    v = static_cast<T>(TRY(in.read<std::underlying_type_t<T>>()));
  } else if constexpr (std::is_unsigned_v<T>) {
    v = TRY(in.read<T>());
  } else if constexpr (std::is_same_v<T, std::string_view>) {
    v = TRY(get_text(in));
  } else if constexpr (std::is_same_v<T, Name>) {
    v.text = TRY(in.read_string16());
    TRY(check_name(v.text));
  } else if constexpr (std::is_same_v<T, WalkName>) {
    v.text = TRY(in.read_string16());
    TRY(check_walk_name(v.text));
  } else if constexpr (std::is_same_v<T, ByteSpan>) {
    const size_t n = TRY(in.read<uint32_t>());
    v = TRY(in.take(n));
  } else if constexpr (kIsTrailing<T>) {
    if (in.remaining() != 0) TRY(get(in, v.value));
  } else if constexpr (kIsList<T>) {
    const size_t n = TRY(in.read<uint16_t>());
    if (n > T::kMax) return Errno{EPROTO};
    v.reserve(n);
    for (size_t i = 0; i < n; ++i) TRY(get(in, v.emplace_back()));
  } else {
    Result<void> r = ok();
    std::apply([&](auto... m) { static_cast<void>(((r = get(in, v.*m), r.has_value()) && ...)); },
               T::kFields);
    return r;
  }
  return ok();
}

}  // namespace codec_detail

// Appends one frame to `out`; gives back where it starts.
template <typename Sink, typename M>
size_t encode_to(Sink& out, Tag tag, const M& msg) {
  const size_t start = out.size();
  out.write(uint32_t{0});
  out.write(to_int(M::kType));
  out.write(static_cast<uint16_t>(tag));
  codec_detail::put(out, msg);
  out.patch(start, static_cast<uint32_t>(out.size() - start));
  return start;
}

template <typename M>
std::vector<std::byte> encode(Tag tag, const M& msg) {
  ByteWriter out;
  encode_to(out, tag, msg);
  return out.take();
}

// `frame` is exactly one frame of type M. The result's strings and data are views into it.
template <typename M>
Result<M> decode(ByteSpan frame) {
  const Header h = TRY(decode_header(frame));
  if (h.size != frame.size() || h.type != M::kType) return Errno{EPROTO};
  ByteReader in(frame.subspan(kHeaderSize));
  M msg;
  TRY(codec_detail::get(in, msg));
  return msg;
}

// Dirent or DirentX records out of Rreaddir's or Rreaddirx's data. EPROTO for a cut-off record and
// for a name with '/' or NUL in it; "." and ".." are ordinary entries.
template <typename Entry>
class DirentReader {
 public:
  explicit DirentReader(ByteSpan data) : in_(data) {}
  // Nothing at the end of the data.
  Result<std::optional<Entry>> next() {
    if (in_.remaining() == 0) return std::optional<Entry>{};
    Entry e;
    TRY(codec_detail::get(in_, e));
    if (e.name.empty() || e.name.find('/') != e.name.npos) return Errno{EPROTO};
    return std::optional<Entry>{e};
  }

 private:
  ByteReader in_;
};

// The size of one encoded entry.
inline constexpr size_t kDirentFixed = kQidSize + 8 + 1 + 2;
inline constexpr size_t kDirentXFixed = kDirentFixed + kAttrXSize;

// Takes a byte stream apart into frames. A frame below kHeaderSize or above `max_frame` bytes is
// EPROTO for good: the stream has no next frame to find. Memory grows with what has arrived, never
// with what a header promises beyond max_frame.
class FrameSplitter {
 public:
  explicit FrameSplitter(uint32_t max_frame) : max_frame_(max_frame) {}
  void set_max_frame(uint32_t max_frame) { max_frame_ = max_frame; }

  // Where to receive next; at least 1 byte. Ends the life of every frame given out before.
  std::span<std::byte> space();
  void commit(size_t n) {
    CHECK(n <= buffer_.size() - end_);
    end_ += n;
  }
  // For those that have the bytes already.
  void push(ByteSpan bytes);

  // The next whole frame, or an empty span when more bytes are needed. Valid until space().
  Result<ByteSpan> next();
  size_t buffered() const { return end_ - begin_; }

 private:
  uint32_t max_frame_;
  std::vector<std::byte> buffer_;
  size_t begin_ = 0;
  size_t end_ = 0;
};

// "Tlopen tag=7 fid=1 flags=2": one line for logs and traces; text is quoted, data is only counted.
std::string describe(ByteSpan frame);

}  // namespace run9::p9
