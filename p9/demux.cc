#include "p9/demux.h"

namespace run9::p9 {

namespace {
constexpr size_t kMaxWaiting = 64;
}

Result<void> Demux::commit(size_t n, std::vector<UniqueFd> fds) {
  CHECK(n > 0);
  splitter_.commit(n);
  received_ += n;
  if (fds.empty()) return ok();
  if (donated_.size() >= kMaxWaiting) return Errno{EPROTO};
  donated_.push_back({received_ - 1, std::move(fds)});
  return ok();
}

Result<std::optional<Incoming>> Demux::next() {
  const ByteSpan frame = TRY(splitter_.next());
  if (frame.empty()) return std::optional<Incoming>{};
  Incoming in;
  in.tag = TRY(decode_header(frame)).tag;
  // TODO(perf): receive large frames straight into their own vector.
  in.frame.assign(frame.begin(), frame.end());
  taken_ += frame.size();
  while (!donated_.empty() && donated_.front().last_byte < taken_) {
    if (!in.fds.empty()) return Errno{EPROTO};
    in.fds = std::move(donated_.front().fds);
    donated_.pop_front();
  }
  return std::optional<Incoming>{std::move(in)};
}

}  // namespace run9::p9
