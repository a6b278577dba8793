// ByteReader and ByteWriter: little-endian cursors over bytes whose author is not trusted.
// A read past the end gives EPROTO and leaves the reader where it was.
#pragma once
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/result.h"

namespace run9 {

static_assert(std::endian::native == std::endian::little);

using ByteSpan = std::span<const std::byte>;

// An object's bytes.
template <typename T>
  requires std::is_trivially_copyable_v<T>
std::string bytes_of(const T& v) {
  return {reinterpret_cast<const char*>(&v), sizeof v};
}

class ByteReader {
 public:
  explicit ByteReader(ByteSpan bytes) : bytes_(bytes) {}
  size_t remaining() const { return bytes_.size() - at_; }
  size_t position() const { return at_; }

  template <std::unsigned_integral T>
  Result<T> read() {
    if (remaining() < sizeof(T)) return Errno{EPROTO};
    T v;
    std::memcpy(&v, bytes_.data() + at_, sizeof v);
    at_ += sizeof v;
    return v;
  }
  Result<ByteSpan> take(size_t n);
  // len[2] + bytes, as 9P strings are; NULs are the caller's business.
  Result<std::string_view> read_string16();

 private:
  ByteSpan bytes_;
  size_t at_ = 0;
};

class ByteWriter {
 public:
  template <std::unsigned_integral T>
  void write(T v) {
    const auto* p = reinterpret_cast<const std::byte*>(&v);
    out_.insert(out_.end(), p, p + sizeof v);
  }
  void append(ByteSpan bytes) { out_.insert(out_.end(), bytes.begin(), bytes.end()); }
  void write_string16(std::string_view s);
  template <std::unsigned_integral T>
  void patch(size_t at, T v) {
    std::memcpy(out_.data() + at, &v, sizeof v);
  }
  size_t size() const { return out_.size(); }
  ByteSpan bytes() const { return out_; }
  std::vector<std::byte> take() { return std::move(out_); }
  void clear() { out_.clear(); }

 private:
  std::vector<std::byte> out_;
};

inline ByteSpan as_bytes(std::string_view s) {
  return {reinterpret_cast<const std::byte*>(s.data()), s.size()};
}
inline std::string_view as_chars(ByteSpan b) {
  return {reinterpret_cast<const char*>(b.data()), b.size()};
}

}  // namespace run9
