// Socket: an open socket of any family. The system calls copy addresses, data and control messages; a family
// overrides what it supports.
#pragma once
#include <sys/socket.h>
#include <sys/time.h>

#include <optional>
#include <string>
#include <vector>

#include "base/wait_queue.h"
#include "vfs/file.h"

namespace run9::sentry {

class Kernel;

// A socket address as the guest wrote it: sa_family and what follows; "" is none.
using SocketName = std::string;

struct Outgoing {
  SocketName to;
  std::vector<vfs::FileRef> files;  // SCM_RIGHTS
  std::optional<ucred> creds;       // SCM_CREDENTIALS, checked
};

// A control message of the family's own (cmsg(3)).
struct SocketControl {
  int level = 0, type = 0;
  std::string data;
};

struct Received {
  size_t copied = 0;
  size_t full = 0;  // length of the message, which may be more than was asked for
  SocketName from;
  std::vector<vfs::FileRef> files;
  std::optional<ucred> creds;
  std::vector<SocketControl> control;
};

// The SOL_SOCKET options that are kept for every family.
struct SocketOptions {
  int send_buffer = 212992, receive_buffer = 212992;
  bool send_buffer_set = false;  // by the guest: nobody else changes it then
  bool pass_credentials = false;
  bool reuse_address = false, keep_alive = false, broadcast = false, out_of_band_inline = false,
       reuse_port = false, timestamp = false, dont_route = false;
  int priority = 0, receive_low = 1;
  linger lingering{};
  uint64_t receive_timeout_ns = 0, send_timeout_ns = 0;  // 0: none
};

class Socket : public vfs::File {
 public:
  Socket(vfs::Path path, uint32_t flags, int family, int type, int protocol)
      : File(std::move(path), O_RDWR | flags), family_(family), type_(type), protocol_(protocol) {}
  int family() const { return family_; }
  int type() const { return type_; }
  int protocol() const { return protocol_; }

  virtual Result<void> bind(vfs::OpContext&, const SocketName& name) = 0;
  virtual Result<void> listen(vfs::OpContext&, int backlog) = 0;
  virtual Result<void> connect(vfs::OpContext&, const SocketName& name) = 0;
  // flags: O_NONBLOCK for the new socket.
  virtual Result<std::shared_ptr<Socket>> accept(vfs::OpContext&, uint32_t flags) = 0;
  // MSG_* flags; SIGPIPE is sent unless MSG_NOSIGNAL.
  virtual Result<size_t> send(vfs::OpContext&, ByteSpan data, Outgoing extra, int flags) = 0;
  virtual Result<Received> receive(vfs::OpContext&, std::span<std::byte> dst, int flags) = 0;
  virtual Result<void> shutdown(int how) = 0;
  virtual Result<SocketName> local_name() = 0;
  virtual Result<SocketName> peer_name() = 0;  // ENOTCONN
  virtual bool listening() const = 0;
  virtual int take_error() = 0;  // SO_ERROR
  virtual std::optional<ucred> peer_creds() { return {}; }
  // EOPNOTSUPP for options of any other level.
  virtual bool has_options(int level) const { return level == SOL_SOCKET; }
  // Options that are not of SocketOptions: ENOPROTOOPT by default.
  virtual Result<void> set_option(vfs::OpContext&, int level, int name, ByteSpan value);
  virtual Result<std::string> get_option(vfs::OpContext&, int level, int name);

  bool is_stream() const override { return true; }
  Result<size_t> read(vfs::OpContext&, std::span<std::byte> dst) override;
  Result<size_t> write(vfs::OpContext&, ByteSpan src) override;
  Result<void> fsync(vfs::OpContext&, bool) override { return Errno{EINVAL}; }
  // Questions about network interfaces.
  Result<uint64_t> ioctl(vfs::OpContext&, uint32_t request, uint64_t arg) override;

  SocketOptions options;
  virtual void options_changed() {}

 protected:
  // Waits for `events` within the timeout: EAGAIN after it, and if a signal comes, EINTR with a timeout.
  Result<void> wait_within(vfs::OpContext&, WaitQueue&, uint32_t events, uint64_t timeout_ns);

  bool may_wait(int flags) const { return !nonblocking() && (flags & MSG_DONTWAIT) == 0; }
  // EPIPE, and SIGPIPE unless MSG_NOSIGNAL.
  static Errno broken(vfs::OpContext&, int flags);
  // Sends all of `data`: `once` takes what it can of the rest (EAGAIN: nothing now), `wait` waits until it can take more.
  // An error counts only if nothing was sent before.
  template <typename Once, typename Wait>
  Result<size_t> send_all(ByteSpan data, int flags, Once once, Wait wait);
  // `once` adds to what was received (EAGAIN: nothing is there), `wait` waits for more. With MSG_WAITALL a stream is asked
  // until `wanted` bytes are there, nothing more comes, or descriptors do.
  template <typename Once, typename Wait>
  Result<Received> receive_some(size_t wanted, int flags, Once once, Wait wait);

 private:
  const int family_, type_, protocol_;
};

template <typename Once, typename Wait>
Result<size_t> Socket::send_all(ByteSpan data, int flags, Once once, Wait wait) {
  size_t done = 0;
  for (;;) {
    const Result<size_t> n = once(data.subspan(done));
    if (n.has_value()) {
      done += n.value();
      if (done == data.size()) return done;
      continue;
    }
    Errno why = n.error();
    if (why == Errno{EAGAIN} && may_wait(flags)) {
      const Result<void> waited = wait();
      if (waited.has_value()) continue;
      why = waited.error();
    }
    if (done > 0) return done;
    return why;
  }
}

template <typename Once, typename Wait>
Result<Received> Socket::receive_some(size_t wanted, int flags, Once once, Wait wait) {
  const bool all = type_ == SOCK_STREAM && (flags & MSG_WAITALL) != 0 && (flags & MSG_PEEK) == 0;
  Received r;
  for (;;) {
    const size_t before = r.copied;
    const Result<void> got = once(r);
    if (got.has_value()) {
      if (!all || r.copied == wanted || r.copied == before || !r.files.empty()) return r;
      continue;
    }
    Errno why = got.error();
    if (why == Errno{EAGAIN} && may_wait(flags)) {
      const Result<void> waited = wait();
      if (waited.has_value()) continue;
      why = waited.error();
    }
    if (r.copied > 0) return r;
    return why;
  }
}

}  // namespace run9::sentry
