// A pipe's bytes in memory that its two processes share: they read and write it without the kernel. Freestanding: a stub's code uses
// it as well as the Sentry's.
//
// Who may be hostile: both processes, at any time, each towards the other and towards the Sentry. All that they can lie about is the word;
// whoever reads it cuts it to what is possible, and finds bytes where some have to be.
#pragma once
#include <stdint.h>

namespace run9::sentry {

// 64 bits that change as one. The lower half changes with every move, since futex(2) looks at no more.
class RingWord {
 public:
  static constexpr uint32_t kSize = 64 * 1024;  // bytes that fit
  // A side is locked while one of its threads copies.
  static constexpr uint64_t kReaderLock = uint64_t{1} << 49, kWriterLock = uint64_t{1} << 50;
  // Threads of that side sleep at the host on the word's lower half, and want to be woken.
  static constexpr uint64_t kReaderSleeps = uint64_t{1} << 51, kWriterSleeps = uint64_t{1} << 52;
  static constexpr uint64_t kClosed = uint64_t{1} << 53;  // the pipe is the kernel's: nothing moves here any more

  constexpr explicit RingWord(uint64_t bits) : bits_(bits) {}
  constexpr uint64_t bits() const { return bits_; }
  constexpr bool has(uint64_t flag) const { return (bits_ & flag) != 0; }
  constexpr uint32_t low() const { return static_cast<uint32_t>(bits_); }
  constexpr uint32_t tail() const { return static_cast<uint32_t>(bits_) & kPosition; }
  constexpr uint32_t head() const { return static_cast<uint32_t>(bits_ >> 32) & kPosition; }
  constexpr uint32_t used() const {
    const uint32_t n = (tail() - head()) & kPosition;
    return n < kSize ? n : kSize;
  }
  constexpr uint32_t free() const { return kSize - used(); }

  constexpr RingWord with(uint64_t flag) const { return RingWord(bits_ | flag); }
  constexpr RingWord without(uint64_t flags) const { return RingWord(bits_ & ~flags); }
  // `n` bytes more were written, or read.
  constexpr RingWord written(uint32_t n) const { return next(tail() + n, head()); }
  constexpr RingWord read(uint32_t n) const { return next(tail(), head() + n); }

 private:
  // Positions are counted modulo twice the size, which tells full from empty.
  static constexpr uint32_t kPosition = 2 * kSize - 1, kMove = 2 * kSize;
  static constexpr uint64_t kFlags = ~uint64_t{0} << 49;
  constexpr RingWord next(uint32_t tail, uint32_t head) const {
    const uint32_t moves = (low() & ~kPosition) + kMove;
    return RingWord((bits_ & kFlags) | uint64_t{head & kPosition} << 32 | moves | (tail & kPosition));
  }
  uint64_t bits_;
};

struct PipeRing {
  alignas(4096) uint64_t word;
  alignas(4096) uint8_t bytes[RingWord::kSize];

  RingWord load() const { return RingWord(__atomic_load_n(&word, __ATOMIC_ACQUIRE)); }
  // Whole or not at all; not at all: `from` is what it is now.
  bool change(RingWord& from, RingWord to) {
    uint64_t bits = from.bits();
    const bool done = __atomic_compare_exchange_n(&word, &bits, to.bits(), false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
    if (!done) from = RingWord(bits);
    return done;
  }
};
static_assert(sizeof(PipeRing) == 4096 + RingWord::kSize);

}  // namespace run9::sentry
