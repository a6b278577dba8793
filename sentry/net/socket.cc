#include "sentry/net/socket.h"

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

Result<void> Socket::wait_within(vfs::OpContext& ctx, WaitQueue& queue, uint32_t events,
                                 uint64_t timeout_ns) {
  if (timeout_ns == 0) return ctx.wait(queue, events);
  const auto r = ctx.wait(queue, events, EventLoop::now_ns() + timeout_ns);
  if (r.has_value()) return ok();
  return r.error() == Errno{ETIMEDOUT} ? Errno{EAGAIN} : Errno{EINTR};
}

}  // namespace run9::sentry
