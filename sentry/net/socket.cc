#include "sentry/net/socket.h"

#include "sentry/ipc/pipe.h"
#include "sentry/net/interfaces.h"
#include "sentry/sched/event_loop.h"

namespace run9::sentry {

Result<void> Socket::set_option(vfs::OpContext&, int, int, ByteSpan) { return Errno{ENOPROTOOPT}; }
Result<std::string> Socket::get_option(vfs::OpContext&, int level, int) {
  return Errno{level == SOL_SOCKET ? ENOPROTOOPT : EOPNOTSUPP};
}

Result<size_t> Socket::read(vfs::OpContext& ctx, std::span<std::byte> dst) {
  return TRY(receive(ctx, dst, 0)).copied;
}

Result<size_t> Socket::write(vfs::OpContext& ctx, ByteSpan src) { return send(ctx, src, {}, 0); }

Result<uint64_t> Socket::ioctl(vfs::OpContext& ctx, uint32_t request, uint64_t arg) {
  return interface_ioctl(ctx, family_, request, arg);
}

Errno Socket::broken(vfs::OpContext& ctx, int flags) {
  return (flags & MSG_NOSIGNAL) != 0 ? Errno{EPIPE} : broken_pipe(ctx);
}

Result<void> Socket::wait_within(vfs::OpContext& ctx, WaitQueue& queue, uint32_t events,
                                 uint64_t timeout_ns) {
  if (timeout_ns == 0) return ctx.wait(queue, events);
  const auto r = ctx.wait(queue, events, EventLoop::now_ns() + timeout_ns);
  if (r.has_value()) return ok();
  return r.error() == Errno{ETIMEDOUT} ? Errno{EAGAIN} : Errno{EINTR};
}

}  // namespace run9::sentry
