// One line on a terminal that says how far a long copy is; nothing where stderr is no terminal, or the copy is short.
#pragma once
#include <chrono>
#include <cstdint>
#include <string>

namespace run9::cli {

class Progress {
 public:
  enum class Show { kNever, kOnTerminal };
  explicit Progress(Show show);
  ~Progress() { clear(); }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // What follows belongs to this file; total 0: unknown.
  void begin(std::string_view name, uint64_t total);
  void add(uint64_t bytes);
  uint64_t bytes() const { return all_; }
  // Takes the line away.
  void clear();

 private:
  using Clock = std::chrono::steady_clock;
  void draw(Clock::time_point now);

  const bool shown_;
  const Clock::time_point start_ = Clock::now();
  Clock::time_point next_;
  std::string name_;
  uint64_t total_ = 0;
  uint64_t done_ = 0;  // of this file
  uint64_t all_ = 0;
  bool on_screen_ = false;
};

}  // namespace run9::cli
