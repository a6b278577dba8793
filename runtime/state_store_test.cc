#include "runtime/state_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>

namespace run9::runtime {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class StateStoreTest : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/run9-state-XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    root_ = name;
  }
  void TearDown() override {
    for (const auto& id : list_containers(root_)) {
      if (auto dir = StateDir::open(root_, id)) (void)dir.assume_value().remove();
    }
    rmdir(root_.c_str());
  }
  std::string root_;
};

TEST_F(StateStoreTest, RoundTrip) {
  auto dir = StateDir::create(root_, "a.b-c_d");
  ASSERT_TRUE(dir) << dir.error().text;
  ContainerState s;
  s.id = "a.b-c_d";
  s.bundle = "/b \"quoted\"\n";
  s.status = Status::kRunning;
  s.sentry = {123, uint64_t{1} << 60};
  s.cgroups = {"/sys/fs/cgroup/x"};
  s.annotations["k/~"] = "v";
  ASSERT_TRUE(dir.assume_value().save(s));
  auto back = dir.assume_value().load();
  ASSERT_TRUE(back) << back.error().text;
  EXPECT_EQ(back.assume_value().bundle, s.bundle);
  EXPECT_EQ(back.assume_value().sentry.start_time, s.sentry.start_time);
  EXPECT_EQ(back.assume_value().annotations, s.annotations);
  EXPECT_EQ(back.assume_value().status, Status::kRunning);
  EXPECT_EQ(current_status(back.assume_value()), Status::kStopped);
  EXPECT_THAT(list_containers(root_), ElementsAre("a.b-c_d"));
  EXPECT_TRUE(dir.assume_value().remove());
  EXPECT_THAT(list_containers(root_), ElementsAre());
}

TEST_F(StateStoreTest, SecondCreateAndMissingOneSayWhatToDo) {
  ASSERT_TRUE(StateDir::create(root_, "x"));
  EXPECT_THAT(StateDir::create(root_, "x").error().text, HasSubstr("exists already"));
  EXPECT_THAT(StateDir::open(root_, "y").error().text, HasSubstr("does not exist"));
}

TEST_F(StateStoreTest, IdsThatLeaveTheRootAreRefused) {
  for (auto bad : {"", ".", "..", "a/b", "../x", "a b", "a\n"}) {
    EXPECT_FALSE(StateDir::create(root_, bad)) << bad;
  }
  EXPECT_FALSE(StateDir::create(root_, std::string(256, 'a')));
}

TEST_F(StateStoreTest, BrokenStateIsNamedAndRemovable) {
  auto dir = StateDir::create(root_, "x");
  ASSERT_TRUE(dir);
  std::ofstream(dir.assume_value().path() + "/state.json") << R"({"id": "x", "sen)";
  auto state = dir.assume_value().load();
  ASSERT_FALSE(state);
  EXPECT_THAT(state.error().text, HasSubstr("state.json: /"));
  EXPECT_TRUE(dir.assume_value().remove());
}

TEST_F(StateStoreTest, LongPathsCanListen) {
  const std::string deep = root_ + "/" + std::string(120, 'd');
  {
    auto dir = StateDir::create(deep, "x");
    ASSERT_TRUE(dir) << dir.error().text;
    auto listening = dir.assume_value().listen("control.sock");
    ASSERT_TRUE(listening) << listening.error().text;
    EXPECT_TRUE(dir.assume_value().connect("control.sock"));
    EXPECT_TRUE(dir.assume_value().remove());
  }
  rmdir(deep.c_str());
}

TEST(HostProcessTest, AProcessIsToldFromALaterOne) {
  const pid_t child = fork();
  if (child == 0) {
    pause();
    _exit(0);
  }
  const HostProcess p = identify(child);
  EXPECT_EQ(p.pid, child);
  EXPECT_TRUE(alive(p));
  EXPECT_FALSE(alive({child, p.start_time + 1}));
  kill_and_wait({child, p.start_time + 1});
  EXPECT_TRUE(alive(p));
  kill_and_wait(p);
  EXPECT_FALSE(alive(p));  // a zombie
  waitpid(child, nullptr, 0);
  EXPECT_FALSE(alive(p));
  EXPECT_FALSE(alive({}));
}

}  // namespace
}  // namespace run9::runtime
