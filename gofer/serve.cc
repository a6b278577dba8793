#include "gofer/serve.h"

#include "base/log.h"
#include "p9/codec.h"

namespace run9::gofer {
namespace {

// "9p 3 < Tlopen ...", "9p 3 > Rlopen ...". At the error level: who asks for this log gets it.
class MessageLog final : public p9::ServeObserver {
 public:
  explicit MessageLog(uint64_t connection) : connection_(connection) {}
  void requested(ByteSpan frame) override {
    log_error("9p {} < {}", connection_, p9::describe(frame));
  }
  void replied(ByteSpan frame, bool, const p9::Session&) override {
    log_error("9p {} > {}", connection_, p9::describe(frame));
  }

 private:
  const uint64_t connection_;
};

}  // namespace

Result<void> serve_connection(BorrowedFd socket, HostServer& server, p9::ServeOptions options,
                              Log9p log_9p) {
  MessageLog log(server.connection());
  if (log_9p == Log9p::kYes) options.observer = &log;
  return p9::serve_fd(socket, server, options);
}

}  // namespace run9::gofer
