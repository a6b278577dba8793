// Sockets of AF_INET and AF_INET6 on the loopback interface: addresses, TCP, options. Ports are always picked by the kernel.
#include <net/if.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/uio.h>

#include "tests/syscalls/inet_util.h"

namespace run9::guest {
namespace {

class InetSocketTest : public DirTest {};

// --- making and naming them

TEST_F(InetSocketTest, KindsThatThereAreNot) {
  for (int family : {AF_INET, AF_INET6}) {
    EXPECT_ERR(EPROTONOSUPPORT, sys(SYS_socket, family, SOCK_STREAM, IPPROTO_UDP));
    EXPECT_ERR(EPROTONOSUPPORT, sys(SYS_socket, family, SOCK_DGRAM, IPPROTO_TCP));
    EXPECT_ERR(ESOCKTNOSUPPORT, sys(SYS_socket, family, SOCK_RDM, 0));
    EXPECT_ERR(EPROTONOSUPPORT, sys(SYS_socket, family, SOCK_RAW, 0));
    EXPECT_ERR(EINVAL, sys(SYS_socket, family, SOCK_STREAM, 300));
    EXPECT_ERR(EINVAL, sys(SYS_socket, family, SOCK_STREAM, -1));
    EXPECT_ERR(EINVAL, sys(SYS_socket, family, 77, 0));
    int fds[2];
    EXPECT_ERR(EOPNOTSUPP, sys(SYS_socketpair, family, SOCK_STREAM, 0, fds));
  }
  Fd fd(static_cast<int>(sys(SYS_socket, AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_TCP)));
  EXPECT_EQ(FD_CLOEXEC, fcntl(fd, F_GETFD));
  EXPECT_NE(0, fcntl(fd, F_GETFL) & O_NONBLOCK);
}

TEST_F(InetSocketTest, RawNeedsACapability) {
  SKIP_UNLESS_ROOT();
  in_user_child([] { EXPECT_ERR(EPERM, sys(SYS_socket, AF_INET, SOCK_RAW, IPPROTO_UDP)); });
}

TEST_F(InetSocketTest, LowPortsNeedACapability) {
  SKIP_UNLESS_ROOT();
  in_user_child([] { EXPECT_ERR(EACCES, bind_to(make(), v4(81))); });
}

TEST_F(InetSocketTest, WhatItIs) {
  const Fd tcp = make();
  EXPECT_EQ(AF_INET, option(tcp, SOL_SOCKET, SO_DOMAIN));
  EXPECT_EQ(SOCK_STREAM, option(tcp, SOL_SOCKET, SO_TYPE));
  EXPECT_EQ(IPPROTO_TCP, option(tcp, SOL_SOCKET, SO_PROTOCOL));
  EXPECT_EQ(0, option(tcp, SOL_SOCKET, SO_ACCEPTCONN));
  EXPECT_EQ(IPPROTO_UDP, option(make(SOCK_DGRAM), SOL_SOCKET, SO_PROTOCOL));
  EXPECT_EQ(1, option(listener(), SOL_SOCKET, SO_ACCEPTCONN));
  struct stat st;
  ASSERT_OK(fstat(tcp, &st));
  EXPECT_TRUE(S_ISSOCK(st.st_mode));
}

TEST_F(InetSocketTest, BindErrors) {
  const sockaddr_in a = v4();
  EXPECT_ERR(EINVAL, sys(SYS_bind, make(), &a, 8));
  EXPECT_ERR(EAFNOSUPPORT, bind_to(make(), v6()));
  EXPECT_ERR(EADDRNOTAVAIL, bind_to(make(), v4(0, "8.8.8.8")));
  const Fd fd = make();
  EXPECT_EQ("0.0.0.0", name_of(fd).ip);
  EXPECT_EQ(0, name_of(fd).port);
  EXPECT_OK(bind_to(fd, a));
  EXPECT_EQ("127.0.0.1", name_of(fd).ip);
  EXPECT_GE(name_of(fd).port, 1024);
  EXPECT_ERR(EINVAL, bind_to(fd, a));
  EXPECT_OK(bind_to(make(), v4(0, "127.1.2.3")));
  sockaddr_in unspecified = v4(0, "0.0.0.0");
  unspecified.sin_family = AF_UNSPEC;
  EXPECT_OK(bind_to(make(), unspecified));
  unspecified = v4();
  unspecified.sin_family = AF_UNSPEC;
  EXPECT_ERR(EAFNOSUPPORT, bind_to(make(), unspecified));
}

TEST_F(InetSocketTest, PortsConflict) {
  for (int type : {SOCK_STREAM, SOCK_DGRAM}) {
    const int other_type = type == SOCK_STREAM ? SOCK_DGRAM : SOCK_STREAM;
    Fd first = make(type), other = make(other_type);
    ASSERT_OK(bind_to(first, v4()));
    // Some program of the machine's may have this one for the other protocol.
    for (int tries = 0; tries < 10 && bind_to(other, v4(name_of(first).port)) != 0; ++tries) {
      first = make(type);
      ASSERT_OK(bind_to(first, v4()));
    }
    const uint16_t port = name_of(first).port;
    EXPECT_EQ(port, name_of(other).port) << "two protocols, two sets of ports";
    EXPECT_ERR(EADDRINUSE, bind_to(make(type), v4(port)));
    EXPECT_ERR(EADDRINUSE, bind_to(make(type), v4(port, "0.0.0.0")));
    EXPECT_OK(bind_to(make(type), v4(port, "127.0.0.2")));
    Fd second = make(type);
    reuse(second);
    EXPECT_ERR(EADDRINUSE, bind_to(second, v4(port)));  // only one of them agrees
    reuse(first);
    EXPECT_OK(bind_to(second, v4(port)));
  }
}

TEST_F(InetSocketTest, TwoListenersOfOnePort) {
  Fd a = make(), b = make();
  reuse(a), reuse(b);
  ASSERT_OK(bind_to(a, v4()));
  ASSERT_OK(bind_to(b, v4(name_of(a).port)));
  ASSERT_OK(sys(SYS_listen, a, 1));
  EXPECT_ERR(EADDRINUSE, sys(SYS_listen, b, 1));
  Fd c = make();
  reuse(c);
  EXPECT_ERR(EADDRINUSE, bind_to(c, v4(name_of(a).port)));
}

TEST_F(InetSocketTest, ReusePortSpreads) {
  Fd a = make(), b = make();
  reuse(a, SO_REUSEPORT), reuse(b, SO_REUSEPORT);
  ASSERT_OK(bind_to(a, v4()));
  const auto at = v4(name_of(a).port);
  ASSERT_OK(bind_to(b, at));
  ASSERT_OK(sys(SYS_listen, a, 100));
  ASSERT_OK(sys(SYS_listen, b, 100));
  std::vector<Fd> clients;
  for (int i = 0; i < 64; ++i) {
    clients.push_back(make());
    ASSERT_OK(connect_to(clients.back(), at));
  }
  EXPECT_NE(0, poll_of(a, POLLIN, 1000));
  EXPECT_NE(0, poll_of(b, POLLIN, 1000));
}

TEST_F(InetSocketTest, RestartedServer) {
  Fd l = make();
  reuse(l);
  ASSERT_OK(bind_to(l, v4()));
  ASSERT_OK(sys(SYS_listen, l, 5));
  const auto at = v4(name_of(l).port);
  Fd c = make();
  ASSERT_OK(connect_to(c, at));
  Fd s(accept(l, nullptr, nullptr));
  l.reset();
  EXPECT_ERR(EADDRINUSE, bind_to(make(), at));  // the connection has the port
  Fd again = make();
  reuse(again);
  EXPECT_OK(bind_to(again, at));
  EXPECT_OK(sys(SYS_listen, again, 5));
}

// --- TCP

TEST_F(InetSocketTest, ConnectAndAccept) {
  const Fd l = listener();
  const auto at = name_of(l);
  Fd c = make();
  ASSERT_OK(connect_to(c, v4(at.port)));
  sockaddr_in from = {};
  socklen_t size = sizeof from;
  Fd s(static_cast<int>(sys(SYS_accept, l, &from, &size)));
  ASSERT_GE(s, 0);
  EXPECT_EQ(sizeof from, size);
  EXPECT_EQ(name_of(c).port, ntohs(from.sin_port));
  EXPECT_EQ("127.0.0.1", name_of(c).ip);
  EXPECT_EQ(at.port, peer_of(c).port);
  EXPECT_EQ(at.port, name_of(s).port);
  EXPECT_EQ(name_of(c).port, peer_of(s).port);
  EXPECT_EQ(5, write(c, "hello", 5));
  EXPECT_EQ("hel", receive(s).substr(0, 3));
  EXPECT_EQ(2, send(s, "ok", 2, 0));
  EXPECT_EQ("ok", receive(c));
  EXPECT_ERR(EISCONN, connect_to(c, v4(at.port)));
  EXPECT_ERR(EINVAL, sys(SYS_listen, c, 1));
  EXPECT_ERR(EINVAL, sys(SYS_accept, c, nullptr, nullptr));
  EXPECT_ERR(EOPNOTSUPP, sys(SYS_accept, make(SOCK_DGRAM), nullptr, nullptr));
  EXPECT_ERR(EOPNOTSUPP, sys(SYS_listen, make(SOCK_DGRAM), 1));
}

TEST_F(InetSocketTest, AddressesOfAWildcard) {
  const Fd l = listener(16, v4(0, "0.0.0.0"));
  const uint16_t port = name_of(l).port;
  Fd c = make();
  ASSERT_OK(connect_to(c, v4(port, "127.0.0.5")));
  Fd s(accept(l, nullptr, nullptr));
  EXPECT_EQ("127.0.0.5", name_of(s).ip);
  EXPECT_EQ("127.0.0.1", name_of(c).ip);
  Fd any = make();
  ASSERT_OK(connect_to(any, v4(port, "0.0.0.0")));
  EXPECT_EQ("127.0.0.1", peer_of(any).ip);
}

TEST_F(InetSocketTest, ConnectErrors) {
  const DeadPort dead;
  const auto at = v4(dead.port);
  EXPECT_ERR(ECONNREFUSED, connect_to(make(), at));
  EXPECT_ERR(EINVAL, sys(SYS_connect, make(), &at, 8));
  EXPECT_ERR(EINVAL, sys(SYS_connect, make(), &at, 1));
  EXPECT_ERR(EAFNOSUPPORT, connect_to(make(), v6(dead.port)));
  EXPECT_ERR(EISCONN, connect_to(listener(), at));
  EXPECT_ERR(ENOTCONN, sys(SYS_getpeername, make(), nullptr, nullptr));
  EXPECT_ERR(ENOTCONN, recv(make(), nullptr, 0, 0));
  EXPECT_ERR(EPIPE, send(make(), "x", 1, MSG_NOSIGNAL));
  EXPECT_ERR(ENOTCONN, sys(SYS_shutdown, make(), SHUT_RDWR));
  EXPECT_ERR(EINVAL, sys(SYS_shutdown, Connection().a, 3));
  EXPECT_EQ(POLLOUT | POLLHUP, poll_of(make()));
}

TEST_F(InetSocketTest, NonblockingConnect) {
  const Fd l = listener();
  const auto at = v4(name_of(l).port);
  Fd c = make(SOCK_STREAM | SOCK_NONBLOCK);
  EXPECT_ERR(EINPROGRESS, connect_to(c, at));
  EXPECT_EQ(POLLOUT, poll_of(c, kEverything, 1000));
  EXPECT_EQ(0, option(c, SOL_SOCKET, SO_ERROR));
  EXPECT_OK(connect_to(c, at));  // tells that it has ended
  EXPECT_ERR(EISCONN, connect_to(c, at));
  const DeadPort dead;
  Fd d = make(SOCK_STREAM | SOCK_NONBLOCK);
  EXPECT_ERR(EINPROGRESS, connect_to(d, v4(dead.port)));
  EXPECT_EQ(POLLIN | POLLOUT | POLLERR | POLLHUP | POLLRDHUP, poll_of(d, kEverything, 1000));
  EXPECT_EQ(ECONNREFUSED, option(d, SOL_SOCKET, SO_ERROR));
  EXPECT_EQ(POLLIN | POLLOUT | POLLHUP | POLLRDHUP, poll_of(d));
  EXPECT_ERR(ECONNABORTED, connect_to(d, at));
  EXPECT_ERR(EINPROGRESS, connect_to(d, at));
  EXPECT_EQ(POLLOUT, poll_of(d, kEverything, 1000));
}

TEST_F(InetSocketTest, BacklogIsFull) {
  const Fd l = listener(0);
  const auto at = v4(name_of(l).port);
  Fd first = make();
  ASSERT_OK(connect_to(first, at));
  Fd second = make(SOCK_STREAM | SOCK_NONBLOCK);
  EXPECT_ERR(EINPROGRESS, connect_to(second, at));
  EXPECT_EQ(0, poll_of(second));
  EXPECT_ERR(EALREADY, connect_to(second, at));
  EXPECT_ERR(EAGAIN, recv(second, nullptr, 0, 0));
  EXPECT_ERR(EAGAIN, send(second, "x", 1, 0));
  Fd s(accept(l, nullptr, nullptr));
  EXPECT_EQ(name_of(first).port, peer_of(s).port);
  EXPECT_EQ(POLLOUT, poll_of(second, kEverything, 5000));
  EXPECT_OK(connect_to(second, at));
}

TEST_F(InetSocketTest, AcceptWaits) {
  const Fd l = listener();
  EXPECT_OK(fcntl(l, F_SETFL, O_NONBLOCK));
  EXPECT_ERR(EAGAIN, sys(SYS_accept, l, nullptr, nullptr));
  EXPECT_EQ(0, poll_of(l));
  EXPECT_OK(fcntl(l, F_SETFL, 0));
  const auto at = v4(name_of(l).port);
  const pid_t pid = spawn([&] {
    Fd c = make();
    EXPECT_OK(connect_to(c, at));
    EXPECT_EQ("hello", receive(c));
  });
  Fd s(static_cast<int>(sys(SYS_accept4, l, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC)));
  EXPECT_EQ(FD_CLOEXEC, fcntl(s, F_GETFD));
  EXPECT_ERR(EAGAIN, read(s, bad(), 1));
  EXPECT_EQ(5, send(s, "hello", 5, 0));
  EXPECT_EQ(0, reap(pid));
}

TEST_F(InetSocketTest, ClosedListenerResetsWhoWaits) {
  Fd l = listener();
  Fd c = make();
  ASSERT_OK(connect_to(c, v4(name_of(l).port)));
  l.reset();
  EXPECT_EQ("ECONNRESET", receive(c));
  EXPECT_EQ("", receive(c));
}

TEST_F(InetSocketTest, ShutdownOfAListener) {
  const Fd l = listener();
  const uint16_t port = name_of(l).port;
  EXPECT_OK(sys(SYS_shutdown, l, SHUT_WR));
  EXPECT_EQ(0, poll_of(l));
  EXPECT_OK(sys(SYS_shutdown, l, SHUT_RD));
  EXPECT_EQ(POLLOUT | POLLHUP, poll_of(l));
  EXPECT_ERR(EINVAL, sys(SYS_accept, l, nullptr, nullptr));
  EXPECT_EQ(port, name_of(l).port);
  EXPECT_OK(sys(SYS_listen, l, 1));
  EXPECT_OK(connect_to(make(), v4(name_of(l).port)));  // perhaps another: nobody asked for that one
}

TEST_F(InetSocketTest, HalfClosed) {
  Connection s;
  EXPECT_EQ(POLLOUT, poll_of(s.a));
  EXPECT_EQ(4, write(s.a, "last", 4));
  EXPECT_OK(shutdown(s.a, SHUT_WR));
  EXPECT_ERR(EPIPE, send(s.a, "x", 1, MSG_NOSIGNAL));
  EXPECT_EQ(POLLIN | POLLOUT | POLLRDHUP, poll_of(s.b, kEverything, 1000));
  EXPECT_EQ("last", receive(s.b));
  EXPECT_EQ("", receive(s.b));
  EXPECT_EQ(3, write(s.b, "yes", 3));
  EXPECT_EQ("yes", receive(s.a));
  EXPECT_OK(shutdown(s.b, SHUT_WR));
  EXPECT_EQ("", receive(s.a));
  EXPECT_EQ(POLLIN | POLLOUT | POLLRDHUP | POLLHUP, poll_of(s.a));
  EXPECT_EQ("ENOTCONN", peer_of(s.a).ip);
  EXPECT_ERR(EISCONN, connect_to(s.a, v4(1)));
}

TEST_F(InetSocketTest, SignalOfABrokenPipe) {
  Connection s;
  s.b.reset();
  EXPECT_EQ(POLLIN | POLLOUT | POLLRDHUP, poll_of(s.a, kEverything, 1000));
  EXPECT_EQ(1, write(s.a, "x", 1));  // nobody knows yet
  EXPECT_EQ(POLLIN | POLLOUT | POLLRDHUP | POLLERR | POLLHUP, poll_of(s.a, POLLIN | POLLOUT | POLLRDHUP, 1000));
  const int status = child_status([&] { (void)!write(s.a, "x", 1); });
  EXPECT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(SIGPIPE, WTERMSIG(status));
  EXPECT_EQ("", receive(s.a));
  EXPECT_ERR(EPIPE, send(s.a, "x", 1, MSG_NOSIGNAL));
}

TEST_F(InetSocketTest, ResetByUnreadData) {
  Connection s;
  EXPECT_EQ(6, write(s.a, "unread", 6));
  EXPECT_EQ(4, write(s.b, "data", 4));
  EXPECT_NE(0, poll_of(s.b, POLLIN, 1000));
  s.b.reset();
  EXPECT_NE(0, poll_of(s.a, POLLERR, 1000));
  EXPECT_EQ("data", receive(s.a));
  EXPECT_EQ("ECONNRESET", receive(s.a));
  EXPECT_EQ("", receive(s.a));
  EXPECT_ERR(EPIPE, send(s.a, "x", 1, MSG_NOSIGNAL));
  EXPECT_ERR(ENOTCONN, shutdown(s.a, SHUT_WR));
}

TEST_F(InetSocketTest, ResetByLinger) {
  Connection s;
  reset_by(s.b);
  EXPECT_EQ(POLLIN | POLLOUT | POLLRDHUP | POLLERR | POLLHUP, poll_of(s.a, kEverything, 1000));
  EXPECT_EQ(ECONNRESET, option(s.a, SOL_SOCKET, SO_ERROR));
  EXPECT_EQ("", receive(s.a));
}

TEST_F(InetSocketTest, Flags) {
  Connection s;
  EXPECT_EQ(6, send(s.a, "abcdef", 6, MSG_MORE | MSG_NOSIGNAL));
  EXPECT_EQ(2, send(s.a, "gh", 2, 0));
  EXPECT_EQ("abcdefgh", receive(s.b, MSG_PEEK).substr(0, 8));
  char buffer[16] = {};
  EXPECT_EQ(2, recv(s.b, nullptr, 2, MSG_TRUNC));
  EXPECT_EQ(6, recv(s.b, buffer, 6, MSG_WAITALL));
  EXPECT_STREQ("cdefgh", buffer);
  EXPECT_ERR(EAGAIN, recv(s.b, buffer, 1, MSG_DONTWAIT));
  EXPECT_ERR(EINVAL, recv(s.b, buffer, 1, MSG_OOB));
  EXPECT_ERR(EAGAIN, recv(s.b, buffer, 1, MSG_ERRQUEUE));
  EXPECT_ERR(EFAULT, sys(SYS_sendto, s.a, bad(), 4, 0, nullptr, 0));
  const timeval soon = {0, 20000};
  EXPECT_OK(setsockopt(s.b, SOL_SOCKET, SO_RCVTIMEO, &soon, sizeof soon));
  EXPECT_ERR(EAGAIN, recv(s.b, buffer, 1, 0));
  const auto nowhere = v4(1);
  EXPECT_EQ(1, sys(SYS_sendto, s.a, "x", 1, 0, &nowhere, sizeof nowhere));  // the address means nothing
  int n = 0;
  EXPECT_NE(0, poll_of(s.b, POLLIN, 1000));
  EXPECT_OK(ioctl(s.b, FIONREAD, &n));
  EXPECT_EQ(1, n);
  sockaddr_in from = {};
  socklen_t size = sizeof from;
  EXPECT_EQ(1, sys(SYS_recvfrom, s.b, buffer, 1, 0, &from, &size));
}

TEST_F(InetSocketTest, WriterWaitsForTheReader) {
  Connection s;
  EXPECT_OK(set_option(s.a, SOL_SOCKET, SO_SNDBUF, 8192));
  EXPECT_OK(fcntl(s.a, F_SETFL, O_NONBLOCK));
  const std::string piece(5000, 'p');
  size_t sent = 0;
  ssize_t n;
  while ((n = write(s.a, piece.data(), piece.size())) > 0) sent += static_cast<size_t>(n);
  EXPECT_ERR(EAGAIN, n);
  EXPECT_GT(sent, 16384u);
  EXPECT_LT(sent, 16u << 20);
  EXPECT_EQ(0, poll_of(s.a, POLLOUT));
  EXPECT_OK(fcntl(s.a, F_SETFL, 0));
  const pid_t pid = spawn([&] {
    s.b.reset();
    EXPECT_EQ(5000, write(s.a, piece.data(), piece.size()));
  });
  s.a.reset();
  size_t got = 0;
  char buffer[4096];
  while ((n = read(s.b, buffer, sizeof buffer)) > 0) got += static_cast<size_t>(n);
  EXPECT_EQ(sent + 5000, got);
  EXPECT_EQ(0, reap(pid));
}

TEST_F(InetSocketTest, Disconnect) {
  const Fd l = listener();
  const auto at = v4(name_of(l).port);
  Fd c = make();
  ASSERT_OK(connect_to(c, at));
  EXPECT_OK(disconnect(c));
  EXPECT_EQ("ENOTCONN", peer_of(c).ip);
  EXPECT_EQ("0.0.0.0", name_of(c).ip);
  EXPECT_EQ(POLLOUT | POLLHUP | POLLERR, poll_of(c));
  EXPECT_EQ(ECONNRESET, option(c, SOL_SOCKET, SO_ERROR));
  EXPECT_OK(connect_to(c, at));
}

TEST_F(InetSocketTest, SpliceAndSendfile) {
  Connection s;
  const Fd file = open_file("f", "from a file");
  EXPECT_EQ(11, sendfile(s.a, file, nullptr, 100));
  const Pipe pipe;
  EXPECT_NE(0, poll_of(s.b, POLLIN, 1000));
  EXPECT_EQ(11, splice(s.b, nullptr, pipe.w, nullptr, 100, 0));
  EXPECT_EQ(11, splice(pipe.r, nullptr, s.b, nullptr, 100, 0));
  EXPECT_EQ("from a file", receive(s.a));
}

TEST_F(InetSocketTest, Epoll) {
  const Fd l = listener();
  const Fd epoll(epoll_create1(0));
  epoll_event e = {.events = EPOLLIN | EPOLLET, .data = {.fd = l}};
  ASSERT_OK(epoll_ctl(epoll, EPOLL_CTL_ADD, l, &e));
  EXPECT_EQ(0, epoll_wait(epoll, &e, 1, 0));
  Fd c = make();
  ASSERT_OK(connect_to(c, v4(name_of(l).port)));
  EXPECT_EQ(1, epoll_wait(epoll, &e, 1, 1000));
  Fd s(accept(l, nullptr, nullptr));
  e = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET, .data = {.fd = s}};
  ASSERT_OK(epoll_ctl(epoll, EPOLL_CTL_ADD, s, &e));
  EXPECT_EQ(1, write(c, "x", 1));
  EXPECT_EQ(1, epoll_wait(epoll, &e, 1, 1000));
  EXPECT_EQ(unsigned{EPOLLIN}, e.events);
  c.reset();
  EXPECT_EQ(1, epoll_wait(epoll, &e, 1, 1000));
  EXPECT_EQ(unsigned{EPOLLIN | EPOLLRDHUP}, e.events);
}

// --- IPv6

TEST_F(InetSocketTest, Version6) {
  SKIP_UNLESS_V6();
  Fd l = make(SOCK_STREAM, AF_INET6);
  EXPECT_EQ("::", name_of(l).ip);
  ASSERT_OK(bind_to(l, v6()));
  ASSERT_OK(sys(SYS_listen, l, 5));
  Fd c = make(SOCK_STREAM, AF_INET6);
  ASSERT_OK(connect_to(c, v6(name_of(l).port)));
  Fd s(accept(l, nullptr, nullptr));
  EXPECT_EQ("::1", name_of(c).ip);
  EXPECT_EQ("::1", peer_of(s).ip);
  EXPECT_EQ(2, write(c, "v6", 2));
  EXPECT_EQ("v6", receive(s));
  EXPECT_ERR(ECONNREFUSED, connect_to(make(), v4(name_of(l).port)));
  Fd any = make(SOCK_STREAM, AF_INET6);
  ASSERT_OK(connect_to(any, v6(name_of(l).port, "::")));
  EXPECT_EQ("::1", peer_of(any).ip);
  EXPECT_ERR(EINVAL, sys(SYS_bind, make(SOCK_STREAM, AF_INET6), &any, 16));
  EXPECT_ERR(EAFNOSUPPORT, [] {
    sockaddr_in6 a = v6();
    a.sin6_family = AF_INET;
    return bind_to(make(SOCK_STREAM, AF_INET6), a);
  }());
}

TEST_F(InetSocketTest, BothVersions) {
  SKIP_UNLESS_V6();
  Fd l = make(SOCK_STREAM, AF_INET6);
  ASSERT_OK(bind_to(l, v6(0, "::")));
  ASSERT_OK(sys(SYS_listen, l, 5));
  const uint16_t port = name_of(l).port;
  Fd c = make();
  ASSERT_OK(connect_to(c, v4(port)));
  Fd s(accept(l, nullptr, nullptr));
  EXPECT_EQ("::ffff:127.0.0.1", name_of(s).ip);
  EXPECT_EQ("::ffff:127.0.0.1", peer_of(s).ip);
  EXPECT_ERR(EADDRINUSE, bind_to(make(), v4(port)));
  Fd mapped = make(SOCK_STREAM, AF_INET6);
  EXPECT_OK(connect_to(mapped, v6(port, "::ffff:127.0.0.1")));
}

TEST_F(InetSocketTest, Only6) {
  SKIP_UNLESS_V6();
  Fd l = make(SOCK_STREAM, AF_INET6);
  EXPECT_EQ(0, option(l, SOL_IPV6, IPV6_V6ONLY));
  EXPECT_OK(set_option(l, SOL_IPV6, IPV6_V6ONLY, 1));
  ASSERT_OK(bind_to(l, v6(0, "::")));
  EXPECT_ERR(EINVAL, set_option(l, SOL_IPV6, IPV6_V6ONLY, 0));
  ASSERT_OK(sys(SYS_listen, l, 5));
  EXPECT_ERR(ECONNREFUSED, connect_to(make(), v4(name_of(l).port)));
  EXPECT_OK(bind_to(make(), v4(name_of(l).port)));
  Fd d = make(SOCK_DGRAM, AF_INET6);
  EXPECT_OK(set_option(d, SOL_IPV6, IPV6_V6ONLY, 1));
  EXPECT_ERR(EINVAL, bind_to(d, v6(0, "::ffff:127.0.0.1")));
  EXPECT_ERR(ENETUNREACH, connect_to(d, v6(1, "::ffff:127.0.0.1")));
}

// --- options and interfaces

TEST_F(InetSocketTest, KeptOptions) {
  const Fd tcp = make(), dgram = make(SOCK_DGRAM);
  EXPECT_EQ(0, option(tcp, SOL_TCP, TCP_NODELAY));
  EXPECT_OK(set_option(tcp, SOL_TCP, TCP_NODELAY, 7));
  EXPECT_EQ(1, option(tcp, SOL_TCP, TCP_NODELAY));
  for (int name : {TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT, TCP_USER_TIMEOUT, TCP_SYNCNT}) {
    EXPECT_OK(set_option(tcp, SOL_TCP, name, 11));
    EXPECT_EQ(11, option(tcp, SOL_TCP, name));
  }
  EXPECT_ERR(EINVAL, set_option(tcp, SOL_TCP, TCP_KEEPIDLE, 0));
  EXPECT_ERR(EINVAL, set_option(tcp, SOL_TCP, TCP_KEEPCNT, 128));
  EXPECT_OK(set_option(tcp, SOL_TCP, TCP_CORK, 1));
  EXPECT_OK(set_option(tcp, SOL_IP, IP_TTL, 9));
  EXPECT_EQ(9, option(tcp, SOL_IP, IP_TTL));
  EXPECT_ERR(EINVAL, set_option(tcp, SOL_IP, IP_TTL, 256));
  EXPECT_ERR(ENOPROTOOPT, set_option(tcp, SOL_TCP, 99, 1));
  EXPECT_ERR(ENOPROTOOPT, set_option(tcp, SOL_IP, 99, 1));
  EXPECT_ERR(ENOPROTOOPT, set_option(dgram, SOL_TCP, TCP_NODELAY, 1));
  EXPECT_EQ(-EOPNOTSUPP, option(dgram, SOL_TCP, TCP_NODELAY));
  EXPECT_EQ(-EOPNOTSUPP, option(tcp, SOL_IPV6, IPV6_V6ONLY));
  EXPECT_EQ(-ENOTCONN, option(tcp, SOL_IP, IP_MTU));
  char name[16] = "cubic";
  EXPECT_OK(setsockopt(tcp, SOL_TCP, TCP_CONGESTION, "reno", 4));
  socklen_t size = sizeof name;
  EXPECT_OK(getsockopt(tcp, SOL_TCP, TCP_CONGESTION, name, &size));
  EXPECT_STREQ("reno", name);
  EXPECT_ERR(ENOENT, setsockopt(tcp, SOL_TCP, TCP_CONGESTION, "none", 4));
}

TEST_F(InetSocketTest, TcpInfo) {
  const auto state = [](int fd) {
    tcp_info info = {};
    socklen_t size = sizeof info;
    EXPECT_OK(getsockopt(fd, SOL_TCP, TCP_INFO, &info, &size));
    return int{info.tcpi_state};
  };
  EXPECT_EQ(TCP_CLOSE, state(make()));
  EXPECT_EQ(TCP_LISTEN, state(listener()));
  Connection s;
  EXPECT_EQ(TCP_ESTABLISHED, state(s.a));
  EXPECT_OK(shutdown(s.a, SHUT_WR));
  EXPECT_NE(0, poll_of(s.b, POLLRDHUP, 1000));
  const int waits = state(s.a);
  EXPECT_TRUE(waits == TCP_FIN_WAIT1 || waits == TCP_FIN_WAIT2) << waits;
  EXPECT_EQ(TCP_CLOSE_WAIT, state(s.b));
}

TEST_F(InetSocketTest, AcceptedSocketHasTheListenersOptions) {
  const Fd l = listener();
  EXPECT_OK(set_option(l, SOL_TCP, TCP_NODELAY, 1));
  EXPECT_OK(set_option(l, SOL_SOCKET, SO_KEEPALIVE, 1));
  Fd c = make();
  ASSERT_OK(connect_to(c, v4(name_of(l).port)));
  Fd s(accept(l, nullptr, nullptr));
  EXPECT_EQ(1, option(s, SOL_TCP, TCP_NODELAY));
  EXPECT_EQ(1, option(s, SOL_SOCKET, SO_KEEPALIVE));
}

TEST_F(InetSocketTest, LoopbackInterface) {
  const Fd fd = make(SOCK_DGRAM);
  ifreq r = {};
  strcpy(r.ifr_name, "lo");
  EXPECT_OK(ioctl(fd, SIOCGIFFLAGS, &r));
  EXPECT_EQ(IFF_UP | IFF_LOOPBACK | IFF_RUNNING, r.ifr_flags);
  EXPECT_OK(ioctl(fd, SIOCGIFADDR, &r));
  EXPECT_EQ(htonl(INADDR_LOOPBACK), reinterpret_cast<sockaddr_in&>(r.ifr_addr).sin_addr.s_addr);
  EXPECT_OK(ioctl(fd, SIOCGIFNETMASK, &r));
  EXPECT_EQ(htonl(0xff000000), reinterpret_cast<sockaddr_in&>(r.ifr_addr).sin_addr.s_addr);
  EXPECT_OK(ioctl(fd, SIOCGIFMTU, &r));
  EXPECT_EQ(65536, r.ifr_mtu);
  EXPECT_OK(ioctl(fd, SIOCGIFHWADDR, &r));
  EXPECT_OK(ioctl(fd, SIOCGIFINDEX, &r));
  r.ifr_name[0] = '\0';
  EXPECT_OK(ioctl(fd, SIOCGIFNAME, &r));
  EXPECT_STREQ("lo", r.ifr_name);
  strcpy(r.ifr_name, "none7");
  EXPECT_ERR(ENODEV, ioctl(fd, SIOCGIFFLAGS, &r));
  EXPECT_ERR(EFAULT, ioctl(fd, SIOCGIFFLAGS, bad()));
  ifreq all[8] = {};
  ifconf conf = {.ifc_len = sizeof all, .ifc_ifcu = {.ifcu_req = all}};
  EXPECT_OK(ioctl(fd, SIOCGIFCONF, &conf));
  EXPECT_GE(conf.ifc_len, static_cast<int>(sizeof(ifreq)));
  EXPECT_STREQ("lo", all[0].ifr_name);
}

TEST_F(InetSocketTest, ProcNet) {
  const Fd l = listener();
  char line[64];
  snprintf(line, sizeof line, "0100007F:%04X 00000000:0000 0A", name_of(l).port);
  EXPECT_NE(std::string::npos, read_file("/proc/net/tcp").find(line));
  const Fd u = udp();
  snprintf(line, sizeof line, "0100007F:%04X 00000000:0000 07", name_of(u).port);
  EXPECT_NE(std::string::npos, read_file("/proc/net/udp").find(line));
  EXPECT_NE(std::string::npos, read_file("/proc/net/dev").find("lo:"));
}

TEST_F(InetSocketTest, BadPointers) {
  const Fd l = listener();
  Fd c = make();
  for (long nr : {SYS_bind, SYS_connect}) EXPECT_ERR(EFAULT, sys(nr, c, bad(), sizeof(sockaddr_in)));
  EXPECT_ERR(EINVAL, sys(SYS_bind, c, bad(), 1000));
  EXPECT_ERR(EFAULT, sys(SYS_setsockopt, c, SOL_TCP, TCP_NODELAY, bad(), 4));
  EXPECT_ERR(EINVAL, sys(SYS_setsockopt, c, SOL_TCP, TCP_NODELAY, &c, 1));
  socklen_t size = 4;
  EXPECT_ERR(EFAULT, sys(SYS_getsockopt, c, SOL_TCP, TCP_NODELAY, bad(), &size));
  EXPECT_ERR(EFAULT, sys(SYS_getsockname, l, bad(), &size));
}

}  // namespace
}  // namespace run9::guest
