// Who may hold how many descriptors: the fids and open files of one connection must not take those
// that others need. Half of what there is is shared out evenly, and whoever wants more takes it
// from the other half as long as there is some.
#pragma once
#include <atomic>
#include <cstdint>

#include "base/result.h"

namespace run9::gofer {

// What all connections take from. Shared by their threads.
class DescriptorPool {
 public:
  // `total` descriptors for at most `connections` at a time.
  DescriptorPool(uint64_t total, uint64_t connections)
      : share_(total / 2 / connections), common_(static_cast<int64_t>(total / 2)) {}

 private:
  friend class DescriptorBudget;
  const uint64_t share_;
  std::atomic<int64_t> common_;
};

// One connection's; on its thread. Without a pool there is no limit but the process's own.
class DescriptorBudget {
 public:
  explicit DescriptorBudget(DescriptorPool* pool = nullptr) : pool_(pool) {}

  // Is there one more? ENFILE, as when the host has none.
  Result<void> check() const {
    if (pool_ == nullptr || held_ < pool_->share_ ||
        pool_->common_.load(std::memory_order_relaxed) > 0)
      return ok();
    return Errno{ENFILE};
  }
  // Between check() and this others may have taken the last: a few more than there should be.
  void take() {
    if (held_++ >= share()) pool_->common_.fetch_sub(1, std::memory_order_relaxed);
  }
  void give_back() {
    if (--held_ >= share()) pool_->common_.fetch_add(1, std::memory_order_relaxed);
  }

 private:
  uint64_t share() const { return pool_ != nullptr ? pool_->share_ : UINT64_MAX; }
  DescriptorPool* const pool_;
  uint64_t held_ = 0;
};

}  // namespace run9::gofer
