#include "vfs/told_names.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include "vfs/testing/context.h"
#include "vfs/tmpfs/tmpfs.h"

namespace run9::vfs::testing {
namespace {

// The namespace tells names of its own accord only where a walk asks for it, so `told` is the one watcher here.
class ToldNamesTest : public ::testing::Test {
 protected:
  ToldNamesTest() {
    told.on_change([this] { ++changes; });
    EXPECT_THAT(t.mkdir("/d"), Works());
    EXPECT_THAT(t.mkdir("/e"), Works());
  }
  bool tell(std::string_view dir, std::string_view name = {}) { return told.tell(t.at(dir).value(), name); }

  Tree t{make_tmpfs({.mode = 0755}, {})};
  ToldNames told;
  int changes = 0;
};

TEST_F(ToldNamesTest, ANameThatComesEndsAll) {
  ASSERT_TRUE(tell("/d", "none"));
  ASSERT_THAT(t.put("/d/other", ""), Works());
  ASSERT_THAT(t.put("/e/none", ""), Works());
  EXPECT_EQ(changes, 0);
  ASSERT_THAT(t.put("/d/none", ""), Works());
  EXPECT_EQ(changes, 1);
  EXPECT_EQ(told.drops(), 1u);
  ASSERT_THAT(t.unlink("/d/none"), Works());
  EXPECT_EQ(changes, 1);  // it was void already
}

TEST_F(ToldNamesTest, EachWayToComeAndToGo) {
  int expected = 0;
  const auto ends = [&](std::string_view name, const auto& change) {
    ASSERT_TRUE(tell("/d", name)) << name;
    ASSERT_THAT(change(), Works()) << name;
    EXPECT_EQ(changes, ++expected) << name;
  };
  ASSERT_THAT(t.put("/e/file", ""), Works());
  ends("dir", [&] { return t.mkdir("/d/dir"); });
  ends("symlink", [&] { return t.symlink("x", "/d/symlink"); });
  ends("link", [&] { return t.link("/e/file", "/d/link"); });
  ends("fifo", [&] { return t.mknod("/d/fifo", S_IFIFO | 0600); });
  ends("moved", [&] { return t.rename("/e/file", "/d/moved"); });
  ASSERT_THAT(t.put("/d/a", ""), Works());
  ASSERT_THAT(t.put("/d/b", ""), Works());
  ASSERT_THAT(t.mkdir("/d/c"), Works());
  ends("a", [&] { return t.unlink("/d/a"); });
  ends("b", [&] { return t.rename("/d/b", "/e/b"); });
  ends("c", [&] { return t.rmdir("/d/c"); });
}

TEST_F(ToldNamesTest, WhoMaySearchAndWhereItIs) {
  ASSERT_TRUE(tell("/d"));
  ASSERT_THAT(t.chmod("/d", 0700), Works());
  EXPECT_EQ(changes, 1);
  ASSERT_TRUE(tell("/d"));
  ASSERT_THAT(t.rename("/d", "/f"), Works());
  EXPECT_EQ(changes, 2);
  ASSERT_TRUE(tell("/f"));
  ASSERT_THAT(t.rmdir("/f"), Works());
  EXPECT_EQ(changes, 3);
}

TEST_F(ToldNamesTest, ARemovedDirectoryIsNotTold) {
  const auto file = t.open("/d", O_RDONLY | O_DIRECTORY);
  ASSERT_THAT(file, Works());
  const Path gone = t.at("/d").value();
  ASSERT_THAT(t.rmdir("/d"), Works());
  EXPECT_FALSE(told.tell(gone, "name"));
}

TEST_F(ToldNamesTest, WhatComesAndGoesIsNotToldAgain) {
  ASSERT_TRUE(tell("/d", "unsteady"));
  ASSERT_THAT(t.put("/d/unsteady", ""), Works());
  EXPECT_FALSE(tell("/d", "unsteady"));
  EXPECT_TRUE(tell("/d", "steady"));
  EXPECT_TRUE(tell("/e", "unsteady"));
}

TEST_F(ToldNamesTest, TooManyNamesBeginAnew) {
  for (int i = 0; i < 20'000; ++i) ASSERT_TRUE(tell("/d", "name" + std::to_string(i)));
  EXPECT_EQ(changes, 20'000 / 8192);
  // What was told last is watched still, what was told first no more.
  ASSERT_THAT(t.put("/d/name0", ""), Works());
  EXPECT_EQ(changes, 2);
  ASSERT_THAT(t.put("/d/name19999", ""), Works());
  EXPECT_EQ(changes, 3);
}

TEST_F(ToldNamesTest, TooManyDirectoriesBeginAnew) {
  for (int i = 0; i < 1100; ++i) {
    const std::string dir = "/e/" + std::to_string(i);
    ASSERT_THAT(t.mkdir(dir), Works());
    ASSERT_TRUE(tell(dir));
  }
  EXPECT_EQ(changes, 1);
}

TEST_F(ToldNamesTest, AWatcherIsLeftBehindByNobody) {
  ASSERT_TRUE(tell("/d", "name"));
  EXPECT_EQ(t.at("/d").value().inode()->watches().watchers().size(), 1u);
  told.drop();
  EXPECT_TRUE(t.at("/d").value().inode()->watches().watchers().empty());
  told.drop();
  EXPECT_EQ(changes, 1);
}

}  // namespace
}  // namespace run9::vfs::testing
