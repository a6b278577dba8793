// AF_NETLINK: what NETLINK_ROUTE says of the loopback interface. Whatever other interfaces a kernel has is passed over.
#include <arpa/inet.h>
#include <ifaddrs.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <poll.h>
#include <sys/socket.h>

#include <functional>

#include "tests/syscalls/test_util.h"

namespace run9::guest {
namespace {

constexpr uint32_t kSeq = 77;

sockaddr_nl address(uint32_t pid = 0, uint32_t groups = 0) {
  sockaddr_nl a = {};
  a.nl_family = AF_NETLINK;
  a.nl_pid = pid;
  a.nl_groups = groups;
  return a;
}

template <typename A>
const sockaddr* as_name(const A& a) {
  return reinterpret_cast<const sockaddr*>(&a);
}

uint32_t port_of(int fd) {
  sockaddr_nl a = {};
  socklen_t length = sizeof a;
  EXPECT_OK(getsockname(fd, reinterpret_cast<sockaddr*>(&a), &length));
  EXPECT_EQ(sizeof a, length);
  EXPECT_EQ(AF_NETLINK, a.nl_family);
  return a.nl_pid;
}

class NetlinkTest : public testing::Test {
 protected:
  Fd s_{socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE)};

  template <typename T>
  void ask(uint16_t type, uint16_t flags, const T& body, const std::string& attributes = "") {
    nlmsghdr h = {};
    h.nlmsg_len = static_cast<uint32_t>(NLMSG_HDRLEN + sizeof body + attributes.size());
    h.nlmsg_type = type;
    h.nlmsg_flags = flags;
    h.nlmsg_seq = kSeq;
    std::string bytes(reinterpret_cast<const char*>(&h), sizeof h);
    bytes.append(reinterpret_cast<const char*>(&body), sizeof body).append(attributes);
    EXPECT_EQ(static_cast<ssize_t>(bytes.size()), send(s_, bytes.data(), bytes.size(), 0));
  }
  static std::string attribute(uint16_t type, const std::string& value) {
    nlattr a = {static_cast<uint16_t>(NLA_HDRLEN + value.size()), type};
    std::string out(reinterpret_cast<const char*>(&a), sizeof a);
    out += value;
    out.resize(NLA_ALIGN(out.size()));
    return out;
  }

  // Each message that comes until NLMSG_DONE, NLMSG_ERROR or one that is not of many. Gives that one's error, or 0.
  int each(const std::function<void(const nlmsghdr*)>& seen) {
    for (;;) {
      alignas(nlmsghdr) char bytes[32768];
      sockaddr_nl from = {};
      socklen_t length = sizeof from;
      const ssize_t n = recvfrom(s_, bytes, sizeof bytes, 0, reinterpret_cast<sockaddr*>(&from), &length);
      EXPECT_GT(n, 0);
      if (n <= 0) return -1;
      EXPECT_EQ(AF_NETLINK, from.nl_family);
      EXPECT_EQ(0u, from.nl_pid);  // the kernel
      auto left = static_cast<uint32_t>(n);
      for (auto* h = reinterpret_cast<nlmsghdr*>(bytes); NLMSG_OK(h, left); h = NLMSG_NEXT(h, left)) {
        EXPECT_EQ(kSeq, h->nlmsg_seq);
        EXPECT_EQ(port_of(s_), h->nlmsg_pid);
        if (h->nlmsg_type == NLMSG_DONE) return 0;
        if (h->nlmsg_type == NLMSG_ERROR) return -static_cast<nlmsgerr*>(NLMSG_DATA(h))->error;
        seen(h);
        if ((h->nlmsg_flags & NLM_F_MULTI) == 0) return 0;
      }
    }
  }

  template <typename T>
  static const T* body(const nlmsghdr* h) {
    return static_cast<const T*>(NLMSG_DATA(h));
  }
  // An attribute's value; "": none.
  template <typename T>
  static std::string find(const nlmsghdr* h, uint16_t type) {
    const char* at = static_cast<const char*>(NLMSG_DATA(h)) + NLMSG_ALIGN(sizeof(T));
    const char* end = reinterpret_cast<const char*>(h) + h->nlmsg_len;
    while (end - at >= static_cast<ssize_t>(sizeof(nlattr))) {
      const auto* a = reinterpret_cast<const nlattr*>(at);
      if ((a->nla_type & NLA_TYPE_MASK) == type) return std::string(at + NLA_HDRLEN, a->nla_len - NLA_HDRLEN);
      at += NLA_ALIGN(a->nla_len);
    }
    return "";
  }
};

TEST_F(NetlinkTest, Creation) {
  ASSERT_GE(s_, 0);
  EXPECT_ERR(ESOCKTNOSUPPORT, socket(AF_NETLINK, SOCK_STREAM, NETLINK_ROUTE));
  EXPECT_ERR(ESOCKTNOSUPPORT, socket(AF_NETLINK, SOCK_SEQPACKET, NETLINK_ROUTE));
  EXPECT_ERR(EPROTONOSUPPORT, socket(AF_NETLINK, SOCK_RAW, 32));
  EXPECT_ERR(EPROTONOSUPPORT, socket(AF_NETLINK, SOCK_RAW, -1));
  int pair[2];
  EXPECT_ERR(EOPNOTSUPP, socketpair(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE, pair));
  int v = 0;
  socklen_t length = sizeof v;
  EXPECT_OK(getsockopt(s_, SOL_SOCKET, SO_DOMAIN, &v, &length));
  EXPECT_EQ(AF_NETLINK, v);
  EXPECT_OK(getsockopt(s_, SOL_SOCKET, SO_TYPE, &v, &length));
  EXPECT_EQ(SOCK_RAW, v);
  EXPECT_OK(getsockopt(s_, SOL_SOCKET, SO_PROTOCOL, &v, &length));
  EXPECT_EQ(NETLINK_ROUTE, v);
  EXPECT_ERR(EOPNOTSUPP, listen(s_, 1));
  EXPECT_ERR(EOPNOTSUPP, accept(s_, nullptr, nullptr));
  EXPECT_ERR(EOPNOTSUPP, shutdown(s_, SHUT_RD));
}

TEST_F(NetlinkTest, PortsAreTheProcessesOrAnyOther) {
  const auto any = address();
  EXPECT_EQ(0u, port_of(s_));
  ASSERT_OK(bind(s_, as_name(any), sizeof any));
  EXPECT_EQ(static_cast<uint32_t>(getpid()), port_of(s_));
  const Fd other(socket(AF_NETLINK, SOCK_DGRAM, NETLINK_ROUTE));
  ASSERT_OK(bind(other, as_name(any), sizeof any));
  EXPECT_NE(port_of(s_), port_of(other));
  EXPECT_NE(0u, port_of(other));
  const Fd third(socket(AF_NETLINK, SOCK_DGRAM, NETLINK_ROUTE));
  const auto taken = address(port_of(other)), mine = address(0x7fff1234);
  EXPECT_ERR(EADDRINUSE, bind(third, as_name(taken), sizeof taken));
  ASSERT_OK(bind(third, as_name(mine), sizeof mine));
  EXPECT_EQ(0x7fff1234u, port_of(third));
  EXPECT_ERR(EINVAL, bind(third, as_name(taken), sizeof taken));
  EXPECT_OK(bind(third, as_name(mine), sizeof mine));
  EXPECT_ERR(EINVAL, bind(third, as_name(mine), sizeof mine - 1));
  sockaddr_nl wrong = mine;
  wrong.nl_family = AF_INET;
  EXPECT_ERR(EINVAL, bind(third, as_name(wrong), sizeof wrong));
}

TEST_F(NetlinkTest, ConnectAndPeer) {
  sockaddr_nl a = address();
  socklen_t length = sizeof a;
  EXPECT_OK(getpeername(s_, reinterpret_cast<sockaddr*>(&a), &length));
  EXPECT_EQ(0u, a.nl_pid);
  const auto kernel = address();
  EXPECT_OK(connect(s_, as_name(kernel), sizeof kernel));
  EXPECT_NE(0u, port_of(s_));
  in_user_child([&] {
    const Fd own(socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE));
    const auto somebody = address(4711);
    EXPECT_ERR(EPERM, connect(own, as_name(somebody), sizeof somebody));
  });
  EXPECT_ERR(EINVAL, connect(s_, as_name(kernel), 4));
}

TEST_F(NetlinkTest, TheLoopbackLink) {
  int found = 0;
  ask(RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, ifinfomsg{});
  EXPECT_EQ(0, each([&](const nlmsghdr* h) {
    EXPECT_EQ(RTM_NEWLINK, h->nlmsg_type);
    EXPECT_TRUE(h->nlmsg_flags & NLM_F_MULTI);
    const auto* info = body<ifinfomsg>(h);
    if (info->ifi_index != 1) return;
    ++found;
    EXPECT_EQ(ARPHRD_LOOPBACK, info->ifi_type);
    constexpr uint32_t kFlags = IFF_UP | IFF_LOOPBACK | IFF_RUNNING;
    EXPECT_EQ(kFlags, info->ifi_flags & kFlags);
    EXPECT_EQ(std::string("lo\0", 3), find<ifinfomsg>(h, IFLA_IFNAME));
    EXPECT_EQ(std::string("\0\0\1\0", 4), find<ifinfomsg>(h, IFLA_MTU));
    EXPECT_EQ(std::string(6, '\0'), find<ifinfomsg>(h, IFLA_ADDRESS));
    EXPECT_EQ(std::string(6, '\0'), find<ifinfomsg>(h, IFLA_BROADCAST));
    EXPECT_EQ(4u, find<ifinfomsg>(h, IFLA_TXQLEN).size());
    EXPECT_EQ(std::string(1, '\0'), find<ifinfomsg>(h, IFLA_OPERSTATE));
  }));
  EXPECT_EQ(1, found);
}

TEST_F(NetlinkTest, OneLinkByNumberOrName) {
  const auto is_lo = [&](const nlmsghdr* h) {
    EXPECT_EQ(RTM_NEWLINK, h->nlmsg_type);
    EXPECT_EQ(0, h->nlmsg_flags & NLM_F_MULTI);
    EXPECT_EQ(1, body<ifinfomsg>(h)->ifi_index);
  };
  ifinfomsg one = {};
  one.ifi_index = 1;
  ask(RTM_GETLINK, NLM_F_REQUEST, one);
  EXPECT_EQ(0, each(is_lo));
  ask(RTM_GETLINK, NLM_F_REQUEST, ifinfomsg{}, attribute(IFLA_IFNAME, std::string("lo\0", 3)));
  EXPECT_EQ(0, each(is_lo));
  const auto none = [](const nlmsghdr*) { ADD_FAILURE(); };
  one.ifi_index = 54321;
  ask(RTM_GETLINK, NLM_F_REQUEST, one);
  EXPECT_EQ(ENODEV, each(none));
  ask(RTM_GETLINK, NLM_F_REQUEST, ifinfomsg{}, attribute(IFLA_IFNAME, std::string("nope\0", 5)));
  EXPECT_EQ(ENODEV, each(none));
  ask(RTM_GETLINK, NLM_F_REQUEST, ifinfomsg{});
  EXPECT_EQ(EINVAL, each(none));
}

TEST_F(NetlinkTest, Acknowledgements) {
  ifinfomsg one = {};
  one.ifi_index = 1;
  ask(RTM_GETLINK, NLM_F_REQUEST | NLM_F_ACK, one);
  int links = 0;
  EXPECT_EQ(0, each([&](const nlmsghdr*) { ++links; }));
  EXPECT_EQ(1, links);
  alignas(nlmsghdr) char bytes[256];
  const ssize_t n = recv(s_, bytes, sizeof bytes, 0);
  ASSERT_GE(n, static_cast<ssize_t>(NLMSG_LENGTH(sizeof(nlmsgerr))));
  const auto* h = reinterpret_cast<const nlmsghdr*>(bytes);
  EXPECT_EQ(NLMSG_ERROR, h->nlmsg_type);
  EXPECT_EQ(0, body<nlmsgerr>(h)->error);
  EXPECT_EQ(RTM_GETLINK, body<nlmsgerr>(h)->msg.nlmsg_type);
  // Of an error comes back what was asked, whole.
  one.ifi_index = 54321;
  ask(RTM_GETLINK, NLM_F_REQUEST, one);
  EXPECT_EQ(static_cast<ssize_t>(NLMSG_LENGTH(sizeof(int) + NLMSG_LENGTH(sizeof one))), recv(s_, bytes, sizeof bytes, 0));
  EXPECT_EQ(-ENODEV, body<nlmsgerr>(h)->error);
  // No request, no answer; with an acknowledgement all the same.
  ask(RTM_GETLINK, 0, one);
  EXPECT_ERR(EAGAIN, recv(s_, bytes, sizeof bytes, MSG_DONTWAIT));
  ask(RTM_GETLINK, NLM_F_ACK, one);
  EXPECT_EQ(static_cast<ssize_t>(NLMSG_LENGTH(sizeof(nlmsgerr))), recv(s_, bytes, sizeof bytes, MSG_DONTWAIT));
  EXPECT_EQ(0, body<nlmsgerr>(h)->error);
}

TEST_F(NetlinkTest, AddressesOfLo) {
  for (const int family : {AF_INET, AF_INET6, AF_UNSPEC}) {
    int v4 = 0;
    ifaddrmsg any = {};
    any.ifa_family = static_cast<uint8_t>(family);
    ask(RTM_GETADDR, NLM_F_REQUEST | NLM_F_DUMP, any);
    EXPECT_EQ(0, each([&](const nlmsghdr* h) {
      EXPECT_EQ(RTM_NEWADDR, h->nlmsg_type);
      const auto* a = body<ifaddrmsg>(h);
      if (family != AF_UNSPEC) EXPECT_EQ(family, a->ifa_family);
      if (a->ifa_index != 1 || a->ifa_family != AF_INET) return;
      ++v4;
      EXPECT_EQ(8, a->ifa_prefixlen);
      EXPECT_EQ(RT_SCOPE_HOST, a->ifa_scope);
      EXPECT_TRUE(a->ifa_flags & IFA_F_PERMANENT);
      EXPECT_EQ(std::string("\x7f\0\0\1", 4), find<ifaddrmsg>(h, IFA_LOCAL));
      EXPECT_EQ(std::string("\x7f\0\0\1", 4), find<ifaddrmsg>(h, IFA_ADDRESS));
      EXPECT_EQ(std::string("lo\0", 3), find<ifaddrmsg>(h, IFA_LABEL));
    }));
    EXPECT_EQ(family == AF_INET6 ? 0 : 1, v4);
  }
}

TEST_F(NetlinkTest, RoutesToLo) {
  rtmsg any = {};
  any.rtm_family = AF_INET;
  int found = 0;
  ask(RTM_GETROUTE, NLM_F_REQUEST | NLM_F_DUMP, any);
  EXPECT_EQ(0, each([&](const nlmsghdr* h) {
    const auto* r = body<rtmsg>(h);
    if (find<rtmsg>(h, RTA_DST) != std::string("\x7f\0\0\0", 4) || r->rtm_dst_len != 8) return;
    ++found;
    EXPECT_EQ(RTN_LOCAL, r->rtm_type);
    EXPECT_EQ(RT_TABLE_LOCAL, r->rtm_table);
    EXPECT_EQ(std::string("\1\0\0\0", 4), find<rtmsg>(h, RTA_OIF));
  }));
  EXPECT_EQ(1, found);
  any.rtm_dst_len = 32;
  ask(RTM_GETROUTE, NLM_F_REQUEST, any, attribute(RTA_DST, std::string("\x7f\1\2\3", 4)));
  EXPECT_EQ(0, each([&](const nlmsghdr* h) {
    EXPECT_EQ(RTM_NEWROUTE, h->nlmsg_type);
    EXPECT_EQ(RTN_LOCAL, body<rtmsg>(h)->rtm_type);
    EXPECT_EQ(std::string("\1\0\0\0", 4), find<rtmsg>(h, RTA_OIF));
  }));
}

TEST_F(NetlinkTest, OnlyAdministratorsChange) {
  in_user_child([&] {
    ifinfomsg one = {};
    one.ifi_index = 1;
    ask(RTM_SETLINK, NLM_F_REQUEST, one);
    EXPECT_EQ(EPERM, each([](const nlmsghdr*) {}));
    ask(RTM_DELADDR, NLM_F_REQUEST, ifaddrmsg{});
    EXPECT_EQ(EPERM, each([](const nlmsghdr*) {}));
  });
  ask(9999, NLM_F_REQUEST, ifinfomsg{});
  EXPECT_EQ(EOPNOTSUPP, each([](const nlmsghdr*) {}));
}

TEST_F(NetlinkTest, WhatIsNoMessageIsPassedOver) {
  char bytes[64] = {};
  EXPECT_EQ(3, send(s_, bytes, 3, 0));
  EXPECT_EQ(64, send(s_, bytes, 64, 0));
  nlmsghdr h = {};
  h.nlmsg_len = 4000;  // more than there is
  h.nlmsg_type = RTM_GETLINK;
  h.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  EXPECT_EQ(16, send(s_, &h, 16, 0));
  EXPECT_ERR(EAGAIN, recv(s_, bytes, sizeof bytes, MSG_DONTWAIT));
  EXPECT_ERR(EOPNOTSUPP, send(s_, bytes, 64, MSG_OOB));
  EXPECT_ERR(EOPNOTSUPP, recv(s_, bytes, 64, MSG_OOB | MSG_DONTWAIT));
  const std::vector<char> big(4 << 20);
  EXPECT_ERR(EMSGSIZE, send(s_, big.data(), big.size(), 0));
  for (void* bad : bad_pointers()) EXPECT_ERR(EFAULT, send(s_, bad, 64, 0));
}

TEST_F(NetlinkTest, PeekTruncateAndPoll) {
  pollfd p{s_, POLLIN | POLLOUT, 0};
  EXPECT_EQ(1, poll(&p, 1, 0));
  EXPECT_EQ(POLLOUT, p.revents);
  ifinfomsg one = {};
  one.ifi_index = 1;
  ask(RTM_GETLINK, NLM_F_REQUEST, one);
  EXPECT_EQ(1, poll(&p, 1, -1));
  EXPECT_EQ(POLLIN | POLLOUT, p.revents);
  char bytes[8192];
  const ssize_t full = recv(s_, bytes, 16, MSG_PEEK | MSG_TRUNC);
  EXPECT_GT(full, 100);
  EXPECT_EQ(full, recv(s_, bytes, 20, MSG_TRUNC));
  EXPECT_ERR(EAGAIN, recv(s_, bytes, sizeof bytes, MSG_DONTWAIT));
}

TEST_F(NetlinkTest, OptionsAndGroups) {
  const int on = 1, group = RTNLGRP_LINK, none = 0, far = 100'000;
  EXPECT_OK(setsockopt(s_, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof group));
  EXPECT_ERR(EINVAL, setsockopt(s_, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &none, sizeof none));
  EXPECT_ERR(EINVAL, setsockopt(s_, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &far, sizeof far));
  EXPECT_OK(setsockopt(s_, SOL_NETLINK, NETLINK_PKTINFO, &on, 2));  // counts as 0
  EXPECT_ERR(ENOPROTOOPT, setsockopt(s_, SOL_NETLINK, 999, &on, sizeof on));
  for (const int name : {NETLINK_PKTINFO, NETLINK_BROADCAST_ERROR, NETLINK_EXT_ACK, NETLINK_CAP_ACK}) {
    int v = -1;
    socklen_t length = sizeof v;
    EXPECT_OK(getsockopt(s_, SOL_NETLINK, name, &v, &length));
    EXPECT_EQ(0, v);
    EXPECT_OK(setsockopt(s_, SOL_NETLINK, name, &on, sizeof on));
    EXPECT_OK(getsockopt(s_, SOL_NETLINK, name, &v, &length));
    EXPECT_EQ(1, v);
  }
  EXPECT_OK(setsockopt(s_, SOL_NETLINK, NETLINK_DROP_MEMBERSHIP, &group, sizeof group));
}

TEST_F(NetlinkTest, LibcKnowsTheInterface) {
  ifaddrs* list = nullptr;
  ASSERT_OK(getifaddrs(&list));
  int found = 0;
  for (const ifaddrs* i = list; i != nullptr; i = i->ifa_next) {
    if (strcmp(i->ifa_name, "lo") != 0 || i->ifa_addr == nullptr || i->ifa_addr->sa_family != AF_INET) continue;
    ++found;
    EXPECT_EQ(htonl(INADDR_LOOPBACK), reinterpret_cast<const sockaddr_in*>(i->ifa_addr)->sin_addr.s_addr);
    EXPECT_EQ(htonl(0xff000000), reinterpret_cast<const sockaddr_in*>(i->ifa_netmask)->sin_addr.s_addr);
  }
  freeifaddrs(list);
  EXPECT_EQ(1, found);
  struct if_nameindex* names = if_nameindex();
  ASSERT_NE(nullptr, names);
  EXPECT_EQ(1u, names[0].if_index);
  EXPECT_STREQ("lo", names[0].if_name);
  if_freenameindex(names);
}

TEST(UeventTest, NothingComes) {
  const Fd s(socket(AF_NETLINK, SOCK_RAW, NETLINK_KOBJECT_UEVENT));
  ASSERT_GE(s, 0);
  const auto all = address(0, 1);
  EXPECT_OK(bind(s, as_name(all), sizeof all));
  char bytes[16];
  EXPECT_ERR(EAGAIN, recv(s, bytes, sizeof bytes, MSG_DONTWAIT));
}

}  // namespace
}  // namespace run9::guest
