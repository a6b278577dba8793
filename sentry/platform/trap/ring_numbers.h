// RingNumbers: which of the rings that a host process has room for (STUB_RINGS) are in use.
#pragma once
#include <bit>
#include <cstdint>
#include <optional>
#include <utility>

#include "sentry/platform/trap/stub_abi.h"

namespace run9::sentry::trap {

// An id is the number of a ring, and tells it from those that had the number before the last restart().
class RingNumbers {
 public:
  static uint64_t number(uint64_t id) { return id % STUB_RINGS_COUNT; }
  // no_guest_runs: no thread is on its way to a ring that was let go. Nothing: there is no number to be had now.
  std::optional<uint64_t> take(bool no_guest_runs) {
    if (taken_ == kAll && no_guest_runs) taken_ &= ~std::exchange(left_, 0);
    if (taken_ == kAll) return {};
    const auto number = static_cast<uint32_t>(std::countr_one(taken_));
    taken_ |= 1u << number;
    return first_id_ + number;
  }
  void leave(uint64_t id) {
    if (valid(id)) left_ |= 1u << number(id);
  }
  bool valid(uint64_t id) const { return id >= first_id_; }
  bool any_taken() const { return taken_ != 0; }
  // Whoever held one does not any more; the mappings are there still.
  void all_left() { left_ = taken_; }
  // The mappings are gone.
  void restart() {
    taken_ = left_ = 0;
    first_id_ += STUB_RINGS_COUNT;
  }

 private:
  static constexpr uint32_t kAll = (1u << STUB_RINGS_COUNT) - 1;
  uint32_t taken_ = 0, left_ = 0;  // one bit for each number; left_: of those taken
  uint64_t first_id_ = 0;
};

}  // namespace run9::sentry::trap
