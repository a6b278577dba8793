// Serves one connected stream socket on the calling thread until the peer hangs up; through a ring, once the client
// asks for one.
#pragma once
#include <chrono>
#include <optional>

#include "p9/server/session.h"
#include "p9/transport/ring_line.h"

namespace run9::p9 {

// Sees each message of a connection.
class ServeObserver {
 public:
  virtual ~ServeObserver() = default;
  virtual void requested(ByteSpan frame) = 0;
  // The reply to the last one, and how many descriptors go with it; not yet sent.
  virtual void replied(ByteSpan frame, size_t fds, const Session& session) = 0;
  // One to an earlier request, which waited.
  virtual void replied_late(ByteSpan /*frame*/) {}
};

struct ServeOptions {
  SessionOptions session;
  // How long to look for the next request before sleeping in the kernel, as long as requests follow each other as
  // quickly as that. 0: always sleep.
  std::chrono::microseconds busy_poll{0};
  // What a peer may take from a frame's first byte to its last, and to read the replies that are sent together (up
  // to msize and 256 KiB). Between frames it may take as long as it likes. 0: here too.
  std::chrono::milliseconds frame_timeout{0};
  ServeObserver* observer = nullptr;
};

// The server's end of a connection: where requests come from and replies go to. Borrows the socket, which may be
// blocking or not.
class ServerLine {
 public:
  // frame_timeout: as ServeOptions has it, for sending.
  ServerLine(BorrowedFd socket, std::chrono::microseconds busy_poll, std::chrono::milliseconds frame_timeout)
      : socket_(socket), busy_poll_(busy_poll), frame_timeout_(frame_timeout), patience_(busy_poll) {}

  // Some bytes; 0: the peer has closed. ETIMEDOUT. EINTR: `news`, if it is valid, has become readable first.
  Result<size_t> receive(std::span<std::byte> to, Deadline deadline, BorrowedFd news = {});
  // All of the batch, each frame with descriptors by a sendmsg of its own. ETIMEDOUT. After the reply to a Tring the
  // ring is used.
  Result<void> send(ReplyBatch& batch);
  // For SessionOptions::make_ring: once in a connection.
  Result<RingMemory> make_ring(uint32_t wanted);
  // The peer may not send anything between its Tring and the reply.
  bool ring_is_next() const { return next_.has_value(); }

 private:
  Result<void> send(ByteSpan bytes, std::span<const UniqueFd> fds, Deadline deadline);

  const BorrowedFd socket_;
  const std::chrono::microseconds busy_poll_;
  const std::chrono::milliseconds frame_timeout_;
  Patience patience_;
  std::optional<Ring> next_;  // as soon as the client has been told
  std::optional<RingLine> ring_;
};

// ok() when the peer closed, EPROTO when it broke the framing or never said Tversion, ETIMEDOUT when it took too
// long; else the socket's error. `options.session.make_ring` is this function's.
Result<void> serve_fd(BorrowedFd socket, FileServer& server, const ServeOptions& options = {});

}  // namespace run9::p9
