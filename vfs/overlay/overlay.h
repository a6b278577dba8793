// overlay: one writable tree over read-only ones, in the format of Linux's overlayfs (whiteouts are
// character devices 0:0, trusted.overlay.opaque). What is changed is first copied to the upper tree.
#pragma once
#include <vector>

#include "vfs/inode.h"

namespace run9::vfs {

struct OverlayLayer {
  FileSystemRef fs;
  InodeRef root;  // a directory of fs
};

// `upper` without a root: a read-only overlay. lowers: topmost first, at least one. EINVAL otherwise.
Result<FileSystemRef> make_overlay(OverlayLayer upper, std::vector<OverlayLayer> lowers);

}  // namespace run9::vfs
