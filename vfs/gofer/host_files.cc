#include "vfs/gofer/host_files.h"

namespace run9::vfs::gofer {

HostFiles::~HostFiles() {
  if (cache_ != nullptr) cache_->remove(*this);
}

void HostFileCache::use(HostFiles& h) {
  if (recent_.empty() || recent_.front() != &h) ++uses_;
  if (h.cache_ == nullptr) {
    h.cache_ = this;
    h.place_ = recent_.insert(recent_.begin(), &h);
    if (recent_.size() > limit_ && too_late(h)) evict_before_first();
  } else {
    recent_.splice(recent_.begin(), recent_, h.place_);
  }
  h.used_at_ = uses_;
  evict();
}

void HostFileCache::remove(HostFiles& h) {
  recent_.erase(h.place_);
  h.cache_ = nullptr;
}

void HostFileCache::close(HostFiles& h) {
  h.before_host_files_go();
  h.ro_.reset();
  h.rw_.reset();
  remove(h);
}

bool HostFileCache::too_late(const HostFiles& h) { return h.used_at_ != 0 && uses_ - h.used_at_ > limit_ && ++late_ % kAgeing != 0; }

void HostFileCache::evict_before_first() {
  unsigned tries = kMostTries;
  for (auto it = std::next(recent_.begin()); it != recent_.end() && tries > 0; ++it, --tries) {
    if ((*it)->idle()) return close(**it);
  }
}

void HostFileCache::evict() {
  // Files in use stay, and go to the front, so that a crowd of them is not gone through every time.
  for (unsigned tries = kMostTries; recent_.size() > limit_ && tries > 0; --tries) {
    HostFiles& last = *recent_.back();
    if (!last.idle()) {
      recent_.splice(recent_.begin(), recent_, last.place_);
      continue;
    }
    close(last);
  }
}

}  // namespace run9::vfs::gofer
