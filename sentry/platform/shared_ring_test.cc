#include "sentry/platform/shared_ring.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <string>

#include "sentry/platform/trap/ring_numbers.h"

namespace run9::sentry {
namespace {

ByteSpan bytes(std::string_view s) { return std::as_bytes(std::span(s)); }
std::string text(const SharedRing::Rest& rest) {
  std::string out;
  for (const ByteSpan part : {rest.first, rest.second}) out.append(reinterpret_cast<const char*>(part.data()), part.size());
  return out;
}

// The other side's mapping.
struct Guest {
  explicit Guest(const SharedRing& ring)
      : at(static_cast<PipeRing*>(mmap(nullptr, sizeof(PipeRing), PROT_READ | PROT_WRITE, MAP_SHARED, ring.fd().get(), 0))) {}
  ~Guest() { munmap(at, sizeof(PipeRing)); }
  PipeRing* at;
};

TEST(RingWordTest, CountsAcrossTheEnd) {
  RingWord w(0);
  uint64_t seen = w.low();
  for (int i = 0; i < 100'000; ++i) {
    w = w.written(RingWord::kSize);
    EXPECT_EQ(RingWord::kSize, w.used());
    EXPECT_EQ(0u, w.free());
    EXPECT_NE(seen, w.low());
    seen = w.low();
    w = w.read(40'000);
    EXPECT_NE(seen, w.low());
    EXPECT_EQ(RingWord::kSize - 40'000, w.used());
    w = w.read(w.used());
    EXPECT_EQ(0u, w.used());
    seen = w.low();
  }
}

TEST(RingWordTest, MovesLeaveTheFlags) {
  constexpr uint64_t kAll = RingWord::kReaderLock | RingWord::kWriterLock | RingWord::kReaderSleeps | RingWord::kWriterSleeps | RingWord::kClosed;
  RingWord w = RingWord(0).with(kAll);
  for (int i = 0; i < 70'000; ++i) w = w.written(1000).read(1000);
  for (uint64_t flag = 1; flag != 0; flag <<= 1) {
    if (kAll & flag) EXPECT_TRUE(w.has(flag));
  }
  EXPECT_EQ(0u, w.without(kAll).bits() >> 49);
}

TEST(RingWordTest, WhateverItSaysIsWithinTheRing) {
  uint64_t bits = 1;
  for (int i = 0; i < 100'000; ++i) {
    bits = bits * 6364136223846793005 + 1442695040888963407;
    EXPECT_LE(RingWord(bits).used(), RingWord::kSize);
    EXPECT_LE(RingWord(bits).free(), RingWord::kSize);
  }
}

TEST(RingNumbersTest, OneIsUsedAgainWhenItWasLeftAndNobodyRuns) {
  trap::RingNumbers numbers;
  for (uint64_t n = 0; n < STUB_RINGS_COUNT; ++n) EXPECT_EQ(n, numbers.take(true));
  EXPECT_EQ(std::nullopt, numbers.take(true));
  numbers.leave(3);
  EXPECT_EQ(std::nullopt, numbers.take(false));
  EXPECT_EQ(3, numbers.take(true));
  EXPECT_EQ(std::nullopt, numbers.take(true));
}

TEST(RingNumbersTest, ThoseOfTheLastProgramAreNobodys) {
  trap::RingNumbers numbers;
  const uint64_t old = numbers.take(true).value();
  numbers.restart();
  EXPECT_FALSE(numbers.valid(old));
  const uint64_t next = numbers.take(true).value();
  EXPECT_EQ(numbers.number(old), numbers.number(next));
  numbers.leave(old);
  for (uint64_t n = 1; n < STUB_RINGS_COUNT; ++n) EXPECT_TRUE(numbers.take(true).has_value());
  EXPECT_EQ(std::nullopt, numbers.take(true));
}

TEST(SharedRingTest, WhatIsLeftComesBack) {
  auto ring = SharedRing::create();
  ASSERT_TRUE(ring.has_value());
  const Guest guest(*ring.value());
  ring.value()->begin(bytes("hello"));
  RingWord w = guest.at->load();
  EXPECT_EQ(5u, w.used());
  EXPECT_EQ(0, memcmp(guest.at->bytes, "hello", 5));
  ASSERT_TRUE(guest.at->change(w, w.read(2)));
  EXPECT_EQ("llo", text(ring.value()->end()));
  EXPECT_TRUE(guest.at->load().has(RingWord::kClosed));
}

TEST(SharedRingTest, AcrossTheEndInTwoParts) {
  auto ring = SharedRing::create();
  ASSERT_TRUE(ring.has_value());
  const Guest guest(*ring.value());
  ring.value()->begin(bytes(std::string(RingWord::kSize - 3, 'x')));
  RingWord w = guest.at->load();
  memcpy(guest.at->bytes + RingWord::kSize - 3, "abc", 3);
  memcpy(guest.at->bytes, "def", 3);
  ASSERT_TRUE(guest.at->change(w, w.read(RingWord::kSize - 3).written(6)));
  EXPECT_EQ("abcdef", text(ring.value()->end()));
}

TEST(SharedRingTest, AMoveThatComesTooLateHasNotHappened) {
  auto ring = SharedRing::create();
  ASSERT_TRUE(ring.has_value());
  const Guest guest(*ring.value());
  ring.value()->begin(bytes("x"));
  RingWord w = guest.at->load();
  EXPECT_EQ("x", text(ring.value()->end()));
  EXPECT_FALSE(guest.at->change(w, w.read(1)));
  EXPECT_TRUE(w.has(RingWord::kClosed));
}

TEST(SharedRingTest, WordsThatLieGiveAWholeRingAtMost) {
  auto ring = SharedRing::create();
  ASSERT_TRUE(ring.has_value());
  const Guest guest(*ring.value());
  ring.value()->begin({});
  guest.at->word = ~uint64_t{0} ^ 0xffff;
  EXPECT_LE(text(ring.value()->end()).size(), size_t{RingWord::kSize});
}

}  // namespace
}  // namespace run9::sentry
