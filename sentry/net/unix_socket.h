// AF_UNIX sockets (unix(7)). A UnixEnd is what others refer to: a peer, a listener's queue, a bound name, all
// weakly; its UnixSocket (the File) owns it and closes it.
#pragma once
#include <deque>
#include <map>
#include <memory>
#include <string>

#include "sentry/net/host_connection.h"
#include "sentry/net/inbox.h"

namespace run9::sentry {

struct UnixEnd : std::enable_shared_from_this<UnixEnd> {
  explicit UnixEnd(int type) : type(type), inbox(type) {}
  const int type;
  bool listening = false, connected = false, closed = false;
  bool read_shut = false, write_shut = false;
  int backlog = 0;
  int error = 0;
  std::weak_ptr<UnixEnd> peer;
  std::deque<std::shared_ptr<UnixEnd>> pending;  // a listener's connections not yet accepted
  Inbox inbox;
  SocketName name, peer_name;
  std::string abstract_name;
  ucred own_creds{}, peer_creds{0, ~0u, ~0u};
  WaitQueue queue;        // what poll sees
  WaitQueue space_queue;  // senders to this datagram socket
  std::vector<std::weak_ptr<UnixEnd>> senders;  // datagram sockets connected to this one

  bool datagram() const { return type == SOCK_DGRAM; }
  void push(SocketMessage m);
  void told_space();  // something was taken out of the inbox
  void close();
};

// Names in the abstract namespace.
class AbstractNames {
 public:
  Result<void> bind(const std::string& name, const std::shared_ptr<UnixEnd>& end);  // EADDRINUSE
  std::shared_ptr<UnixEnd> find(const std::string& name) const;
  void release(const std::string& name) { names_.erase(name); }
  std::string pick();  // autobind: five hex digits

 private:
  std::map<std::string, std::weak_ptr<UnixEnd>> names_;
  uint32_t next_ = 0;
};

class UnixSocket final : public Socket {
 public:
  UnixSocket(Kernel& kernel, vfs::Path path, uint32_t flags, std::shared_ptr<UnixEnd> end);
  ~UnixSocket() override;
  static std::shared_ptr<UnixSocket> create(Kernel& kernel, const vfs::OpContext& owner, int type,
                                            uint32_t flags, std::shared_ptr<UnixEnd> end = nullptr);
  static void make_pair(vfs::OpContext& ctx, UnixSocket& a, UnixSocket& b);

  Result<void> bind(vfs::OpContext&, const SocketName& name) override;
  Result<void> listen(vfs::OpContext&, int backlog) override;
  Result<void> connect(vfs::OpContext&, const SocketName& name) override;
  Result<std::shared_ptr<Socket>> accept(vfs::OpContext&, uint32_t flags) override;
  Result<size_t> send(vfs::OpContext&, ByteSpan data, Outgoing extra, int flags) override;
  Result<Received> receive(vfs::OpContext&, std::span<std::byte> dst, int flags) override;
  Result<void> shutdown(int how) override;
  Result<SocketName> local_name() override;
  Result<SocketName> peer_name() override;
  bool listening() const override { return end_->listening; }
  int take_error() override { return std::exchange(end_->error, 0); }
  std::optional<ucred> peer_creds() override { return end_->peer_creds; }
  uint32_t poll(vfs::OpContext&) override;
  WaitQueue* wait_queue() override { return &end_->queue; }
  Result<uint64_t> ioctl(vfs::OpContext&, uint32_t request, uint64_t arg) override;

 private:
  // Who is behind a name: an end of this kernel's, or a socket file that nobody here is bound to. Neither: nobody.
  struct Target {
    std::shared_ptr<UnixEnd> end;
    vfs::InodeRef outside;
  };
  Result<Target> find(vfs::OpContext&, const SocketName& name);
  Result<void> autobind(vfs::OpContext&);
  Result<void> connect_stream(vfs::OpContext&, const SocketName& name);
  Result<size_t> send_stream(vfs::OpContext&, ByteSpan data, Outgoing extra, int flags);
  Result<size_t> send_packet(vfs::OpContext&, ByteSpan data, Outgoing extra, int flags);
  Result<size_t> put(vfs::OpContext&, ByteSpan data, Outgoing& extra, int flags);
  Result<void> take(std::span<std::byte> dst, int flags, Received& r);
  // unix_outside.cc
  Result<void> connect_outside(vfs::OpContext&, vfs::Inode& file, const SocketName& name);
  Result<void> wait_outside(vfs::OpContext&, HostConnection& outside, uint32_t events, uint64_t timeout_ns);
  Result<size_t> send_outside(vfs::OpContext&, ByteSpan data, const Outgoing& extra, int flags);
  Result<size_t> send_once_outside(vfs::OpContext&, vfs::Inode& file, ByteSpan data, const Outgoing& extra, int flags);
  Result<Received> receive_outside(vfs::OpContext&, std::span<std::byte> dst, int flags);
  Kernel& kernel_;
  std::shared_ptr<UnixEnd> end_;
  std::shared_ptr<HostConnection> outside_;  // what it is connected to, instead of a peer
};

}  // namespace run9::sentry
