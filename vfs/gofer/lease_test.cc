// Leases: a tree that the host changes too, seen as it is, and asked about only when it has changed.
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vfs/gofer/testing.h"

namespace run9::vfs::gofer {
namespace {

template <typename R>
int code(const R& r) {
  return r.has_value() ? 0 : to_int(r.error());
}

class LeaseTest : public testing::Test {
 protected:
  LeaseTest() {
    std::filesystem::create_directories(rig.at_host("a/b/c"));
    rig.host_write("a/b/c/file", "text");
    rig.host_write("a/b/c/other", "x");
  }
  // Round trips of one stat, after the first.
  int warm(std::string_view path) {
    static_cast<void>(rig.stat(path).has_value());
    rig.channel->take();
    static_cast<void>(rig.stat(path).has_value());
    return rig.channel->take();
  }
  uint64_t size(std::string_view path = "/a/b/c/file") { return rig.stat(path).value().size; }
  Rig rig{{.caching = Caching::kRevalidate}};
};

TEST_F(LeaseTest, WhatIsWarmIsNotAskedFor) {
  EXPECT_EQ(warm("/a/b/c/file"), 0);
  EXPECT_EQ(warm("/a/b/c"), 0);
  EXPECT_EQ(warm("/a/b/c/none"), 0);
  EXPECT_EQ(code(rig.stat("/a/b/c/none")), ENOENT);
  ASSERT_EQ(rig.read("/a/b/c/file").value(), "text");
  rig.channel->take();
  EXPECT_EQ(rig.read("/a/b/c/file").value(), "text");
  EXPECT_EQ(rig.stat("/a/b/c/file").value().size, 4u);
  EXPECT_EQ(rig.channel->take(), 0);
}

TEST_F(LeaseTest, ChangesOfTheHostAreSeenAtOnce) {
  for (int i = 1; i < 20; ++i) {
    rig.host_write("a/b/c/file", std::string(static_cast<size_t>(i), 'x'));
    EXPECT_EQ(size(), static_cast<uint64_t>(i));
    EXPECT_EQ(warm("/a/b/c/file"), 0) << "leased again";
  }
  ASSERT_EQ(chmod(rig.at_host("a/b/c/file").c_str(), 0600), 0);
  EXPECT_EQ(rig.stat("/a/b/c/file").value().mode & 0777, 0600u);
  ASSERT_EQ(chmod(rig.at_host("a/b").c_str(), 0711), 0);
  EXPECT_EQ(rig.stat("/a/b").value().mode & 0777, 0711u);
}

TEST_F(LeaseTest, NamesOfTheHostComeAndGo) {
  EXPECT_EQ(warm("/a/b/c/new"), 0);
  rig.host_write("a/b/c/new", "new");
  EXPECT_EQ(size("/a/b/c/new"), 3u);
  std::filesystem::remove(rig.at_host("a/b/c/new"));
  EXPECT_EQ(code(rig.stat("/a/b/c/new")), ENOENT);
  EXPECT_EQ(warm("/a/b/c/file"), 0);
  // Another file under the name, and the old one under another: none is found by what it was.
  std::filesystem::rename(rig.at_host("a/b/c/other"), rig.at_host("a/b/c/moved"));
  std::filesystem::rename(rig.at_host("a/b/c/file"), rig.at_host("a/b/c/other"));
  EXPECT_EQ(size("/a/b/c/moved"), 1u);
  EXPECT_EQ(size("/a/b/c/other"), 4u);
  EXPECT_EQ(code(rig.stat("/a/b/c/file")), ENOENT);
}

TEST_F(LeaseTest, ADirectoryOnTheWayIsReplaced) {
  EXPECT_EQ(warm("/a/b/c/file"), 0);
  std::filesystem::rename(rig.at_host("a/b"), rig.at_host("a/old"));
  EXPECT_EQ(code(rig.stat("/a/b/c/file")), ENOENT);
  std::filesystem::create_directories(rig.at_host("a/b/c"));
  rig.host_write("a/b/c/file", "other");
  EXPECT_EQ(size(), 5u);
  EXPECT_EQ(size("/a/old/c/file"), 4u);
}

// Through another name no report comes to the directory that we know it by.
TEST_F(LeaseTest, FilesOfSeveralNamesAreAskedFor) {
  std::filesystem::create_directory(rig.at_host("d"));
  std::filesystem::create_hard_link(rig.at_host("a/b/c/file"), rig.at_host("d/link"));
  EXPECT_EQ(size(), 4u);
  rig.host_write("d/link", "longer");
  EXPECT_EQ(size(), 6u);
}

TEST_F(LeaseTest, OurOwnChangesAreSeen) {
  EXPECT_EQ(warm("/a/b/c/file"), 0);
  ASSERT_EQ(code(rig.write("/a/b/c/file", "longer")), 0);
  EXPECT_EQ(size(), 6u);
  EXPECT_EQ(warm("/a/b/c/none"), 0);
  ASSERT_EQ(code(rig.write("/a/b/c/none", "now")), 0);
  EXPECT_EQ(size("/a/b/c/none"), 3u);
  ASSERT_EQ(code(rig.unlink("/a/b/c/none")), 0);
  EXPECT_EQ(code(rig.stat("/a/b/c/none")), ENOENT);
  // Of other directories nothing is forgotten.
  EXPECT_EQ(warm("/a/b"), 0);
  rig.channel->take();
  ASSERT_EQ(code(rig.write("/a/b/c/other", "y")), 0);
  rig.channel->take();
  EXPECT_EQ(code(rig.stat("/a/b")), 0);
  EXPECT_EQ(rig.channel->take(), 0);
}

TEST_F(LeaseTest, WithoutLeasesItAsksEachTime) {
  Rig plain{{.caching = Caching::kRevalidate, .leases = false}};
  plain.host_write("file", "1");
  EXPECT_EQ(plain.stat("/file").value().size, 1u);
  plain.channel->take();
  plain.host_write("file", "22");
  EXPECT_EQ(plain.stat("/file").value().size, 2u);
  EXPECT_GT(plain.channel->take(), 0);
}

TEST(LeasesTest, AnEarlyReportForbidsTheGrant) {
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_NONBLOCK | O_CLOEXEC), 0);
  UniqueFd in{ends[1]};
  Leases leases{UniqueFd{ends[0]}};
  const auto tell = [&](int watch) {
    const inotify_event e{.wd = watch, .mask = IN_MODIFY, .cookie = 0, .len = 0};
    ASSERT_EQ(write(in.get(), &e, sizeof e), static_cast<ssize_t>(sizeof e));
  };
  const uint64_t first = leases.granted(1, leases.reports());
  EXPECT_TRUE(leases.alive(first, 0));
  EXPECT_EQ(leases.granted(1, leases.reports()), first);
  const uint64_t asked_at = leases.reports();
  tell(7);
  EXPECT_TRUE(leases.alive(first, 0));
  EXPECT_EQ(leases.granted(7, asked_at), 0u) << "it may have been this one's";
  EXPECT_NE(leases.granted(7, leases.reports()), 0u);
  tell(1);
  EXPECT_FALSE(leases.alive(first, 0));
  const uint64_t again = leases.granted(1, leases.reports());
  EXPECT_NE(again, first);
  tell(-1);
  EXPECT_FALSE(leases.alive(again, 0)) << "the queue was full";
  const uint64_t last = leases.granted(9, leases.reports());
  in = UniqueFd{};
  EXPECT_FALSE(leases.alive(last, 0)) << "nobody tells us any more";
  EXPECT_EQ(leases.granted(10, leases.reports()), 0u);
}

}  // namespace
}  // namespace run9::vfs::gofer
