// Serves one connected unix stream socket on the calling thread until the peer hangs up.
#pragma once
#include <chrono>

#include "p9/server/session.h"

namespace run9::p9 {

// Sees each message of a connection.
class ServeObserver {
 public:
  virtual ~ServeObserver() = default;
  virtual void requested(ByteSpan frame) = 0;
  // The reply to the last one; not yet sent.
  virtual void replied(ByteSpan frame, bool donates, const Session& session) = 0;
};

struct ServeOptions {
  SessionOptions session;
  // How long to poll for the next request before sleeping in the kernel. Waking a sleeper on
  // another CPU costs a client 50 to 100 us; polling costs this CPU. Only while requests follow each
  // other as quickly as that. 0: always sleep.
  std::chrono::microseconds busy_poll{0};
  // What a peer may take from a frame's first byte to its last, and to read the replies that are sent together (up
  // to msize and 256 KiB). Between frames it may take as long as it likes. 0: here too.
  std::chrono::milliseconds frame_timeout{0};
  ServeObserver* observer = nullptr;
};

// ok() when the peer closed, EPROTO when it broke the framing or never said Tversion, ETIMEDOUT when it took too
// long; else the socket's error. Borrows the socket, which may be blocking or not.
Result<void> serve_fd(BorrowedFd socket, FileServer& server, const ServeOptions& options = {});

// As recv does: all replies of the batch, each frame with descriptors by a sendmsg of its own. ETIMEDOUT; 0: never.
Result<void> send_replies(BorrowedFd socket, ReplyBatch& batch, std::chrono::milliseconds timeout = {});

}  // namespace run9::p9
