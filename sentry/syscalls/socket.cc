#include "sentry/syscalls/socket.h"

#include <algorithm>

#include "sentry/net/inet_socket.h"
#include "sentry/net/netlink_socket.h"
#include "sentry/net/unix_socket.h"
#include "sentry/syscalls/file_util.h"
#include "sentry/syscalls/pipe.h"
#include "sentry/task/kernel.h"

namespace run9::sentry {
namespace {

constexpr int kTypeMask = 0xf;

bool is_inet(int family) { return family == AF_INET || family == AF_INET6; }

// The type without its flags: EINVAL, EAFNOSUPPORT as __sock_create().
Result<int> check_family(int family, int type) {
  if ((type & ~(kTypeMask | SOCK_CLOEXEC | SOCK_NONBLOCK)) != 0) return Errno{EINVAL};
  type &= kTypeMask;
  if (family < 0 || family >= AF_MAX) return Errno{EAFNOSUPPORT};
  if (type > SOCK_PACKET) return Errno{EINVAL};
  if (family != AF_UNIX && family != AF_NETLINK && !is_inet(family)) return Errno{EAFNOSUPPORT};
  return type;
}

// ESOCKTNOSUPPORT, EPROTONOSUPPORT as unix_create().
Result<int> check_unix(int type, int protocol) {
  if (protocol != 0 && protocol != AF_UNIX) return Errno{EPROTONOSUPPORT};
  if (type == SOCK_RAW) return SOCK_DGRAM;  // as unix_create()
  if (type != SOCK_STREAM && type != SOCK_DGRAM && type != SOCK_SEQPACKET) {
    return Errno{ESOCKTNOSUPPORT};
  }
  return type;
}

uint32_t status_flags(int type) { return (type & SOCK_NONBLOCK) != 0 ? O_NONBLOCK : 0; }

}  // namespace

Result<std::shared_ptr<Socket>> socket_of(Task& task, GuestFd fd) {
  auto socket = std::dynamic_pointer_cast<Socket>(TRY(task.fds().get_not_path(fd)));
  if (socket == nullptr) return Errno{ENOTSOCK};
  return socket;
}

Result<SocketName> read_name(Task& task, uint64_t address, uint32_t length) {
  if (length > sizeof(sockaddr_storage)) return Errno{EINVAL};
  SocketName name(length, '\0');
  if (length > 0) TRY(task.memory().copy_in(name.data(), address, length));
  return name;
}

Result<void> write_name(Task& task, const SocketName& name, uint64_t address, UserPtr<int> length) {
  const int room = TRY(task.memory().read(length));
  if (room < 0) return Errno{EINVAL};
  const size_t n = std::min(name.size(), static_cast<size_t>(room));
  if (n > 0) TRY(task.memory().copy_out(address, name.data(), n));
  return task.memory().write(length, static_cast<int>(name.size()));
}

Result<uint64_t> sys_socket(Task& task, int family, int type, int protocol) {
  const int kind = TRY(check_family(family, type));
  std::shared_ptr<Socket> socket;
  if (is_inet(family)) {
    socket = TRY(InetSocket::create(task.kernel(), task, family, kind, protocol, status_flags(type)));
  } else if (family == AF_NETLINK) {
    socket = TRY(NetlinkSocket::create(task.kernel(), task, kind, protocol, status_flags(type)));
  } else {
    socket = UnixSocket::create(task.kernel(), task, TRY(check_unix(kind, protocol)), status_flags(type));
  }
  return install_file(task, std::move(socket), (type & SOCK_CLOEXEC) != 0);
}

Result<uint64_t> sys_socketpair(Task& task, int family, int type, int protocol, UserPtr<int> out) {
  int kind = TRY(check_family(family, type));
  if (is_inet(family)) {
    TRY(InetSocket::check_kind(task, kind, protocol));
    return Errno{EOPNOTSUPP};
  }
  if (family == AF_NETLINK) {
    TRY(NetlinkSocket::check_kind(kind, protocol));
    return Errno{EOPNOTSUPP};
  }
  kind = TRY(check_unix(kind, protocol));
  auto a = UnixSocket::create(task.kernel(), task, kind, status_flags(type));
  auto b = UnixSocket::create(task.kernel(), task, kind, status_flags(type));
  UnixSocket::make_pair(task, *a, *b);
  return install_and_tell(task, std::move(a), std::move(b), (type & SOCK_CLOEXEC) != 0, out);
}

Result<uint64_t> sys_bind(Task& task, GuestFd fd, uint64_t name, uint32_t length) {
  const auto socket = TRY(socket_of(task, fd));
  TRY(socket->bind(task, TRY(read_name(task, name, length))));
  return 0;
}

Result<uint64_t> sys_listen(Task& task, GuestFd fd, int backlog) {
  TRY(TRY(socket_of(task, fd))->listen(task, backlog));
  return 0;
}

Result<uint64_t> sys_connect(Task& task, GuestFd fd, uint64_t name, uint32_t length) {
  (void)TRY(task.fds().get_not_path(fd));  // the name comes before the question whether it is a socket
  const auto address = TRY(read_name(task, name, length));
  TRY(TRY(socket_of(task, fd))->connect(task, address));
  return 0;
}

Result<uint64_t> sys_accept4(Task& task, GuestFd fd, uint64_t name, UserPtr<int> length, int flags) {
  (void)TRY(task.fds().get_not_path(fd));
  if ((flags & ~(SOCK_CLOEXEC | SOCK_NONBLOCK)) != 0) return Errno{EINVAL};
  const auto listener = TRY(socket_of(task, fd));
  if (!descriptor_available(task)) return Errno{EMFILE};
  auto socket = TRY(listener->accept(task, status_flags(flags)));
  if (name != 0) TRY(write_name(task, TRY(socket->peer_name()), name, length));
  return install_file(task, std::move(socket), (flags & SOCK_CLOEXEC) != 0);
}

Result<uint64_t> sys_accept(Task& task, GuestFd fd, uint64_t name, UserPtr<int> length) {
  return sys_accept4(task, fd, name, length, 0);
}

Result<uint64_t> sys_getsockname(Task& task, GuestFd fd, uint64_t name, UserPtr<int> length) {
  const auto socket = TRY(socket_of(task, fd));
  TRY(write_name(task, TRY(socket->local_name()), name, length));
  return 0;
}

Result<uint64_t> sys_getpeername(Task& task, GuestFd fd, uint64_t name, UserPtr<int> length) {
  const auto socket = TRY(socket_of(task, fd));
  TRY(write_name(task, TRY(socket->peer_name()), name, length));
  return 0;
}

Result<uint64_t> sys_shutdown(Task& task, GuestFd fd, int how) {
  TRY(TRY(socket_of(task, fd))->shutdown(how));
  return 0;
}

}  // namespace run9::sentry
