#include "vfs/locks.h"

#include <algorithm>
#include <set>

namespace run9::vfs {
namespace {

bool overlaps(const LockRange& a, const LockRange& b) {
  return a.first <= b.last && b.first <= a.last;
}
bool excludes(LockType a, LockType b) { return a == LockType::kWrite || b == LockType::kWrite; }

}  // namespace

bool LockWaits::would_deadlock(int32_t waiter, int32_t holder) const {
  std::vector<int32_t> todo{holder};
  std::set<int32_t> seen;
  while (!todo.empty()) {
    const int32_t at = todo.back();
    todo.pop_back();
    if (at == waiter) return true;
    if (!seen.insert(at).second) continue;
    auto [from, to] = edges_.equal_range(at);
    for (; from != to; ++from) todo.push_back(from->second);
  }
  return false;
}

void LockWaits::remove(int32_t waiter, int32_t holder) {
  auto [from, to] = edges_.equal_range(waiter);
  for (; from != to; ++from) {
    if (from->second != holder) continue;
    edges_.erase(from);
    return;
  }
}

std::optional<HeldLock> LockTable::own_conflict(LockOwner owner, LockType type,
                                                LockRange range) const {
  for (const auto& held : records_) {
    if (held.owner != owner && overlaps(held.range, range) && excludes(held.type, type)) {
      return held;
    }
  }
  return std::nullopt;
}

std::optional<HeldLock> LockTable::conflict(OpContext& ctx, LockOwner owner, LockType type,
                                            LockRange range) const {
  auto held = own_conflict(owner, type, range);
  if (!held && outer_ != nullptr) held = outer_->conflict(ctx, {owner, false, type, range});
  return held;
}

Result<void> LockTable::wait_for_own(OpContext& ctx, LockOwner owner, LockType type, LockRange range,
                                     LockWait wait) {
  while (auto held = own_conflict(owner, type, range)) {
    if (wait == LockWait::kNo) return Errno{EAGAIN};
    const bool posix = owner.file == nullptr && held->owner.file == nullptr;
    const int32_t holder = held->owner.tgid;
    if (posix) {
      if (waits_.would_deadlock(owner.tgid, holder)) return Errno{EDEADLK};
      waits_.add(owner.tgid, holder);
    }
    auto waited = ctx.wait(released_, ~0u);
    if (posix) waits_.remove(owner.tgid, holder);
    TRY(waited);
  }
  return ok();
}

Result<void> LockTable::lock(OpContext& ctx, LockOwner owner, LockType type, LockRange range,
                             LockWait wait) {
  do {
    TRY(wait_for_own(ctx, owner, type, range, wait));
    if (outer_ != nullptr) TRY(outer_->lock(ctx, {owner, false, type, range}, wait));
    // We may have been away.
  } while (outer_ != nullptr && own_conflict(owner, type, range));
  const bool weakened = remove_range(owner, range);
  const int32_t pid = owner.file != nullptr ? -1 : owner.tgid;
  records_.push_back({owner, type, range, pid});
  merge(owner);
  // A write lock may have become a read lock that others can share.
  if (weakened) released_.notify_all();
  return ok();
}

void LockTable::unlock(LockOwner owner, LockRange range) {
  if (!remove_range(owner, range)) return;
  if (outer_ != nullptr) outer_->unlock({owner, false, LockType::kRead, range});
  released_.notify_all();
}

void LockTable::release_process(int32_t tgid) {
  const LockOwner owner = LockOwner::posix(tgid);
  unlock(owner, {});
  if (outer_ != nullptr) outer_->forget(owner);
}

// Cuts the range out of what the owner holds; true if there was anything.
bool LockTable::remove_range(LockOwner owner, LockRange range) {
  std::vector<HeldLock> kept;
  bool changed = false;
  for (const auto& held : records_) {
    if (held.owner != owner || !overlaps(held.range, range)) {
      kept.push_back(held);
      continue;
    }
    changed = true;
    if (held.range.first < range.first) {
      kept.push_back(held);
      kept.back().range.last = range.first - 1;
    }
    if (held.range.last > range.last) {
      kept.push_back(held);
      kept.back().range.first = range.last + 1;
    }
  }
  if (changed) records_ = std::move(kept);
  return changed;
}

// Joins neighbours of one owner and type, so that a file locked byte by byte stays small.
void LockTable::merge(LockOwner owner) {
  std::sort(records_.begin(), records_.end(),
            [](const auto& a, const auto& b) { return a.range.first < b.range.first; });
  HeldLock* last[2] = {nullptr, nullptr};
  std::vector<HeldLock> kept;
  kept.reserve(records_.size());
  for (const auto& held : records_) {
    if (held.owner == owner) {
      HeldLock*& prev = last[held.type == LockType::kWrite];
      if (prev != nullptr && prev->range.last + 1 == held.range.first) {
        prev->range.last = held.range.last;
        continue;
      }
      kept.push_back(held);
      prev = &kept.back();
    } else {
      kept.push_back(held);
    }
  }
  records_ = std::move(kept);
}

const LockTable::FlockHeld* LockTable::flock_conflict(const File& file, LockType type) const {
  for (const auto& held : flocks_) {
    if (held.file != &file && excludes(held.type, type)) return &held;
  }
  return nullptr;
}

Result<void> LockTable::flock(OpContext& ctx, const File& file, LockType type, LockWait wait) {
  auto mine = std::find_if(flocks_.begin(), flocks_.end(),
                           [&](const auto& held) { return held.file == &file; });
  if (mine != flocks_.end()) {
    if (mine->type == type) return ok();
    // A conversion gives the old lock up first, as flock(2) warns.
    funlock(file);
  }
  do {
    while (flock_conflict(file, type) != nullptr) {
      if (wait == LockWait::kNo) return Errno{EAGAIN};
      TRY(ctx.wait(released_, ~0u));
    }
    if (outer_ != nullptr) TRY(outer_->lock(ctx, {LockOwner::ofd(file), true, type}, wait));
  } while (outer_ != nullptr && flock_conflict(file, type) != nullptr);
  flocks_.push_back({&file, type});
  return ok();
}

void LockTable::funlock(const File& file) {
  if (std::erase_if(flocks_, [&](const auto& held) { return held.file == &file; }) == 0) return;
  if (outer_ != nullptr) outer_->unlock({.owner = LockOwner::ofd(file), .whole = true});
  released_.notify_all();
}

void LockTable::release_file(const File& file) {
  unlock(LockOwner::ofd(file), {});
  funlock(file);
  if (outer_ != nullptr) outer_->forget(LockOwner::ofd(file));
}

}  // namespace run9::vfs
