// The receiving half of a client's connection, without the connection: bytes and descriptors in,
// whole frames with their tags and descriptors out.
//
// Descriptors belong to the frame that holds the last byte of the receive that delivered them. The
// server sends such a frame with a sendmsg of its own, and recvmsg on a stream socket stops at the
// end of the buffer that the descriptor is attached to (spec/9p2000Lx.md, "Descriptors").
#pragma once
#include <deque>
#include <optional>

#include "base/unique_fd.h"
#include "p9/codec.h"

namespace run9::p9 {

struct Incoming {
  Tag tag{};
  std::vector<std::byte> frame;
  std::vector<UniqueFd> fds;
};

// Any error is final: the stream cannot be trusted again. Single-threaded.
class Demux {
 public:
  explicit Demux(uint32_t msize) : splitter_(msize) {}
  void set_msize(uint32_t msize) { splitter_.set_max_frame(msize); }

  // Where to receive to.
  std::span<std::byte> space() { return splitter_.space(); }
  // n bytes were received there, n > 0, and these with them. EPROTO if more frames with descriptors
  // are waiting than a server may have outstanding.
  Result<void> commit(size_t n, std::vector<UniqueFd> fds);
  // Nothing when more bytes are needed. EPROTO for a frame that cannot be, and for one whose
  // descriptors came in two messages.
  Result<std::optional<Incoming>> next();

 private:
  struct Donated {
    uint64_t last_byte;  // stream offset of the last byte of its receive
    std::vector<UniqueFd> fds;
  };
  FrameSplitter splitter_;
  uint64_t received_ = 0;
  uint64_t taken_ = 0;
  std::deque<Donated> donated_;
};

}  // namespace run9::p9
