#include "vfs/gofer/host_files.h"

namespace run9::vfs::gofer {

HostFiles::~HostFiles() {
  if (cache_ != nullptr) cache_->remove(*this);
}

void HostFileCache::use(HostFiles& h) {
  if (h.cache_ == nullptr) {
    h.cache_ = this;
    h.place_ = recent_.insert(recent_.begin(), &h);
  } else {
    recent_.splice(recent_.begin(), recent_, h.place_);
  }
  evict();
}

void HostFileCache::remove(HostFiles& h) {
  recent_.erase(h.place_);
  h.cache_ = nullptr;
}

void HostFileCache::evict() {
  // Files in use stay, and go to the front, so that a crowd of them is not gone through every time.
  for (int tries = 8; recent_.size() > limit_ && tries > 0; --tries) {
    HostFiles& last = *recent_.back();
    if (!last.idle()) {
      recent_.splice(recent_.begin(), recent_, last.place_);
      continue;
    }
    last.before_host_files_go();
    last.ro_.reset();
    last.rw_.reset();
    remove(last);
  }
}

}  // namespace run9::vfs::gofer
