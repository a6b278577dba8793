// Golden bytes, truncations and round trips, for every message of the lists.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <map>

#include "p9/codec.h"

namespace run9::p9 {
namespace {

std::vector<std::byte> hex(std::string_view text) {
  std::vector<std::byte> out;
  for (size_t i = 0; i + 1 < text.size(); i += 2) {
    if (text[i] == ' ') --i;
    else out.push_back(std::byte(std::stoi(std::string(text.substr(i, 2)), nullptr, 16)));
  }
  return out;
}

struct Vector {
  std::vector<std::byte> frame;
  std::string fields;
};

const std::map<std::string, Vector, std::less<>>& vectors() {
  static const auto all = [] {
    std::map<std::string, Vector, std::less<>> out;
    std::ifstream in(RUN9_P9_VECTORS);
    for (std::string line; std::getline(in, line);) {
      if (line.starts_with('#')) continue;
      const size_t a = line.find('|'), b = line.find('|', a + 1);
      out[line.substr(0, a)] = {hex(line.substr(a + 1, b - a - 1)), line.substr(b + 1)};
    }
    return out;
  }();
  return all;
}

template <typename List>
struct AsTestTypes;
template <typename... M>
struct AsTestTypes<TypeList<M...>> {
  using type = ::testing::Types<M...>;
};

template <typename M>
struct MessageTest : ::testing::Test {
  static const Vector& golden() {
    const auto it = vectors().find(name_of(M::kType));
    CHECK(it != vectors().end());
    return it->second;
  }
};
template <typename M>
struct RequestTest : MessageTest<M> {};
template <typename M>
struct ReplyTest : MessageTest<M> {};
TYPED_TEST_SUITE(RequestTest, AsTestTypes<Requests>::type);
TYPED_TEST_SUITE(ReplyTest, AsTestTypes<Replies>::type);

template <typename M>
void expect_golden(const Vector& golden) {
  const auto msg = decode<M>(golden.frame);
  ASSERT_TRUE(msg.has_value());
  EXPECT_EQ(describe(golden.frame), std::string(name_of(M::kType)) + " " + golden.fields);
  const Tag tag = decode_header(golden.frame).value().tag;
  EXPECT_EQ(encode(tag, msg.value()), golden.frame);
}

// Cut anywhere, with the size field as it was and with one that fits the cut.
template <typename M>
void expect_truncations_refused(const Vector& golden) {
  for (size_t n = 0; n < golden.frame.size(); ++n) {
    std::vector<std::byte> cut(golden.frame.begin(), golden.frame.begin() + n);
    EXPECT_FALSE(decode<M>(cut).has_value()) << "cut at " << n;
    if (n < kHeaderSize) continue;
    cut[0] = std::byte(n & 0xff);
    cut[1] = std::byte(n >> 8);
    // Old clients leave out Tfsync's last field.
    if (M::kType == MsgType::kTfsync && n == 11) continue;
    // And servers without leases the watches of Rwalkx: two of four bytes, and their count.
    if (M::kType == MsgType::kRwalkx && n + 10 == golden.frame.size()) continue;
    const auto msg = decode<M>(cut);
    ASSERT_FALSE(msg.has_value()) << "cut at " << n;
    EXPECT_EQ(msg.error(), Errno{EPROTO}) << "cut at " << n;
  }
}

template <typename M>
void expect_more_is_ignored(const Vector& golden) {
  auto frame = golden.frame;
  frame.push_back(std::byte{0xee});
  const auto size = static_cast<uint32_t>(frame.size());
  std::memcpy(frame.data(), &size, sizeof size);
  const auto msg = decode<M>(frame);
  ASSERT_TRUE(msg.has_value());
  EXPECT_EQ(encode(Tag{decode_header(golden.frame).value().tag}, msg.value()), golden.frame);
}

TYPED_TEST(RequestTest, GoldenBytes) { expect_golden<TypeParam>(this->golden()); }
TYPED_TEST(RequestTest, EveryTruncationIsRefused) {
  expect_truncations_refused<TypeParam>(this->golden());
}
TYPED_TEST(RequestTest, BytesAfterTheLastFieldAreIgnored) {
  expect_more_is_ignored<TypeParam>(this->golden());
}
TYPED_TEST(ReplyTest, GoldenBytes) { expect_golden<TypeParam>(this->golden()); }
TYPED_TEST(ReplyTest, EveryTruncationIsRefused) {
  expect_truncations_refused<TypeParam>(this->golden());
}

template <typename M>
size_t empty_size() {
  return encode(Tag{0}, M{}).size();
}

// The sizes of the fixed part as spec/9p2000L.md has them.
TEST(MessageSizes, AreThoseOfTheTables) {
  EXPECT_EQ(empty_size<Rlerror>(), 11u);
  EXPECT_EQ(empty_size<Rstatfs>(), 67u);
  EXPECT_EQ(empty_size<Rlopen>(), 24u);
  EXPECT_EQ(empty_size<Rlcreate>(), 24u);
  EXPECT_EQ(empty_size<Rsymlink>(), 20u);
  EXPECT_EQ(empty_size<Rreadlink>(), 9u);
  EXPECT_EQ(empty_size<Rgetattr>(), 160u);
  EXPECT_EQ(empty_size<Tsetattr>(), 67u);
  EXPECT_EQ(empty_size<Rxattrwalk>(), 15u);
  EXPECT_EQ(empty_size<Rreaddir>(), 11u);
  EXPECT_EQ(empty_size<Tfsync>(), 15u);
  EXPECT_EQ(empty_size<Rlock>(), 8u);
  EXPECT_EQ(empty_size<Rgetlock>(), 30u);
  EXPECT_EQ(empty_size<Rversion>(), 13u);
  EXPECT_EQ(empty_size<Rattach>(), 20u);
  EXPECT_EQ(empty_size<Rwalk>(), 9u);
  EXPECT_EQ(empty_size<Rread>(), 11u);
  EXPECT_EQ(empty_size<Twrite>(), 23u);
  EXPECT_EQ(empty_size<Rwrite>(), 11u);
  EXPECT_EQ(empty_size<Rclunk>(), 7u);
  EXPECT_EQ(empty_size<Rsetx>(), kHeaderSize + kAttrXSize);
}

TEST(TlopenTest, HandMadeBytes) {
  EXPECT_EQ(encode(Tag{7}, Tlopen{.fid = Fid{1}, .flags = kORdwr}),
            hex("0f000000 0c 0700 01000000 02000000"));
}

TEST(TfsyncTest, OldClientsLeaveOutDatasync) {
  EXPECT_EQ(decode<Tfsync>(hex("0b000000 32 0100 05000000")).value().datasync.value, 0u);
}

TEST(TwalkTest, SeventeenNamesAreTooMany) {
  ByteWriter w;
  w.write(uint32_t{0});
  w.write(uint8_t{110});
  w.write(uint16_t{1});
  w.write(uint32_t{0});
  w.write(uint32_t{1});
  w.write(uint16_t{17});
  for (int i = 0; i < 17; ++i) w.write_string16("a");
  w.patch(0, static_cast<uint32_t>(w.size()));
  EXPECT_EQ(decode<Twalk>(w.bytes()).error(), Errno{EPROTO});
}

TEST(NameTest, TheRules) {
  using std::string_view_literals::operator""sv;
  EXPECT_TRUE(check_name("a"));
  EXPECT_TRUE(check_name("..."));
  EXPECT_TRUE(check_name(std::string(255, 'x')));
  EXPECT_EQ(check_name(std::string(256, 'x')).error(), Errno{ENAMETOOLONG});
  EXPECT_EQ(check_name("").error(), Errno{ENOENT});
  for (const auto bad : {"a/b"sv, "/"sv, "a\0b"sv}) {
    EXPECT_EQ(check_name(bad).error(), Errno{EINVAL});
    EXPECT_EQ(check_walk_name(bad).error(), Errno{EINVAL});
  }
  for (const auto dots : {".", ".."}) {
    EXPECT_EQ(check_name(dots).error(), Errno{EINVAL});
    EXPECT_TRUE(check_walk_name(dots));
  }
}

TEST(NameTest, DecodingRefusesABadOne) {
  EXPECT_EQ(decode<Tmkdir>(encode(Tag{1}, Tmkdir{.name = "../x"})).error(), Errno{EINVAL});
}

TEST(TextTest, NulInATargetIsMalformed) {
  using std::string_view_literals::operator""sv;
  EXPECT_EQ(decode<Tsymlink>(encode(Tag{1}, Tsymlink{.name = "a", .target = "x\0y"sv})).error(),
            Errno{EPROTO});
}

TEST(FrameSplitterTest, AnySplitGivesTheSameFrames) {
  const auto a = encode(Tag{1}, Tclunk{.fid = Fid{1}});
  const auto b = encode(Tag{2}, Twalk{.fid = Fid{1}, .newfid = Fid{2}, .names = {"x", "y"}});
  std::vector<std::byte> stream = a;
  stream.insert(stream.end(), b.begin(), b.end());
  for (size_t cut = 0; cut <= stream.size(); ++cut) {
    FrameSplitter s(8192);
    std::vector<std::vector<std::byte>> got;
    const auto drain = [&] {
      for (ByteSpan f = s.next().value(); !f.empty(); f = s.next().value()) {
        got.emplace_back(f.begin(), f.end());
      }
    };
    s.push(std::span(stream).first(cut));
    drain();
    s.push(std::span(stream).subspan(cut));
    drain();
    EXPECT_THAT(got, ::testing::ElementsAre(a, b)) << cut;
  }
}

TEST(FrameSplitterTest, ImpossibleSizesAreRefusedFromTheirFourBytes) {
  for (const auto* text : {"06000000", "00000000", "01200000", "ffffffff"}) {
    FrameSplitter s(8192);
    s.push(hex(text));
    EXPECT_EQ(s.next().error(), Errno{EPROTO}) << text;
  }
}

TEST(DirentReaderTest, ReadsWholeEntriesAndRefusesACutOne) {
  ByteWriter w;
  codec_detail::put(w, Dirent{.offset = 1, .type = 4, .name = ".."});
  codec_detail::put(w, Dirent{.offset = 2, .type = 8, .name = "file"});
  DirentReader<Dirent> r(w.bytes());
  EXPECT_EQ(r.next().value()->name, "..");
  EXPECT_EQ(r.next().value()->offset, 2u);
  EXPECT_FALSE(r.next().value().has_value());
  DirentReader<Dirent> cut(w.bytes().first(w.size() - 1));
  EXPECT_TRUE(cut.next().value().has_value());
  EXPECT_EQ(cut.next().error(), Errno{EPROTO});
}

}  // namespace
}  // namespace run9::p9
