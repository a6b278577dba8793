#include "sentry/net/rtnetlink.h"

#include <linux/rtnetlink.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <netinet/in.h>

#include <algorithm>
#include <array>

#include "sentry/net/interfaces.h"

namespace run9::sentry {
namespace {

constexpr char kLo[] = "lo";
using Bytes = std::string_view;

// One of lo's, or a part of the world that is at lo.
struct Address {
  uint8_t family;
  uint8_t bits;  // of the prefix
  uint8_t type;
  std::array<char, 16> at;
  Bytes bytes() const { return Bytes(at.data(), family == AF_INET ? 4 : 16); }
};
constexpr Address kAddresses[] = {{AF_INET, 8, RTN_LOCAL, {127, 0, 0, 1}},
                                  {AF_INET6, 128, RTN_LOCAL, {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}}};
// The table "local", in Linux' order.
constexpr Address kRoutes[] = {{AF_INET, 8, RTN_LOCAL, {127, 0, 0, 0}},
                               {AF_INET, 32, RTN_LOCAL, {127, 0, 0, 1}},
                               {AF_INET, 32, RTN_BROADCAST, {127, static_cast<char>(255), static_cast<char>(255), static_cast<char>(255)}},
                               {AF_INET6, 128, RTN_LOCAL, {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}}};

bool wanted(uint8_t family, const Address& a) { return family == AF_UNSPEC || family == a.family; }

void put_link(NetlinkWriter& out, uint16_t flags, const nlmsghdr& asked, uint32_t port) {
  constexpr uint32_t kLowerUp = 1 << 16;
  constexpr char kNone[6] = {};
  out.begin(RTM_NEWLINK, flags, asked, port);
  out.put(ifinfomsg{.ifi_family = AF_UNSPEC, .ifi_type = ARPHRD_LOOPBACK, .ifi_index = kLoopbackIndex,
                    .ifi_flags = IFF_UP | IFF_LOOPBACK | IFF_RUNNING | kLowerUp, .ifi_change = 0});
  out.text(IFLA_IFNAME, kLo);
  out.number<uint32_t>(IFLA_TXQLEN, 1000);
  out.number<uint8_t>(IFLA_OPERSTATE, 0);  // unknown
  out.number<uint8_t>(IFLA_LINKMODE, 0);
  out.number<uint32_t>(IFLA_MTU, kLoopbackMtu);
  out.number<uint32_t>(IFLA_GROUP, 0);
  out.number<uint32_t>(IFLA_PROMISCUITY, 0);
  out.number<uint32_t>(IFLA_NUM_TX_QUEUES, 1);
  out.number<uint32_t>(IFLA_NUM_RX_QUEUES, 1);
  out.number<uint8_t>(IFLA_CARRIER, 1);
  out.text(IFLA_QDISC, "noqueue");
  out.attribute(IFLA_ADDRESS, Bytes(kNone, sizeof kNone));
  out.attribute(IFLA_BROADCAST, Bytes(kNone, sizeof kNone));
}

void put_address(NetlinkWriter& out, const Address& a, const nlmsghdr& asked, uint32_t port) {
  out.begin(RTM_NEWADDR, NLM_F_MULTI, asked, port);
  out.put(ifaddrmsg{.ifa_family = a.family, .ifa_prefixlen = a.bits, .ifa_flags = IFA_F_PERMANENT, .ifa_scope = RT_SCOPE_HOST,
                    .ifa_index = kLoopbackIndex});
  out.attribute(IFA_ADDRESS, a.bytes());
  if (a.family == AF_INET) {
    out.attribute(IFA_LOCAL, a.bytes());
    out.text(IFA_LABEL, kLo);
  }
  constexpr uint32_t kForEver = ~uint32_t{0};
  out.number(IFA_CACHEINFO, ifa_cacheinfo{.ifa_prefered = kForEver, .ifa_valid = kForEver, .cstamp = 0, .tstamp = 0});
  out.number<uint32_t>(IFA_FLAGS, IFA_F_PERMANENT);
}

void put_route(NetlinkWriter& out, const Address& a, uint16_t flags, const nlmsghdr& asked, uint32_t port) {
  const bool v4 = a.family == AF_INET;
  const uint8_t scope = !v4 ? RT_SCOPE_UNIVERSE : a.type == RTN_BROADCAST ? RT_SCOPE_LINK : RT_SCOPE_HOST;
  out.begin(RTM_NEWROUTE, flags, asked, port);
  out.put(rtmsg{.rtm_family = a.family, .rtm_dst_len = a.bits, .rtm_src_len = 0, .rtm_tos = 0, .rtm_table = RT_TABLE_LOCAL,
                .rtm_protocol = RTPROT_KERNEL, .rtm_scope = scope, .rtm_type = a.type, .rtm_flags = 0});
  out.number<uint32_t>(RTA_TABLE, RT_TABLE_LOCAL);
  out.attribute(RTA_DST, a.bytes());
  if (v4) out.attribute(RTA_PREFSRC, kAddresses[0].bytes());
  out.number<int32_t>(RTA_OIF, kLoopbackIndex);
}

// The value of an attribute behind a header of `size` bytes; nothing: it is not there.
std::optional<Bytes> find_attribute(ByteSpan message, size_t size, uint16_t type) {
  size_t at = NLMSG_HDRLEN + NLMSG_ALIGN(size);
  while (at <= message.size() && message.size() - at >= sizeof(nlattr)) {
    nlattr a;
    std::memcpy(&a, message.data() + at, sizeof a);
    if (a.nla_len < sizeof a || a.nla_len > message.size() - at) return {};
    if ((a.nla_type & NLA_TYPE_MASK) == type) return as_chars(message.subspan(at + NLA_HDRLEN, a.nla_len - NLA_HDRLEN));
    at += NLA_ALIGN(a.nla_len);
  }
  return {};
}

// What follows the header; EINVAL: there is not enough.
template <typename T>
Result<T> body(ByteSpan message) {
  T v{};
  if (message.size() < NLMSG_HDRLEN + sizeof v) return Errno{EINVAL};
  std::memcpy(&v, message.data() + NLMSG_HDRLEN, sizeof v);
  return v;
}

// ip link show dev NAME, and by number.
Result<void> one_link(ByteSpan message, const nlmsghdr& asked, uint32_t port, NetlinkWriter& out) {
  const auto info = TRY(body<ifinfomsg>(message));
  const auto name = find_attribute(message, sizeof info, IFLA_IFNAME);
  if (info.ifi_index <= 0 && !name) return Errno{EINVAL};
  const bool is_lo = info.ifi_index > 0 ? info.ifi_index == kLoopbackIndex : name->substr(0, name->find('\0')) == kLo;
  if (!is_lo) return Errno{ENODEV};
  put_link(out, 0, asked, port);
  return ok();
}

// ip route get ADDRESS.
Result<void> one_route(ByteSpan message, const nlmsghdr& asked, uint32_t port, NetlinkWriter& out) {
  const auto info = TRY(body<rtmsg>(message));
  if (info.rtm_family != AF_INET && info.rtm_family != AF_INET6) return Errno{EOPNOTSUPP};
  const auto to = find_attribute(message, sizeof info, RTA_DST);
  Address a = kAddresses[info.rtm_family == AF_INET ? 0 : 1];
  const size_t size = a.bytes().size();
  if (!to || to->size() < size) return Errno{EINVAL};
  const bool here = info.rtm_family == AF_INET ? (*to)[0] == 127 : to->substr(0, size) == a.bytes();
  if (!here) return Errno{ENETUNREACH};
  std::copy_n(to->begin(), size, a.at.begin());
  a.bits = static_cast<uint8_t>(8 * size);
  put_route(out, a, 0, asked, port);
  return ok();
}

}  // namespace

Result<void> answer_rtnetlink(const vfs::OpContext& ctx, const nlmsghdr& asked, ByteSpan message, uint32_t port, NetlinkWriter& out) {
  const uint16_t type = asked.nlmsg_type;
  if (type > RTM_MAX) return Errno{EOPNOTSUPP};
  if (message.size() < NLMSG_HDRLEN + sizeof(rtgenmsg)) return ok();
  constexpr int kKinds = 4, kGet = 2;  // of each group of messages: new, delete, get, set
  if ((type - RTM_BASE) % kKinds != kGet && !ctx.creds().has_cap(CAP_NET_ADMIN)) return Errno{EPERM};
  const auto family = TRY(body<rtgenmsg>(message)).rtgen_family;
  if ((asked.nlmsg_flags & NLM_F_DUMP) == 0) {
    if (type == RTM_GETLINK) return one_link(message, asked, port, out);
    if (type == RTM_GETROUTE) return one_route(message, asked, port, out);
    return Errno{EOPNOTSUPP};
  }
  switch (type) {
    case RTM_GETLINK: put_link(out, NLM_F_MULTI, asked, port); break;
    case RTM_GETADDR:
      for (const Address& a : kAddresses) {
        if (wanted(family, a)) put_address(out, a, asked, port);
      }
      break;
    case RTM_GETROUTE:
      for (const Address& a : kRoutes) {
        if (wanted(family, a)) put_route(out, a, NLM_F_MULTI, asked, port);
      }
      break;
    case RTM_GETNEIGH: break;  // lo has none
    default: return Errno{EOPNOTSUPP};
  }
  out.begin(NLMSG_DONE, NLM_F_MULTI, asked, port);
  out.put(int32_t{0});
  return ok();
}

}  // namespace run9::sentry
