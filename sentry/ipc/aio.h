// Linux native AIO's contexts (io_setup(2)): what was done and is not fetched yet. An operation is done inside io_submit,
// so a context never has one in flight but those that a thread is asleep in.
#pragma once
#include <linux/aio_abi.h>

#include <deque>
#include <map>
#include <memory>

#include "base/result.h"
#include "base/wait_queue.h"

namespace run9::sentry {

class MemoryManager;

struct AioContext {
  uint32_t room = 0;     // io_setup's nr_events
  uint32_t pending = 0;  // submitted, not done
  bool destroyed = false;
  std::deque<io_event> done;
  WaitQueue queue;  // POLLIN: there is more in `done`, or the context is destroyed
};
using AioContextRef = std::shared_ptr<AioContext>;

// A sandbox's contexts. Each belongs to an address space, by the address of a page in it: a child has none, and they go
// with exec and exit.
class AioContexts {
 public:
  uint64_t max_events = 65536;  // fs.aio-max-nr: what all contexts together have room for

  uint64_t events();  // fs.aio-nr: what they have
  bool have_room_for(uint64_t more) { return events() + more <= max_events; }
  // EAGAIN beyond max_events. A context that was at `id` can no more be reached: its page was unmapped.
  Result<void> add(const std::shared_ptr<MemoryManager>& memory, uint64_t id, uint32_t room);
  AioContextRef find(const std::shared_ptr<MemoryManager>& memory, uint64_t id) const;  // null: none
  // Those who wait in it find it destroyed. False: there is none.
  bool destroy(const std::shared_ptr<MemoryManager>& memory, uint64_t id);

 private:
  struct Space {
    std::map<uint64_t, AioContextRef> contexts;
    uint64_t events = 0;
  };
  std::map<std::weak_ptr<MemoryManager>, Space, std::owner_less<>> spaces_;
};

}  // namespace run9::sentry
