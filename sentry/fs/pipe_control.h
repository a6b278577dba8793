// PipeControl: what calls other than read and write do to a pipe (fcntl F_SETPIPE_SZ, splice, tee). The
// File of a pipe's end or of a FIFO implements it beside vfs::File; callers ask by dynamic_cast.
#pragma once
#include <cstddef>
#include <span>

#include "vfs/context.h"

namespace run9::sentry {

class PipeControl {
 public:
  virtual ~PipeControl() = default;
  virtual size_t capacity() const = 0;
  // Rounded up as F_SETPIPE_SZ says; EBUSY if more is queued, EPERM over pipe-max-size.
  virtual Result<size_t> set_capacity(vfs::OpContext&, size_t bytes) = 0;
  virtual size_t queued() const = 0;
  virtual size_t space() const = 0;  // what a write takes without blocking
  // Copies what the next read would give, and leaves it there.
  virtual size_t peek(std::span<std::byte> dst) const = 0;
  virtual const void* identity() const = 0;  // equal for both ends of one pipe
};

}  // namespace run9::sentry
