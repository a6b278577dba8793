// Where a guest's mappings may begin.
#pragma once

#include <cstdint>

namespace run9::sentry {

inline constexpr uint64_t kMinAddress = 0x70000;  // vm.mmap_min_addr; the trap platform's table lies below

}  // namespace run9::sentry
