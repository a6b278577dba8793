#include "sentry/fs/devpts/tty.h"

#include <poll.h>
#include <termios.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "sentry/task/kernel.h"

namespace run9::sentry {
namespace {

constexpr size_t kOutputLimit = 64 * 1024;  // writers wait above this
constexpr uint8_t kControlChars[19] = {3, 28, 127, 21, 4, 0, 1, 0, 17, 19, 26, 0, 18, 15, 23, 22};

}  // namespace

Tty::Tty(Kernel& kernel, int index) : kernel_(kernel), index_(index), termios_{} {
  termios_.iflag = ICRNL | IXON;
  termios_.oflag = OPOST | ONLCR;
  termios_.cflag = B38400 | CS8 | CREAD;
  termios_.lflag = ISIG | ICANON | ECHO | ECHOE | ECHOK | ECHOCTL | ECHOKE | IEXTEN;
  std::memcpy(termios_.cc, kControlChars, sizeof kControlChars);
  termios_.ispeed = termios_.ospeed = 38400;
}

Tty::~Tty() {
  if (own_peer_ != nullptr) own_peer_->tty_ends();
}

void Tty::own_peer(std::shared_ptr<TtyPeer> peer) {
  peer_ = peer.get();
  own_peer_ = std::move(peer);
}

void Tty::slave_opened() {
  opened_once_ = true;
  ++opens_;
}

void Tty::slave_closed(uint64_t generation) {
  // A hang-up has closed the older ones.
  if (generation == generation_ && --opens_ == 0) notify_peer();
}

void Tty::notify_peer() {
  if (peer_ != nullptr) peer_->output_ready();
}

void Tty::put_output(uint8_t c) {
  // Echo is not held back by a reader that does not read, only cut.
  if (master_gone_ || output_size() >= 2 * kOutputLimit) return;
  if ((termios_.oflag & OPOST) == 0) {
    out_ += static_cast<char>(c);
    return;
  }
  switch (c) {
    case '\n':
      if ((termios_.oflag & ONLRET) != 0) column_ = 0;
      if ((termios_.oflag & ONLCR) != 0) {
        out_ += '\r';
        column_ = 0;
      }
      line_column_ = column_;
      break;
    case '\r':
      if ((termios_.oflag & ONOCR) != 0 && column_ == 0) return;
      line_column_ = column_ = 0;
      if ((termios_.oflag & OCRNL) != 0) c = '\n';
      break;
    case '\t': {
      const unsigned spaces = 8 - (column_ & 7);
      column_ += spaces;
      if ((termios_.oflag & TABDLY) != XTABS) break;
      out_.append(spaces, ' ');
      return;
    }
    case '\b':
      if (column_ > 0) --column_;
      break;
    default:
      if ((termios_.oflag & OLCUC) != 0 && c >= 'a' && c <= 'z') c = static_cast<uint8_t>(c - 32);
      // Continuation bytes of UTF-8 take no room.
      if (c >= 32 && c != 127 && ((termios_.iflag & IUTF8) == 0 || (c & 0xc0) != 0x80)) ++column_;
  }
  out_ += static_cast<char>(c);
}

std::string_view Tty::output() const {
  return flow_stopped_ ? std::string_view() : std::string_view(out_).substr(out_at_);
}

void Tty::consume_output(size_t n) {
  out_at_ += std::min(n, output_size());
  if (out_at_ == out_.size()) {
    out_.clear();
    out_at_ = 0;
  } else if (out_at_ > kOutputLimit) {
    out_.erase(0, out_at_);
    out_at_ = 0;
  }
  if (output_size() < kOutputLimit) queue_.notify_all(POLLOUT | POLLWRNORM);
}

size_t Tty::take_output(std::span<std::byte> dst) {
  const auto text = output();
  const size_t n = std::min(dst.size(), text.size());
  std::memcpy(dst.data(), text.data(), n);
  consume_output(n);
  return n;
}

Result<size_t> Tty::write(vfs::OpContext& ctx, How how, ByteSpan src) {
  if (how.generation != generation_) return Errno{EIO};
  if (has(TOSTOP)) TRY(check_change(ctx, SIGTTOU));
  const auto keep = shared_from_this();
  size_t done = 0;
  while (done < src.size()) {
    if (how.generation != generation_ || master_gone_) return Errno{EIO};
    if (output_size() >= kOutputLimit || flow_stopped_) {
      if (how.nonblocking) return done > 0 ? Result<size_t>(done) : Errno{EAGAIN};
      const auto waited = ctx.wait(queue_, POLLOUT);
      if (!waited.has_value()) return done > 0 ? Result<size_t>(done) : waited.error();
      continue;
    }
    while (done < src.size() && output_size() < kOutputLimit) {
      put_output(static_cast<uint8_t>(src[done++]));
    }
    // What follows on this line after a prompt starts where the prompt ends.
    line_column_ = column_;
    notify_peer();
  }
  return done;
}

uint32_t Tty::poll(uint64_t generation) const {
  if (generation != generation_) {
    return POLLIN | POLLOUT | POLLERR | POLLHUP | POLLRDNORM | POLLWRNORM;
  }
  uint32_t bits = input_available(true) ? uint32_t{POLLIN | POLLRDNORM} : 0u;
  if (output_size() < kOutputLimit && !flow_stopped_) bits |= POLLOUT | POLLWRNORM;
  if (master_gone_) bits |= POLLHUP | POLLIN | POLLRDNORM;
  return bits;
}

void Tty::set_window(const winsize& w) {
  if (std::memcmp(&w, &window_, sizeof w) == 0) return;
  window_ = w;
  signal_foreground(SIGWINCH);
}

void Tty::set_packet_mode(bool on) {
  if (on && !packet_mode_) packet_ = 0;
  packet_mode_ = on;
}

void Tty::add_packet(uint8_t bit) {
  if (!packet_mode_) return;
  constexpr uint8_t kStops = TIOCPKT_STOP | TIOCPKT_START;
  constexpr uint8_t kDoes = TIOCPKT_DOSTOP | TIOCPKT_NOSTOP;
  if ((bit & kStops) != 0) packet_ = static_cast<uint8_t>(packet_ & ~kStops);
  if ((bit & kDoes) != 0) packet_ = static_cast<uint8_t>(packet_ & ~kDoes);
  packet_ = static_cast<uint8_t>(packet_ | bit);
  notify_peer();
}

void Tty::set_stopped(bool stopped) {
  if (flow_stopped_ == stopped) return;
  flow_stopped_ = stopped;
  add_packet(stopped ? TIOCPKT_STOP : TIOCPKT_START);
  if (stopped) return;
  notify_peer();
  queue_.notify_all(POLLOUT | POLLWRNORM);
}

void Tty::flush_input() {
  const bool had_room = has_room();
  in_.clear();
  committed_ = 0;
  literal_next_ = false;
  add_packet(TIOCPKT_FLUSHREAD);
  if (!had_room && peer_ != nullptr) peer_->input_room();
}

void Tty::flush_output() {
  consume_output(output_size());
  add_packet(TIOCPKT_FLUSHWRITE);
}

void Tty::hang_up() {
  const auto keep = shared_from_this();
  ++generation_;
  opens_ = 0;
  flush_input();
  set_stopped(false);
  // tty_signal_session_leader()
  if (const SessionRef s = session()) {
    const int32_t foreground = s->foreground_pgid;
    s->tty.reset();
    s->foreground_pgid = 0;
    if (const auto leader = kernel_.find_process(s->sid)) {
      (void)kernel_.send_signal(*leader, SigInfo::kernel(SIGHUP)).has_value();
      (void)kernel_.send_signal(*leader, SigInfo::kernel(SIGCONT)).has_value();
    }
    if (foreground != 0) {
      (void)kernel_.send_group_signal(foreground, SigInfo::kernel(SIGHUP)).has_value();
      (void)kernel_.send_group_signal(foreground, SigInfo::kernel(SIGCONT)).has_value();
    }
  }
  session_.reset();
  queue_.notify_all();
  notify_peer();
}

void Tty::master_closed() {
  const auto keep = shared_from_this();
  master_gone_ = true;
  out_.clear();
  out_at_ = 0;
  if (own_peer_ == nullptr) peer_ = nullptr;
  hang_up();
}

}  // namespace run9::sentry
