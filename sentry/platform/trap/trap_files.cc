// TrapSpace, files that guest threads map themselves (docs/decisions/0024).
#include <fcntl.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>

#include "sentry/platform/trap/agent_commands.h"
#include "sentry/platform/trap/trap_platform.h"

namespace run9::sentry::trap {

// What a thread that ended before left there would be taken for the next one's.
bool TrapSpace::files_taken() const {
  int left = 0;
  return files_.valid() && ioctl(files_.get(), SIOCOUTQ, &left) == 0 && left == 0;
}

bool TrapSpace::order_files(TrapContext& by, std::span<const MapRequest> asked, std::span<const MapRequest> list) {
  if (by.space_.get() != this || by.watched_ || by.orders_.size() + 1 + list.size() > kMaxOrders) return false;
  std::array<int, kMaxFiles> files;
  size_t count = 0;
  std::vector<ThreadOrder> orders(1);
  for (size_t i = 0; i < list.size(); ++i) {
    const MapRequest& r = list[i];
    const bool is_copy = r.fd.get() != asked[i].fd.get();  // PatchedImage::memory, which is sealed
    if (!r.fd.valid() || (r.shared && (r.prot & PROT_WRITE) != 0 && !r.may_write_file) || (r.extra_flags & ~(MAP_NORESERVE | MAP_POPULATE)) != 0) return false;
    // The host may refuse it, and the guest has to hear of that.
    if (!is_copy && (r.prot & PROT_EXEC) != 0) return false;
    // The thread gets the descriptor, to do with it what mmap(2) can.
    if (!is_copy && !r.may_write_file && (fcntl(r.fd.get(), F_GETFL) & O_ACCMODE) != O_RDONLY) return false;
    auto* const end = files.begin() + count;
    const auto at = static_cast<size_t>(std::find(files.begin(), end, r.fd.get()) - files.begin());
    if (at == kMaxFiles) return false;
    if (at == count) files[count++] = r.fd.get();
    ThreadOrder o = as_order(map_command(r, static_cast<int>(at)));
    o.kind = kOrderMapFile;
    orders.push_back(o);
  }
  for (const MapRequest& r : list) settle(&by, r.addr, r.length);
  // Of two threads that have not received theirs yet one would get the other's.
  if (!files_taken() || !send_descriptors(files_, std::span(files).first(count)).has_value()) return false;
  orders.front().kind = kOrderReceive;
  for (const ThreadOrder& o : orders) by.queue(o);
  return true;
}

}  // namespace run9::sentry::trap
