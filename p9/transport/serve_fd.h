// Serves one connected unix stream socket on the calling thread until the peer hangs up.
#pragma once
#include <chrono>

#include "p9/server/session.h"

namespace run9::p9 {

struct ServeOptions {
  SessionOptions session;
  // How long to poll for the next request before sleeping in the kernel. Waking a sleeper on
  // another CPU costs a client 50 to 100 us; polling costs this CPU. Only while requests follow each
  // other as quickly as that. 0: always sleep.
  std::chrono::microseconds busy_poll{0};
};

// ok() when the peer closed, EPROTO when it broke the framing or never said Tversion; else the
// socket's error. Borrows the socket, which may be blocking or not.
Result<void> serve_fd(BorrowedFd socket, FileServer& server, const ServeOptions& options = {});

// As recv does: all replies of the batch, each frame with a descriptor by a sendmsg of its own.
Result<void> send_replies(BorrowedFd socket, ReplyBatch& batch);

}  // namespace run9::p9
