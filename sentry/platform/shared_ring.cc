#include "sentry/platform/shared_ring.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "sentry/platform/platform.h"

namespace run9::sentry {

Result<std::unique_ptr<SharedRing>> SharedRing::create() {
  return std::make_unique<SharedRing>(TRY(SharedMemory::create("run9-pipe", sizeof(PipeRing), false)));
}

void SharedRing::begin(ByteSpan bytes) {
  CHECK(bytes.size() <= RingWord::kSize);
  if (!bytes.empty()) memcpy(ring().bytes, bytes.data(), bytes.size());
  __atomic_store_n(&ring().word, RingWord(0).written(static_cast<uint32_t>(bytes.size())).bits(), __ATOMIC_RELEASE);
  memory_.close_fd();
}

SharedRing::Rest SharedRing::end() {
  const RingWord last(__atomic_fetch_or(&ring().word, RingWord::kClosed, __ATOMIC_ACQ_REL));
  const uint32_t at = last.head() % RingWord::kSize, used = last.used();
  const uint32_t first = std::min(used, RingWord::kSize - at);
  const auto* bytes = reinterpret_cast<const std::byte*>(ring().bytes);
  return {{bytes + at, first}, {bytes, used - first}};
}

Result<std::shared_ptr<MappedRing>> MappedRing::create(const std::shared_ptr<AddressSpace>& space, const SharedRing& ring) {
  return std::make_shared<MappedRing>(space, TRY(space->map_ring(ring)));
}

MappedRing::~MappedRing() {
  withdraw();
  if (const auto space = space_.lock()) space->unmap_ring(id_);
}

bool MappedRing::offer(int fd, bool reads) {
  const auto space = space_.lock();
  if (space == nullptr || !space->offer_ring(fd, id_, reads)) return false;
  offered_.push_back(fd);
  return true;
}

void MappedRing::withdraw() {
  const auto space = space_.lock();
  for (const int fd : std::exchange(offered_, {})) {
    if (space != nullptr) space->withdraw_ring(fd);
  }
}

}  // namespace run9::sentry
