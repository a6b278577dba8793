// AF_INET and AF_INET6 sockets (ip(7), tcp(7), udp(7)) of the sandbox's loopback interface. No socket of the host is behind them.
#pragma once
#include <map>

#include "sentry/net/port_table.h"

namespace run9::sentry {

// What TCP and UDP have in common: addresses, ports, options.
class InetSocket : public Socket {
 public:
  ~InetSocket() override;
  // EPROTONOSUPPORT and the like as inet_create().
  static Result<std::shared_ptr<Socket>> create(Kernel& kernel, const vfs::OpContext& owner, int family, int type,
                                                int protocol, uint32_t flags);
  // What of create() can be said without making one.
  static Result<void> check_kind(const vfs::OpContext& owner, int type, int protocol);

  Result<void> bind(vfs::OpContext&, const SocketName& name) override;
  Result<SocketName> local_name() override { return make_inet_name(end_->local, family()); }
  bool listening() const override { return end_->state == InetEnd::State::kListening; }
  int take_error() override { return std::exchange(end_->error, 0); }
  bool has_options(int) const override { return true; }  // refuses others itself: setsockopt and getsockopt differ
  Result<void> set_option(vfs::OpContext&, int level, int name, ByteSpan value) override;
  Result<std::string> get_option(vfs::OpContext&, int level, int name) override;
  void options_changed() override;
  WaitQueue* wait_queue() override { return &end_->queue; }

 protected:
  InetSocket(Kernel& kernel, vfs::Path path, uint32_t flags, int protocol, std::shared_ptr<InetEnd> end);
  Result<void> autobind();  // EADDRINUSE
  // Where `name` leads to: EINVAL, EAFNOSUPPORT, ENETUNREACH.
  Result<InetAddress> destination(const SocketName& name) const;
  // Binds, and chooses the address that the peer sees.
  Result<void> bind_for(const InetAddress& to);
  // As before connect(2); what bind(2) was told stays.
  void forget_peer();
  int option(int level, int name) const;  // one that is kept

  Kernel& kernel_;
  std::shared_ptr<InetEnd> end_;
  std::map<std::pair<int, int>, int> kept_;  // options that were set
  std::string congestion_ = "cubic";

 private:
  Result<std::string> get_state(int level, int name) const;
};

class TcpSocket final : public InetSocket {
 public:
  TcpSocket(Kernel& kernel, vfs::Path path, uint32_t flags, std::shared_ptr<InetEnd> end);
  Result<void> listen(vfs::OpContext&, int backlog) override;
  Result<void> connect(vfs::OpContext&, const SocketName& name) override;
  Result<std::shared_ptr<Socket>> accept(vfs::OpContext&, uint32_t flags) override;
  Result<size_t> send(vfs::OpContext&, ByteSpan data, Outgoing extra, int flags) override;
  Result<Received> receive(vfs::OpContext&, std::span<std::byte> dst, int flags) override;
  Result<void> shutdown(int how) override;
  Result<SocketName> peer_name() override;
  uint32_t poll(vfs::OpContext&) override;
  Result<uint64_t> ioctl(vfs::OpContext&, uint32_t request, uint64_t arg) override;

 private:
  // What connect(2) has got to, as the program knows; the end's state may be further.
  enum class Progress { kNone, kConnecting, kConnected };
  Result<void> start(const SocketName& name);
  void disconnect();
  Result<size_t> put(vfs::OpContext&, ByteSpan data, int flags);
  Result<void> take(std::span<std::byte> dst, int flags, Received& r);
  Progress progress_ = Progress::kNone;
};

class UdpSocket final : public InetSocket {
 public:
  UdpSocket(Kernel& kernel, vfs::Path path, uint32_t flags, std::shared_ptr<InetEnd> end);
  Result<void> listen(vfs::OpContext&, int) override { return Errno{EOPNOTSUPP}; }
  Result<void> connect(vfs::OpContext&, const SocketName& name) override;
  Result<std::shared_ptr<Socket>> accept(vfs::OpContext&, uint32_t) override { return Errno{EOPNOTSUPP}; }
  Result<size_t> send(vfs::OpContext&, ByteSpan data, Outgoing extra, int flags) override;
  Result<Received> receive(vfs::OpContext&, std::span<std::byte> dst, int flags) override;
  Result<void> shutdown(int how) override;
  Result<SocketName> peer_name() override;
  uint32_t poll(vfs::OpContext&) override;
  Result<uint64_t> ioctl(vfs::OpContext&, uint32_t request, uint64_t arg) override;

 private:
  bool connected() const { return end_->state == InetEnd::State::kConnected; }
  Result<InetAddress> target(const SocketName& name) const;
  void deliver(ByteSpan data, const InetAddress& to);
  Result<void> take(std::span<std::byte> dst, int flags, Received& r);
  // A datagram that is being put together by MSG_MORE.
  struct Corked {
    InetAddress to;
    std::vector<std::byte> data;
  };
  std::optional<Corked> corked_;
};

// TCP_INFO's state, and /proc/net/tcp's.
int tcp_state(const InetEnd& end);

}  // namespace run9::sentry
