#include "p9/transport/serve_fd.h"

#include <poll.h>
#include <sched.h>
#include <sys/socket.h>

#include "p9/transport/socket_io.h"

namespace run9::p9 {

namespace {

using Clock = std::chrono::steady_clock;

// Answer what has arrived before this much is waiting to be sent, so that a peer that only sends
// cannot make us hold its replies.
constexpr size_t kFlushAt = 256 * 1024;

// When to poll and when to sleep: whoever asked again within the time of a poll will do so once more.
class Waiting {
 public:
  explicit Waiting(Clock::duration poll) : poll_(poll) {}
  Result<size_t> receive(BorrowedFd socket, std::span<std::byte> to) {
    if (poll_ == Clock::duration::zero()) return wait(socket, to, poll_);
    const auto start = Clock::now();
    auto n = wait(socket, to, soon_ ? poll_ : Clock::duration::zero());
    soon_ = Clock::now() - start <= poll_;
    return n;
  }

 private:
  static Result<size_t> wait(BorrowedFd socket, std::span<std::byte> to, Clock::duration poll);
  const Clock::duration poll_;
  bool soon_ = true;
};

// recv(2) without a control buffer: the kernel discards descriptors, which no request may bring.
Result<size_t> Waiting::wait(BorrowedFd socket, std::span<std::byte> to,
                             Clock::duration busy_poll) {
  const bool polls = busy_poll > Clock::duration::zero();
  const auto give_up = polls ? Clock::now() + busy_poll : Clock::time_point{};
  for (bool sleep = !polls;;) {
    const ssize_t n = recv(socket.get(), to.data(), to.size(), sleep ? 0 : MSG_DONTWAIT);
    if (n >= 0) return static_cast<size_t>(n);
    if (errno == EINTR) continue;
    if (errno != EAGAIN) return last_errno();
    if (sleep) {
      pollfd p{socket.get(), POLLIN, 0};  // a non-blocking socket
      if (poll(&p, 1, -1) < 0 && errno != EINTR) return last_errno();
    } else {
      sched_yield();  // whoever else has something to do here goes first
      sleep = Clock::now() >= give_up;
    }
  }
}

}  // namespace

Result<void> send_replies(BorrowedFd socket, ReplyBatch& batch) {
  const ByteSpan bytes = batch.bytes.bytes();
  size_t sent = 0;
  for (const ReplyBatch::Donation& d : batch.donations) {
    TRY(send_with_fd(socket, bytes.subspan(sent, d.start - sent), BorrowedFd{}));
    TRY(send_with_fd(socket, bytes.subspan(d.start, d.end - d.start), d.fd.borrow()));
    sent = d.end;
  }
  TRY(send_with_fd(socket, bytes.subspan(sent), BorrowedFd{}));
  batch.clear();
  return ok();
}

Result<void> serve_fd(BorrowedFd socket, FileServer& server, const ServeOptions& options) {
  Session session(server, options.session);
  FrameSplitter splitter(session.max_frame());
  ReplyBatch batch;
  Waiting waiting(options.busy_poll);
  for (;;) {
    const size_t n = TRY(waiting.receive(socket, splitter.space()));
    if (n == 0) return ok();
    splitter.commit(n);
    for (;;) {
      const auto frame = splitter.next();
      if (!frame || (!frame.assume_value().empty() &&
                     session.handle_frame(frame.assume_value(), batch) == Verdict::kClose)) {
        // What was answered before still goes out.
        TRY(send_replies(socket, batch));
        return Errno{EPROTO};
      }
      if (frame.assume_value().empty()) break;
      splitter.set_max_frame(session.max_frame());
      if (batch.bytes.size() >= kFlushAt) TRY(send_replies(socket, batch));
    }
    TRY(send_replies(socket, batch));
  }
}

}  // namespace run9::p9
