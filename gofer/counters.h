// What a gofer has done, counted for --control. Each thread that serves has its own Counters and
// alone writes them; the control thread reads, and gets numbers that were true a moment ago.
#pragma once
#include <array>
#include <atomic>
#include <cstdint>
#include <span>

#include "p9/messages.h"

namespace run9::gofer {

class Counter {
 public:
  // By the one writer: no locked instruction.
  void add(uint64_t n) { set(get() + n); }
  void set(uint64_t n) { value_.store(n, std::memory_order_relaxed); }
  uint64_t get() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> value_ = 0;
};

struct RequestCounters {
  Counter count, errors, bytes_in, bytes_out, nanoseconds;
};

class Counters {
 public:
  // Requests have even numbers; what comes under another is counted at 0, which no request has.
  static constexpr size_t kTypes = 128;
  static size_t index_of(p9::MsgType type) {
    return p9::is_request(type) ? p9::to_int(type) / 2 : 0;
  }
  static p9::MsgType type_at(size_t index) { return static_cast<p9::MsgType>(index * 2); }

  std::array<RequestCounters, kTypes> requests;
  Counter connections, open, fids, donated;
};

// Of each job, all 0. Most jobs of a sandbox are never asked for much: pages that nobody counts in are not there. Kept for the
// process's life.
std::span<Counters> make_counters(size_t jobs);

}  // namespace run9::gofer
