// What each operation costs in round trips: the reason for this folder to exist. A number that grows
// is a regression.
#include <sys/xattr.h>

#include "vfs/gofer/testing.h"

namespace run9::vfs::gofer {
namespace {

class BudgetTest : public testing::Test {
 protected:
  // Round trips of what `f` does, which must succeed.
  template <typename F>
  int cost(F f) {
    rig.channel->take();
    auto result = f();
    EXPECT_TRUE(result.has_value()) << describe(result.error());
    log = rig.channel->log();
    return rig.channel->take();
  }
  template <typename F>
  int cost_of_failure(F f, int error) {
    rig.channel->take();
    auto result = f();
    EXPECT_FALSE(result.has_value());
    if (!result.has_value()) {
      EXPECT_EQ(to_int(result.error()), error);
    }
    return rig.channel->take();
  }
  void deep() {
    std::filesystem::create_directories(rig.at_host("a/b/c/d"));
    rig.host_write("a/b/c/d/file", "text");
  }
  Rig rig;
  std::string log;
};

TEST_F(BudgetTest, Stat) {
  deep();
  EXPECT_EQ(cost([&] { return rig.stat("/a/b/c/d/file"); }), 1) << log;
  EXPECT_EQ(cost([&] { return rig.stat("/a/b/c/d/file"); }), 0) << log;
  EXPECT_EQ(cost_of_failure([&] { return rig.stat("/a/b/c/d/none"); }, ENOENT), 1);
  EXPECT_EQ(cost_of_failure([&] { return rig.stat("/a/b/c/d/none"); }, ENOENT), 0);
}

TEST_F(BudgetTest, ExtendedAttributesOfManyFiles) {
  constexpr size_t kFiles = 200;
  for (const std::string dir : {"top/a/", "other/b/"}) {
    std::filesystem::create_directories(rig.at_host(dir));
    for (size_t i = 0; i < kFiles; ++i) rig.host_write(dir + std::to_string(i), "x");
    if (setxattr(rig.at_host(dir + "7").c_str(), "user.a", "v", 1, 0) != 0) GTEST_SKIP() << "no xattrs in /tmp";
  }
  for (const char* above : {"/top", "/other"}) ASSERT_EQ(rig.in_order(above).size(), 1u);
  const auto get = [&](const std::string& path) {
    const auto value = rig.ns->getxattr(rig.call(), rig.walk(path).value(), "user.a");
    return value.has_value() ? 0 : to_int(value.error());
  };
  // As ls -l does.
  const auto look_at = [&](const std::string& dir) -> Result<void> {
    for (const std::string& name : rig.in_order(dir)) {
      EXPECT_TRUE(rig.stat(dir + name).has_value());
      EXPECT_EQ(get(dir + name), name == "7" ? 0 : ENODATA) << name;
    }
    return ok();
  };
  // The listing; a walk and a question for the first; three parts of the listing; a walk and a question for the one that has some.
  EXPECT_LE(cost([&] { return look_at("/top/a/"); }), 8) << log;
  EXPECT_LE(cost([&] { return look_at("/top/a/"); }), 1) << log;
  // Now that it is of use, those of the next directory come with its listing.
  EXPECT_LE(cost([&] { return look_at("/other/b/"); }), 3) << log;
  // What is set is seen, and what is known of others stays known.
  ASSERT_TRUE(rig.ns->setxattr(rig.ctx, rig.walk("/other/b/9").value(), "user.a", as_bytes("value"), 0));
  EXPECT_EQ(get("/other/b/9"), 0);
  EXPECT_EQ(rig.ns->listxattr(rig.ctx, rig.walk("/other/b/9").value()).value(), std::vector<std::string>{"user.a"});
  EXPECT_EQ(cost([&]() -> Result<void> {
    EXPECT_EQ(get("/other/b/10"), ENODATA);
    EXPECT_TRUE(rig.ns->listxattr(rig.ctx, rig.walk("/other/b/10").value()).value().empty());
    return ok();
  }), 0) << log;
}

TEST_F(BudgetTest, SymbolicLinksOneAfterTheOther) {
  constexpr size_t kLinks = 100;
  std::filesystem::create_directories(rig.at_host("top/dir"));
  const auto target = [](const std::string& name) { return "to-" + name; };
  for (size_t i = 0; i < kLinks; ++i) {
    const std::string name = std::to_string(i);
    std::filesystem::create_symlink(target(name), rig.at_host("top/dir/" + name));
    rig.host_write("top/dir/file" + name, "x");
  }
  ASSERT_EQ(rig.in_order("/top").size(), 1u);
  const auto read = [&](const std::string& name) { return rig.ns->readlink(rig.ctx, rig.walk("/top/dir/" + name).value()); };
  const std::vector<std::string> names = rig.in_order("/top/dir");
  const auto read_all = [&]() -> Result<void> {
    for (const std::string& name : names) {
      if (name.starts_with("file")) continue;
      EXPECT_EQ(read(name).value(), target(name));
    }
    return ok();
  };
  // One by one for the first; then nine, seventeen and so on in a round trip.
  EXPECT_LE(cost(read_all), 7) << log;
  EXPECT_EQ(cost(read_all), 0) << log;
}

// What was asked for ahead of need does not outlive its name.
TEST_F(BudgetTest, SymbolicLinksThatChange) {
  std::filesystem::create_directories(rig.at_host("top/dir"));
  for (int i = 0; i < 10; ++i) std::filesystem::create_symlink("old", rig.at_host("top/dir/" + std::to_string(i)));
  ASSERT_EQ(rig.in_order("/top").size(), 1u);
  const auto read = [&](const std::string& name) { return rig.ns->readlink(rig.ctx, rig.walk("/top/dir/" + name).value()); };
  const std::vector<std::string> names = rig.in_order("/top/dir");
  for (int i = 0; i < 2; ++i) EXPECT_EQ(read(names[i]).value(), "old");
  const std::string changed = "/top/dir/" + names[5];
  ASSERT_TRUE(rig.unlink(changed));
  ASSERT_TRUE(rig.symlink(changed, "new"));
  rig.ns->forget_names(100);
  EXPECT_EQ(read(names[5]).value(), "new");
  EXPECT_EQ(read(names[6]).value(), "old");
}

TEST_F(BudgetTest, MissingInTheMiddleOfAColdPath) {
  deep();
  EXPECT_EQ(cost_of_failure([&] { return rig.stat("/a/b/none/d/file"); }, ENOENT), 1);
}

TEST_F(BudgetTest, OpenReadClose) {
  deep();
  // The walk brings the descriptor.
  EXPECT_EQ(cost([&] { return rig.read("/a/b/c/d/file"); }), 1) << log;
  EXPECT_EQ(cost([&] { return rig.read("/a/b/c/d/file"); }), 0) << log;
}

TEST_F(BudgetTest, CreateWriteClose) {
  ASSERT_TRUE(rig.mkdir("/dir"));
  // That the name is free, and the creation.
  EXPECT_EQ(cost([&] { return rig.write("/dir/file", "text"); }), 2) << log;
  EXPECT_EQ(rig.host_read("dir/file"), "text");
  EXPECT_EQ(cost([&] { return rig.stat("/dir/file"); }), 0) << log;
  EXPECT_EQ(rig.stat("/dir/file").value().size, 4u);
  EXPECT_EQ(cost([&] { return rig.read("/dir/file"); }), 0) << log;
  EXPECT_EQ(cost([&] { return rig.write("/dir/file", "again"); }), 0) << log;
  ASSERT_TRUE(rig.list("/dir"));
  EXPECT_EQ(cost([&] { return rig.write("/dir/other", "text"); }), 1) << log;
}

TEST_F(BudgetTest, TruncatingOpen) {
  rig.host_write("file", "text");
  ASSERT_TRUE(rig.stat("/file"));
  EXPECT_EQ(cost([&] { return rig.write("/file", "new"); }), 1) << log;
  EXPECT_EQ(rig.host_read("file"), "new");
}

TEST_F(BudgetTest, ReaddirAndStatOfHundred) {
  std::filesystem::create_directory(rig.at_host("dir"));
  for (int i = 0; i < 100; ++i) rig.host_write("dir/f" + std::to_string(i), std::to_string(i));
  EXPECT_LE(cost([&]() -> Result<void> {
    const auto names = TRY(rig.list("/dir"));
    EXPECT_EQ(names.size(), 100u);
    for (const auto& [name, ino] : names) {
      const Stat st = TRY(rig.stat("/dir/" + name));
      EXPECT_EQ(st.ino, ino);
      EXPECT_EQ(st.size, name.size() - 1);
    }
    return ok();
  }), 2) << log;
  // Removing them needs no fids.
  EXPECT_EQ(cost([&]() -> Result<void> {
    for (int i = 0; i < 100; ++i) TRY(rig.unlink("/dir/f" + std::to_string(i)));
    return rig.rmdir("/dir");
  }), 101);
}

TEST_F(BudgetTest, LookupsOfManyNamesListTheDirectory) {
  for (const int count : {100, 1000}) {
    const std::string dir = "dir" + std::to_string(count);
    std::filesystem::create_directory(rig.at_host(dir));
    for (int i = 0; i < count; ++i) rig.host_write(dir + "/f" + std::to_string(i), "text");
    // The first comes with its directory, the fifth with all others. A directory of a thousand is tried again, in vain.
    EXPECT_EQ(cost([&]() -> Result<void> {
      for (int i = 0; i < count; ++i) EXPECT_EQ(TRY(rig.stat("/" + dir + "/f" + std::to_string(i))).size, 4u);
      return ok();
    }), count == 100 ? 5 : 1000 + 4) << log;
  }
  EXPECT_EQ(cost_of_failure([&] { return rig.stat("/dir100/none"); }, ENOENT), 0);
  EXPECT_EQ(cost_of_failure([&] { return rig.stat("/dir1000/none"); }, ENOENT), 1);
}

TEST_F(BudgetTest, ManyNewFiles) {
  ASSERT_TRUE(rig.mkdir("/dir"));
  EXPECT_EQ(cost([&]() -> Result<void> {
    for (int i = 0; i < 100; ++i) TRY(rig.write("/dir/f" + std::to_string(i), "text"));
    return ok();
  }), 3 + 1 + 100) << log;
}

// Who only wants names gets those of a tree for less, until he wants more.
TEST_F(BudgetTest, NamesOnly) {
  for (int d = 0; d < 60; ++d) {
    const std::string dir = "tree/d" + std::to_string(d);
    std::filesystem::create_directories(rig.at_host(dir + "/sub"));
    for (int i = 0; i < 20; ++i) rig.host_write(dir + "/f" + std::to_string(i), "text");
  }
  const std::string light = std::to_string(p9::kAttrAll | p9::kAttrOfDirectories);
  rig.channel->take();
  const std::vector<std::string> dirs = rig.in_order("/tree");
  for (const std::string& dir : dirs) EXPECT_EQ(rig.in_order("/tree/" + dir).size(), 21u);
  EXPECT_NE(rig.channel->log().find(light), std::string::npos);
  // Directories are known as ever, and what is missing.
  EXPECT_EQ(cost([&] { return rig.stat("/tree/" + dirs.back() + "/sub"); }), 0) << log;
  EXPECT_EQ(cost_of_failure([&] { return rig.stat("/tree/" + dirs.back() + "/none"); }, ENOENT), 0);
  EXPECT_EQ(cost([&]() -> Result<void> {
    for (int i = 0; i < 20; ++i) EXPECT_EQ(TRY(rig.stat("/tree/" + dirs.back() + "/f" + std::to_string(i))).size, 4u);
    return ok();
  }), 4) << log;
  // A tree that is read now comes with attributes again.
  std::filesystem::rename(rig.at_host("tree"), rig.at_host("other"));
  rig.channel->take();
  for (const std::string& dir : rig.in_order("/other")) EXPECT_EQ(rig.in_order("/other/" + dir).size(), 21u);
  EXPECT_NE(rig.channel->log().find(std::to_string(p9::kAttrAll)), std::string::npos);
}

// A file whose name is known from a listing needs no fid to be opened; those that are opened in the listing's order come many
// at a time.
TEST_F(BudgetTest, OpenOfListedFiles) {
  std::filesystem::create_directories(rig.at_host("dir/sub"));
  for (int i = 0; i < 100; ++i) rig.host_write("dir/f" + std::to_string(i), std::to_string(i));
  const std::vector<std::string> order = rig.in_order("/dir");
  const auto read_all = [&]() -> Result<void> {
    for (const std::string& name : order) {
      if (name == "sub") continue;
      EXPECT_EQ(TRY(rig.read("/dir/" + name)), name.substr(1));
    }
    return ok();
  };
  EXPECT_EQ(cost(read_all), 5) << log;  // 1 + 8, 1 + 16, 1 + 31, 1 + 31, the rest
  EXPECT_EQ(cost(read_all), 0) << log;
}

// The same again for a directory with more files than are kept open, which nobody reads anew.
TEST_F(BudgetTest, OpenOfListedFilesAgain) {
  static_cast<GoferFs&>(*rig.fs).host_files().set_limit(4);
  std::filesystem::create_directories(rig.at_host("dir"));
  for (int i = 0; i < 100; ++i) rig.host_write("dir/f" + std::to_string(i), std::to_string(i));
  const std::vector<std::string> order = rig.in_order("/dir");
  const auto read_all = [&]() -> Result<void> {
    for (const std::string& name : order) EXPECT_EQ(TRY(rig.read("/dir/" + name)), name.substr(1));
    return ok();
  };
  EXPECT_EQ(cost(read_all), 5) << log;
  for (int again = 0; again < 3; ++again) EXPECT_EQ(cost(read_all), 1 + 5) << log;  // the first alone
  // Not for who goes backwards.
  EXPECT_EQ(cost([&]() -> Result<void> {
    for (size_t i = 50; i > 30; --i) EXPECT_EQ(TRY(rig.read("/dir/" + order[i])), order[i].substr(1));
    return ok();
  }), 20) << log;
}

// Nothing is opened ahead for those who open here and there; nor again, once it was in vain.
TEST_F(BudgetTest, OpenHereAndThere) {
  std::filesystem::create_directories(rig.at_host("dir"));
  for (int i = 0; i < 100; ++i) rig.host_write("dir/f" + std::to_string(i), "text");
  std::vector<std::string> order = rig.in_order("/dir");
  EXPECT_EQ(cost([&] { return rig.read("/dir/" + order[50]); }), 1);
  EXPECT_EQ(log.find("Tmopen"), log.npos) << log;
  EXPECT_EQ(cost([&] { return rig.read("/dir/" + order[1]); }), 1);
  EXPECT_NE(log.find("Tmopen"), log.npos) << log;
  EXPECT_EQ(cost([&] { return rig.read("/dir/" + order[11]); }), 1);
  EXPECT_EQ(cost([&] { return rig.read("/dir/" + order[12]); }), 1);
  EXPECT_EQ(log.find("Tmopen"), log.npos) << log;
  // Who reads the directory anew begins anew.
  order = rig.in_order("/dir");
  EXPECT_EQ(cost([&] { return rig.read("/dir/" + order[0]); }), 1);
  EXPECT_NE(log.find("Tmopen"), log.npos) << log;
}

// What was opened ahead of need is not what somebody gets who opens another file by that name.
TEST_F(BudgetTest, OpenedAheadAndReplaced) {
  std::filesystem::create_directories(rig.at_host("dir"));
  for (int i = 0; i < 8; ++i) rig.host_write("dir/f" + std::to_string(i), "old");
  const std::vector<std::string> order = rig.in_order("/dir");
  EXPECT_EQ(rig.read("/dir/" + order[0]).value(), "old");
  ASSERT_TRUE(rig.write("/new", "new"));
  ASSERT_TRUE(rig.rename("/new", "/dir/" + order[1]));
  EXPECT_EQ(rig.read("/dir/" + order[1]).value(), "new");
  ASSERT_TRUE(rig.unlink("/dir/" + order[2]));
  EXPECT_EQ(rig.read("/dir/" + order[2]).error(), Errno{ENOENT});
  ASSERT_TRUE(rig.write("/dir/" + order[3], "more than before"));
  EXPECT_EQ(rig.read("/dir/" + order[3]).value(), "more than before");
  // The one who opens it needs the right to.
  const auto set_mode = [&](const std::string& path, uint32_t mode) {
    return rig.ns->setattr(rig.ctx, rig.walk(path).value(), {.valid = kSetMode, .mode = mode});
  };
  ASSERT_TRUE(set_mode("/", 0755));
  ASSERT_TRUE(set_mode("/dir/" + order[5], 0600));
  rig.ctx.mutable_creds().fsuid = 1;
  rig.ctx.mutable_creds().cap_effective = 0;
  EXPECT_EQ(rig.read("/dir/" + order[4]).value(), "old");
  EXPECT_EQ(rig.read("/dir/" + order[5]).error(), Errno{EACCES});
}

// Nobody waits for what is opened before he has asked for it, unless he asks too early.
TEST_F(BudgetTest, OpenedBeforeNeed) {
  for (const std::string dir : {"tree/a", "tree/b", "tree/c", "tree/d", "tree/e", "tree/f"}) {
    std::filesystem::create_directories(rig.at_host(dir));
    for (int i = 0; i < 20; ++i) rig.host_write(dir + "/f" + std::to_string(i), dir + std::to_string(i));
  }
  int directories = 0;
  for (const std::string& dir : rig.in_order("/tree")) {
    const std::string path = "/tree/" + dir;
    rig.channel->take();
    const std::vector<std::string> files = rig.in_order(path);
    for (const std::string& name : files) {
      ASSERT_EQ(rig.read(path + "/" + name).value(), path.substr(1) + name.substr(1));
      rig.channel->answer_all();  // while the guest is busy
    }
    // Of the first two only the order is known by then.
    if (++directories > 2) {
      EXPECT_EQ(rig.channel->count(), 0) << rig.channel->log();
    }
  }
}

TEST_F(BudgetTest, OpenedBeforeNeedAndGone) {
  std::filesystem::create_directories(rig.at_host("dir"));
  for (int i = 0; i < 40; ++i) rig.host_write("dir/f" + std::to_string(i), "old");
  const std::vector<std::string> order = rig.in_order("/dir");
  const auto read = [&](int i) { return rig.read("/dir/" + order[static_cast<size_t>(i)]); };
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(read(i));
  ASSERT_GT(rig.channel->begun(), 0u);  // files 9 to 24
  // What happens to a file while it is being opened.
  ASSERT_TRUE(rig.unlink("/dir/" + order[10]));
  ASSERT_TRUE(rig.write("/new", "new"));
  ASSERT_TRUE(rig.rename("/new", "/dir/" + order[11]));
  ASSERT_TRUE(rig.rename("/dir/" + order[12], "/elsewhere"));
  ASSERT_TRUE(rig.write("/dir/" + order[13], "more than before"));
  EXPECT_EQ(read(9).value(), "old");
  EXPECT_EQ(read(10).error(), Errno{ENOENT});
  EXPECT_EQ(read(11).value(), "new");
  EXPECT_EQ(read(12).error(), Errno{ENOENT});
  EXPECT_EQ(rig.read("/elsewhere").value(), "old");
  EXPECT_EQ(read(13).value(), "more than before");
  for (int i = 14; i < 40; ++i) EXPECT_EQ(read(i).value(), "old") << i;
}

// A listing that was on its way while its directory changed is not believed.
TEST_F(BudgetTest, ListedBeforeNeedAndChanged) {
  for (int d = 0; d < 12; ++d) {
    const std::string dir = "tree/d" + std::to_string(d);
    std::filesystem::create_directories(rig.at_host(dir));
    for (int i = 0; i < 3; ++i) rig.host_write(dir + "/f" + std::to_string(i), "text");
  }
  const std::vector<std::string> dirs = rig.in_order("/tree");
  const auto at = [&](size_t i) { return "/tree/" + dirs[i]; };
  rig.in_order(at(0));
  ASSERT_EQ(rig.channel->begun(), 4u);
  ASSERT_TRUE(rig.write(at(1) + "/new", "new"));
  ASSERT_TRUE(rig.unlink(at(2) + "/f1"));
  ASSERT_TRUE(rig.rename(at(3) + "/f1", at(4) + "/moved"));
  const auto names = [&](size_t i) {
    std::vector<std::string> found = rig.in_order(at(i));
    std::sort(found.begin(), found.end());
    return found;
  };
  using Names = std::vector<std::string>;
  EXPECT_EQ(names(5), (Names{"f0", "f1", "f2"}));  // takes what has come
  EXPECT_EQ(names(1), (Names{"f0", "f1", "f2", "new"}));
  EXPECT_EQ(names(2), (Names{"f0", "f2"}));
  EXPECT_EQ(names(3), (Names{"f0", "f2"}));
  EXPECT_EQ(names(4), (Names{"f0", "f1", "f2", "moved"}));
}

TEST_F(BudgetTest, OpenedBeforeNeedByAGoferThatDies) {
  std::filesystem::create_directories(rig.at_host("dir"));
  for (int i = 0; i < 40; ++i) rig.host_write("dir/f" + std::to_string(i), "text");
  const std::vector<std::string> order = rig.in_order("/dir");
  for (size_t i = 0; i < 5; ++i) ASSERT_TRUE(rig.read("/dir/" + order[i]));
  ASSERT_GT(rig.channel->begun(), 0u);
  rig.kill_gofer();
  EXPECT_EQ(rig.read("/dir/" + order[8]).value(), "text");  // was here before
  EXPECT_EQ(rig.read("/dir/" + order[12]).error(), Errno{EIO});
}

TEST_F(BudgetTest, Append) {
  ASSERT_TRUE(rig.write("/file", "one"));
  const FileRef file = rig.open("/file", O_WRONLY | O_APPEND).value();
  EXPECT_EQ(cost([&] { return file->write(rig.ctx, as_bytes("two")); }), 0);
  ASSERT_TRUE(file->write(rig.ctx, as_bytes("three")));
  EXPECT_EQ(file->position(), 11u);
  // Others who write to it are noticed.
  const FileRef other = rig.open("/file", O_RDWR).value();
  ASSERT_TRUE(other->pwrite(rig.ctx, as_bytes("far"), 20));
  ASSERT_TRUE(file->write(rig.ctx, as_bytes("end")));
  EXPECT_EQ(file->position(), 26u);
  ASSERT_TRUE(other->setattr(rig.ctx, {.valid = kSetSize, .size = 2}));
  ASSERT_TRUE(file->write(rig.ctx, as_bytes("!")));
  EXPECT_EQ(file->position(), 3u);
  EXPECT_EQ(rig.host_read("file"), "on!");
}

// A name that we removed ourselves is not asked for when it is made again.
TEST_F(BudgetTest, RemoveAndMakeAgain) {
  ASSERT_TRUE(rig.mkdir("/dir"));
  ASSERT_TRUE(rig.write("/dir/file", "text"));
  EXPECT_EQ(cost([&] { return rig.unlink("/dir/file"); }), 1) << log;
  EXPECT_EQ(cost([&] { return rig.write("/dir/file", "again"); }), 1) << log;
}

// As find does it: a directory costs one trip at the most, for neighbours are listed along with it.
TEST_F(BudgetTest, TreeOfDirectories) {
  for (int i = 0; i < 100; ++i) {
    std::filesystem::create_directories(rig.at_host("tree/d" + std::to_string(i) + "/sub"));
    rig.host_write("tree/d" + std::to_string(i) + "/f", "x");
  }
  ASSERT_TRUE(rig.list("/"));
  EXPECT_LE(cost([&]() -> Result<void> {
    const auto all = TRY(rig.list("/tree"));
    for (const auto& [name, ino] : all) {
      const std::string at = "/tree/" + name;
      const auto names = TRY(rig.list(at));
      EXPECT_EQ(names.size(), 2u);
      EXPECT_EQ(rig.stat(at).value().ino, ino);
      for (const auto& [inner, number] : names) {
        EXPECT_EQ(rig.stat(at + "/" + inner).value().ino, number);
      }
    }
    return ok();
  }), 101) << log;
  // What was listed ahead of need is as true as the rest.
  ASSERT_TRUE(rig.rename("/tree/d99/f", "/tree/d98/g"));
  EXPECT_TRUE(rig.list("/tree/d98").value().contains("g"));
  EXPECT_FALSE(rig.list("/tree/d99").value().contains("f"));
  ASSERT_TRUE(rig.unlink("/tree/d0/f"));
  ASSERT_TRUE(rig.rmdir("/tree/d0/sub"));
  EXPECT_TRUE(rig.rmdir("/tree/d0"));
}

TEST_F(BudgetTest, Names) {
  ASSERT_TRUE(rig.list("/"));
  EXPECT_EQ(cost([&] { return rig.mkdir("/dir"); }), 1) << log;
  EXPECT_EQ(cost([&] { return rig.rmdir("/dir"); }), 1) << log;
  ASSERT_TRUE(rig.write("/file", "x"));
  EXPECT_EQ(cost([&] { return rig.rename("/file", "/new"); }), 1) << log;
  EXPECT_EQ(cost([&] { return rig.link("/new", "/other"); }), 1) << log;
  EXPECT_EQ(cost([&] { return rig.unlink("/new"); }), 1) << log;
  EXPECT_EQ(cost([&] { return rig.symlink("/link", "other"); }), 1) << log;
  EXPECT_EQ(cost([&] { return rig.read("/link"); }), 0) << log;
  EXPECT_EQ(cost([&] {
    return rig.ns->setattr(rig.ctx, rig.walk("/other").value(),
                           {.valid = kSetMode, .mode = 0600});
  }), 1) << log;
}

// Clunks go many at a time.
TEST_F(BudgetTest, Clunks) {
  rig.ns->set_cache_limit(0);
  for (int i = 0; i < 256; ++i) rig.host_write("f" + std::to_string(i), "x");
  EXPECT_LE(cost([&]() -> Result<void> {
    for (int i = 0; i < 256; ++i) TRY(rig.stat("/f" + std::to_string(i)));
    return ok();
  }), 256 + 256 / 32) << log;
}

}  // namespace
}  // namespace run9::vfs::gofer
