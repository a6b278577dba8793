// LayerClock: where the time of a call goes, by layer, while somebody profiles (`run9 profile`). The Sentry's calls
// own a LayerSpan each; the code below them marks the stretches that are not its own with a LayerScope.
//
// One thread, and one span at a time that runs on it, so the state is the process's, as the log's is: the code that
// makes a host call knows no kernel, and must not be handed one for this. Off, a mark costs one branch.
#pragma once
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

namespace run9 {

enum class Layer : uint8_t { kGuest, kHandOver, kKernel, kGofer, kHost, kWait };
inline constexpr size_t kLayers = 6;

struct LayerTimes {
  uint64_t count = 0;
  std::array<uint64_t, kLayers> ticks{};
};

// Of the time stamp counter.
inline uint64_t layer_ticks() { return __builtin_ia32_rdtsc(); }

// From one change of layer to the next. `row` outlives it.
struct LayerSpan {
  LayerTimes* row = nullptr;
  uint64_t since = 0;
  Layer layer = Layer::kGuest;

  void add(Layer to, uint64_t ticks) { row->ticks[static_cast<size_t>(to)] += ticks; }
  void enter(Layer next);
};

struct LayerClock {
  inline static uint64_t started = 0;            // 0: off
  inline static LayerSpan* running = nullptr;  // whose code runs now; none: nobody's, or off
};

// What was spent before the profile began does not count.
inline void LayerSpan::enter(Layer next) {
  const uint64_t now = layer_ticks();
  const uint64_t from = std::max(since, LayerClock::started);
  if (now > from) add(layer, now - from);
  since = now;
  layer = next;
}

// This block's time is another layer's.
class LayerScope {
 public:
  explicit LayerScope(Layer layer) : span_(LayerClock::running) {
    if (span_ == nullptr) [[likely]] return;
    outer_ = span_->layer;
    span_->enter(layer);
  }
  ~LayerScope() {
    if (span_ != nullptr && LayerClock::running == span_) [[unlikely]] span_->enter(outer_);
  }
  LayerScope(const LayerScope&) = delete;
  LayerScope& operator=(const LayerScope&) = delete;

 private:
  LayerSpan* const span_;
  Layer outer_{};
};

// The fiber of a call is parked while this lives. Kernel code then waits; a gofer or the host may be at work.
class LayerPause {
 public:
  LayerPause() : span_(LayerClock::running) {
    if (span_ == nullptr) [[likely]] return;
    outer_ = span_->layer;
    if (outer_ == Layer::kKernel) span_->enter(Layer::kWait);
    LayerClock::running = nullptr;
  }
  ~LayerPause() {
    if (span_ == nullptr || LayerClock::started == 0) [[likely]] return;
    if (outer_ == Layer::kKernel) span_->enter(outer_);
    LayerClock::running = span_;
  }
  LayerPause(const LayerPause&) = delete;
  LayerPause& operator=(const LayerPause&) = delete;

 private:
  LayerSpan* const span_;
  Layer outer_{};
};

}  // namespace run9
