// ColdReads: reads a file of the host's so that nobody else waits for its disk. What the host has in memory it gives at once (RWF_NOWAIT);
// what it has not, OpContext::host_call reads. A file system that cannot tell (overlayfs, tmpfs) is read in place until that takes as
// long as a disk does, and by host_call until it does not.
#pragma once
#include <sys/types.h>

#include <span>

#include "vfs/context.h"

namespace run9::vfs::gofer {

// What is known of a whole tree.
struct ColdReadsOfTree {
  bool cannot_tell = false;
};

// One for each open file.
class ColdReads {
 public:
  // pread(2) of a regular file: less than asked for at its end alone, or before an error.
  Result<size_t> read(OpContext& ctx, ColdReadsOfTree& tree, int fd, std::span<std::byte> dst, off_t at);

 private:
  bool slow_ = false;  // the last one, of a tree that cannot tell
  off_t warm_ = -1;    // the page that was read last: what lies in it is read in place, since to ask costs a tenth of such a read
};

}  // namespace run9::vfs::gofer
