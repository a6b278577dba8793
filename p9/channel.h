// How a Client reaches its server. Whoever owns the connection implements this: the Sentry over a
// non-blocking socket and fibers, BlockingChannel over a socket of its own.
#pragma once
#include <span>
#include <vector>

#include "base/wait_queue.h"
#include "p9/ring_memory.h"
#include "p9/types.h"

namespace run9::p9 {

// One reply: a whole frame, and the descriptors that came with it.
struct Reply {
  std::vector<std::byte> frame;
  std::vector<UniqueFd> fds;
};

// A request of several that are sent together, and what became of it.
struct Exchange {
  std::vector<std::byte> frame;
  Tag tag{};
  Reply reply;
  Errno error{EIO};  // Errno{}: `reply` is there
  void take(Result<Reply> r) {
    error = r ? Errno{} : r.error();
    if (r) reply = std::move(r).assume_value();
  }
  Result<Reply> result() {
    if (error != Errno{}) return error;
    return std::move(reply);
  }
};

// A request whose answer may take as long as it likes. The caller waits on the queue.
struct SlowExchange {
  Exchange exchange;
  bool answered = false;  // or lost: exchange.error says so
  WaitQueue queue;        // notified when it is
};

class Channel {
 public:
  virtual ~Channel() = default;
  // Sends the frame, whose tag is `tag`, and returns the frame that answers this tag. Blocks the
  // caller only (a fiber, a thread): others may be in here at the same time, with other tags. An
  // error means that no answer to this tag will ever come: the connection is lost.
  virtual Result<Reply> round_trip(std::vector<std::byte> frame, Tag tag) = 0;
  // The same for several requests, which depend on each other in their order at most: the peer has
  // them all before it answers the first. Here: one after the other.
  virtual void round_trips(std::span<Exchange> all) {
    for (Exchange& e : all) e.take(round_trip(std::move(e.frame), e.tag));
  }
  // Sends the requests together and comes back, with the answers or without. Here: with them.
  virtual void begin(std::span<SlowExchange* const> all) {
    for (SlowExchange* e : all) {
      e->exchange.take(round_trip(std::move(e->exchange.frame), e->exchange.tag));
      e->answered = true;
    }
  }
  // Blocks the caller until a request that begin() has sent is answered.
  virtual void wait(SlowExchange&) {}
  // There will be no answer to a request that begin() has sent, or the connection ends now.
  virtual void forget(SlowExchange&) {}
  // The frame limit, once the version is agreed on: refuse larger ones.
  virtual void set_msize(uint32_t msize) = 0;
  // The channel can go on through memory shared with the server (Tring): the Client asks for it then.
  virtual bool takes_ring() const { return false; }
  // From the next message on. On failure the connection cannot be used.
  virtual Result<void> start_ring(RingMemory /*memory*/) { return Errno{EOPNOTSUPP}; }
};

}  // namespace run9::p9
