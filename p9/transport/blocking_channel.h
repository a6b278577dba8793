// A Channel over a connected unix stream socket that blocks its thread: for tests and tools, one
// call at a time.
#pragma once
#include "p9/channel.h"
#include "p9/demux.h"

namespace run9::p9 {

class BlockingChannel final : public Channel {
 public:
  explicit BlockingChannel(UniqueFd socket) : socket_(std::move(socket)), demux_(kMaxMsize) {}
  Result<Reply> round_trip(std::vector<std::byte> frame, Tag tag) override;
  void set_msize(uint32_t msize) override { demux_.set_msize(msize); }

 private:
  UniqueFd socket_;
  Demux demux_;
};

}  // namespace run9::p9
