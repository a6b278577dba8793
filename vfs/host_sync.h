// fsync(2) and fdatasync(2) of a host descriptor.
#pragma once
#include <unistd.h>

#include <cerrno>

#include "base/unique_fd.h"
#include "vfs/context.h"

namespace run9::vfs {

// Waits for the disk, by a thread that the context has for that (OpContext::host_call).
inline Result<void> sync_host(OpContext& ctx, BorrowedFd fd, bool data_only) {
  int error = 0;
  ctx.host_call([&] {
    if ((data_only ? ::fdatasync(fd.get()) : ::fsync(fd.get())) != 0) error = errno;
  });
  if (error != 0) return Errno{error};
  return ok();
}

}  // namespace run9::vfs
