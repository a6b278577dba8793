// Ring: two byte streams in memory that client and server share, one for requests and one for replies, so that a
// message costs no host call while both sides run. What goes through them is what would go through the socket.
//
// The peer is not trusted: it can write to the whole memory at any time. Hence each side keeps its own counters for
// itself and never reads them back, takes the peer's counter once and checks the copy, and copies bytes out once,
// before anybody looks at them. The memory is a memfd that can neither shrink nor grow (no SIGBUS). spec/9p2000Lx.md, "ring".
#pragma once
#include <atomic>
#include <span>

#include "base/bytes.h"
#include "p9/ring_memory.h"

namespace run9::p9 {

class Ring {
 public:
  enum class Side { kClient, kServer };
  static constexpr uint32_t kMinStream = 64 * 1024;
  static constexpr uint32_t kMaxStream = 1024 * 1024;

  // As large as `wanted`, as far as a server goes along with that.
  static Result<RingMemory> make(uint32_t wanted);
  // EPROTO for memory that is not as make() makes it.
  static Result<Ring> map(const RingMemory& memory, Side side);
  Ring(Ring&& o) noexcept
      : side_(o.side_), size_(o.size_), page_(std::exchange(o.page_, nullptr)), sent_(o.sent_), taken_(o.taken_) {}
  Ring& operator=(Ring&&) = delete;
  ~Ring();

  // Copies bytes of the peer out, up to `to.size()`; 0 if there are none. EPROTO for counters that cannot be.
  Result<size_t> take(std::span<std::byte> to);
  // Copies bytes in, as far as there is room.
  Result<size_t> put(ByteSpan bytes);
  Result<size_t> available() const;
  bool can_take() const;
  bool can_put() const;
  // Bytes put and taken so far.
  uint64_t sent() const { return sent_; }
  uint64_t taken() const { return taken_; }

  // What a side that sleeps waits for: kEither is both bits.
  enum class What : uint32_t { kData = 1, kRoom = 2, kEither = 3 };
  // Before it sleeps a side says so, and looks once more; the other one asks after each put (kData) and take (kRoom). One
  // of the two sees the other.
  void announce_sleep(What what);
  // True: the peer has seen the announcement, and rings the bell or did.
  bool withdraw_sleep();
  // True, once for each announcement: the peer waits for `what`, and the bell is ours to ring.
  bool peer_awaits(What what);

  // Descriptors that go with the replies, beside the ring: the server counts one before it puts the frame.
  bool brings_descriptors() const { return side_ == Side::kClient; }
  void count_descriptor();
  uint64_t descriptors() const;

 private:
  struct Page;
  struct Stream;
  Ring(Side side, uint32_t size, Page* page) : side_(side), size_(size), page_(page) {}
  Stream& out() const;
  Stream& in() const;
  std::atomic<uint32_t>& sleeps(Side side) const;
  std::byte* bytes_of(const Stream& s) const;
  // How much of `out` the peer has not taken; `in`: how much it has put. More than the size is a lie.
  Result<uint32_t> used(uint64_t put, uint64_t taken) const;

  Side side_;
  uint32_t size_;
  Page* page_;
  uint64_t sent_ = 0;
  uint64_t taken_ = 0;
  uint64_t descriptors_ = 0;
};

}  // namespace run9::p9
