// A Channel over a connected stream socket that blocks its thread: for tests and tools. A unix socket brings
// descriptors too, and a ring if the server has one.
#pragma once
#include "p9/channel.h"
#include "p9/demux.h"
#include "p9/transport/ring_line.h"

namespace run9::p9 {

class BlockingChannel final : public Channel {
 public:
  // How long to look for an answer before sleeping, as long as answers come as quickly as that.
  static constexpr std::chrono::microseconds kPatience{150};
  explicit BlockingChannel(UniqueFd socket, std::chrono::microseconds patience = patience_here(kPatience))
      : socket_(std::move(socket)), demux_(kMaxMsize), patience_us_(patience), patience_(patience) {}
  Result<Reply> round_trip(std::vector<std::byte> frame, Tag tag) override;
  // Up to kWindow requests are on their way at a time, and replies are read whenever a request does not fit into the
  // socket: neither side waits for the other to read.
  void round_trips(std::span<Exchange> all) override;
  void set_msize(uint32_t msize) override { demux_.set_msize(msize); }
  bool takes_ring() const override { return true; }
  Result<void> start_ring(RingMemory memory) override;
  bool has_ring() const { return ring_.has_value(); }
  // Messages sent, and times that the caller waited for an answer.
  uint64_t requests() const { return requests_; }
  uint64_t trips() const { return trips_; }

 private:
  static constexpr size_t kWindow = 32;

  Result<void> exchange(std::span<Exchange> all);
  // What fits now.
  Result<size_t> send_some(ByteSpan bytes);
  Result<void> send_all(ByteSpan bytes);
  // Until there is room for more of a request if it is `stuck`, or something was received.
  Result<void> wait(bool stuck);
  // One reply to one of `all`, if there is one in what was received.
  Result<bool> take_reply(std::span<Exchange> all);
  Result<void> receive();

  UniqueFd socket_;
  Demux demux_;
  const std::chrono::microseconds patience_us_;
  Patience patience_;
  std::optional<RingLine> ring_;
  uint64_t requests_ = 0;
  uint64_t trips_ = 0;
};

}  // namespace run9::p9
