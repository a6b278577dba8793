// What every writable file system must do. A file system joins by compiling conformance_suite.cc into
// its test and naming itself:
//   INSTANTIATE_TEST_SUITE_P(X, Conformance, Values(FsCase{"x", make_x}), case_name);
#pragma once
#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "vfs/testing/context.h"

namespace run9::vfs::testing {

struct FsCase {
  std::string name;
  std::function<FileSystemRef(OpContext&)> make;  // empty, root owned by 0:0 with mode 0755
  // What it does not have.
  bool xattrs = true;
  bool tmpfile = true;
  bool fallocate = true;
  bool exchange = true;
  bool devices = true;  // mknod of devices
  bool owners = true;   // chown to anybody
};

class Conformance : public ::testing::TestWithParam<FsCase> {
 protected:
  Conformance() : t(make()) {}
  Tree t;

 private:
  static FileSystemRef make() {
    TestContext ctx;
    ctx.become_root();
    return GetParam().make(ctx);
  }
};

inline std::string case_name(const ::testing::TestParamInfo<FsCase>& info) {
  return info.param.name;
}

}  // namespace run9::vfs::testing
