#include "runtime/relay.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "runtime/hidden_paths.h"
#include "runtime/mount_plan.h"

namespace run9::runtime {
namespace {

struct Pipe {
  Pipe() {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) abort();
    reading = UniqueFd(ends[0]);
    writing = UniqueFd(ends[1]);
  }
  UniqueFd reading, writing;
};

void step(Relay& r) {
  std::vector<pollfd> waits;
  r.prepare(waits);
  if (poll(waits.data(), 1, 0) > 0) r.on_ready(waits[0]);
}

TEST(RelayTest, CopiesInwardAndPassesTheEndOn) {
  Pipe from, to;
  Relay relay(from.reading.borrow(), std::move(to.writing));
  ASSERT_EQ(write(from.writing.get(), "abc", 3), 3);
  from.writing.reset();
  for (int i = 0; i < 4; ++i) step(relay);
  EXPECT_TRUE(relay.done());
  char buffer[8];
  EXPECT_EQ(read(to.reading.get(), buffer, sizeof buffer), 3);
  EXPECT_EQ(read(to.reading.get(), buffer, sizeof buffer), 0);
}

TEST(RelayTest, DrainEndsWithTheLastByte) {
  Pipe from, to;
  std::vector<Relay> relays;
  relays.emplace_back(std::move(from.reading), to.writing.borrow());
  ASSERT_EQ(write(from.writing.get(), "last words", 10), 10);
  from.writing.reset();
  drain(relays, 1000);
  EXPECT_TRUE(relays[0].done());
  char buffer[16];
  EXPECT_EQ(read(to.reading.get(), buffer, sizeof buffer), 10);
}

TEST(RelayTest, AReaderThatIsGoneEndsIt) {
  Pipe from, to;
  signal(SIGPIPE, SIG_IGN);
  Relay relay(from.reading.borrow(), std::move(to.writing));
  to.reading.reset();
  ASSERT_EQ(write(from.writing.get(), "x", 1), 1);
  for (int i = 0; i < 3; ++i) step(relay);
  EXPECT_TRUE(relay.done());
}

TEST(HiddenPathsTest, Below) {
  EXPECT_TRUE(is_below("/a/b", "/a"));
  EXPECT_TRUE(is_below("/a", "/a"));
  EXPECT_TRUE(is_below("/a", "/"));
  EXPECT_FALSE(is_below("/ab", "/a"));
  EXPECT_FALSE(is_below("/", "/a"));
}

TEST(HiddenPathsTest, RootsHomeUnlessWeAreThere) {
  const auto has = [](const HiddenPaths& h, std::string_view p) {
    return std::find(h.directories.begin(), h.directories.end(), p) != h.directories.end();
  };
  EXPECT_TRUE(has(hidden_paths("/", {}), "/root"));
  EXPECT_FALSE(has(hidden_paths("/root/project", {}), "/root"));
  EXPECT_FALSE(has(hidden_paths("/", {"/root/.profile"}), "/root"));
  const auto files = hidden_paths("/", {}).files;
  EXPECT_NE(std::find(files.begin(), files.end(), "/etc/shadow"), files.end());
}

TEST(MountPlanTest, RootFirstAndDevicesAtDev) {
  Config config;
  config.root_path = "/tmp";
  config.mounts = {{.type = "tmpfs", .destination = "/dev/"},
                   {.type = "bind", .destination = "/data", .source = "/etc", .flags = 1},
                   {.type = "bind", .destination = "/etc/hosts", .source = "/etc/hosts"}};
  const MountPlan plan = plan_mounts(config, Overlay::kNo);
  ASSERT_EQ(plan.mounts.size(), 4u);
  EXPECT_EQ(plan.mounts[0].destination, "/");
  EXPECT_TRUE(plan.mounts[0].exclusive);
  EXPECT_EQ(plan.mounts[1].type, "devtmpfs");
  EXPECT_EQ(plan.mounts[1].destination, "/dev");
  EXPECT_EQ(plan.mounts[2].aname, plan.exports[1].name);
  EXPECT_TRUE(plan.exports[1].read_only);
  EXPECT_FALSE(plan.mounts[2].is_file);
  EXPECT_TRUE(plan.mounts[3].is_file);
}

// Nobody makes a mount point in a root that is read-only: it is in memory, if one is missing.
TEST(MountPlanTest, ReadOnlyRoot) {
  char root[] = "/tmp/run9-root-XXXXXX";
  ASSERT_NE(mkdtemp(root), nullptr);
  ASSERT_EQ(mkdir((std::string(root) + "/dev").c_str(), 0755), 0);
  Config config;
  config.root_path = root;
  config.mounts = {{.type = "tmpfs", .destination = "/dev"}, {.type = "devpts", .destination = "/dev/pts"}};
  config.root_readonly = true;
  EXPECT_FALSE(plan_mounts(config, Overlay::kNo).mounts[0].overlay) << "/dev/pts is in the tmpfs";
  config.mounts.push_back({.type = "proc", .destination = "/proc"});
  const MountPlan plan = plan_mounts(config, Overlay::kNo);
  EXPECT_TRUE(plan.mounts[0].overlay);
  EXPECT_TRUE(plan.exports[0].read_only);
  EXPECT_TRUE(plan.root_readonly);
  config.root_readonly = false;
  EXPECT_FALSE(plan_mounts(config, Overlay::kNo).mounts[0].overlay) << "it is made in the root, as runc does";
  rmdir((std::string(root) + "/dev").c_str());
  rmdir(root);
}

}  // namespace
}  // namespace run9::runtime
