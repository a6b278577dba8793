#include "vfs/dentry.h"

#include <algorithm>

#include "base/check.h"
#include "vfs/dentry_cache.h"

namespace run9::vfs {

Dentry::Dentry(DentryRef parent, std::string name, InodeRef inode)
    : parent_(std::move(parent)), name_(std::move(name)), inode_(std::move(inode)) {}

Dentry::~Dentry() {
  // A chain of parents that only we held: freed in a loop, for a guest chooses its depth.
  leave_parent();
  DentryRef p = std::move(parent_);
  while (p && p.use_count() == 1) {
    p->leave_parent();
    p = std::exchange(p->parent_, nullptr);
  }
}

// Called by a dying or a moving dentry: another one may have the name by now.
void Dentry::leave_parent() {
  if (!parent_) return;
  auto it = parent_->children_.find(name_);
  if (it == parent_->children_.end()) return;
  auto there = it->second.lock();
  if (!there || there.get() == this) parent_->children_.erase(it);
}

bool Dentry::is_under(const Dentry& ancestor) const {
  for (const Dentry* d = this; d != nullptr; d = d->parent_.get()) {
    if (d == &ancestor) return true;
  }
  return false;
}

DentryRef Dentry::child(std::string_view name) const {
  auto it = children_.find(name);
  return it == children_.end() ? nullptr : it->second.lock();
}

DentryRef Dentry::add_child(std::string_view name, InodeRef inode) {
  auto d = std::make_shared<Dentry>(shared_from_this(), std::string(name), std::move(inode));
  children_.insert_or_assign(d->name_, d);
  return d;
}

void Dentry::drop_child(std::string_view name) {
  if (auto it = children_.find(name); it != children_.end()) children_.erase(it);
}

void Dentry::mark_unlinked() {
  leave_parent();
  unlinked_ = true;
}

void Dentry::move_to(DentryRef new_parent, std::string new_name) {
  CHECK(!new_parent->is_under(*this));
  leave_parent();
  parent_ = std::move(new_parent);
  name_ = std::move(new_name);
  parent_->children_.insert_or_assign(name_, weak_from_this());
}

void Dentry::swap_with(Dentry& other) {
  std::swap(parent_, other.parent_);
  std::swap(name_, other.name_);
  parent_->children_.insert_or_assign(name_, weak_from_this());
  other.parent_->children_.insert_or_assign(other.name_, other.weak_from_this());
}

DentryCache::~DentryCache() { set_limit(0); }

void DentryCache::touch(const DentryRef& d) {
  d->recent_ = true;
  if (d->cached_ || d->unlinked_ || limit_ == 0) return;
  d->cached_ = true;
  d->cache_slot_ = entries_.insert(entries_.end(), d);
  shrink_to(limit_);
}

void DentryCache::drop(Dentry& d) {
  if (!d.cached_) return;
  d.cached_ = false;
  const DentryRef keep = std::move(*d.cache_slot_);
  entries_.erase(d.cache_slot_);
}

void DentryCache::set_limit(size_t limit) {
  limit_ = limit;
  shrink_to(limit);
}

void DentryCache::forget_oldest(size_t count) { shrink_to(entries_.size() - std::min(entries_.size(), count)); }

void DentryCache::shrink_to(size_t limit) {
  size_t chances = entries_.size();
  while (entries_.size() > limit) {
    Dentry& oldest = *entries_.front();
    if (oldest.recent_ && limit_ != 0 && chances-- > 0) {
      oldest.recent_ = false;
      entries_.splice(entries_.end(), entries_, entries_.begin());
    } else {
      drop(oldest);
    }
  }
}

void DentryCache::forget(const FileSystem& fs) {
  for (auto it = entries_.begin(); it != entries_.end();) {
    Dentry& d = **it++;
    if (&d.fs() == &fs) drop(d);
  }
}

}  // namespace run9::vfs
