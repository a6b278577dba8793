// A Channel over a connected stream socket that blocks its thread: for tests and tools. A unix socket brings
// descriptors too.
#pragma once
#include "p9/channel.h"
#include "p9/demux.h"

namespace run9::p9 {

class BlockingChannel final : public Channel {
 public:
  explicit BlockingChannel(UniqueFd socket) : socket_(std::move(socket)), demux_(kMaxMsize) {}
  Result<Reply> round_trip(std::vector<std::byte> frame, Tag tag) override;
  // Up to kWindow requests are on their way at a time, and replies are read whenever a request does not fit into the
  // socket: neither side waits for the other to read.
  void round_trips(std::span<Exchange> all) override;
  void set_msize(uint32_t msize) override { demux_.set_msize(msize); }
  // Messages sent, and times that the caller waited for an answer.
  uint64_t requests() const { return requests_; }
  uint64_t trips() const { return trips_; }

 private:
  static constexpr size_t kWindow = 32;

  Result<void> exchange(std::span<Exchange> all);
  // What fits now.
  Result<size_t> send_some(ByteSpan bytes);
  Result<void> wait(short events);
  // One reply to one of `all`, if there is one in what was received.
  Result<bool> take_reply(std::span<Exchange> all);
  Result<void> receive();

  UniqueFd socket_;
  Demux demux_;
  uint64_t requests_ = 0;
  uint64_t trips_ = 0;
};

}  // namespace run9::p9
