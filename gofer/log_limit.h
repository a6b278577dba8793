// Lines of log that peers can cause: so many in a minute, then a count. For any thread.
#pragma once
#include <chrono>
#include <mutex>

#include "base/log.h"

namespace run9::gofer {

class LogLimit {
 public:
  template <typename... A>
  void warn(fmt::format_string<A...> f, A&&... a) {
    if (may_log()) log_warn(f, std::forward<A>(a)...);
  }

 private:
  static constexpr int kLines = 20;
  static constexpr std::chrono::seconds kTime{60};

  bool may_log() {
    const std::lock_guard lock(mu_);
    const auto now = std::chrono::steady_clock::now();
    if (now - since_ >= kTime) {
      if (count_ > kLines) log_warn("{} more lines like these", count_ - kLines);
      since_ = now;
      count_ = 0;
    }
    return ++count_ <= kLines;
  }

  std::mutex mu_;
  std::chrono::steady_clock::time_point since_ =
      std::chrono::steady_clock::now();  // guarded by mu_
  int count_ = 0;                        // guarded by mu_
};

}  // namespace run9::gofer
