// What people write: the command line, the configuration file, and the host's lists of users.
#include <gtest/gtest.h>
#include <linux/vm_sockets.h>

#include "gofer/supervisor.h"
#include "gofer/users.h"

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
      "# files\n\n  export /srv/with space:t \r\nmulti-user\n\tlisten\ttcp:[::1]:564", error);
  EXPECT_EQ(args.value(), (std::vector<std::string>{"--export", "/srv/with space:t", "--multi-user",
                                                    "--listen", "tcp:[::1]:564"}));
  EXPECT_TRUE(parse_config("", error).value().empty());
  EXPECT_FALSE(parse_config("export /a\n--listen fd:3\n", error));
  EXPECT_NE(error.find("line 2"), error.npos) << error;
  EXPECT_FALSE(parse_config("config /other", error));
}

TEST(OptionsTest, HostSocketsAreNobodysButTheGofersOwn) {
  std::string error;
  const auto alone = parse_options({"--export", "/srv", "--listen", "fd:3", "--host-sockets"}, error);
  ASSERT_TRUE(alone.has_value()) << error;
  EXPECT_TRUE(alone->host_sockets);
  EXPECT_FALSE(parse_options({"--export", "/srv", "--listen", "fd:3", "--host-sockets", "--multi-user"}, error));
  EXPECT_NE(error.find("--multi-user"), error.npos);
}

TEST(UsersTest, ReadsTheHostsFiles) {
  const Users users = Users::parse(
      "root:x:0:0:root:/root:/bin/sh\nbroken\nalice:x:1000:100::/:\nbob:x:1001:100::/"
      ":\nalias:x:1000:7::/:\nbad:x:4294967295:1::/:\n",
      "users:x:100:bob\nwheel:x:10:alice,bob,ghost\nempty:x:11:\nbroken:x::alice\n");
  EXPECT_EQ(users.find("alice")->uid, 1000u);
  EXPECT_EQ(users.find("alice")->gid, 100u);
  EXPECT_EQ(users.find("alice")->groups, (std::vector<gid_t>{100, 10}));
  EXPECT_EQ(users.find(1001u)->groups, (std::vector<gid_t>{100, 10}));
  EXPECT_EQ(users.find("alias"), users.find("alice"));
  EXPECT_EQ(users.find(0u)->gid, 0u);
  EXPECT_EQ(users.find("ghost"), nullptr);
  EXPECT_EQ(users.find("bad"), nullptr);
  EXPECT_EQ(users.find(4242u), nullptr);
}

}  // namespace
}  // namespace run9::gofer
