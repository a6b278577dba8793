#include "vfs/gofer/leases.h"

#include <sys/inotify.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstring>

namespace run9::vfs::gofer {

bool Leases::alive(uint64_t lease, uint64_t moment) {
  if (lease == 0 || !alive_.contains(lease)) return false;
  if (moment != 0 && moment == read_at_) return true;
  read_at_ = moment;
  read_reports();
  return alive_.contains(lease);
}

uint64_t Leases::granted(uint32_t watch, uint64_t asked_at) {
  if (watch == 0 || !possible() || asked_at != unknown_reports_) return 0;
  // The same watch again: it has not reported since the first time.
  const auto [it, fresh] = by_watch_.try_emplace(watch, last_ + 1);
  if (fresh) alive_.insert(++last_);
  return it->second;
}

void Leases::report(int watch) {
  if (watch < 0) {  // the queue was full: anything may have changed
    by_watch_.clear();
    alive_.clear();
    ++unknown_reports_;
    return;
  }
  // Also IN_IGNORED: the gofer has let go of the watch, because our fids of the directory are gone.
  const auto it = by_watch_.find(static_cast<uint32_t>(watch));
  if (it == by_watch_.end()) {
    ++unknown_reports_;
    return;
  }
  alive_.erase(it->second);
  by_watch_.erase(it);
}

void Leases::read_reports() {
  constexpr size_t kLargest = sizeof(inotify_event) + NAME_MAX + 1;
  alignas(inotify_event) char buffer[32 * kLargest];
  for (;;) {
    const ssize_t n = read(events_.get(), buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      if (n < 0 && errno == EAGAIN) return;
      events_ = UniqueFd{};  // no word of changes from now on: no leases
      return report(-1);
    }
    for (size_t at = 0; at + sizeof(inotify_event) <= static_cast<size_t>(n);) {
      inotify_event e;
      std::memcpy(&e, buffer + at, sizeof e);
      report(e.wd);
      at += sizeof e + e.len;
    }
    // There was room for more: that was all.
    if (static_cast<size_t>(n) + kLargest <= sizeof buffer) return;
  }
}

}  // namespace run9::vfs::gofer
