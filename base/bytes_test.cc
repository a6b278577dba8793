#include "base/bytes.h"

#include <gtest/gtest.h>

namespace run9 {
namespace {

TEST(ByteReaderTest, ShortReadLeavesTheReaderWhereItWas) {
  ByteWriter w;
  w.write(uint16_t{0x1234});
  ByteReader r(w.bytes());
  EXPECT_EQ(r.read<uint32_t>().error(), Errno{EPROTO});
  EXPECT_EQ(r.read<uint16_t>().value(), 0x1234);
  EXPECT_EQ(r.read<uint8_t>().error(), Errno{EPROTO});
}

TEST(ByteReaderTest, StringWhoseLengthLiesIsRefused) {
  ByteWriter w;
  w.write(uint16_t{5});
  w.append(as_bytes("abc"));
  ByteReader r(w.bytes());
  EXPECT_EQ(r.read_string16().error(), Errno{EPROTO});
  EXPECT_EQ(r.position(), 0u);
}

TEST(ByteWriterTest, StringsRoundTrip) {
  ByteWriter w;
  w.write_string16("hello");
  ByteReader r(w.bytes());
  EXPECT_EQ(r.read_string16().value(), "hello");
  EXPECT_EQ(r.remaining(), 0u);
}

}  // namespace
}  // namespace run9
