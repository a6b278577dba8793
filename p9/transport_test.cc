// Addresses as people write them.
#include <gtest/gtest.h>
#include <linux/vm_sockets.h>

#include "p9/transport/address.h"

namespace run9::p9 {
namespace {

TEST(AddressTest, Vsock) {
  const Address a = parse_address("vsock:3:564").value();
  EXPECT_EQ(a.kind, Address::Kind::kVsock);
  EXPECT_EQ(a.cid, 3u);
  EXPECT_EQ(a.port, 564u);
  EXPECT_EQ(parse_listen_address("vsock:3:564")->cid, 3u);
  EXPECT_EQ(parse_listen_address("vsock:564")->cid, VMADDR_CID_ANY);
  EXPECT_EQ(parse_listen_address("vsock:564")->port, 564u);
  EXPECT_EQ(parse_listen_address("unix:/s")->path, "/s");
  // Nobody can be reached at any number.
  EXPECT_FALSE(parse_address("vsock:564"));
  for (const char* bad : {"vsock:", "vsock:x", "vsock:1:", "vsock:1:2:3", "vsock:-1:2"}) {
    EXPECT_FALSE(parse_listen_address(bad)) << bad;
  }
}

}  // namespace
}  // namespace run9::p9
