#include "vfs/gofer/opened_ahead.h"

#include <algorithm>

#include "vfs/gofer/coarse_now.h"

namespace run9::vfs::gofer {

void OpenedAhead::close_old() {
  const int64_t now = coarse_now();
  while (!held_.empty() && now - held_.front().since_ns > kOldestNs) held_.pop_front();
}

void OpenedAhead::put(uint64_t path, UniqueFd host) {
  close_old();
  if (has(path)) return;
  if (held_.size() == kMost) held_.pop_front();
  held_.push_back({path, std::move(host), coarse_now()});
}

bool OpenedAhead::has(uint64_t path) const {
  return std::any_of(held_.begin(), held_.end(), [&](const Held& h) { return h.path == path; });
}

UniqueFd OpenedAhead::take(uint64_t path) {
  close_old();
  const auto it = std::find_if(held_.begin(), held_.end(), [&](const Held& h) { return h.path == path; });
  if (it == held_.end()) return {};
  UniqueFd host = std::move(it->host);
  held_.erase(it);
  return host;
}

}  // namespace run9::vfs::gofer
