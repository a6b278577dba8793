// What two tasks that mean the same futex have in common: for memory that is shared, the object behind it and the offset;
// otherwise the address space and the address, whether the caller said FUTEX_PRIVATE or not.
#pragma once
#include <cstddef>
#include <cstdint>

#include "base/result.h"

namespace run9::sentry {

class MemoryManager;

struct FutexKey {
  const void* object = nullptr;
  uint64_t offset = 0;
  bool operator==(const FutexKey&) const = default;

  // EINVAL if the address is no multiple of four, EFAULT if nothing is mapped there.
  static Result<FutexKey> of(MemoryManager& mm, uint64_t addr, bool is_private);

  struct Hash {
    size_t operator()(const FutexKey& k) const {
      return (reinterpret_cast<uintptr_t>(k.object) * 31 + k.offset / 4) * 0x9e3779b97f4a7c15;
    }
  };
};

}  // namespace run9::sentry
