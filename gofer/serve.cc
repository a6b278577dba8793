#include "gofer/serve.h"

#include "base/log.h"
#include "p9/codec.h"

namespace run9::gofer {
namespace {

using Clock = std::chrono::steady_clock;

class Observer final : public p9::ServeObserver {
 public:
  Observer(uint64_t connection, Log9p log, Counters* counters)
      : connection_(connection), log_(log), counters_(counters) {}

  void requested(ByteSpan frame) override {
    if (log_ == Log9p::kYes) log_message('<', frame);
    if (counters_ == nullptr) return;
    const auto header = p9::decode_header(frame);
    current_ = &counters_->requests[header ? Counters::index_of(header.assume_value().type) : 0];
    current_->count.add(1);
    current_->bytes_in.add(frame.size());
    start_ = Clock::now();
  }

  void replied_late(ByteSpan frame) override {
    if (log_ == Log9p::kYes) log_message('>', frame);
  }

  void replied(ByteSpan frame, size_t fds, const p9::Session& session) override {
    if (log_ == Log9p::kYes) log_message('>', frame);
    if (counters_ == nullptr) return;
    const auto header = p9::decode_header(frame);
    current_->nanoseconds.add(
        static_cast<uint64_t>(std::chrono::nanoseconds(Clock::now() - start_).count()));
    current_->bytes_out.add(frame.size());
    if (header && header.assume_value().type == p9::MsgType::kRlerror) current_->errors.add(1);
    counters_->donated.add(fds);
    counters_->fids.set(session.fid_count());
  }

 private:
  // "9p 3 < Tlopen ...", "9p 3 > Rlopen ...". At the error level: who asks for this log gets it.
  void log_message(char direction, ByteSpan frame) const {
    log_error("9p {} {} {}", connection_, direction, p9::describe(frame));
  }

  const uint64_t connection_;
  const Log9p log_;
  Counters* const counters_;
  RequestCounters* current_ = nullptr;
  Clock::time_point start_;
};

}  // namespace

Result<void> serve_connection(BorrowedFd socket, HostServer& server, p9::ServeOptions options,
                              Log9p log_9p, Counters* counters) {
  Observer observer(server.connection(), log_9p, counters);
  if (log_9p == Log9p::kYes || counters != nullptr) options.observer = &observer;
  if (counters != nullptr) {
    counters->connections.add(1);
    counters->open.set(1);
  }
  auto done = p9::serve_fd(socket, server, options);
  if (counters != nullptr) {
    counters->open.set(0);
    counters->fids.set(0);
  }
  return done;
}

}  // namespace run9::gofer
