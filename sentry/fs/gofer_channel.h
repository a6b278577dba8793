// GoferChannel: the Sentry's end of a 9P connection. The calling fiber sends and parks; the event loop
// receives and wakes whoever the frame is for. Beyond it is the gofer, which is trusted for the bytes of
// files but not for the shape of frames: p9::Demux and the codec check those.
#pragma once
#include <unordered_map>

#include "p9/channel.h"
#include "p9/demux.h"
#include "sentry/sched/event_loop.h"

namespace run9::sentry {

class GoferChannel final : public p9::Channel, private FdHandler {
 public:
  static Result<std::shared_ptr<GoferChannel>> create(EventLoop& loop, UniqueFd socket);
  ~GoferChannel() override;

  Result<p9::Reply> round_trip(std::vector<std::byte> frame, p9::Tag tag) override;
  void begin(std::span<p9::SlowExchange* const> all) override;
  void wait(p9::SlowExchange& e) override;
  void forget(p9::SlowExchange& e) override { slow_.erase(static_cast<uint16_t>(e.exchange.tag)); }
  void set_msize(uint32_t msize) override { demux_.set_msize(msize); }

 private:
  struct Waiting {
    Fiber* fiber = nullptr;
    bool answered = false;
    p9::Reply reply;
  };
  GoferChannel(EventLoop& loop, UniqueFd socket);
  void on_ready(uint32_t events) override;
  // False: nothing to read now.
  bool receive();
  // False: nobody waits for it.
  bool deliver(p9::Incoming answer);
  void lose(std::string_view why);
  Result<void> send(std::span<const std::byte> frame);
  // In turn with other fibers: their frames must not be mixed with these.
  Result<void> send_in_turn(std::span<const std::byte> frames);
  // Parks the calling fiber until the answer is there or the connection is lost: whoever receives it readies the fiber.
  void wait_for(const bool& answered);

  EventLoop& loop_;
  UniqueFd socket_;
  p9::Demux demux_;
  std::unordered_map<uint16_t, Waiting*> waiting_;
  std::unordered_map<uint16_t, p9::SlowExchange*> slow_;
  bool lost_ = false;
  bool sending_ = false;
  std::vector<Fiber*> senders_;   // wait for their turn
  Fiber* blocked_sender_ = nullptr;  // waits for room in the socket
};

}  // namespace run9::sentry
