#include "cli/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include "cli/report.h"

namespace run9::cli {

namespace {
using namespace std::chrono_literals;
constexpr auto kFirst = 500ms;  // what is over sooner needs no progress
constexpr auto kEvery = 100ms;
}  // namespace

Progress::Progress(Show show)
    : shown_(show == Show::kOnTerminal && isatty(STDERR_FILENO) == 1), next_(start_ + kFirst) {}

void Progress::begin(std::string_view name, uint64_t total) {
  name_ = printable(name);
  if (name_.size() > 40) name_ = "..." + name_.substr(name_.size() - 37);
  total_ = total;
  done_ = 0;
}

void Progress::add(uint64_t bytes) {
  done_ += bytes;
  all_ += bytes;
  if (!shown_) return;
  const auto now = Clock::now();
  if (now < next_) return;
  next_ = now + kEvery;
  draw(now);
}

void Progress::draw(Clock::time_point now) {
  const double rate = static_cast<double>(all_) / std::chrono::duration<double>(now - start_).count();
  std::string part = size_text(static_cast<double>(done_));
  if (total_ != 0) {
    part += fmt::format(" of {} ({:.0f} %)", size_text(static_cast<double>(total_)),
                        100.0 * static_cast<double>(done_) / static_cast<double>(total_));
  }
  fmt::print(stderr, "\r\033[K{}  {}  {}/s", name_, part, size_text(rate));
  on_screen_ = true;
}

void Progress::clear() {
  if (on_screen_) fmt::print(stderr, "\r\033[K");
  on_screen_ = false;
}

}  // namespace run9::cli
