#include "gofer/serve.h"

#include "base/log.h"
#include "p9/codec.h"
#include "p9/transport/socket_io.h"

namespace run9::gofer {
namespace {

// "9p 3 < Tlopen ...", "9p 3 > Rlopen ...". At the error level: who asks for this log gets it.
void log_message(uint64_t connection, char direction, ByteSpan frame) {
  log_error("9p {} {} {}", connection, direction, p9::describe(frame));
}

// p9::serve_fd, one message at a time.
Result<void> serve_logged(BorrowedFd socket, HostServer& server, const p9::ServeOptions& options) {
  p9::Session session(server, options.session);
  p9::FrameSplitter splitter(session.max_frame());
  p9::ReplyBatch batch;
  for (;;) {
    const ByteSpan frame = TRY(splitter.next());
    if (frame.empty()) {
      const p9::Received got = TRY(p9::receive_with_fd(socket, splitter.space(), 0));
      if (got.bytes == 0) return ok();
      splitter.commit(got.bytes);
      continue;
    }
    log_message(server.connection(), '<', frame);
    const p9::Verdict verdict = session.handle_frame(frame, batch);
    if (batch.bytes.size() != 0) log_message(server.connection(), '>', batch.bytes.bytes());
    TRY(p9::send_replies(socket, batch));
    if (verdict == p9::Verdict::kClose) return Errno{EPROTO};
    splitter.set_max_frame(session.max_frame());
  }
}

}  // namespace

Result<void> serve_connection(BorrowedFd socket, HostServer& server,
                              const p9::ServeOptions& options, Log9p log_9p) {
  return log_9p == Log9p::kYes ? serve_logged(socket, server, options)
                               : p9::serve_fd(socket, server, options);
}

}  // namespace run9::gofer
