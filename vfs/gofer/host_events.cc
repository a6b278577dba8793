#include "vfs/gofer/host_events.h"

#include <sys/inotify.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstring>
#include <utility>

#include "vfs/gofer/gofer_inode.h"

namespace run9::vfs::gofer {

Result<void> HostEvents::begin(OpContext&, Inode& inode) {
  if (inode.watches().told_from_outside()) return ok();
  const Fid fid = TRY(static_cast<GoferInode&>(inode).fid());
  Wire::Reports r = TRY(wire_.report_changes(fid, kMask | IN_CLOSE_WRITE, !events_.valid()));
  if (r.events.valid() && !events_.valid()) {
    events_ = std::move(r.events);
    readable_ = on_readable_(events_.borrow(), [this] { catch_up(); });
  }
  watched_[static_cast<int>(r.watch)] = inode.weak_from_this();
  inode.watches().set_told_from_outside();
  return ok();
}

void HostEvents::pass_on(int watch, uint32_t mask, uint32_t cookie, std::string_view name) {
  if ((mask & IN_Q_OVERFLOW) != 0) {
    const auto all = watched_;
    for (const auto& [number, weak] : all) {
      if (const auto inode = weak.lock()) inode->watches().tell_from_outside({.mask = IN_Q_OVERFLOW});
    }
    return;
  }
  const auto it = watched_.find(watch);
  if (it == watched_.end()) return;
  const auto inode = it->second.lock();
  // The gofer took it back: the last fid is gone.
  if ((mask & IN_IGNORED) != 0 || inode == nullptr) {
    watched_.erase(it);
    return;
  }
  inode->watches().tell_from_outside({.mask = mask, .cookie = cookie, .name = name});
}

void HostEvents::catch_up() {
  if (std::exchange(reading_, true)) return;
  read_events();
  reading_ = false;
}

void HostEvents::read_events() {
  constexpr size_t kLargest = sizeof(inotify_event) + NAME_MAX + 1;
  alignas(inotify_event) char buffer[32 * kLargest];
  while (events_.valid()) {
    const ssize_t n = read(events_.get(), buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return;
    for (size_t at = 0; at + sizeof(inotify_event) <= static_cast<size_t>(n);) {
      inotify_event e;
      std::memcpy(&e, buffer + at, sizeof e);
      const char* const name = buffer + at + sizeof e;
      at += sizeof e + e.len;
      if (at > static_cast<size_t>(n)) return;
      pass_on(e.wd, e.mask, e.cookie, std::string_view(name, strnlen(name, e.len)));
    }
    // There was room for more: that was all.
    if (static_cast<size_t>(n) + kLargest <= sizeof buffer) return;
  }
}

}  // namespace run9::vfs::gofer
