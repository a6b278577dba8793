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
  Result<size_t> receive(BorrowedFd socket, std::span<std::byte> to, Deadline deadline) {
    if (poll_ == Clock::duration::zero()) return wait(socket, to, poll_, deadline);
    const auto start = Clock::now();
    auto n = wait(socket, to, soon_ ? poll_ : Clock::duration::zero(), deadline);
    soon_ = Clock::now() - start <= poll_;
    return n;
  }

 private:
  static Result<size_t> wait(BorrowedFd socket, std::span<std::byte> to, Clock::duration poll, Deadline deadline);
  const Clock::duration poll_;
  bool soon_ = true;
};

// recv(2) without a control buffer: the kernel discards descriptors, which no request may bring.
Result<size_t> Waiting::wait(BorrowedFd socket, std::span<std::byte> to,
                             Clock::duration busy_poll, Deadline deadline) {
  const bool polls = busy_poll > Clock::duration::zero();
  const auto give_up = polls ? Clock::now() + busy_poll : Clock::time_point{};
  for (bool sleep = !polls;;) {
    const ssize_t n = recv(socket.get(), to.data(), to.size(), sleep && !deadline ? 0 : MSG_DONTWAIT);
    if (n >= 0) return static_cast<size_t>(n);
    if (errno == EINTR) continue;
    if (errno != EAGAIN) return last_errno();
    if (sleep) {
      TRY(wait_for(socket, POLLIN, deadline));  // or a non-blocking socket
    } else {
      sched_yield();  // whoever else has something to do here goes first
      sleep = Clock::now() >= give_up;
    }
  }
}

Deadline after(std::chrono::milliseconds time) {
  if (time.count() == 0) return std::nullopt;
  return Clock::now() + time;
}

Verdict handle_frame(Session& session, ByteSpan frame, ReplyBatch& batch, ServeObserver* observer) {
  if (observer == nullptr) return session.handle_frame(frame, batch);
  const size_t start = batch.bytes.size(), donations = batch.donations.size();
  observer->requested(frame);
  const Verdict verdict = session.handle_frame(frame, batch);
  if (const ByteSpan reply = batch.bytes.bytes().subspan(start); !reply.empty()) {
    observer->replied(reply, batch.donations.size() > donations, session);
  }
  return verdict;
}

}  // namespace

Result<void> send_replies(BorrowedFd socket, ReplyBatch& batch, std::chrono::milliseconds timeout) {
  const ByteSpan bytes = batch.bytes.bytes();
  if (bytes.empty()) return ok();
  const Deadline deadline = after(timeout);
  size_t sent = 0;
  for (const ReplyBatch::Donation& d : batch.donations) {
    TRY(send_with_fds(socket, bytes.subspan(sent, d.start - sent), {}, deadline));
    TRY(send_with_fds(socket, bytes.subspan(d.start, d.end - d.start), d.fds, deadline));
    sent = d.end;
  }
  TRY(send_with_fds(socket, bytes.subspan(sent), {}, deadline));
  batch.clear();
  return ok();
}

Result<void> serve_fd(BorrowedFd socket, FileServer& server, const ServeOptions& options) {
  Session session(server, options.session);
  FrameSplitter splitter(session.max_frame());
  ReplyBatch batch;
  Waiting waiting(options.busy_poll);
  Deadline deadline;  // of a frame that has begun
  for (;;) {
    const size_t n = TRY(waiting.receive(socket, splitter.space(), deadline));
    if (n == 0) return ok();
    splitter.commit(n);
    for (;;) {
      const auto frame = splitter.next();
      if (!frame || (!frame.assume_value().empty() &&
                     handle_frame(session, frame.assume_value(), batch, options.observer) == Verdict::kClose)) {
        // What was answered before still goes out.
        TRY(send_replies(socket, batch, options.frame_timeout));
        return Errno{EPROTO};
      }
      if (frame.assume_value().empty()) break;
      deadline.reset();
      splitter.set_max_frame(session.max_frame());
      if (batch.bytes.size() >= kFlushAt) TRY(send_replies(socket, batch, options.frame_timeout));
    }
    if (splitter.buffered() == 0) deadline.reset();
    else if (!deadline) deadline = after(options.frame_timeout);
    TRY(send_replies(socket, batch, options.frame_timeout));
  }
}

}  // namespace run9::p9
