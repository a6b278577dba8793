#include "runtime/names.h"

#include <gtest/gtest.h>
#include <linux/capability.h>
#include <sys/resource.h>

#include <csignal>

namespace run9::runtime {
namespace {

TEST(NamesTest, Capabilities) {
  EXPECT_EQ(capability_number("CAP_CHOWN"), CAP_CHOWN);
  EXPECT_EQ(capability_number("cap_sys_admin"), CAP_SYS_ADMIN);
  EXPECT_EQ(capability_number("CHECKPOINT_RESTORE"), CAP_CHECKPOINT_RESTORE);
  EXPECT_EQ(capability_number("CAP_NOPE"), std::nullopt);
  EXPECT_EQ(capability_number("CAP_"), std::nullopt);
  for (int n = 0; n <= CAP_LAST_CAP; ++n) EXPECT_EQ(capability_number(capability_name(n)), n);
}

TEST(NamesTest, Signals) {
  EXPECT_EQ(signal_number("TERM"), SIGTERM);
  EXPECT_EQ(signal_number("SIGKILL"), SIGKILL);
  EXPECT_EQ(signal_number("sigusr2"), SIGUSR2);
  EXPECT_EQ(signal_number("15"), 15);
  EXPECT_EQ(signal_number("0"), 0);
  EXPECT_EQ(signal_number("WINCH"), SIGWINCH);
  EXPECT_EQ(signal_number("SYS"), SIGSYS);
  EXPECT_EQ(signal_number("SIGRTMIN"), 34);
  EXPECT_EQ(signal_number("RTMIN+3"), 37);
  EXPECT_EQ(signal_number("RTMAX-1"), 63);
  for (auto bad : {"", "SIG", "65", "-1", "TERMX", "RTMIN+99", "RTMAX+1", "1 "}) {
    EXPECT_EQ(signal_number(bad), std::nullopt) << bad;
  }
}

TEST(NamesTest, Rlimits) {
  EXPECT_EQ(rlimit_number("RLIMIT_CPU"), RLIMIT_CPU);
  EXPECT_EQ(rlimit_number("RLIMIT_NOFILE"), RLIMIT_NOFILE);
  EXPECT_EQ(rlimit_number("RLIMIT_RTTIME"), RLIMIT_RTTIME);
  EXPECT_EQ(rlimit_number("NOFILE"), std::nullopt);
}

TEST(NamesTest, Sizes) {
  EXPECT_EQ(parse_size("0"), 0u);
  EXPECT_EQ(parse_size("512"), 512u);
  EXPECT_EQ(parse_size("64k"), 65536u);
  EXPECT_EQ(parse_size("2GiB"), uint64_t{2} << 30);
  EXPECT_EQ(parse_size("1mb"), 1u << 20);
  for (auto bad : {"", "k", "1.5g", "-1", "1x", "18446744073709551616", "18446744073709551615k", "1kx"}) {
    EXPECT_EQ(parse_size(bad), std::nullopt) << bad;
  }
}

}  // namespace
}  // namespace run9::runtime
