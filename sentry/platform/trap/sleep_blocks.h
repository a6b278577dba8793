// Which sleep words (stub_abi.h) a process has. Who shares one wakes the other for nothing: so each of the first 64 processes that live at a
// time has eight of its own, for its agent and its first seven threads.
#pragma once
#include <bit>
#include <cstdint>

#include "sentry/platform/trap/stub_abi.h"

namespace run9::sentry::trap {

class SleepBlocks {
 public:
  static constexpr uint32_t kCount = STUB_SLEEP_WORD_COUNT / STUB_SLEEP_BLOCK;

 private:
  friend class SleepBlock;
  static_assert(kCount == 64);
  uint64_t taken_ = 0;
  uint32_t shared_ = 0;  // the one that was given out last, of those that are taken
};

class SleepBlock {
 public:
  explicit SleepBlock(SleepBlocks& all)
      : all_(all), own_(~all.taken_ != 0), number_(own_ ? static_cast<uint32_t>(std::countr_one(all.taken_)) : all.shared_++ % SleepBlocks::kCount) {
    all_.taken_ |= uint64_t{1} << number_;
  }
  ~SleepBlock() {
    if (own_) all_.taken_ &= ~(uint64_t{1} << number_);
  }
  SleepBlock(const SleepBlock&) = delete;
  SleepBlock& operator=(const SleepBlock&) = delete;

  uint32_t agent() const { return number_ * STUB_SLEEP_BLOCK; }
  // Further threads sleep where they may not be alone.
  uint32_t word(uint32_t slot) const { return (agent() + 1 + slot) % STUB_SLEEP_WORD_COUNT; }

 private:
  SleepBlocks& all_;
  const bool own_;
  const uint32_t number_;
};

}  // namespace run9::sentry::trap
