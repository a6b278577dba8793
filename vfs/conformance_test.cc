#include "vfs/overlay/overlay.h"
#include "vfs/testing/conformance.h"
#include "vfs/tmpfs/tmpfs.h"

namespace run9::vfs::testing {
namespace {

FileSystemRef small_tmpfs(OpContext& ctx) { return make_tmpfs({.mode = 0755}, ctx.now()); }

OverlayLayer layer(FileSystemRef fs) {
  InodeRef root = fs->root();
  return {std::move(fs), std::move(root)};
}

FileSystemRef overlay_of_two(OpContext& ctx) {
  return make_overlay(layer(small_tmpfs(ctx)), {layer(small_tmpfs(ctx)), layer(small_tmpfs(ctx))})
      .value();
}

INSTANTIATE_TEST_SUITE_P(Local, Conformance,
                         ::testing::Values(FsCase{"tmpfs", small_tmpfs},
                                           FsCase{"overlay", overlay_of_two}),
                         case_name);

}  // namespace
}  // namespace run9::vfs::testing
