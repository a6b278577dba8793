// TrapSpace, pipes that its guest serves itself (stub/rings.h).
#include <limits.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sentry/platform/shared_ring.h"
#include "sentry/platform/trap/agent_commands.h"
#include "sentry/platform/trap/trap_platform.h"

namespace run9::sentry::trap {

// Without patched call sites no call comes to where they are looked at.
bool TrapSpace::has_rings() const { return platform_.has_waitv_ && platform_.patcher_.has_value(); }

Result<uint64_t> TrapSpace::map_ring(const SharedRing& ring) {
  const auto id = rings_.take(running_ == 0);
  if (!id.has_value()) return Errno{ENOSPC};
  const uint64_t at = ring_address(RingNumbers::number(*id));
  const Command list[] = {
      receive_command(),
      command(__NR_mmap, at, sizeof(PipeRing), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, received(0)),
      command(__NR_madvise, at, sizeof(PipeRing), MADV_DONTFORK),  // a forked child asks the Sentry
      command(__NR_close_range, 0, STUB_FD_AGENT - 1),
  };
  const int descriptor = ring.fd().get();
  const auto results = run_agent(list, std::span(&descriptor, 1));
  if (results.has_value() && results.value().size() == std::size(list) && results.value()[1] == static_cast<int64_t>(at)) return *id;
  rings_.leave(*id);
  return Errno{EIO};
}

void TrapSpace::unmap_ring(uint64_t id) { rings_.leave(id); }

bool TrapSpace::offer_ring(int fd, uint64_t id, bool reads) {
  static_assert(STUB_RING_FDS == kRingDescriptors);
  if (fd >= STUB_RING_FDS || !rings_.valid(id)) return false;
  const auto entry = static_cast<uint8_t>(RingNumbers::number(id) | (reads ? kRingReads : kRingWrites));
  __atomic_store_n(&header().rings[fd], entry, __ATOMIC_RELEASE);
  return true;
}

// A thread that sleeps on the ring's word sleeps on ours as well: the other side can change and restore the former.
void TrapSpace::withdraw_ring(int fd) {
  if (!socket_.valid()) return;  // its successor has the pages
  __atomic_store_n(&header().rings[fd], 0, __ATOMIC_SEQ_CST);
  uint32_t& withdrawn = static_cast<CommandPage*>(memory_.commands.data())->withdrawn;
  __atomic_fetch_add(&withdrawn, 1, __ATOMIC_SEQ_CST);
  syscall(SYS_futex, &withdrawn, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

}  // namespace run9::sentry::trap
