// Patience: how long to look for the peer's next message before sleeping in the kernel. Waking a sleeper on another
// CPU costs 50 to 100 us there, looking costs this CPU. docs/decisions/0008-socket-and-ring.md has the measurements.
#pragma once
#include <sched.h>

#include <chrono>
#include <thread>

namespace run9::p9 {

class Patience {
 public:
  // `longest` 0: never look twice.
  explicit Patience(std::chrono::microseconds longest) : longest_(longest) {}

  // look() until it is true, or sleep() once it does not pay to look any longer: whoever answered within that time will
  // likely do so once more, and who did not, not.
  template <typename Look, typename Sleep>
  void wait(Look look, Sleep sleep) {
    if (look()) return;
    if (longest_ == Clock::duration::zero()) return sleep();
    const auto start = Clock::now();
    if (soon_) {
      // The peer runs on another CPU, or it needs this one: what was true last time, and now and then the other way.
      const bool beside = beside_ || ++waits_ % kTryBeside == 0;
      for (auto waited = Clock::duration::zero(); waited <= longest_; waited = Clock::now() - start) {
        beside_ = beside && waited < kBesideUs;
        if (beside_) __builtin_ia32_pause();
        else sched_yield();
        if (look()) return;
      }
    }
    sleep();
    soon_ = Clock::now() - start <= longest_;
  }

 private:
  using Clock = std::chrono::steady_clock;
  // An answer that is under way on another CPU takes less.
  static constexpr std::chrono::microseconds kBesideUs{4};
  static constexpr uint32_t kTryBeside = 64;
  const Clock::duration longest_;
  bool soon_ = true;
  bool beside_ = true;
  uint32_t waits_ = 0;
};

// For both sides to look at the same time takes two CPUs.
inline std::chrono::microseconds patience_here(std::chrono::microseconds longest) {
  return std::thread::hardware_concurrency() < 2 ? std::chrono::microseconds(0) : longest;
}

}  // namespace run9::p9
