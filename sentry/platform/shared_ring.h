// SharedRing: the kernel's side of a pipe that guests serve themselves (pipe_ring.h), from the moment that they get its memory until it is
// taken back.
#pragma once
#include <memory>

#include "base/bytes.h"
#include "base/result.h"
#include "sentry/platform/pipe_ring.h"
#include "sentry/platform/shared_memory.h"

namespace run9::sentry {

class SharedRing {
 public:
  static Result<std::unique_ptr<SharedRing>> create();
  explicit SharedRing(SharedMemory memory) : memory_(std::move(memory)) {}
  // To be mapped by those who share it, until it begins.
  BorrowedFd fd() const { return memory_.fd(); }
  // With these bytes in it, RingWord::kSize at most. Nobody else maps it from here on.
  void begin(ByteSpan bytes);
  // It is over: nobody moves anything any more. Before, those who have it are told (AddressSpace::withdraw_ring). Gives what is left, one part or two; valid as long as
  // this is, and the guests' to change.
  struct Rest {
    ByteSpan first, second;
  };
  Rest end();

 private:
  PipeRing& ring() const { return *static_cast<PipeRing*>(memory_.data()); }
  SharedMemory memory_;
};

}  // namespace run9::sentry
