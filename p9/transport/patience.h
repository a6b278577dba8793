// Patience: how long to look for the peer's next message before sleeping in the kernel. Waking a sleeper on another
// CPU costs 50 to 100 us there, looking costs this CPU. docs/decisions/0008-socket-and-ring.md has the measurements.
#pragma once
#include <sched.h>

#include <chrono>
#include <thread>

namespace run9::p9 {

// The time, and what one does between two looks.
struct HostPatience {
  using Clock = std::chrono::steady_clock;  // any that does not go back
  static Clock::time_point now() { return Clock::now(); }  // the time
  static void pause() { __builtin_ia32_pause(); }  // for a moment, without giving the CPU away
  static void yield() { sched_yield(); }  // whoever wants this CPU may have it
};

// The rule, for a Host as HostPatience is one. Not for several threads.
template <typename Host>
class BasicPatience {
 public:
  // `longest` 0: never look twice.
  explicit BasicPatience(std::chrono::microseconds longest) : longest_(longest) {}

  // look() until it is true, or sleep() once it does not pay to look any longer: whoever answered within that time will
  // likely do so once more, and who did not, not.
  template <typename Look, typename Sleep>
  void wait(Look look, Sleep sleep) {
    if (look()) return;
    if (longest_ == Duration::zero()) return sleep();
    const Time start = Host::now();
    if (soon_ && look_for_a_while(start, look)) return;
    sleep();
    soon_ = Host::now() - start <= longest_;
  }

 private:
  using Time = typename Host::Clock::time_point;
  using Duration = typename Host::Clock::duration;

  template <typename Look>
  bool look_for_a_while(Time start, Look look) {
    // The peer runs on another CPU, or it needs this one: what was true last time, and now and then the other way.
    const bool beside = beside_ || ++waits_ % kTryBeside == 0;
    const bool crowded = start < crowded_until_;
    for (Time now = start; now - start <= longest_;) {
      beside_ = beside && now - start < kBesideUs;
      if (beside_) Host::pause();
      else if (crowded) return false;
      else yield(now);
      if (look()) return true;
      now = Host::now();
    }
    return false;
  }

  // Others want this CPU as well if the yield took long. Since Linux 6.18 it costs all that is left of a time slice, up to a
  // tick of 4 ms for each wait, where who sleeps is woken in front of them: so that yielding takes a hundredth of
  // the time, whatever it costs.
  void yield(Time before) {
    Host::yield();
    const Time after = Host::now();
    if (after - before > longest_) crowded_until_ = after + kRest * (after - before);
  }

  // An answer that is under way on another CPU takes less.
  static constexpr std::chrono::microseconds kBesideUs{4};
  static constexpr uint32_t kTryBeside = 64;
  static constexpr int kRest = 100;
  const Duration longest_;
  bool soon_ = true;
  bool beside_ = true;
  uint32_t waits_ = 0;
  Time crowded_until_{};
};

// The rule on this machine.
using Patience = BasicPatience<HostPatience>;

// For both sides to look at the same time takes two CPUs.
inline std::chrono::microseconds patience_here(std::chrono::microseconds longest) {
  return std::thread::hardware_concurrency() < 2 ? std::chrono::microseconds(0) : longest;
}

}  // namespace run9::p9
