// Sending and receiving on AF_UNIX sockets.
#include <poll.h>

#include <algorithm>
#include <cstring>

#include "sentry/ipc/pipe.h"
#include "sentry/net/unix_socket.h"
#include "sentry/task/kernel.h"

namespace run9::sentry {
namespace {

constexpr uint32_t kIn = POLLIN | POLLRDNORM, kOut = POLLOUT | POLLWRNORM;
constexpr size_t kPiece = 32 * 1024;  // of a stream

SocketMessage make_message(const vfs::OpContext& ctx, ByteSpan data, Outgoing& extra,
                         const SocketName& from) {
  SocketMessage m;
  m.data = as_chars(data);
  m.files = std::move(extra.files);
  extra.files.clear();
  // SCM_CREDENTIALS of a sender that gave none are its real ids.
  m.creds = extra.creds.value_or(ucred{ctx.tgid(), ctx.creds().ruid, ctx.creds().rgid});
  m.from = from;
  return m;
}

}  // namespace

Result<size_t> UnixSocket::send(vfs::OpContext& ctx, ByteSpan data, Outgoing extra, int flags) {
  if ((flags & MSG_OOB) != 0) return Errno{EOPNOTSUPP};
  const auto keep = shared_from_this();
  if (outside_ != nullptr && (extra.to.empty() || type() != SOCK_DGRAM)) return send_outside(ctx, data, extra, flags);
  if (type() != SOCK_STREAM) return send_packet(ctx, data, std::move(extra), flags);
  return send_stream(ctx, data, std::move(extra), flags);
}

Result<size_t> UnixSocket::send_stream(vfs::OpContext& ctx, ByteSpan data, Outgoing extra, int flags) {
  if (!extra.to.empty()) return Errno{end_->connected ? EISCONN : EOPNOTSUPP};
  if (!end_->connected) return Errno{ENOTCONN};
  if (data.empty()) return end_->write_shut ? Result<size_t>(broken(ctx, flags)) : size_t{0};
  return send_all(
      data, flags, [&](ByteSpan rest) { return put(ctx, rest, extra, flags); },
      [&] { return wait_within(ctx, end_->queue, kOut, options.send_timeout_ns); });
}

// A piece of a stream.
Result<size_t> UnixSocket::put(vfs::OpContext& ctx, ByteSpan data, Outgoing& extra, int flags) {
  const auto peer = end_->peer.lock();
  if (end_->write_shut || peer == nullptr || peer->closed) return broken(ctx, flags);
  if (!peer->inbox.has_room()) return Errno{EAGAIN};
  const size_t n = std::min({data.size(), kPiece, peer->inbox.space()});
  peer->push(make_message(ctx, data.first(n), extra, end_->name));
  return n;
}

Result<size_t> UnixSocket::send_packet(vfs::OpContext& ctx, ByteSpan data, Outgoing extra, int flags) {
  const bool seq = type() == SOCK_SEQPACKET;
  // A SOCK_SEQPACKET socket ignores the address.
  const bool named = !extra.to.empty() && !seq;
  if (seq && !end_->connected) return Errno{ENOTCONN};
  if (end_->write_shut) return broken(ctx, flags);
  if (data.size() > static_cast<size_t>(options.send_buffer) - 32) return Errno{EMSGSIZE};
  if (options.pass_credentials && !seq) TRY(autobind(ctx));
  for (;;) {
    Target at;
    if (named) at = TRY(find(ctx, extra.to));
    if (at.outside != nullptr) return send_once_outside(ctx, *at.outside, data, extra, flags);
    const std::shared_ptr<UnixEnd> target = named ? at.end : end_->peer.lock();
    if (named && target->type != SOCK_DGRAM) return Errno{EPROTOTYPE};
    if (!named && !end_->connected) return Errno{ENOTCONN};
    if (target == nullptr || target->closed) {
      if (seq) return broken(ctx, flags);
      end_->peer.reset();
      end_->connected = false;
      return Errno{ECONNREFUSED};
    }
    const auto theirs = target->peer.lock();
    if (theirs != nullptr && theirs != end_) return Errno{EPERM};
    if (target->read_shut) return broken(ctx, flags);
    if (target->inbox.has_room() || target == end_) {
      target->push(make_message(ctx, data, extra, end_->name));
      return data.size();
    }
    if (!may_wait(flags)) return Errno{EAGAIN};
    WaitQueue& queue = seq ? end_->queue : target->space_queue;
    TRY(wait_within(ctx, queue, kOut, options.send_timeout_ns));
  }
}

Result<void> UnixSocket::take(std::span<std::byte> dst, int flags, Received& r) {
  if (!end_->inbox.empty()) {
    if (type() == SOCK_STREAM) {
      end_->inbox.take_stream(dst, flags, r);
    } else {
      end_->inbox.take_packet(dst, flags, r);
    }
    if ((flags & MSG_PEEK) == 0) end_->told_space();
    return ok();
  }
  // Some was taken: an error is the next call's.
  if (r.copied == 0 && end_->error != 0) return Errno{take_error()};
  if (end_->read_shut) return ok();
  return Errno{EAGAIN};
}

Result<Received> UnixSocket::receive(vfs::OpContext& ctx, std::span<std::byte> dst, int flags) {
  if ((flags & MSG_OOB) != 0) return Errno{EOPNOTSUPP};
  const bool stream = type() == SOCK_STREAM;
  if (end_->listening || (!end_->datagram() && !end_->connected)) {
    return Errno{stream ? EINVAL : ENOTCONN};
  }
  const auto keep = shared_from_this();
  if (outside_ != nullptr) return receive_outside(ctx, dst, flags);
  return receive_some(
      dst.size(), flags, [&](Received& r) { return take(dst, flags, r); },
      [&] { return wait_within(ctx, end_->queue, kIn, options.receive_timeout_ns); });
}

}  // namespace run9::sentry
