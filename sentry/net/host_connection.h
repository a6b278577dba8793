// HostConnection: a connection to a unix socket outside of the sandbox, which the gofer made (Inode::connect). What comes
// through it is bytes and records: no descriptors, no credentials.
#pragma once
#include "base/unique_fd.h"
#include "sentry/net/socket.h"
#include "sentry/sched/event_loop.h"

namespace run9::sentry {

// Owned by its UnixSocket, whose queue it notifies.
class HostConnection final : private FdHandler {
 public:
  // `fd` does not block. The queue outlives it.
  HostConnection(EventLoop& loop, UniqueFd fd, int type, WaitQueue& queue)
      : loop_(loop), fd_(std::move(fd)), type_(type), queue_(queue) {}
  ~HostConnection() override;
  HostConnection(const HostConnection&) = delete;
  HostConnection& operator=(const HostConnection&) = delete;

  // poll(2) bits that hold now; the queue is notified when POLLIN and POLLOUT do that are missing.
  uint32_t poll();
  // One transfer each, which does not block; EAGAIN when it would. flags: MSG_PEEK, MSG_EOR and what has no meaning here.
  Result<size_t> send(ByteSpan data, int flags);
  Result<Received> receive(std::span<std::byte> dst, int flags);
  Result<void> shutdown(int how);
  Result<int> unread() const;  // FIONREAD

 private:
  void on_ready(uint32_t epoll_events) override;

  EventLoop& loop_;
  const UniqueFd fd_;
  const int type_;
  WaitQueue& queue_;
  uint32_t watched_ = 0;  // epoll bits; 0: not in the event loop
};

}  // namespace run9::sentry
