// FrameBuffer: a growing buffer that frames are encoded into, as ByteWriter is, but with room that
// can be handed to read(2) without being zeroed first. Kept and cleared, so it stops allocating.
#pragma once
#include <algorithm>
#include <cstring>
#include <memory>
#include <span>

#include "base/bytes.h"
#include "base/check.h"

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
    std::memcpy(data_.get() + at, &v, sizeof v);
  }
  // n more bytes, with nothing in particular in them. Valid until the buffer grows again.
  std::span<std::byte> extend(size_t n) {
    if (capacity_ - size_ < n) grow(n);
    size_ += n;
    return {data_.get() + size_ - n, n};
  }
  void truncate(size_t size) {
    CHECK(size <= size_);
    size_ = size;
  }
  void clear() { size_ = 0; }
  size_t size() const { return size_; }
  ByteSpan bytes() const { return {data_.get(), size_}; }

 private:
  void grow(size_t n) {
    const size_t capacity = std::max({capacity_ * 2, size_ + n, size_t{4096}});
    auto bigger = std::make_unique_for_overwrite<std::byte[]>(capacity);
    if (size_ != 0) std::memcpy(bigger.get(), data_.get(), size_);
    data_ = std::move(bigger);
    capacity_ = capacity;
  }

  std::unique_ptr<std::byte[]> data_;
  size_t size_ = 0;
  size_t capacity_ = 0;
};

}  // namespace run9::p9
