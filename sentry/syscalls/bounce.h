// Bounce: where a transfer's bytes rest between a file and the guest.
#pragma once
#include <algorithm>
#include <optional>

#include "base/copy.h"
#include "sentry/fs/special.h"
#include "sentry/task/kernel.h"
#include "sentry/task/task.h"

namespace run9::sentry {

// The stack for small ones, the worker's buffer for big ones, the heap where the call may sleep for long (streams).
class Bounce {
 public:
  Bounce(Task& task, uint64_t wanted, bool may_sleep, size_t most = SpecialFiles::kBigBuffer) {
    if (wanted <= kSmall) {
      bytes_ = {small_, static_cast<size_t>(wanted)};
    } else if (may_sleep) {
      heap_ = TransferBuffer(std::min<uint64_t>(wanted, most));
      bytes_ = heap_.bytes();
    } else {
      loan_.emplace(task.kernel().special(), wanted);
      bytes_ = loan_->bytes();
    }
  }
  std::span<std::byte> first(uint64_t n) const { return bytes_.first(std::min<uint64_t>(n, bytes_.size())); }

 private:
  static constexpr size_t kSmall = 8 * 1024;
  alignas(64) std::byte small_[kSmall];
  TransferBuffer heap_;
  std::optional<SpecialFiles::Loan> loan_;
  std::span<std::byte> bytes_;
};

}  // namespace run9::sentry
