// Wakes: which guest threads sleep though they have been answered, and who wakes them. A wake-up from here may
// have to start another core, which costs more than most calls; a guest thread that is about to sleep wakes the
// next one for nothing, on its own core. So an answer waits for that a few microseconds.
#pragma once

#include <cstdint>
#include <vector>

#include "sentry/platform/trap/stub_abi.h"
#include "sentry/sched/event_loop.h"

namespace run9::sentry::trap {

class TrapPlatform;

class Wakes {
 public:
  explicit Wakes(TrapPlatform& platform);

  // `word`: the number of the sleep word (stub_abi.h). `state`: its thread's, in the control page; valid until
  // forget().
  void now(uint32_t word);
  void soon(uint32_t word, const uint32_t* state);
  // now(), or where there are other workers with the next say(): after a request, without the seat.
  void say();
  // The same for one whose child has come to be where it would run, and will sleep before long.
  void after_child(uint32_t word, const uint32_t* state);
  void forget(const uint32_t* state);

  // A guest thread will wake them: gives what it is told, 1 + the word.
  uint32_t announce(uint32_t word);
  // For a thread that goes to sleep: 1 + the word that it may wake, or 0. handed() once it has been told.
  uint32_t next() const { return waiting_.empty() ? 0 : waiting_.back().word + 1; }
  void handed();

  // A thread that had slept was woken on that CPU, as it says. If that is ours again and again while another
  // one is free, answers take two switches each that need none: then the worker moves over.
  void ran_on(uint32_t cpu);
  // The worker may have the core that a guest thread waits for.
  bool share_core() const { return together_ >= 2; }

  int waiting() const { return static_cast<int>(waiting_.size()); }
  void if_due() {
    if (waiting_.empty()) return;
    if (const uint64_t now = EventLoop::now_ns(); now >= due_ns_) due(now);
  }
  // Where each core has somebody at work, and calls come thick, those that wait for one take turns with the thread that has
  // it: this one has had its, and is to sleep and wake the one that has waited longest.
  bool turn_is_over() const { return turn_over_; }
  void next_turn();
  void all_now();
  static bool waits_awake(const ControlPage& page) { return __atomic_load_n(&page.line.state, __ATOMIC_RELAXED) == kRequest; }
  // Has one that waits awake wake another before it sleeps (1 + its word; 0: nobody). False: it sleeps already.
  static bool send_to_sleep(ControlPage& page, uint32_t hand_to);
  // The thread of this page waits, awake, for an answer that does not come: it can wake who is answered next.
  void offer(ControlPage& page) { offered_ = &page; }
  // That of this one will end before long.
  void ends(ControlPage& page) { ending_ = &page; }
  void withdraw(const ControlPage* first, const ControlPage* end) {
    for (ControlPage** p : {&offered_, &ending_}) {
      if (*p >= first && *p < end) *p = nullptr;
    }
  }
  // For a thread that is to end, which nobody waits for: when there is time, let_leave().
  void leave(uint32_t word);
  void let_leave();
  bool leaving() const { return !leaving_.empty(); }

 private:
  void later(uint32_t word);
  struct Sleeper {
    uint32_t word;
    const uint32_t* state;
  };
  void due(uint64_t now);
  void to_check(const Sleeper& sleeper);
  bool left_to_offered(const Sleeper& sleeper);
  bool left_to_ending(const Sleeper& sleeper);
  void wait(const Sleeper& sleeper, uint64_t patience);
  void begin_turn(uint64_t now);
  void check_handed();
  void move_over();
  uint32_t* word(uint32_t n) const;

  TrapPlatform& platform_;
  std::vector<Sleeper> waiting_;
  std::vector<uint32_t> leaving_, unsaid_;
  ControlPage *offered_ = nullptr, *ending_ = nullptr;
  uint64_t due_ns_ = 0, patience_ns_;  // longer where others went on asking the last time
  uint64_t turn_ends_ns_ = 0, requests_seen_ = 0;
  bool turn_over_ = false;
  // Left to guest threads, which may be stopped, or lie: looked after once more.
  std::vector<Sleeper> handed_;
  Timer check_;
  int together_ = 0;  // how often on our CPU, without a break
  uint64_t next_move_ns_ = 0;
};

}  // namespace run9::sentry::trap
