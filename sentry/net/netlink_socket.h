// AF_NETLINK sockets (netlink(7)): NETLINK_ROUTE, which answers questions about the sandbox's network (rtnetlink.h), and
// NETLINK_KOBJECT_UEVENT, on which nothing ever comes. The kernel is the only one to talk to.
#pragma once
#include <linux/netlink.h>

#include <string>

#include "sentry/ipc/ipc_objects.h"
#include "sentry/net/inbox.h"

namespace run9::sentry {

class NetlinkSocket final : public Socket {
 public:
  // ESOCKTNOSUPPORT, EPROTONOSUPPORT as netlink_create().
  static Result<void> check_kind(int type, int protocol);
  static Result<std::shared_ptr<Socket>> create(Kernel& kernel, const vfs::OpContext& owner, int type, int protocol, uint32_t flags);
  NetlinkSocket(Kernel& kernel, vfs::Path path, uint32_t flags, int type, int protocol);
  ~NetlinkSocket() override;

  Result<void> bind(vfs::OpContext&, const SocketName& name) override;
  Result<void> listen(vfs::OpContext&, int) override { return Errno{EOPNOTSUPP}; }
  Result<void> connect(vfs::OpContext&, const SocketName& name) override;
  Result<std::shared_ptr<Socket>> accept(vfs::OpContext&, uint32_t) override { return Errno{EOPNOTSUPP}; }
  Result<size_t> send(vfs::OpContext&, ByteSpan data, Outgoing extra, int flags) override;
  Result<Received> receive(vfs::OpContext&, std::span<std::byte> dst, int flags) override;
  Result<void> shutdown(int) override { return Errno{EOPNOTSUPP}; }
  Result<SocketName> local_name() override;
  Result<SocketName> peer_name() override;
  bool listening() const override { return false; }
  int take_error() override { return std::exchange(error_, 0); }
  bool has_options(int level) const override { return level == SOL_SOCKET || level == SOL_NETLINK; }
  Result<void> set_option(vfs::OpContext&, int level, int name, ByteSpan value) override;
  Result<std::string> get_option(vfs::OpContext&, int level, int name) override;
  uint32_t poll(vfs::OpContext&) override;
  WaitQueue* wait_queue() override { return &queue_; }

 private:
  void autobind(const vfs::OpContext& ctx);
  // To one that is not the kernel, or to groups.
  Result<void> check_target(const vfs::OpContext& ctx, const sockaddr_nl& to) const;
  // Several messages in one datagram; ENOBUFS for the next receiver if there is no room.
  void deliver(std::string datagram);
  void answer(const vfs::OpContext& ctx, const nlmsghdr& asked, ByteSpan message);

  NetlinkPorts& ports_;
  uint32_t port_ = 0;
  bool bound_ = false;
  uint64_t groups_ = 0;  // bit n - 1: group n
  sockaddr_nl peer_{};
  uint32_t switches_ = 0;  // bit n: option n of SOL_NETLINK
  int error_ = 0;
  Inbox inbox_;
  WaitQueue queue_;
};

}  // namespace run9::sentry
