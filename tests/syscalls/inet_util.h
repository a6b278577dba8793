// What the tests of internet sockets share: addresses of the loopback interface, connections, options.
#pragma once
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include "tests/syscalls/test_util.h"

namespace run9::guest {
inline constexpr short kEverything = POLLIN | POLLOUT | POLLRDHUP;

inline sockaddr_in v4(uint16_t port = 0, const char* ip = "127.0.0.1") {
  sockaddr_in a = {};
  a.sin_family = AF_INET;
  a.sin_port = htons(port);
  if (inet_pton(AF_INET, ip, &a.sin_addr) != 1) abort();
  return a;
}

inline sockaddr_in6 v6(uint16_t port = 0, const char* ip = "::1") {
  sockaddr_in6 a = {};
  a.sin6_family = AF_INET6;
  a.sin6_port = htons(port);
  if (inet_pton(AF_INET6, ip, &a.sin6_addr) != 1) abort();
  return a;
}

template <typename A>
long bind_to(int fd, const A& a) {
  return sys(SYS_bind, fd, &a, sizeof a);
}
template <typename A>
long connect_to(int fd, const A& a) {
  return sys(SYS_connect, fd, &a, sizeof a);
}
inline long disconnect(int fd) {
  sockaddr a = {};
  a.sa_family = AF_UNSPEC;
  return connect_to(fd, a);
}

struct Name {
  std::string ip;
  uint16_t port = 0;
};
inline Name name_of(int fd, long call = SYS_getsockname) {
  sockaddr_storage a = {};
  socklen_t size = sizeof a;
  if (sys(call, fd, &a, &size) != 0) return {errno_name(errno), 0};
  char text[INET6_ADDRSTRLEN] = {};
  if (a.ss_family == AF_INET) {
    const auto& in = reinterpret_cast<const sockaddr_in&>(a);
    EXPECT_EQ(sizeof in, size);
    return {inet_ntop(AF_INET, &in.sin_addr, text, sizeof text), ntohs(in.sin_port)};
  }
  const auto& in = reinterpret_cast<const sockaddr_in6&>(a);
  EXPECT_EQ(sizeof in, size);
  return {inet_ntop(AF_INET6, &in.sin6_addr, text, sizeof text), ntohs(in.sin6_port)};
}
inline Name peer_of(int fd) { return name_of(fd, SYS_getpeername); }

inline Fd make(int type = SOCK_STREAM, int family = AF_INET) { return Fd(static_cast<int>(sys(SYS_socket, family, type, 0))); }

inline Fd listener(int backlog = 16, const sockaddr_in& at = v4()) {
  Fd fd = make();
  EXPECT_OK(bind_to(fd, at));
  EXPECT_OK(sys(SYS_listen, fd, backlog));
  return fd;
}

inline Fd udp() {
  Fd fd = make(SOCK_DGRAM);
  EXPECT_OK(bind_to(fd, v4()));
  return fd;
}

// A port that was free a moment ago: bound, and nobody listens.
struct DeadPort {
  Fd fd = make();
  uint16_t port;
  DeadPort() {
    EXPECT_OK(bind_to(fd, v4()));
    port = name_of(fd).port;
  }
};

struct Connection {
  Fd a, b;
  Connection() {
    Fd l = listener();
    a = make();
    EXPECT_OK(connect_to(a, v4(name_of(l).port)));
    b = Fd(static_cast<int>(sys(SYS_accept4, l, nullptr, nullptr, 0)));
    EXPECT_GE(b, 0);
  }
};

inline short poll_of(int fd, short events = kEverything, int timeout = 0) {
  pollfd p = {fd, events, 0};
  return poll(&p, 1, timeout) > 0 ? p.revents : 0;
}

inline int option(int fd, int level, int name) {
  int v = -1;
  socklen_t size = sizeof v;
  return sys(SYS_getsockopt, fd, level, name, &v, &size) == 0 ? v : -errno;
}
inline long set_option(int fd, int level, int name, int v) { return sys(SYS_setsockopt, fd, level, name, &v, sizeof v); }
inline void reuse(int fd, int name = SO_REUSEADDR) { EXPECT_OK(set_option(fd, SOL_SOCKET, name, 1)); }

inline std::string receive(int fd, int flags = 0) {
  char buffer[256];
  const ssize_t n = recv(fd, buffer, sizeof buffer, flags);
  return n < 0 ? errno_name(errno) : std::string(buffer, static_cast<size_t>(n));
}

inline void reset_by(Fd& fd) {
  const linger now = {1, 0};
  EXPECT_OK(setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now));
  fd.reset();
}

inline bool has_v6() {
  Fd fd = make(SOCK_STREAM, AF_INET6);
  return fd >= 0 && bind_to(fd, v6()) == 0;
}
#define SKIP_UNLESS_V6() \
  if (!has_v6()) GTEST_SKIP() << "needs IPv6"

}  // namespace run9::guest
