#include "runtime/relay.h"

#include <sys/socket.h>
#include <unistd.h>

namespace run9::runtime {

constexpr size_t kChunk = 16384;

void Relay::prepare(std::vector<pollfd>& out) {
  pollfd p{.fd = -1, .events = 0, .revents = 0};
  if (!done_) {
    p.fd = pending_.empty() ? from_.get() : to_.get();
    p.events = pending_.empty() ? POLLIN : POLLOUT;
  }
  out.push_back(p);
}

void Relay::on_ready(const pollfd& entry) {
  if (done_ || entry.fd < 0 || entry.revents == 0) return;
  if (pending_.empty()) read_some();
  if (!pending_.empty() && (entry.events & POLLOUT) != 0) write_some();
}

void Relay::read_some() {
  char buffer[kChunk];
  const ssize_t n = read(from_.get(), buffer, sizeof buffer);
  if (n > 0) {
    pending_.assign(buffer, static_cast<size_t>(n));
  } else if (n == 0 || (errno != EINTR && errno != EAGAIN)) {
    finish();
  }
}

// One write after POLLOUT: a terminal or pipe then takes at least something without blocking for
// long, and what we own is non-blocking.
void Relay::write_some() {
  const size_t want = outward_ ? std::min<size_t>(pending_.size(), 4096) : pending_.size();
  const ssize_t n = write(to_.get(), pending_.data(), want);
  if (n > 0) {
    pending_.erase(0, static_cast<size_t>(n));
  } else if (n < 0 && errno != EINTR && errno != EAGAIN) {
    finish();
  }
}

void Relay::finish() {
  done_ = true;
  pending_.clear();
  // The other direction of a terminal's socket stays open: only our writing ends.
  if (!outward_ && shutdown(owned_.get(), SHUT_WR) == 0) return;
  owned_.reset();
}

void drain(std::vector<Relay>& relays, int idle_ms) {
  for (;;) {
    std::vector<pollfd> waits;
    std::vector<Relay*> which;
    for (Relay& r : relays) {
      if (!r.outward() || r.done()) continue;
      r.prepare(waits);
      which.push_back(&r);
    }
    if (waits.empty() || poll(waits.data(), waits.size(), idle_ms) <= 0) return;
    for (size_t i = 0; i < waits.size(); ++i) which[i]->on_ready(waits[i]);
  }
}

}  // namespace run9::runtime
