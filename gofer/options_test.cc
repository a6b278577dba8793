// What people write: the command line and the configuration file.
#include <gtest/gtest.h>
#include <linux/vm_sockets.h>

#include "gofer/supervisor.h"

namespace run9::gofer {
namespace {

std::optional<Options> parse(std::vector<std::string> more, std::string* error = nullptr) {
  std::string unused;
  more.insert(more.end(), {"--export", "/srv:t"});
  return parse_options(more, error != nullptr ? *error : unused);
}

TEST(OptionsTest, PlacesToListenAt) {
  const auto one = [](const std::string& text) { return parse({"--listen", text})->listen.at(0); };
  EXPECT_EQ(one("fd:5").fd, 5);
  EXPECT_EQ(one("fd:5=t").export_name, "t");
  EXPECT_EQ(one("vsock:564").at->cid, VMADDR_CID_ANY);
  EXPECT_EQ(one("vsock:3:564").at->cid, 3u);
  EXPECT_EQ(one("systemd").systemd, "");
  EXPECT_EQ(one("systemd:files=t").systemd, "files");
  EXPECT_EQ(one("systemd:files=t").export_name, "t");
  for (const char* bad :
       {"fd:", "fd:x", "fd:5=", "systemdx", "systemd=", "vsock:", "nothing:1", "systemd=other"}) {
    std::string error;
    EXPECT_FALSE(parse({"--listen", bad}, &error)) << bad;
    EXPECT_FALSE(error.empty());
  }
}

TEST(OptionsTest, TimesAreADayAtMost) {
  EXPECT_EQ(parse({"--listen", "fd:5", "--drain-timeout", "86400"})->drain_timeout,
            std::chrono::days(1));
  EXPECT_FALSE(parse({"--listen", "fd:5", "--drain-timeout", "86401"}));
  EXPECT_FALSE(parse({"--listen", "fd:5", "--frame-timeout", "-1"}));
}

TEST(OptionsTest, AConfigurationSaysAllOrNothing) {
  std::string error;
  EXPECT_EQ(parse_options({"--config", "/f"}, error)->config, "/f");
  EXPECT_FALSE(parse_options({"--config", "/f", "--listen", "fd:3"}, error));
  EXPECT_NE(error.find("--config"), error.npos);
}

TEST(ConfigTest, LinesAreOptions) {
  std::string error;
  const auto args = parse_config(
      "# files\n\n  export /srv/with space:t \r\ndebug\n\tlisten\ttcp:[::1]:564", error);
  EXPECT_EQ(args.value(), (std::vector<std::string>{"--export", "/srv/with space:t", "--debug",
                                                    "--listen", "tcp:[::1]:564"}));
  EXPECT_TRUE(parse_config("", error).value().empty());
  EXPECT_FALSE(parse_config("export /a\n--listen fd:3\n", error));
  EXPECT_NE(error.find("line 2"), error.npos) << error;
  EXPECT_FALSE(parse_config("config /other", error));
}

}  // namespace
}  // namespace run9::gofer
