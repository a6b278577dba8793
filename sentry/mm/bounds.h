// Where a guest's memory may be.
#pragma once

#include <cstdint>

#include "base/result.h"
#include "sentry/platform/platform.h"

namespace run9::sentry {

constexpr uint64_t page_down(uint64_t n) { return n & ~(kPage - 1); }
constexpr uint64_t page_up(uint64_t n) { return page_down(n + kPage - 1); }

inline constexpr uint64_t kMinAddress = 0x70000;  // vm.mmap_min_addr; the trap platform's table lies below

// access_ok(): memory that no guest can have is refused before anything else is looked at.
inline Result<void> check_range(uint64_t address, uint64_t length) {
  if (length > kGuestEnd || address > kGuestEnd - length) return Errno{EFAULT};
  return ok();
}

}  // namespace run9::sentry
