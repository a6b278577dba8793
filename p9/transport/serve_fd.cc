#include "p9/transport/serve_fd.h"

#include <poll.h>
#include <sys/socket.h>

#include "p9/transport/socket_io.h"

namespace run9::p9 {

namespace {

using Clock = std::chrono::steady_clock;

// Answer what has arrived before this much is waiting to be sent, so that a peer that only sends
// cannot make us hold its replies.
constexpr size_t kFlushAt = 256 * 1024;

// recv(2) without a control buffer: the kernel discards descriptors, which no request may bring.
Result<size_t> receive_now(BorrowedFd socket, std::span<std::byte> to, int flags) {
  for (;;) {
    const ssize_t n = recv(socket.get(), to.data(), to.size(), flags);
    if (n >= 0) return static_cast<size_t>(n);
    if (errno != EINTR) return last_errno();
  }
}

Result<size_t> receive_asleep(BorrowedFd socket, std::span<std::byte> to, Deadline deadline, BorrowedFd news) {
  for (;;) {
    auto n = receive_now(socket, to, deadline || news.valid() ? MSG_DONTWAIT : 0);
    if (n || n.error() != Errno{EAGAIN}) return n;
    TRY(wait_for(socket, POLLIN, deadline, news));  // or a non-blocking socket
  }
}

Deadline after(std::chrono::milliseconds time) {
  if (time.count() == 0) return std::nullopt;
  return Clock::now() + time;
}

// Of the first of some replies; 0 if there is none.
size_t frame_size(ByteSpan replies) {
  return replies.empty() ? 0 : decode_header(replies).assume_value().size;
}

Verdict handle_frame(Session& session, ByteSpan frame, ReplyBatch& batch, ServeObserver* observer) {
  if (observer == nullptr) return session.handle_frame(frame, batch);
  const size_t start = batch.bytes.size(), donations = batch.donations.size();
  observer->requested(frame);
  const Verdict verdict = session.handle_frame(frame, batch);
  ByteSpan reply = batch.bytes.bytes().subspan(start);
  // In front of Rflush there may be another.
  for (; frame_size(reply) < reply.size(); reply = reply.subspan(frame_size(reply))) {
    observer->replied_late(reply.first(frame_size(reply)));
  }
  if (!reply.empty()) {
    const size_t fds = batch.donations.size() > donations ? batch.donations.back().fds.size() : 0;
    observer->replied(reply, fds, session);
  }
  return verdict;
}

void take_late_replies(Session& session, ReplyBatch& batch, ServeObserver* observer) {
  const size_t start = batch.bytes.size();
  session.take_late_replies(batch);
  if (observer == nullptr) return;
  ByteSpan replies = batch.bytes.bytes().subspan(start);
  for (; !replies.empty(); replies = replies.subspan(frame_size(replies))) {
    observer->replied_late(replies.first(frame_size(replies)));
  }
}

}  // namespace

Result<size_t> ServerLine::receive(std::span<std::byte> to, Deadline deadline, BorrowedFd news) {
  if (ring_) return TRY(ring_->receive(to, deadline, news)).bytes;
  Result<size_t> n = Errno{EAGAIN};
  patience_.wait(
      [&] {
        n = receive_now(socket_, to, MSG_DONTWAIT);
        return n || n.error() != Errno{EAGAIN};
      },
      [&] { n = receive_asleep(socket_, to, deadline, news); });
  return n;
}

Result<void> ServerLine::send(ByteSpan bytes, std::span<const UniqueFd> fds, Deadline deadline) {
  if (!ring_) return send_with_fds(socket_, bytes, fds, deadline);
  return fds.empty() ? ring_->send(bytes, deadline) : ring_->send_with_fds(bytes, fds, deadline);
}

Result<void> ServerLine::send(ReplyBatch& batch) {
  const ByteSpan bytes = batch.bytes.bytes();
  if (bytes.empty()) return ok();
  const Deadline deadline = after(frame_timeout_);
  size_t sent = 0;
  for (const ReplyBatch::Donation& d : batch.donations) {
    TRY(send(bytes.subspan(sent, d.start - sent), {}, deadline));
    TRY(send(bytes.subspan(d.start, d.end - d.start), d.fds, deadline));
    sent = d.end;
  }
  TRY(send(bytes.subspan(sent), {}, deadline));
  batch.clear();
  if (next_) {
    ring_.emplace(std::move(*next_), socket_, busy_poll_);
    next_.reset();
  }
  return ok();
}

Result<RingMemory> ServerLine::make_ring(uint32_t wanted) {
  if (ring_ || next_) return Errno{EBUSY};
  RingMemory memory = TRY(Ring::make(wanted));
  next_.emplace(TRY(Ring::map(memory, Ring::Side::kServer)));
  return memory;
}

Result<void> serve_fd(BorrowedFd socket, FileServer& server, const ServeOptions& options) {
  ServerLine line(socket, options.busy_poll, options.frame_timeout);
  SessionOptions session_options = options.session;
  session_options.make_ring = [&](uint32_t wanted) { return line.make_ring(wanted); };
  Session session(server, std::move(session_options));
  FrameSplitter splitter(session.max_frame());
  ReplyBatch batch;
  Deadline deadline;  // of a frame that has begun
  for (;;) {
    const auto n = line.receive(splitter.space(), deadline, session.news());
    if (!n && n.error() == Errno{EINTR}) {
      take_late_replies(session, batch, options.observer);
      TRY(line.send(batch));
      continue;
    }
    if (TRY(n) == 0) return ok();
    splitter.commit(n.assume_value());
    for (;;) {
      const auto frame = splitter.next();
      if (!frame || (!frame.assume_value().empty() &&
                     handle_frame(session, frame.assume_value(), batch, options.observer) == Verdict::kClose)) {
        // What was answered before still goes out.
        TRY(line.send(batch));
        return Errno{EPROTO};
      }
      if (frame.assume_value().empty()) break;
      deadline.reset();
      splitter.set_max_frame(session.max_frame());
      if (line.ring_is_next() && splitter.buffered() != 0) return Errno{EPROTO};
      if (batch.bytes.size() >= kFlushAt) TRY(line.send(batch));
    }
    if (splitter.buffered() == 0) deadline.reset();
    else if (!deadline) deadline = after(options.frame_timeout);
    TRY(line.send(batch));
    server.replied();
  }
}

}  // namespace run9::p9
