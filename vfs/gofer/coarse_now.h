// The clock that "how long ago was this told" goes by here: a tick is good enough, and it costs next to nothing.
#pragma once
#include <time.h>

#include <cstdint>

namespace run9::vfs::gofer {

inline int64_t coarse_now(clockid_t clock = CLOCK_MONOTONIC_COARSE) {
  timespec t;
  clock_gettime(clock, &t);
  return t.tv_sec * int64_t{1'000'000'000} + t.tv_nsec;
}

}  // namespace run9::vfs::gofer
