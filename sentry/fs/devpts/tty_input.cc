// The line discipline's input half (n_tty.c): what typed bytes become, and how reads see them.
#include <poll.h>
#include <termios.h>

#include <algorithm>

#include "sentry/fs/devpts/tty.h"
#include "sentry/task/kernel.h"

namespace run9::sentry {
namespace {

constexpr size_t kInputLimit = 4095;
constexpr uint64_t kDecisecond = 100'000'000;

bool is_control(uint8_t c) { return c < 32 || c == 127; }
bool is_continuation(uint8_t c) { return (c & 0xc0) == 0x80; }
bool is_word(uint8_t c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
         c >= 128;
}

}  // namespace

// 0 (_POSIX_VDISABLE) switches a control character off.
bool Tty::is_cc(size_t which, uint8_t c) const {
  return termios_.cc[which] == c && c != 0;
}

bool Tty::canonical() const { return has(ICANON); }

bool Tty::has_room() const {
  // A line too long to edit loses what comes, or its end could never be typed.
  return in_.size() < kInputLimit || (canonical() && committed_ == 0);
}

size_t Tty::input(ByteSpan bytes) {
  const auto keep = shared_from_this();
  size_t done = 0;
  while (done < bytes.size() && has_room()) receive(static_cast<uint8_t>(bytes[done++]));
  if (output_size() > 0) notify_peer();
  // A reader that has some of its VMIN bytes wants the rest; one that polls looks again.
  if (input_available(false)) queue_.notify_all(POLLIN | POLLRDNORM);
  return done;
}

void Tty::append(uint8_t c, uint16_t mark) {
  // Room for the end of the line is kept.
  if (in_.size() >= kInputLimit && mark == 0) return;
  in_.push_back(static_cast<uint16_t>(c | mark));
  if (!canonical() || mark != 0) committed_ = in_.size();
}

void Tty::receive(uint8_t c) {
  const uint32_t iflag = termios_.iflag;
  if ((iflag & ISTRIP) != 0) c &= 0x7f;
  if ((iflag & IUCLC) != 0 && has(IEXTEN) && c >= 'A' && c <= 'Z') c = static_cast<uint8_t>(c + 32);
  if (literal_next_) {
    literal_next_ = false;
    if (has(ECHO)) echo(c);
    return append(c);
  }
  if ((iflag & IXON) != 0) {
    if (is_cc(VSTART, c)) return set_stopped(false);
    if (is_cc(VSTOP, c)) return set_stopped(true);
    if (flow_stopped_ && (iflag & IXANY) != 0) set_stopped(false);
  }
  if (has(ISIG) && receive_signal(c)) return;
  if (c == '\r') {
    if ((iflag & IGNCR) != 0) return;
    if ((iflag & ICRNL) != 0) c = '\n';
  } else if (c == '\n' && (iflag & INLCR) != 0) {
    c = '\r';
  }
  if (canonical() && receive_canonical(c)) return;
  if (has(ECHO)) {
    if (in_.size() == committed_) line_column_ = column_;
    if (c == '\n') echo_raw('\n');
    else echo(c);
  }
  if (c == 0xff && (iflag & PARMRK) != 0 && (iflag & ISTRIP) == 0) append(c);
  append(c);
}

bool Tty::receive_signal(uint8_t c) {
  const int sig = is_cc(VINTR, c) ? SIGINT : is_cc(VQUIT, c) ? SIGQUIT : is_cc(VSUSP, c) ? SIGTSTP : 0;
  if (sig == 0) return false;
  if ((termios_.iflag & IXON) != 0) set_stopped(false);
  if (!has(NOFLSH)) {
    flush_input();
    flush_output();
  }
  if (has(ECHO)) echo(c);
  signal_foreground(sig);
  return true;
}

bool Tty::receive_canonical(uint8_t c) {
  const bool extended = has(IEXTEN);
  if (is_cc(VERASE, c) || is_cc(VKILL, c) || (extended && is_cc(VWERASE, c))) {
    erase(c);
    return true;
  }
  if (extended && is_cc(VLNEXT, c)) {
    literal_next_ = true;
    if (has(ECHO) && has(ECHOCTL)) {
      echo_raw('^');
      echo_raw('\b');
    }
    return true;
  }
  if (extended && has(ECHO) && is_cc(VREPRINT, c)) {
    echo(c);
    echo_raw('\n');
    for (size_t i = committed_; i < in_.size(); ++i) echo(static_cast<uint8_t>(in_[i]));
    return true;
  }
  if (c == '\n') {
    if (has(ECHO) || has(ECHONL)) echo_raw('\n');
    append(c, kLineEnd);
    return true;
  }
  if (is_cc(VEOF, c)) {
    append(0, kLineEnd | kNoByte);
    return true;
  }
  if (is_cc(VEOL, c) || (extended && is_cc(VEOL2, c))) {
    if (has(ECHO)) echo(c);
    append(c, kLineEnd);
    return true;
  }
  return false;
}

void Tty::echo(uint8_t c) {
  if (has(ECHOCTL) && is_control(c) && c != '\t') {
    echo_raw('^');
    echo_raw(c ^ 0100);
  } else {
    echo_raw(c);
  }
}

void Tty::erase(uint8_t c) {
  if (in_.size() == committed_) return;
  const bool kill = is_cc(VKILL, c);
  const bool word = !kill && !is_cc(VERASE, c);
  if (kill && (!has(ECHO) || !has(ECHOE) || !has(ECHOK) || !has(ECHOKE))) {
    in_.resize(committed_);
    if (!has(ECHO)) return;
    echo(c);
    if (has(ECHOK)) echo_raw('\n');
    return;
  }
  bool seen_word = false;
  while (in_.size() > committed_) {
    if (word) {
      const bool in_word = is_word(static_cast<uint8_t>(in_.back()));
      if (seen_word && !in_word) break;
      seen_word = in_word;
    }
    if (has(ECHO) && !has(ECHOE)) {
      in_.pop_back();
      echo(c);
    } else {
      erase_one(true);
    }
    if (!kill && !word) break;
  }
}

// The last character leaves the line and the screen.
void Tty::erase_one(bool whole_character) {
  uint8_t c = static_cast<uint8_t>(in_.back());
  in_.pop_back();
  if ((termios_.iflag & IUTF8) != 0 && whole_character) {
    while (is_continuation(c) && in_.size() > committed_) {
      c = static_cast<uint8_t>(in_.back());
      in_.pop_back();
    }
  }
  if (!has(ECHO)) return;
  if (c == '\t') {
    const unsigned to = width_before_end();
    while (column_ > to) echo_raw('\b');
    return;
  }
  const unsigned width = is_control(c) ? (has(ECHOCTL) ? 2 : 0) : 1;
  for (unsigned i = 0; i < width; ++i) {
    echo_raw('\b');
    echo_raw(' ');
    echo_raw('\b');
  }
}

// The column after the line as it is now.
unsigned Tty::width_before_end() const {
  unsigned at = line_column_;
  for (size_t i = committed_; i < in_.size(); ++i) {
    const auto c = static_cast<uint8_t>(in_[i]);
    if (c == '\t') {
      at += 8 - (at & 7);
    } else if (is_control(c)) {
      at += has(ECHOCTL) ? 2 : 0;
    } else if ((termios_.iflag & IUTF8) == 0 || !is_continuation(c)) {
      ++at;
    }
  }
  return at;
}

size_t Tty::available() const {
  if (!canonical()) return in_.size();
  return static_cast<size_t>(std::count_if(in_.begin(), in_.begin() + static_cast<ptrdiff_t>(committed_),
                                           [](uint16_t e) { return (e & kNoByte) == 0; }));
}

bool Tty::input_available(bool for_poll) const {
  if (canonical()) return committed_ > 0;
  const size_t wanted =
      for_poll && termios_.cc[VTIME] == 0 && termios_.cc[VMIN] != 0 ? termios_.cc[VMIN] : 1;
  return in_.size() >= wanted;
}

// Takes what is there, up to the end of a line if lines are on.
size_t Tty::copy_input(std::span<std::byte> dst, bool& line_done) {
  size_t n = 0;
  while (committed_ > 0) {
    const uint16_t e = in_.front();
    // An end-of-file that follows the last byte that fits belongs to this line.
    if (n == dst.size() && !(canonical() && n > 0 && (e & kNoByte) != 0)) break;
    in_.pop_front();
    --committed_;
    if ((e & kNoByte) == 0) dst[n++] = std::byte(e & 0xff);
    if (canonical() && (e & kLineEnd) != 0) {
      line_done = true;
      break;
    }
  }
  return n;
}

Result<size_t> Tty::read(vfs::OpContext& ctx, How how, std::span<std::byte> dst) {
  if (how.generation != generation_) return 0;
  TRY(check_change(ctx, SIGTTIN));
  const auto keep = shared_from_this();
  const uint64_t time = termios_.cc[VTIME] * kDecisecond;
  std::optional<uint64_t> deadline;
  if (!canonical() && termios_.cc[VMIN] == 0) deadline = EventLoop::now_ns() + time;
  size_t done = 0;
  while (done < dst.size()) {
    if (how.generation != generation_) break;
    const size_t least = canonical() ? 1 : termios_.cc[VMIN];
    if (input_available(false)) {
      const bool was_full = !has_room();
      bool line_done = false;
      done += copy_input(dst.subspan(done), line_done);
      after_read(was_full);
      if (line_done || canonical() || done >= least) break;
      // The clock between bytes starts with the first.
      if (time > 0 && least > 0) deadline = EventLoop::now_ns() + time;
      continue;
    }
    if (master_gone_) return done > 0 ? Result<size_t>(done) : Errno{EIO};
    if (how.nonblocking) return done > 0 ? Result<size_t>(done) : Errno{EAGAIN};
    if (!canonical() && least == 0 && time == 0) break;
    const auto waited = ctx.wait(queue_, POLLIN, deadline);
    if (!waited.has_value()) {
      if (waited.error() == Errno{ETIMEDOUT}) break;
      return done > 0 ? Result<size_t>(done) : waited.error();
    }
    // A wake-up may be for the foreground.
    if (done == 0 && how.generation == generation_) TRY(check_change(ctx, SIGTTIN));
  }
  return done;
}

void Tty::after_read(bool was_full) {
  if (was_full && has_room() && peer_ != nullptr) peer_->input_room();
}

}  // namespace run9::sentry
