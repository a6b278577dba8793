// RingLine: one end of a connection whose messages go through a Ring. The socket that brought the ring's memory goes
// on to tell that the peer is gone, to wake a side that sleeps, and to bring descriptors: records of eight bytes, 0 for
// the bell, and otherwise the end of the frame that its descriptors belong to, counted in bytes of replies.
//
// A bell is sent for an announced sleep and read by the sleeper, one for one, so they do not pile up in the socket.
#pragma once
#include <deque>
#include <optional>

#include "p9/transport/patience.h"
#include "p9/transport/ring.h"
#include "p9/transport/socket_io.h"

namespace run9::p9 {

class RingLine {
 public:
  // The socket outlives it.
  RingLine(Ring ring, BorrowedFd socket, std::chrono::microseconds patience)
      : ring_(std::move(ring)), socket_(socket), patience_(patience) {}

  // Blocks until there is something; no bytes: the peer has closed. Descriptors belong to the frame that holds the
  // last byte. EINTR: there was nothing, and `news`, if it is valid, has become readable.
  Result<Received> receive(std::span<std::byte> to, Deadline deadline = {}, BorrowedFd news = {});
  bool has_data() const { return ring_.can_take(); }
  // As far as there is room.
  Result<size_t> send_some(ByteSpan bytes);
  // All of it, waiting for the peer to take the rest.
  Result<void> send(ByteSpan bytes, Deadline deadline = {});
  // A server's reply with descriptors.
  Result<void> send_with_fds(ByteSpan frame, std::span<const UniqueFd> fds, Deadline deadline = {});
  using What = Ring::What;
  // ECONNRESET: the peer has closed. ETIMEDOUT, after which the line cannot be used. EINTR: of `news`.
  Result<void> wait(What what, Deadline deadline = {}, BorrowedFd news = {});

 private:
  bool ready(What what) const;
  // True once all is taken that came before the socket was closed, or shut down on our side.
  Result<bool> ended();
  Result<void> sleep(What what, Deadline deadline, BorrowedFd news);
  Result<void> hear_bell(Deadline deadline, BorrowedFd news);
  // For a peer that sleeps until there is `what`.
  void ring_bell(What what);
  enum class Heard { kBell, kDescriptors };
  Result<Heard> read_record();

  Ring ring_;
  const BorrowedFd socket_;
  Patience patience_;
  struct Waiting {
    std::vector<UniqueFd> fds;
    uint64_t end;  // of its frame
  };
  // A client's: descriptors whose frames are not taken yet, and how many records brought some.
  std::deque<Waiting> waiting_;
  uint64_t records_ = 0;
  uint32_t receives_ = 0;
  std::optional<uint64_t> last_;  // how much there is to take in all, once the socket has ended
};

}  // namespace run9::p9
