// The memory of a ring as it is passed on: how it is used is transport/ring.h's.
#pragma once
#include "base/unique_fd.h"

namespace run9::p9 {

struct RingMemory {
  UniqueFd fd;
  uint32_t stream_size = 0;  // bytes each way
};

}  // namespace run9::p9
