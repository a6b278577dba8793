#include "sentry/net/netlink_socket.h"

#include <linux/capability.h>
#include <linux/rtnetlink.h>
#include <poll.h>

#include "sentry/fs/anon.h"
#include "sentry/ipc/ipc_objects.h"
#include "sentry/net/rtnetlink.h"
#include "sentry/task/kernel.h"

namespace run9::sentry {
namespace {

constexpr uint32_t kIn = POLLIN | POLLRDNORM, kOut = POLLOUT | POLLWRNORM;
constexpr uint32_t kMaxGroup = 36;  // of NETLINK_ROUTE: RTNLGRP_MAX
// Switches of SOL_NETLINK that are kept. What they change besides NETLINK_CAP_ACK does not come about here.
constexpr uint32_t kSwitches = 1 << NETLINK_PKTINFO | 1 << NETLINK_BROADCAST_ERROR | 1 << NETLINK_NO_ENOBUFS | 1 << NETLINK_CAP_ACK |
                               1 << NETLINK_EXT_ACK | 1 << NETLINK_GET_STRICT_CHK;

// EINVAL as netlink_bind() and netlink_connect().
Result<sockaddr_nl> address(const SocketName& name) {
  sockaddr_nl a{};
  if (name.size() < sizeof a) return Errno{EINVAL};
  std::memcpy(&a, name.data(), sizeof a);
  if (a.nl_family != AF_NETLINK) return Errno{EINVAL};
  return a;
}

// What is too short counts as 0.
uint32_t read_number(ByteSpan value) {
  uint32_t v = 0;
  if (value.size() >= sizeof v) std::memcpy(&v, value.data(), sizeof v);
  return v;
}

}  // namespace

Result<void> NetlinkSocket::check_kind(int type, int protocol) {
  if (type != SOCK_RAW && type != SOCK_DGRAM) return Errno{ESOCKTNOSUPPORT};
  if (protocol != NETLINK_ROUTE && protocol != NETLINK_KOBJECT_UEVENT) return Errno{EPROTONOSUPPORT};
  return ok();
}

Result<std::shared_ptr<Socket>> NetlinkSocket::create(Kernel& kernel, const vfs::OpContext& owner, int type, int protocol, uint32_t flags) {
  TRY(check_kind(type, protocol));
  auto path = make_anon_path(kernel, "socket:", S_IFSOCK | 0777, owner);
  return std::shared_ptr<Socket>(std::make_shared<NetlinkSocket>(kernel, std::move(path), flags, type, protocol));
}

NetlinkSocket::NetlinkSocket(Kernel& kernel, vfs::Path path, uint32_t flags, int type, int protocol)
    : Socket(std::move(path), flags, AF_NETLINK, type, protocol), ports_(ipc_objects(kernel).netlink_ports()), inbox_(SOCK_DGRAM) {
  peer_.nl_family = AF_NETLINK;
}

NetlinkSocket::~NetlinkSocket() {
  if (bound_) ports_.erase({protocol(), port_});
}

// The process's number, or else one that no process has.
void NetlinkSocket::autobind(const vfs::OpContext& ctx) {
  if (bound_) return;
  uint32_t port = static_cast<uint32_t>(ctx.tgid());
  for (uint32_t other = static_cast<uint32_t>(-4097); !ports_.insert({protocol(), port}).second; --other) port = other;
  port_ = port;
  bound_ = true;
}

Result<void> NetlinkSocket::bind(vfs::OpContext& ctx, const SocketName& name) {
  const sockaddr_nl a = TRY(address(name));
  if (bound_ && a.nl_pid != port_) return Errno{EINVAL};
  if (!bound_ && a.nl_pid != 0) {
    if (!ports_.insert({protocol(), a.nl_pid}).second) return Errno{EADDRINUSE};
    port_ = a.nl_pid;
    bound_ = true;
  }
  autobind(ctx);
  groups_ = (groups_ & ~uint64_t{0xffffffff}) | a.nl_groups;
  return ok();
}

Result<void> NetlinkSocket::check_target(const vfs::OpContext& ctx, const sockaddr_nl& to) const {
  const bool kernel = to.nl_pid == 0 && to.nl_groups == 0;
  if (!kernel && !ctx.creds().has_cap(CAP_NET_ADMIN)) return Errno{EPERM};
  return ok();
}

Result<void> NetlinkSocket::connect(vfs::OpContext& ctx, const SocketName& name) {
  sa_family_t family = 0;
  if (name.size() < sizeof family) return Errno{EINVAL};
  std::memcpy(&family, name.data(), sizeof family);
  sockaddr_nl to{};
  if (family != AF_UNSPEC) {
    to = TRY(address(name));
    TRY(check_target(ctx, to));
    autobind(ctx);
  }
  to.nl_family = AF_NETLINK;
  peer_ = to;
  return ok();
}

Result<size_t> NetlinkSocket::send(vfs::OpContext& ctx, ByteSpan data, Outgoing extra, int flags) {
  constexpr size_t kOverhead = 32;
  if ((flags & MSG_OOB) != 0) return Errno{EOPNOTSUPP};
  sockaddr_nl to = peer_;
  if (!extra.to.empty()) {
    to = TRY(address(extra.to));
    TRY(check_target(ctx, to));
  }
  autobind(ctx);
  if (data.size() + kOverhead > static_cast<size_t>(options.send_buffer)) return Errno{EMSGSIZE};
  if (to.nl_groups != 0 || to.nl_pid != 0) return Errno{ECONNREFUSED};  // nobody else listens
  // netlink_rcv_skb(). What is no message ends it, without a word.
  for (ByteSpan left = data; left.size() >= sizeof(nlmsghdr);) {
    nlmsghdr h;
    std::memcpy(&h, left.data(), sizeof h);
    if (h.nlmsg_len < sizeof h || h.nlmsg_len > left.size()) break;
    answer(ctx, h, left.first(h.nlmsg_len));
    left = left.subspan(std::min<size_t>(NLMSG_ALIGN(h.nlmsg_len), left.size()));
  }
  return data.size();
}

void NetlinkSocket::answer(const vfs::OpContext& ctx, const nlmsghdr& asked, ByteSpan message) {
  NetlinkWriter out;
  Errno error{0};
  const bool request = (asked.nlmsg_flags & NLM_F_REQUEST) != 0 && asked.nlmsg_type >= NLMSG_MIN_TYPE && protocol() == NETLINK_ROUTE;
  if (request) {
    const auto done = answer_rtnetlink(ctx, asked, message, port_, out);
    if (!done.has_value()) error = done.error();
    if (std::string replies = out.take(); !replies.empty()) deliver(std::move(replies));
  }
  const bool failed = error != Errno{0};
  const bool dumped = request && !failed && (asked.nlmsg_flags & NLM_F_DUMP) != 0;  // NLMSG_DONE says it
  if (!failed && ((asked.nlmsg_flags & NLM_F_ACK) == 0 || dumped)) return;
  const bool whole = failed && (switches_ & 1 << NETLINK_CAP_ACK) == 0;
  NetlinkWriter ack;
  ack.begin(NLMSG_ERROR, whole ? 0 : NLM_F_CAPPED, asked, port_);
  ack.put(int32_t{-to_int(error)});
  ack.raw(as_chars(whole ? message : message.first(sizeof asked)));
  deliver(ack.take());
}

void NetlinkSocket::deliver(std::string datagram) {
  if (!inbox_.has_room()) {
    error_ = ENOBUFS;
    return queue_.notify(kIn | POLLERR);
  }
  SocketMessage m;
  m.data = std::move(datagram);
  sockaddr_nl from{};
  from.nl_family = AF_NETLINK;
  m.from = bytes_of(from);
  inbox_.push(std::move(m));
  queue_.notify(kIn);
}

Result<Received> NetlinkSocket::receive(vfs::OpContext& ctx, std::span<std::byte> dst, int flags) {
  if ((flags & MSG_OOB) != 0) return Errno{EOPNOTSUPP};
  const auto keep = shared_from_this();
  return receive_some(
      dst.size(), flags,
      [&](Received& r) -> Result<void> {
        if (const int error = take_error(); error != 0) return Errno{error};
        if (inbox_.empty()) return Errno{EAGAIN};
        inbox_.take_packet(dst, flags, r);
        return ok();
      },
      [&] { return wait_within(ctx, queue_, kIn, options.receive_timeout_ns); });
}

Result<SocketName> NetlinkSocket::local_name() {
  sockaddr_nl a{};
  a.nl_family = AF_NETLINK;
  a.nl_pid = port_;
  a.nl_groups = static_cast<uint32_t>(groups_);
  return bytes_of(a);
}

Result<SocketName> NetlinkSocket::peer_name() { return bytes_of(peer_); }

uint32_t NetlinkSocket::poll(vfs::OpContext&) { return kOut | (inbox_.empty() ? 0 : kIn) | (error_ != 0 ? POLLERR : 0); }

// netlink_setsockopt().
Result<void> NetlinkSocket::set_option(vfs::OpContext&, int level, int name, ByteSpan value) {
  if (level != SOL_NETLINK) return Errno{ENOPROTOOPT};
  const uint32_t v = read_number(value);
  if (name == NETLINK_ADD_MEMBERSHIP || name == NETLINK_DROP_MEMBERSHIP) {
    if (v == 0 || v > kMaxGroup) return Errno{EINVAL};
    const uint64_t bit = uint64_t{1} << (v - 1);
    groups_ = name == NETLINK_ADD_MEMBERSHIP ? groups_ | bit : groups_ & ~bit;
    return ok();
  }
  if (name < 0 || name > 31 || (kSwitches >> name & 1) == 0) return Errno{ENOPROTOOPT};
  switches_ = v != 0 ? switches_ | 1u << name : switches_ & ~(1u << name);
  return ok();
}

Result<std::string> NetlinkSocket::get_option(vfs::OpContext&, int level, int name) {
  if (level != SOL_NETLINK) return Errno{ENOPROTOOPT};
  if (name == NETLINK_LIST_MEMBERSHIPS) return bytes_of(groups_);
  if (name < 0 || name > 31 || (kSwitches >> name & 1) == 0) return Errno{ENOPROTOOPT};
  return bytes_of(static_cast<int>(switches_ >> name & 1));
}

}  // namespace run9::sentry
