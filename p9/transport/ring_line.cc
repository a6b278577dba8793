#include "p9/transport/ring_line.h"

#include <poll.h>
#include <sys/socket.h>

namespace run9::p9 {

namespace {

constexpr size_t kMaxWaiting = 64;  // as many as Demux
constexpr uint32_t kLookAtSocket = 256;

// recv(2) without a control buffer: the kernel discards descriptors, which no request may bring.
Result<Received> receive_bell(BorrowedFd socket) {
  std::byte record[sizeof(uint64_t)];
  for (;;) {
    const ssize_t n = recv(socket.get(), record, sizeof record, 0);
    if (n >= 0) return Received{static_cast<size_t>(n), {}};
    if (errno != EINTR) return last_errno();
  }
}

}  // namespace

bool RingLine::ready(What what) const {
  return (what != What::kRoom && ring_.can_take()) || (what != What::kData && ring_.can_put());
}

Result<void> RingLine::wait(What what, Deadline deadline, BorrowedFd news) {
  // Here, since a peer that rings for nothing would never let poll(2) come to it.
  if (deadline && std::chrono::steady_clock::now() >= *deadline) return Errno{ETIMEDOUT};
  Result<void> done = ok();
  patience_.wait([&] { return ready(what); }, [&] { done = sleep(what, deadline, news); });
  return done;
}

Result<void> RingLine::sleep(What what, Deadline deadline, BorrowedFd news) {
  ring_.announce_sleep(what);
  if (ready(what) && !ring_.withdraw_sleep()) return ok();
  return hear_bell(deadline, news);
}

Result<void> RingLine::hear_bell(Deadline deadline, BorrowedFd news) {
  for (;;) {
    if (deadline || news.valid()) {
      const auto heard = wait_for(socket_, POLLIN, deadline, news);
      // If the peer has seen that we sleep, its bell has to be read.
      if (!heard && (heard.error() != Errno{EINTR} || !ring_.withdraw_sleep())) return heard;
    }
    if (TRY(read_record()) == Heard::kBell) return ok();
  }
}

Result<RingLine::Heard> RingLine::read_record() {
  uint64_t end = 0;
  Received got = TRY(ring_.brings_descriptors()
                         ? receive_with_fds(socket_, std::as_writable_bytes(std::span(&end, 1)), 0)
                         : receive_bell(socket_));
  if (got.bytes == 0) return Errno{ECONNRESET};
  // Without descriptors it is one that had more than there is room for here: its frame comes without them.
  if (got.fds.empty() && end == 0) return Heard::kBell;  // of any length: what it says is "look"
  if (got.bytes != sizeof end || end <= ring_.taken() || waiting_.size() >= kMaxWaiting) return Errno{EPROTO};
  if (!waiting_.empty() && end <= waiting_.back().end) return Errno{EPROTO};
  ++records_;
  waiting_.push_back({std::move(got.fds), end});
  return Heard::kDescriptors;
}

void RingLine::ring_bell(What what) {
  if (!ring_.peer_awaits(what)) return;
  const uint64_t bell = 0;
  // A peer that leaves so many unread that there is no room is not waiting for this one; one that is gone is found out
  // when we sleep.
  static_cast<void>(::send(socket_.get(), &bell, sizeof bell, MSG_NOSIGNAL | MSG_DONTWAIT));
}

// Who sleeps hears of it; a peer that always has something to say keeps us from sleeping.
Result<bool> RingLine::ended() {
  if (!last_ && ++receives_ % kLookAtSocket == 0) {
    pollfd p{socket_.get(), POLLRDHUP, 0};
    if (poll(&p, 1, 0) > 0) last_ = ring_.taken() + TRY(ring_.available());
  }
  return last_ && ring_.taken() >= *last_;
}

Result<Received> RingLine::receive(std::span<std::byte> to, Deadline deadline, BorrowedFd news) {
  size_t n = 0;
  while ((n = TRY(ring_.available())) == 0) {
    const auto woken = wait(What::kData, deadline, news);
    if (!woken && woken.error() == Errno{ECONNRESET}) return Received{};
    TRY(woken);
  }
  // Counted before the bytes of their frames were put.
  while (ring_.brings_descriptors() && ring_.descriptors() != records_) TRY(read_record());
  if (TRY(ended())) return Received{};
  n = std::min(n, to.size());
  if (last_) n = std::min<uint64_t>(n, *last_ - ring_.taken());
  if (!waiting_.empty()) n = std::min<uint64_t>(n, waiting_.front().end - ring_.taken());
  Received got{TRY(ring_.take(to.first(n))), {}};
  ring_bell(What::kRoom);
  if (!waiting_.empty() && waiting_.front().end == ring_.taken()) {
    got.fds = std::move(waiting_.front().fds);
    waiting_.pop_front();
  }
  return got;
}

Result<size_t> RingLine::send_some(ByteSpan bytes) {
  const size_t n = TRY(ring_.put(bytes));
  if (n != 0) ring_bell(What::kData);
  return n;
}

Result<void> RingLine::send(ByteSpan bytes, Deadline deadline) {
  for (;;) {
    bytes = bytes.subspan(TRY(send_some(bytes)));
    if (bytes.empty()) return ok();
    TRY(wait(What::kRoom, deadline));
  }
}

Result<void> RingLine::send_with_fds(ByteSpan frame, std::span<const UniqueFd> fds, Deadline deadline) {
  const uint64_t end = ring_.sent() + frame.size();
  TRY(p9::send_with_fds(socket_, std::as_bytes(std::span(&end, 1)), fds, deadline));
  ring_.count_descriptor();
  return send(frame, deadline);
}

}  // namespace run9::p9
