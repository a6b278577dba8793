// Datagram sockets of AF_INET and AF_INET6 on the loopback interface.
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/uio.h>

#include "tests/syscalls/inet_util.h"

namespace run9::guest {
namespace {

class InetDatagramTest : public DirTest {};

TEST_F(InetDatagramTest, Datagrams) {
  const Fd a = udp(), b = udp();
  const auto to_b = v4(name_of(b).port);
  EXPECT_EQ(5, sys(SYS_sendto, a, "hello", 5, 0, &to_b, sizeof to_b));
  EXPECT_EQ(0, sys(SYS_sendto, a, "", 0, 0, &to_b, sizeof to_b));
  sockaddr_in from = {};
  socklen_t size = sizeof from;
  char buffer[16] = {};
  int n = 0;
  EXPECT_OK(ioctl(b, FIONREAD, &n));
  EXPECT_EQ(5, n);
  EXPECT_EQ(5, sys(SYS_recvfrom, b, buffer, 3, MSG_TRUNC, &from, &size));
  EXPECT_EQ(sizeof from, size);
  EXPECT_EQ(name_of(a).port, ntohs(from.sin_port));
  EXPECT_EQ(POLLIN | POLLOUT, poll_of(b));
  EXPECT_EQ(0, recv(b, buffer, 16, 0));
  EXPECT_ERR(EAGAIN, recv(b, buffer, 16, MSG_DONTWAIT));
  EXPECT_EQ(POLLOUT, poll_of(b));
}

TEST_F(InetDatagramTest, DatagramErrors) {
  const DeadPort dead;
  Fd fd = make(SOCK_DGRAM);
  const auto at = v4(dead.port), zero = v4(0);
  EXPECT_ERR(EDESTADDRREQ, send(fd, "x", 1, 0));
  EXPECT_ERR(EINVAL, sys(SYS_sendto, fd, "x", 1, 0, &zero, sizeof zero));
  EXPECT_ERR(EINVAL, sys(SYS_sendto, fd, "x", 1, 0, &at, 8));
  const std::string big(65508, 'b');
  EXPECT_ERR(EMSGSIZE, sys(SYS_sendto, fd, big.data(), big.size(), 0, &at, sizeof at));
  EXPECT_EQ(65507, sys(SYS_sendto, fd, big.data(), big.size() - 1, 0, &at, sizeof at));
  EXPECT_EQ(0, option(fd, SOL_SOCKET, SO_ERROR));  // not connected: nobody says so
  EXPECT_NE(0, name_of(fd).port);
  ASSERT_OK(connect_to(fd, at));
  EXPECT_EQ(1, send(fd, "x", 1, 0));
  EXPECT_EQ(POLLOUT | POLLERR, poll_of(fd, POLLIN | POLLOUT, 1000));
  EXPECT_ERR(ECONNREFUSED, send(fd, "x", 1, 0));
  EXPECT_EQ(1, send(fd, "x", 1, 0));
  EXPECT_EQ("ECONNREFUSED", receive(fd));
}

TEST_F(InetDatagramTest, ConnectedDatagramSocketHearsItsPeerOnly) {
  const Fd server = udp(), stranger = udp();
  Fd client = make(SOCK_DGRAM);
  ASSERT_OK(connect_to(client, v4(name_of(server).port)));
  EXPECT_EQ("127.0.0.1", name_of(client).ip);
  EXPECT_EQ(name_of(server).port, peer_of(client).port);
  const auto at = v4(name_of(client).port);
  EXPECT_EQ(1, sys(SYS_sendto, stranger, "s", 1, 0, &at, sizeof at));
  EXPECT_EQ(1, sys(SYS_sendto, server, "p", 1, 0, &at, sizeof at));
  EXPECT_EQ("p", receive(client));
  EXPECT_EQ("EAGAIN", receive(client, MSG_DONTWAIT));
  EXPECT_OK(disconnect(client));
  EXPECT_EQ("ENOTCONN", peer_of(client).ip);
  EXPECT_EQ(0, name_of(client).port);
}

TEST_F(InetDatagramTest, DatagramsThatDoNotFitAreDropped) {
  const Fd a = udp(), b = udp();
  EXPECT_OK(set_option(b, SOL_SOCKET, SO_RCVBUF, 4096));
  const auto at = v4(name_of(b).port);
  const std::string piece(1000, 'p');
  for (int i = 0; i < 100; ++i) EXPECT_EQ(1000, sys(SYS_sendto, a, piece.data(), piece.size(), 0, &at, sizeof at));
  int n = 0;
  while (receive(b, MSG_DONTWAIT) != "EAGAIN") ++n;
  EXPECT_GT(n, 0);
  EXPECT_LT(n, 50);
}

TEST_F(InetDatagramTest, DatagramInParts) {
  const Fd a = udp(), b = udp();
  const auto at = v4(name_of(b).port);
  EXPECT_EQ(3, sys(SYS_sendto, a, "one", 3, MSG_MORE, &at, sizeof at));
  EXPECT_EQ(3, send(a, "two", 3, MSG_MORE));
  EXPECT_EQ("EAGAIN", receive(b, MSG_DONTWAIT));
  EXPECT_EQ(1, send(a, "!", 1, 0));
  EXPECT_EQ("onetwo!", receive(b));
}

TEST_F(InetDatagramTest, ShutdownOfDatagramSockets) {
  const Fd a = udp();
  EXPECT_ERR(ENOTCONN, shutdown(a, SHUT_RDWR));
  EXPECT_EQ(POLLIN | POLLOUT | POLLRDHUP | POLLHUP, poll_of(a));
  EXPECT_EQ("", receive(a));
  const auto at = v4(1);
  EXPECT_ERR(EPIPE, sys(SYS_sendto, a, "x", 1, 0, &at, sizeof at));
}

TEST_F(InetDatagramTest, ManyMessages) {
  const Fd a = udp(), b = udp();
  auto at = v4(name_of(b).port);
  char one[] = "one", two[] = "three";
  iovec iov[] = {{one, 3}, {two, 5}};
  mmsghdr out[2] = {};
  for (int i = 0; i < 2; ++i) {
    out[i].msg_hdr = {.msg_name = &at, .msg_namelen = sizeof at, .msg_iov = &iov[i], .msg_iovlen = 1};
  }
  EXPECT_EQ(2, sys(SYS_sendmmsg, a, out, 2, 0));
  char buffers[3][4];
  iovec in_iov[] = {{buffers[0], 4}, {buffers[1], 4}, {buffers[2], 4}};
  sockaddr_in from = {};
  mmsghdr in[3] = {};
  for (int i = 0; i < 3; ++i) {
    in[i].msg_hdr = {.msg_name = &from, .msg_namelen = sizeof from, .msg_iov = &in_iov[i], .msg_iovlen = 1};
  }
  EXPECT_EQ(2, sys(SYS_recvmmsg, b, in, 3, MSG_WAITFORONE, nullptr));
  EXPECT_EQ(3u, in[0].msg_len);
  EXPECT_EQ(0, in[0].msg_hdr.msg_flags);
  EXPECT_EQ(4u, in[1].msg_len);
  EXPECT_EQ(MSG_TRUNC, in[1].msg_hdr.msg_flags);
  EXPECT_EQ(name_of(a).port, ntohs(from.sin_port));
}

TEST_F(InetDatagramTest, PacketInfo) {
  Fd a = udp(), b = make(SOCK_DGRAM);
  ASSERT_OK(bind_to(b, v4(0, "0.0.0.0")));
  EXPECT_OK(set_option(b, SOL_IP, IP_PKTINFO, 1));
  const auto at = v4(name_of(b).port, "127.0.0.9");
  EXPECT_EQ(1, sys(SYS_sendto, a, "x", 1, 0, &at, sizeof at));
  char c;
  iovec iov = {&c, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(in_pktinfo))];
  msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
  EXPECT_EQ(1, recvmsg(b, &m, 0));
  const cmsghdr* h = CMSG_FIRSTHDR(&m);
  ASSERT_NE(nullptr, h);
  EXPECT_EQ(SOL_IP, h->cmsg_level);
  EXPECT_EQ(IP_PKTINFO, h->cmsg_type);
  in_pktinfo info;
  memcpy(&info, CMSG_DATA(h), sizeof info);
  EXPECT_EQ(at.sin_addr.s_addr, info.ipi_addr.s_addr);
  EXPECT_EQ(if_nametoindex("lo"), static_cast<unsigned>(info.ipi_ifindex));
}

TEST_F(InetDatagramTest, Datagrams6) {
  SKIP_UNLESS_V6();
  Fd a = make(SOCK_DGRAM, AF_INET6);
  ASSERT_OK(bind_to(a, v6(0, "::")));
  Fd b = make(SOCK_DGRAM);
  const auto at = v4(name_of(a).port);
  EXPECT_EQ(1, sys(SYS_sendto, b, "4", 1, 0, &at, sizeof at));
  sockaddr_in6 from = {};
  socklen_t size = sizeof from;
  char c;
  EXPECT_EQ(1, sys(SYS_recvfrom, a, &c, 1, 0, &from, &size));
  EXPECT_TRUE(IN6_IS_ADDR_V4MAPPED(&from.sin6_addr));
  EXPECT_EQ(1, sys(SYS_sendto, a, "6", 1, 0, &from, size));
  EXPECT_EQ("6", receive(b));
  const auto to_b = v4(name_of(b).port);
  EXPECT_EQ(1, sys(SYS_sendto, a, "7", 1, 0, &to_b, sizeof to_b));  // a name of the other family
  EXPECT_EQ("7", receive(b));
}

}  // namespace
}  // namespace run9::guest
