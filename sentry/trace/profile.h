// Profile: where the time of guest threads goes, by system call and by layer. Off most of the time; `run9 profile`
// turns it on for a while. docs/USING.md says what each layer's time is.
//
// What a guest thread notes down about itself (ThreadTimes) is a hint: it may lie, and then moves time between
// layers of its own calls, never beyond what went by between the Sentry's own stamps.
#pragma once
#include <string_view>
#include <vector>

#include "base/layer_clock.h"
#include "sentry/platform/platform.h"

namespace run9::sentry {

class Kernel;

struct ProfileRow {
  std::string_view name;
  LayerTimes times;
};

struct ProfileResult {
  uint64_t wall_ns = 0;
  uint64_t sentry_ns = 0;  // CPU time of this process
  double ns_per_tick = 0;
  std::vector<ProfileRow> rows;  // those that occurred
};

class Profile {
 public:
  explicit Profile(Kernel& kernel);

  bool on() const { return LayerClock::started != 0; }
  void start();
  // Off again: what was seen since start().
  ProfileResult stop();

  // A new thread is let go.
  void born(LayerSpan& span) {
    if (on()) [[unlikely]] span = {.row = start_row(), .since = layer_ticks()};
  }
  // A thread came to the Sentry; its fiber runs; it goes on.
  void taken(LayerSpan& span, Context& context, EventKind kind) {
    if (on()) [[unlikely]] take(span, context.take_times(), row_of(kind, context.call_regs().orig_rax));
  }
  void handled(LayerSpan& span) {
    if (on()) [[unlikely]] begin(span);
  }
  void handed_back(LayerSpan& span) {
    if (on()) [[unlikely]] end(span);
  }

 private:
  LayerTimes* start_row();
  LayerTimes* row_of(EventKind kind, uint64_t number);
  void take(LayerSpan& span, const ThreadTimes& times, LayerTimes* row);
  uint64_t add_own_calls(const ThreadTimes& times, uint64_t most);
  void begin(LayerSpan& span);
  void end(LayerSpan& span);

  Kernel& kernel_;
  std::vector<LayerTimes> rows_;  // calls, then kinds of events; made by the first start(), never moved
  uint64_t started_ns_ = 0, started_cpu_ns_ = 0;
};

}  // namespace run9::sentry
