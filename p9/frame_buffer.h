// FrameBuffer: a growing buffer that frames are encoded into, as ByteWriter is, but with room that
// can be handed to read(2) without being zeroed first. Kept and cleared, so it stops allocating.
#pragma once
#include <algorithm>
#include <cstring>
#include <span>

#include "base/bytes.h"
#include "base/check.h"
#include "base/copy.h"

namespace run9::p9 {

class FrameBuffer {
 public:
  template <std::unsigned_integral T>
  void write(T v) {
    std::memcpy(extend(sizeof v).data(), &v, sizeof v);
  }
  void append(ByteSpan bytes) {
    if (!bytes.empty()) std::memcpy(extend(bytes.size()).data(), bytes.data(), bytes.size());
  }
  void write_string16(std::string_view s) {
    CHECK(s.size() <= 0xffff);
    write(static_cast<uint16_t>(s.size()));
    append(as_bytes(s));
  }
  template <std::unsigned_integral T>
  void patch(size_t at, T v) {
    CHECK(at + sizeof v <= size_);
    std::memcpy(data() + at, &v, sizeof v);
  }
  // n more bytes, with nothing in particular in them. Valid until the buffer grows again.
  std::span<std::byte> extend(size_t n) {
    if (data_.size() - size_ < n) grow(n);
    size_ += n;
    return {data() + size_ - n, n};
  }
  void truncate(size_t size) {
    CHECK(size <= size_);
    size_ = size;
  }
  void clear() { size_ = 0; }
  size_t size() const { return size_; }
  ByteSpan bytes() const { return data_.first(size_); }

 private:
  void grow(size_t n) {
    const size_t capacity = std::max({data_.size() * 2, size_ + n, size_t{4096}});
    TransferBuffer bigger(capacity);
    if (size_ != 0) std::memcpy(bigger.bytes().data(), data(), size_);
    data_ = std::move(bigger);
  }

  std::byte* data() const { return data_.bytes().data(); }

  TransferBuffer data_;
  size_t size_ = 0;
};

}  // namespace run9::p9
