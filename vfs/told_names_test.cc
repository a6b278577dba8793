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
    told.on_change({.changed = [this] { ++changes; }, .came = [this] { ++came; }, .moved = [this](uint32_t record) { moved.push_back(record); }});
    EXPECT_THAT(t.mkdir("/d"), Works());
    EXPECT_THAT(t.mkdir("/e"), Works());
  }
  bool tell(std::string_view dir, std::string_view name = {}) { return told.tell(t.at(dir).value(), name); }

  Tree t{make_tmpfs({.mode = 0755}, {})};
  bool tell_attributes(std::string_view path, uint32_t record) { return told.tell_attributes(t.at(path).value(), record); }

  ToldNames told;
  int changes = 0, came = 0;
  std::vector<uint32_t> moved;
};

TEST_F(ToldNamesTest, ANameThatComesEndsWhatWasMissing) {
  ASSERT_TRUE(tell("/d", "none"));
  ASSERT_THAT(t.put("/d/other", ""), Works());
  ASSERT_THAT(t.put("/e/none", ""), Works());
  EXPECT_EQ(came, 0);
  ASSERT_THAT(t.put("/d/none", ""), Works());
  EXPECT_EQ(came, 1);
  EXPECT_EQ(told.voids(), 1u);
  ASSERT_THAT(t.unlink("/d/none"), Works());
  EXPECT_EQ(came + changes, 1);  // it was void already
}

TEST_F(ToldNamesTest, EachWayToComeAndToGo) {
  int expected = 0;
  const auto ends = [&](std::string_view name, const auto& change) {
    ASSERT_TRUE(tell("/d", name)) << name;
    ASSERT_THAT(change(), Works()) << name;
    EXPECT_EQ(changes + came, ++expected) << name;
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
  EXPECT_EQ(came, 0);
  ASSERT_THAT(t.put("/d/name19999", ""), Works());
  EXPECT_EQ(came, 1);
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

TEST_F(ToldNamesTest, AttributesThatMove) {
  ASSERT_THAT(t.put("/d/f", "abc"), Works());
  ASSERT_THAT(t.put("/d/g", "abc"), Works());
  ASSERT_TRUE(tell_attributes("/d/f", 1));
  ASSERT_TRUE(tell_attributes("/d/f", 2));
  ASSERT_TRUE(tell_attributes("/d/f", 1));
  ASSERT_TRUE(tell_attributes("/d/g", 3));
  ASSERT_TRUE(tell_attributes("/d", 4));
  ASSERT_THAT(t.chmod("/d/f", 0600), Works());
  EXPECT_EQ(moved, (std::vector<uint32_t>{1, 2}));
  EXPECT_FALSE(told.still_tells(t.at("/d/f").value()));
  EXPECT_TRUE(told.still_tells(t.at("/d/g").value()));
  ASSERT_THAT(t.chmod("/d/f", 0644), Works());
  EXPECT_EQ(moved.size(), 2u);  // it was forgotten already
  EXPECT_FALSE(tell_attributes("/d/f", 1)) << "it changes";
  ASSERT_THAT(t.put("/d/h", ""), Works());
  EXPECT_EQ(moved, (std::vector<uint32_t>{1, 2, 4}));
  EXPECT_EQ(changes, 0);
  told.drop();
  EXPECT_EQ(changes, 1);
  EXPECT_FALSE(told.still_tells(t.at("/d/g").value()));
  EXPECT_TRUE(t.at("/d/g").value().inode()->watches().watchers().empty());
}

TEST_F(ToldNamesTest, ALastNameEndsWhatWasToldByIt) {
  ASSERT_THAT(t.put("/d/f", "abc"), Works());
  ASSERT_THAT(t.put("/d/g", "abc"), Works());
  const Path d = t.at("/d").value();
  ASSERT_TRUE(told.tell_last(d, "f", 5));
  ASSERT_TRUE(told.tell_last(d, "f", 6));
  ASSERT_TRUE(told.tell_last(d, "g", 7));
  ASSERT_TRUE(tell("/d", "none"));
  ASSERT_THAT(t.unlink("/d/f"), Works());
  EXPECT_EQ(moved, (std::vector<uint32_t>{5, 6}));
  EXPECT_EQ(told.voids(), 1u);
  EXPECT_FALSE(told.tell_last(d, "f", 5)) << "it comes and goes";
  ASSERT_THAT(t.rename("/e", "/d/e"), Works());
  ASSERT_THAT(t.put("/d/h", ""), Works());
  ASSERT_THAT(t.rename("/d/h", "/d/g"), Works());
  EXPECT_EQ(moved, (std::vector<uint32_t>{5, 6, 7}));
  EXPECT_EQ(changes + came, 0);
}

TEST_F(ToldNamesTest, WhatMovesUnseenIsNotTold) {
  ASSERT_THAT(t.put("/d/f", "abc"), Works());
  ASSERT_TRUE(tell_attributes("/d/f", 1));
  const auto file = t.open("/d/f", O_RDWR);
  ASSERT_THAT(file, Works());
  ASSERT_THAT(file.value()->map_source(t.ctx, /*shared=*/true, /*writable=*/true), Works());
  EXPECT_EQ(moved, (std::vector<uint32_t>{1}));
  EXPECT_FALSE(tell_attributes("/d/f", 1));
}

TEST_F(ToldNamesTest, TooManyFilesBeginAnew) {
  for (int i = 0; i < 1100; ++i) {
    const std::string file = "/e/" + std::to_string(i);
    ASSERT_THAT(t.put(file, ""), Works());
    ASSERT_TRUE(tell_attributes(file, 0));
  }
  EXPECT_EQ(changes, 1);
}

}  // namespace
}  // namespace run9::vfs::testing
