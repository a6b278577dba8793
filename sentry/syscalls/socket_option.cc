// getsockopt and setsockopt; SOL_SOCKET for every family.
#include <algorithm>
#include <cstring>

#include "sentry/syscalls/socket.h"
#include "sentry/task/kernel.h"
#include "sentry/time/clocks.h"

namespace run9::sentry {
namespace {

constexpr int kMaxOption = 4096;
constexpr int kMaxBuffer = 212992;  // net.core.wmem_max, before doubling

bool* flag_of(SocketOptions& o, int name) {
  switch (name) {
    case SO_PASSCRED: return &o.pass_credentials;
    case SO_REUSEADDR: return &o.reuse_address;
    case SO_REUSEPORT: return &o.reuse_port;
    case SO_KEEPALIVE: return &o.keep_alive;
    case SO_BROADCAST: return &o.broadcast;
    case SO_OOBINLINE: return &o.out_of_band_inline;
    case SO_TIMESTAMP: return &o.timestamp;
    case SO_DONTROUTE: return &o.dont_route;
    default: return nullptr;
  }
}

Result<std::string> get(Task& task, Socket& s, int name) {
  SocketOptions& o = s.options;
  if (const bool* flag = flag_of(o, name)) return bytes_of(int{*flag});
  switch (name) {
    case SO_TYPE: return bytes_of(s.type());
    case SO_DOMAIN: return bytes_of(s.family());
    case SO_PROTOCOL: return bytes_of(s.protocol());
    case SO_ERROR: return bytes_of(s.take_error());
    case SO_ACCEPTCONN: return bytes_of(int{s.listening()});
    case SO_SNDBUF: return bytes_of(o.send_buffer);
    case SO_RCVBUF: return bytes_of(o.receive_buffer);
    case SO_PRIORITY: return bytes_of(o.priority);
    case SO_RCVLOWAT: return bytes_of(o.receive_low);
    case SO_SNDLOWAT: return bytes_of(1);
    case SO_LINGER: return bytes_of(o.lingering);
    case SO_RCVTIMEO: return bytes_of(to_timeval(o.receive_timeout_ns));
    case SO_SNDTIMEO: return bytes_of(to_timeval(o.send_timeout_ns));
    case SO_PEERCRED: return bytes_of(s.peer_creds().value_or(ucred{0, ~0u, ~0u}));
    default: return s.get_option(task, SOL_SOCKET, name);
  }
}

Result<uint64_t> read_timeval(ByteSpan value) {
  timeval t{};
  if (value.size() < sizeof t) return Errno{EINVAL};
  std::memcpy(&t, value.data(), sizeof t);
  if (t.tv_usec < 0 || t.tv_usec >= 1'000'000) return Errno{EDOM};
  if (t.tv_sec < 0) return uint64_t{1};  // a wait that is over at once
  return TRY(to_ns(t));
}

int buffer_size(int asked, int least, bool forced) {
  if (!forced) asked = std::min(asked, kMaxBuffer);
  return std::max(std::min(asked, 1 << 29) * 2, least);
}

Result<void> set(Task& task, Socket& s, int name, ByteSpan value) {
  SocketOptions& o = s.options;
  switch (name) {
    case SO_RCVTIMEO: o.receive_timeout_ns = TRY(read_timeval(value)); return ok();
    case SO_SNDTIMEO: o.send_timeout_ns = TRY(read_timeval(value)); return ok();
    case SO_LINGER:
      if (value.size() < sizeof o.lingering) return Errno{EINVAL};
      std::memcpy(&o.lingering, value.data(), sizeof o.lingering);
      return ok();
    default: break;
  }
  int v = 0;
  if (value.size() < sizeof v) return Errno{EINVAL};
  std::memcpy(&v, value.data(), sizeof v);
  if (bool* flag = flag_of(o, name)) {
    *flag = v != 0;
    s.options_changed();
    return ok();
  }
  const bool admin = task.creds().has_cap(CAP_NET_ADMIN);
  switch (name) {
    case SO_SNDBUFFORCE:
    case SO_RCVBUFFORCE:
      if (!admin) return Errno{EPERM};
      [[fallthrough]];
    case SO_SNDBUF:
    case SO_RCVBUF: {
      const bool forced = name == SO_SNDBUFFORCE || name == SO_RCVBUFFORCE;
      const bool send = name == SO_SNDBUF || name == SO_SNDBUFFORCE;
      v = std::max(v, 0);
      (send ? o.send_buffer : o.receive_buffer) = buffer_size(v, send ? 4608 : 2304, forced);
      o.send_buffer_set |= send;
      s.options_changed();
      return ok();
    }
    case SO_PRIORITY:
      if ((v < 0 || v > 6) && !admin) return Errno{EPERM};
      o.priority = v;
      return ok();
    case SO_RCVLOWAT: o.receive_low = v < 1 ? 1 : v; return ok();
    case SO_MARK: return Errno{admin ? ENOPROTOOPT : EPERM};
    case SO_TYPE:
    case SO_DOMAIN:
    case SO_PROTOCOL:
    case SO_ERROR:
    case SO_ACCEPTCONN:
    case SO_PEERCRED:
    case SO_SNDLOWAT: return Errno{ENOPROTOOPT};
    default: return s.set_option(task, SOL_SOCKET, name, value);
  }
}

}  // namespace

Result<uint64_t> sys_getsockopt(Task& task, GuestFd fd, int level, int name, uint64_t value,
                                UserPtr<int> length) {
  const auto socket = TRY(socket_of(task, fd));
  if (!socket->has_options(level)) return Errno{EOPNOTSUPP};
  const int room = TRY(task.memory().read(length));
  if (room < 0) return Errno{EINVAL};
  const std::string answer =
      TRY(level == SOL_SOCKET ? get(task, *socket, name) : socket->get_option(task, level, name));
  const size_t n = std::min(answer.size(), static_cast<size_t>(room));
  if (n > 0) TRY(task.memory().copy_out(value, answer.data(), n));
  TRY(task.memory().write(length, static_cast<int>(n)));
  return 0;
}

Result<uint64_t> sys_setsockopt(Task& task, GuestFd fd, int level, int name, uint64_t value,
                                int length) {
  const auto socket = TRY(socket_of(task, fd));
  if (length < 0) return Errno{EINVAL};
  if (!socket->has_options(level)) return Errno{EOPNOTSUPP};
  std::vector<std::byte> bytes(static_cast<size_t>(std::min(length, kMaxOption)));
  if (!bytes.empty()) TRY(task.memory().copy_in(bytes.data(), value, bytes.size()));
  if (level == SOL_SOCKET) {
    TRY(set(task, *socket, name, bytes));
  } else {
    TRY(socket->set_option(task, level, name, bytes));
  }
  return 0;
}

}  // namespace run9::sentry
