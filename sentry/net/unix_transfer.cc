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

UnixMessage make_message(const vfs::OpContext& ctx, ByteSpan data, Outgoing& extra,
                         const SocketName& from) {
  UnixMessage m;
  m.data = as_chars(data);
  m.files = std::move(extra.files);
  extra.files.clear();
  // SCM_CREDENTIALS of a sender that gave none are its real ids.
  m.creds = extra.creds.value_or(ucred{ctx.tgid(), ctx.creds().ruid, ctx.creds().rgid});
  m.from = from;
  return m;
}

}  // namespace

Errno UnixSocket::broken(vfs::OpContext& ctx, int flags) {
  return (flags & MSG_NOSIGNAL) != 0 ? Errno{EPIPE} : broken_pipe(ctx);
}

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
  size_t done = 0;
  const auto partial = [&](Errno e) -> Result<size_t> {
    if (done > 0) return done;
    return e;
  };
  while (done < data.size()) {
    const auto peer = end_->peer.lock();
    if (end_->write_shut || peer == nullptr || peer->closed) {
      if (done > 0 && (flags & MSG_NOSIGNAL) != 0) return done;
      return partial(broken(ctx, flags));
    }
    if (!peer->has_room()) {
      if (nonblocking() || (flags & MSG_DONTWAIT) != 0) return partial(Errno{EAGAIN});
      const auto r = wait_within(ctx, end_->queue, kOut, options.send_timeout_ns);
      if (!r.has_value()) return partial(r.error());
      continue;
    }
    const size_t n = std::min({data.size() - done, kPiece, peer->limit - peer->inbox_bytes});
    peer->push(make_message(ctx, data.subspan(done, n), extra, end_->name));
    done += n;
  }
  return done;
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
    if (target->has_room() || target == end_) {
      target->push(make_message(ctx, data, extra, end_->name));
      return data.size();
    }
    if (nonblocking() || (flags & MSG_DONTWAIT) != 0) return Errno{EAGAIN};
    WaitQueue& queue = seq ? end_->queue : target->space_queue;
    TRY(wait_within(ctx, queue, kOut, options.send_timeout_ns));
  }
}

Result<void> UnixSocket::wait_message(vfs::OpContext& ctx, int flags) {
  if (end_->error != 0) return Errno{std::exchange(end_->error, 0)};
  if (nonblocking() || (flags & MSG_DONTWAIT) != 0) return Errno{EAGAIN};
  return wait_within(ctx, end_->queue, kIn, options.receive_timeout_ns);
}

void UnixSocket::take_packet(std::span<std::byte> dst, int flags, Received& r) {
  UnixMessage& m = end_->inbox.front();
  r.full = m.data.size();
  r.copied = std::min(dst.size(), r.full);
  std::memcpy(dst.data(), m.data.data(), r.copied);
  r.from = m.from;
  r.creds = m.creds;
  r.files = m.files;
  r.end_of_record = type() == SOCK_SEQPACKET;
  if ((flags & MSG_PEEK) != 0) return;
  end_->pop_front();
  end_->told_space();
}

// From messages of one sender, up to and with the first that carries descriptors.
void UnixSocket::take_stream(std::span<std::byte> dst, int flags, Received& r) {
  size_t i = 0;
  const bool peek = (flags & MSG_PEEK) != 0;
  while (r.copied < dst.size() && i < end_->inbox.size()) {
    UnixMessage& m = end_->inbox[i];
    if (r.creds && (r.creds->pid != m.creds.pid || r.creds->uid != m.creds.uid ||
                    r.creds->gid != m.creds.gid)) {
      break;
    }
    r.creds = m.creds;
    const size_t n = std::min(dst.size() - r.copied, m.left());
    std::memcpy(dst.data() + r.copied, m.data.data() + m.taken, n);
    r.copied += n;
    const bool with_files = !m.files.empty();
    if (with_files) r.files = peek ? m.files : std::move(m.files);
    if (peek) {
      ++i;
    } else {
      m.files.clear();
      m.taken += n;
      end_->inbox_bytes -= n;
      if (m.left() == 0) end_->pop_front();
    }
    if (with_files) break;
  }
  if (!peek) end_->told_space();
  r.full = r.copied;
}

Result<Received> UnixSocket::receive(vfs::OpContext& ctx, std::span<std::byte> dst, int flags) {
  if ((flags & MSG_OOB) != 0) return Errno{EOPNOTSUPP};
  const bool stream = type() == SOCK_STREAM;
  if (end_->listening || (!end_->datagram() && !end_->connected)) {
    return Errno{stream ? EINVAL : ENOTCONN};
  }
  const auto keep = shared_from_this();
  if (outside_ != nullptr) return receive_outside(ctx, dst, flags);
  Received r;
  const bool all = stream && (flags & MSG_WAITALL) != 0 && (flags & MSG_PEEK) == 0;
  for (;;) {
    if (!end_->inbox.empty()) {
      if (!stream) {
        take_packet(dst, flags, r);
        return r;
      }
      const size_t before = r.copied;
      take_stream(dst, flags, r);
      if (!all || r.copied == dst.size() || !r.files.empty() || r.copied == before) return r;
      continue;
    }
    const auto partial = [&](Errno e) -> Result<Received> {
      if (r.copied > 0) return r;
      return e;
    };
    if (end_->error != 0) return partial(Errno{std::exchange(end_->error, 0)});
    if (end_->read_shut) return r;
    const auto waited = wait_message(ctx, flags);
    if (!waited.has_value()) return partial(waited.error());
  }
}

}  // namespace run9::sentry
