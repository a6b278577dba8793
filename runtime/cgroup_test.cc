#include "runtime/cgroup.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <fstream>

namespace run9::runtime {
namespace {

// A group's directory, as far as files say how much CPU time it has.
class Group {
 public:
  Group() { EXPECT_NE(mkdtemp(path_), nullptr); }
  ~Group() {
    for (const auto& f : files_) unlink(f.c_str());
    rmdir(path_);
  }
  Group& file(const std::string& name, const std::string& text) {
    files_.push_back(path_ + ("/" + name));
    std::ofstream(files_.back()) << text << '\n';
    return *this;
  }
  std::optional<uint64_t> bound(bool v2) const { return cpu_bound_of(path_, v2); }

 private:
  char path_[32] = "/tmp/run9-cgroup-XXXXXX";
  std::vector<std::string> files_;
};

TEST(CpuBoundTest, OfV2) {
  EXPECT_EQ(Group().file("cpu.max", "150000 100000").bound(true), 1500);
  EXPECT_EQ(Group().file("cpu.max", "5000 100000").bound(true), 50);
  EXPECT_EQ(Group().file("cpu.max", "max 100000").bound(true), std::nullopt);
  for (const char* broken : {"", "x", "100000", "100000 ", "100000 0", "-1 100000"}) EXPECT_EQ(Group().file("cpu.max", broken).bound(true), std::nullopt) << broken;
  EXPECT_EQ(Group().bound(true), std::nullopt);
}

TEST(CpuBoundTest, OfV1) {
  EXPECT_EQ(Group().file("cpu.cfs_quota_us", "80000").file("cpu.cfs_period_us", "100000").bound(false), 800);
  EXPECT_EQ(Group().file("cpu.cfs_quota_us", "-1").file("cpu.cfs_period_us", "100000").bound(false), std::nullopt);
  EXPECT_EQ(Group().file("cpu.cfs_quota_us", "80000").bound(false), std::nullopt);
}

}  // namespace
}  // namespace run9::runtime
