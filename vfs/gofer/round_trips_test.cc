// What each operation costs in round trips, for trees of our own, and for those that the host changes too, with leases and
// without: the table of README.md, as a test. A number that grows is a regression.
#include <sys/stat.h>

#include <functional>
#include <utility>

#include "vfs/gofer/testing.h"

namespace run9::vfs::gofer {
namespace {

constexpr int kFiles = 100;
struct Costs {
  int own, leased, unleased;
};
struct Operation {
  std::string_view name;
  Costs costs;
  std::function<Result<void>(Rig&)> prepare;  // not counted
  std::function<Result<void>(Rig&)> run;
};

template <typename R>
Result<void> done(const R& result) {
  return result ? Result<void>(ok()) : result.error();
}
Result<void> nothing(Rig&) { return ok(); }
Result<void> stat(Rig& rig, std::string_view path) { return done(rig.stat(path, kStatOnly)); }
Result<void> missing(Rig& rig, std::string_view path) {
  const auto st = rig.stat(path, kStatOnly);
  return !st && st.error() == Errno{ENOENT} ? Result<void>(ok()) : Errno{EEXIST};
}
Result<void> list_and_stat(Rig& rig) {
  for (const auto& [name, ino] : TRY(rig.list("/many"))) {
    if (TRY(rig.stat("/many/" + name, kStatOnly)).ino != ino) return Errno{ESTALE};
  }
  return ok();
}
Result<void> create(Rig& rig, std::string_view path) { return rig.write(path, "x", O_CREAT | O_EXCL | O_WRONLY); }

// Paths are five names deep.
const Operation kOperations[] = {
    {"stat, cold", {1, 1, 1}, nothing, [](Rig& r) { return stat(r, "/a/b/c/d/file"); }},
    {"stat, warm", {0, 0, 1}, [](Rig& r) { return stat(r, "/a/b/c/d/file"); },
     [](Rig& r) { return stat(r, "/a/b/c/d/file"); }},
    {"stat of a missing name, again", {0, 0, 2}, [](Rig& r) { return missing(r, "/a/b/c/d/none"); },
     [](Rig& r) { return missing(r, "/a/b/c/d/none"); }},
    {"open + read + close, cold", {1, 1, 1}, nothing, [](Rig& r) { return done(r.read("/a/b/c/d/file")); }},
    {"open + read + close, again", {0, 0, 1}, [](Rig& r) { return done(r.read("/a/b/c/d/file")); },
     [](Rig& r) { return done(r.read("/a/b/c/d/file")); }},
    {"create + write + close, O_EXCL", {2, 1, 2}, [](Rig& r) { return stat(r, "/a/b/c/d"); },
     [](Rig& r) { return create(r, "/a/b/c/d/new"); }},
    {"mkdir", {2, 1, 2}, [](Rig& r) { return stat(r, "/a/b/c/d"); }, [](Rig& r) { return r.mkdir("/a/b/c/d/made"); }},
    {"symlink", {2, 1, 2}, [](Rig& r) { return stat(r, "/a/b/c/d"); }, [](Rig& r) { return r.symlink("/a/b/c/d/l", "x"); }},
    {"unlink", {1, 1, 2}, [](Rig& r) { return stat(r, "/a/b/c/d/file"); }, [](Rig& r) { return r.unlink("/a/b/c/d/file"); }},
    {"create, then unlink", {2, 3, 4}, [](Rig& r) { return missing(r, "/a/b/c/d/new"); },
     [](Rig& r) -> Result<void> {
       TRY(create(r, "/a/b/c/d/new"));
       return r.unlink("/a/b/c/d/new");
     }},
    {"mkdir, then rmdir", {2, 3, 4}, [](Rig& r) { return missing(r, "/a/b/c/d/new"); },
     [](Rig& r) -> Result<void> {
       TRY(r.mkdir("/a/b/c/d/new"));
       return r.rmdir("/a/b/c/d/new");
     }},
    {"rename to a new name", {1, 1, 3},
     [](Rig& r) -> Result<void> {
       TRY(stat(r, "/a/b/c/d/file"));
       return missing(r, "/a/b/c/d/new");
     },
     [](Rig& r) { return r.rename("/a/b/c/d/file", "/a/b/c/d/new"); }},
    {"chmod", {1, 1, 2}, [](Rig& r) { return stat(r, "/a/b/c/d/file"); },
     [](Rig& r) -> Result<void> {
       return r.ns->setattr(r.ctx, TRY(r.walk("/a/b/c/d/file")), {.valid = kSetMode, .mode = 0600});
     }},
    {"readdir and stat of 100", {2, 2, 2}, nothing, list_and_stat},
    {"readdir and stat of 100, again", {0, 0, 2}, list_and_stat, list_and_stat},
};

class RoundTripsTest : public testing::TestWithParam<Operation> {
 protected:
  static int cost(const RigOptions& options) {
    Rig rig(options);
    std::filesystem::create_directories(rig.at_host("a/b/c/d"));
    std::filesystem::create_directories(rig.at_host("many"));
    rig.host_write("a/b/c/d/file", "text");
    for (int i = 0; i < kFiles; ++i) rig.host_write("many/f" + std::to_string(i), "x");
    const auto prepared = GetParam().prepare(rig);
    EXPECT_TRUE(prepared) << describe(prepared.error());
    rig.channel->take();
    const auto result = GetParam().run(rig);
    EXPECT_TRUE(result) << describe(result.error());
    log = rig.channel->log();
    return rig.channel->take();
  }
  static inline std::string log;
};

TEST_P(RoundTripsTest, AreAsTheTableSays) {
  const Costs& c = GetParam().costs;
  EXPECT_EQ(cost({}), c.own) << log;
  EXPECT_EQ(cost({.caching = Caching::kRevalidate}), c.leased) << "leases\n" << log;
  EXPECT_EQ(cost({.caching = Caching::kRevalidate, .leases = false}), c.unleased) << "no leases\n" << log;
}

INSTANTIATE_TEST_SUITE_P(All, RoundTripsTest, testing::ValuesIn(kOperations), [](const auto& info) {
  std::string name;
  for (const char c : info.param.name) {
    if (isalnum(c)) name += c;
  }
  return name;
});

}  // namespace
}  // namespace run9::vfs::gofer
