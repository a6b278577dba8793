// SharedRing: the kernel's side of a pipe that guests serve themselves (pipe_ring.h), from the moment that they get its memory until it is
// taken back. MappedRing: a guest's.
#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "sentry/platform/pipe_ring.h"
#include "sentry/platform/shared_memory.h"

namespace run9::sentry {

class AddressSpace;

class SharedRing {
 public:
  static Result<std::unique_ptr<SharedRing>> create();
  explicit SharedRing(SharedMemory memory) : memory_(std::move(memory)) {}
  // To be mapped by those who share it, until it begins.
  BorrowedFd fd() const { return memory_.fd(); }
  // With these bytes in it, RingWord::kSize at most. Nobody else maps it from here on.
  void begin(ByteSpan bytes);
  // It is over: nobody moves anything any more. Before, those who have it are told (MappedRing::withdraw). Gives what is left, one part or
  // two; valid as long as this is, and the guests' to change.
  struct Rest {
    ByteSpan first, second;
  };
  Rest end();

 private:
  PipeRing& ring() const { return *static_cast<PipeRing*>(memory_.data()); }
  SharedMemory memory_;
};

// Of one address space, which may go before.
class MappedRing {
 public:
  // Blocks.
  static Result<std::shared_ptr<MappedRing>> create(const std::shared_ptr<AddressSpace>& space, const SharedRing& ring);
  MappedRing(const std::shared_ptr<AddressSpace>& space, uint64_t id) : space_(space), id_(id) {}
  MappedRing(const MappedRing&) = delete;
  MappedRing& operator=(const MappedRing&) = delete;
  ~MappedRing();
  // AddressSpace::offer_ring.
  bool offer(int fd, bool reads);
  void withdraw();  // all descriptors

 private:
  const std::weak_ptr<AddressSpace> space_;
  const uint64_t id_;
  std::vector<int> offered_;
};

}  // namespace run9::sentry
