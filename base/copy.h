// Copies of many bytes, and where their buffers begin.
//
// AMD's `rep movsb`, by which Linux and the C library copy, is up to twenty times slower where the destination lies 1 to 31 bytes
// behind the source, modulo 4096. Pages of files begin at 0 there, and what malloc(3) gives for 128 KiB and more at 16
// (docs/decisions/0025).
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <span>

namespace run9 {

// Memory for bytes on their way from one place to another: begins where neither a page does nor malloc's.
class TransferBuffer {
 public:
  TransferBuffer() = default;
  explicit TransferBuffer(size_t size)
      : page_(static_cast<std::byte*>(::operator new(kBegin + size, std::align_val_t{4096}))), size_(size) {}
  std::span<std::byte> bytes() const { return page_ != nullptr ? std::span(page_.get() + kBegin, size_) : std::span<std::byte>(); }
  std::span<std::byte> first(size_t n) const { return bytes().first(n); }
  size_t size() const { return size_; }

 private:
  static constexpr size_t kBegin = 1024;
  struct Free {
    void operator()(std::byte* page) const { ::operator delete(page, std::align_val_t{4096}); }
  };
  std::unique_ptr<std::byte, Free> page_;
  size_t size_ = 0;
};

// memcpy(3), wherever the two lie.
inline void copy_bytes(void* to, const void* from, size_t n) {
  const auto behind = (reinterpret_cast<uintptr_t>(to) - reinterpret_cast<uintptr_t>(from)) % 4096;
  if (n < 1024 || behind == 0 || behind > 31) {
    if (n != 0) std::memcpy(to, from, n);
    return;
  }
  size_t words = n / 8;
  asm volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(words) : : "memory");
  std::memcpy(to, from, n % 8);
}

}  // namespace run9
