// A tree that the host changes too: what is asked, with leases and without, and that nobody is told what is no longer true.
#include <sys/stat.h>
#include <unistd.h>

#include "vfs/gofer/testing.h"

namespace run9::vfs::gofer {
namespace {

constexpr int kFiles = 100;

class SharedTree {
 public:
  explicit SharedTree(bool leases) : rig{{.caching = Caching::kRevalidate, .leases = leases}} {
    std::filesystem::create_directories(rig.at_host("a/dir/sub"));
    for (int i = 0; i < kFiles; ++i) rig.host_write(name(i), "x");
  }
  static std::string name(int i) { return "a/dir/f" + std::to_string(i); }
  static std::string path(int i) { return "/" + name(i); }

  // Round trips of what `f` does.
  template <typename F>
  int cost(F f) {
    rig.channel->take();
    const auto done = f();
    EXPECT_TRUE(done.has_value()) << describe(done.error());
    log = rig.channel->log();
    return rig.channel->take();
  }
  int cost_of_list_and_stat() {
    return cost([&]() -> Result<void> {
      EXPECT_EQ(TRY(rig.list("/a/dir")).size(), kFiles + 1u);
      for (int i = 0; i < kFiles; ++i) EXPECT_EQ(TRY(stat(i)).size, 1u);
      return ok();
    });
  }
  Result<Stat> stat(int i) { return rig.stat(path(i), kStatOnly); }
  uint64_t size(int i) { return stat(i).value().size; }
  uint32_t mode(int i) { return stat(i).value().mode & 07777; }
  int error_of_stat(std::string_view path) {
    const auto st = rig.stat(path, kStatOnly);
    return st ? 0 : to_int(st.error());
  }
  Rig rig;
  std::string log;
};

class LeasedTreeTest : public testing::Test, public SharedTree {
 protected:
  LeasedTreeTest() : SharedTree(true) {}
};
class UnleasedTreeTest : public testing::Test, public SharedTree {
 protected:
  UnleasedTreeTest() : SharedTree(false) {}
};

// The walk, with the leases of all directories on it, and the listing.
TEST_F(LeasedTreeTest, ListAndStat) {
  EXPECT_EQ(cost_of_list_and_stat(), 2) << log;
  EXPECT_EQ(cost_of_list_and_stat(), 0) << log;
  // Inodes that nobody holds any more leave behind what they knew.
  const FileRef dir = rig.open("/a/dir", O_RDONLY | O_DIRECTORY).value();
  rig.ns->set_cache_limit(0);
  EXPECT_EQ(cost_of_list_and_stat(), 0) << log;
  EXPECT_EQ(cost_of_list_and_stat(), 0) << log;
}

TEST_F(LeasedTreeTest, TheHostsChangesAreSeenAtOnce) {
  EXPECT_EQ(cost_of_list_and_stat(), 2) << log;
  rig.host_write(name(7), "longer");
  EXPECT_EQ(size(7), 6u);
  EXPECT_EQ(error_of_stat("/a/dir/new"), ENOENT);
  rig.host_write("a/dir/new", "new");
  EXPECT_EQ(error_of_stat("/a/dir/new"), 0);
  std::filesystem::remove(rig.at_host(name(8)));
  EXPECT_EQ(error_of_stat(path(8)), ENOENT);
  std::filesystem::remove(rig.at_host("a/dir/new"));
  rig.host_write(name(7), "x");
  rig.host_write(name(8), "x");
  // A new lease, and all of it anew.
  EXPECT_EQ(cost_of_list_and_stat(), 2) << log;
  rig.host_write("a/dir/sub/file", "in it");
  EXPECT_EQ(rig.stat("/a/dir/sub/file").value().size, 5u);
}

// The names of a listed directory are known, also those that are missing.
TEST_F(LeasedTreeTest, NamesOfAListing) {
  ASSERT_TRUE(rig.list("/a/dir"));
  EXPECT_EQ(cost([&]() -> Result<void> {
    for (int i = 0; i < 10; ++i) EXPECT_EQ(error_of_stat("/a/dir/none" + std::to_string(i)), ENOENT);
    return ok();
  }), 0) << log;
  std::filesystem::rename(rig.at_host(name(1)), rig.at_host("a/dir/none1"));
  EXPECT_EQ(error_of_stat("/a/dir/none1"), 0);
  EXPECT_EQ(error_of_stat(path(1)), ENOENT);
}

// A directory of the listing is none that the lease tells of changes in.
TEST_F(LeasedTreeTest, DirectoriesOfAListing) {
  ASSERT_TRUE(rig.list("/a/dir"));
  rig.host_write("a/dir/sub/file", "x");
  struct stat st;
  ASSERT_EQ(::stat(rig.at_host("a/dir/sub").c_str(), &st), 0);
  const Stat seen = rig.stat("/a/dir/sub", kStatOnly).value();
  EXPECT_EQ(seen.mtime.sec, st.st_mtim.tv_sec);
  EXPECT_EQ(seen.mtime.nsec, static_cast<uint32_t>(st.st_mtim.tv_nsec));
}

TEST_F(LeasedTreeTest, Names) {
  ASSERT_TRUE(rig.stat("/a/dir/f0"));
  EXPECT_EQ(cost([&] { return rig.write("/a/dir/new", "x", O_CREAT | O_EXCL | O_WRONLY); }), 1) << log;
  EXPECT_EQ(cost([&] { return rig.mkdir("/a/dir/made"); }), 1) << log;
  EXPECT_EQ(cost([&] { return rig.symlink("/a/dir/link", "f0"); }), 1) << log;
  EXPECT_LE(cost([&] { return rig.rmdir("/a/dir/made"); }), 2) << log;
  EXPECT_LE(cost([&] { return rig.unlink("/a/dir/new"); }), 2) << log;
  EXPECT_LE(cost([&] { return rig.rename("/a/dir/f1", "/a/dir/g1"); }), 3) << log;
}

TEST_F(LeasedTreeTest, WhatIsThereIsNotMadeAgain) {
  const auto error = [](const auto& r) { return r ? 0 : to_int(r.error()); };
  EXPECT_EQ(error(rig.write("/a/dir/f0", "x", O_CREAT | O_EXCL | O_WRONLY)), EEXIST);
  EXPECT_EQ(error(rig.mkdir("/a/dir/sub")), EEXIST);
  EXPECT_EQ(error(rig.mkdir("/a/dir/f0")), EEXIST);
  EXPECT_EQ(error(rig.symlink("/a/dir/f0", "x")), EEXIST);
  EXPECT_EQ(error(rig.link("/a/dir/f1", "/a/dir/f0")), EEXIST);
  EXPECT_EQ(error(rig.mkdir("/a/dir/f0/")), EEXIST);
  EXPECT_EQ(rig.host_read(name(0)), "x");
}

// After a listing each of its names has one look for free, and the names on the way as well.
TEST_F(UnleasedTreeTest, ListAndStat) {
  EXPECT_EQ(cost_of_list_and_stat(), 2) << log;
  EXPECT_EQ(cost_of_list_and_stat(), 2) << log;
  const FileRef dir = rig.open("/a/dir", O_RDONLY | O_DIRECTORY).value();
  rig.ns->set_cache_limit(0);
  EXPECT_EQ(cost_of_list_and_stat(), 2) << log;
  rig.host_write(name(1), "longer");
  EXPECT_EQ(cost([&] { return stat(1); }), 1) << log;
  EXPECT_EQ(size(1), 6u);
}

// What we do ourselves is never hidden by a listing.
TEST_F(UnleasedTreeTest, OurOwnChangesAreSeen) {
  const FileRef file = rig.open(path(2), O_RDWR).value();
  const auto list = [&] { ASSERT_TRUE(rig.list("/a/dir")); };
  list();
  ASSERT_TRUE(file->pwrite(rig.ctx, as_bytes("longer"), 0));
  EXPECT_EQ(size(2), 6u);
  list();
  ASSERT_TRUE(rig.write(path(3), "longer"));
  EXPECT_EQ(size(3), 6u);
  list();
  ASSERT_TRUE(rig.ns->setattr(rig.ctx, rig.walk(path(4)).value(), {.valid = kSetMode, .mode = 0600}));
  EXPECT_EQ(mode(4), 0600u);
  list();
  ASSERT_TRUE(rig.unlink(path(5)));
  EXPECT_EQ(error_of_stat(path(5)), ENOENT);
  list();
  ASSERT_TRUE(rig.rename(path(2), path(6)));
  EXPECT_EQ(error_of_stat(path(2)), ENOENT);
  EXPECT_EQ(size(6), 6u);
  list();
  ASSERT_TRUE(rig.link(path(7), "/a/dir/second"));
  EXPECT_EQ(rig.stat("/a/dir/second", kStatOnly).value().nlink, 2u);
  EXPECT_EQ(stat(7).value().nlink, 2u);
}

// Whoever does more than look asks: the listing is not what he gets.
TEST_F(UnleasedTreeTest, TheHostsChangesAreSeenByWhoOpens) {
  ASSERT_TRUE(rig.list("/a/dir"));
  rig.host_write("a/dir/new", "another");
  std::filesystem::rename(rig.at_host("a/dir/new"), rig.at_host(name(1)));
  EXPECT_EQ(rig.read(path(1)).value(), "another");
  ASSERT_TRUE(rig.list("/a/dir"));
  EXPECT_EQ(size(2), 1u);  // of the listing
  rig.host_write("a/dir/new", "once more");
  std::filesystem::rename(rig.at_host("a/dir/new"), rig.at_host(name(2)));
  EXPECT_EQ(rig.read(path(2)).value(), "once more");
  EXPECT_EQ(size(2), 9u);
  ASSERT_TRUE(rig.list("/a/dir"));
  EXPECT_EQ(size(3), 1u);
  rig.host_write("a/dir/new", "1");
  std::filesystem::rename(rig.at_host("a/dir/new"), rig.at_host(name(3)));
  ASSERT_TRUE(rig.write(path(3), "ours"));
  EXPECT_EQ(rig.host_read(name(3)), "ours");
  // New names are asked for.
  ASSERT_TRUE(rig.list("/a/dir"));
  rig.host_write("a/dir/late", "x");
  EXPECT_EQ(error_of_stat("/a/dir/late"), 0);
}

}  // namespace
}  // namespace run9::vfs::gofer
