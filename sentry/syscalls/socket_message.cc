// Messages on sockets: data, addresses, control messages (cmsg(3)).
#include <netinet/in.h>
#include <poll.h>

#include <algorithm>
#include <climits>
#include <cstring>

#include "sentry/syscalls/bounce.h"
#include "sentry/syscalls/file_io.h"
#include "sentry/syscalls/file_util.h"
#include "sentry/syscalls/socket.h"
#include "sentry/task/kernel.h"
#include "sentry/time/clocks.h"

namespace run9::sentry {
namespace {

constexpr size_t kMaxFiles = 253;        // SCM_MAX_FD
constexpr size_t kMaxControl = 20480;    // net.core.optmem_max
constexpr size_t kPiece = 64 * 1024;     // of a stream, copied at once
constexpr size_t kMaxPacket = 1 << 22;   // of a datagram
constexpr uint32_t kMaxMessages = 1024;  // UIO_MAXIOV
constexpr int kCompat = INT_MIN;         // MSG_CMSG_COMPAT: of 32-bit callers, by the kernel alone

// struct msghdr as the guest has it: x86-64, like ours, but with guest addresses.
struct GuestMessage {
  uint64_t name;
  uint32_t name_length, pad0;
  uint64_t iov, iov_count;
  uint64_t control, control_length;
  int32_t flags, pad1;
};
static_assert(sizeof(GuestMessage) == sizeof(msghdr));

struct GuestMmessage {
  GuestMessage header;
  uint32_t length, pad;
};
static_assert(sizeof(GuestMmessage) == sizeof(mmsghdr));

Result<void> read_rights(Task& task, ByteSpan data, Outgoing& out) {
  const size_t n = data.size() / sizeof(int);
  if (out.files.size() + n > kMaxFiles) return Errno{EINVAL};
  for (size_t i = 0; i < n; ++i) {
    int fd = 0;
    std::memcpy(&fd, data.data() + i * sizeof fd, sizeof fd);
    out.files.push_back(TRY(task.fds().get(GuestFd{fd})));
  }
  return ok();
}

// scm_check_creds().
Result<void> read_credentials(Task& task, ByteSpan data, Outgoing& out) {
  ucred c{};
  if (data.size() != sizeof c) return Errno{EINVAL};
  std::memcpy(&c, data.data(), sizeof c);
  const auto& me = task.creds();
  const bool pid_ok = c.pid == task.tgid() || me.has_cap(CAP_SYS_ADMIN);
  const bool uid_ok = c.uid == me.ruid || c.uid == me.euid || c.uid == me.suid || me.has_cap(CAP_SETUID);
  const bool gid_ok = c.gid == me.rgid || c.gid == me.egid || c.gid == me.sgid || me.has_cap(CAP_SETGID);
  if (!pid_ok || !uid_ok || !gid_ok) return Errno{EPERM};
  out.creds = c;
  return ok();
}

Result<void> read_control(Task& task, const GuestMessage& m, Outgoing& out) {
  if (m.control_length == 0) return ok();
  if (m.control_length > kMaxControl) return Errno{ENOBUFS};
  std::vector<std::byte> bytes(m.control_length);
  TRY(task.memory().copy_in(bytes.data(), m.control, bytes.size()));
  size_t at = 0;
  while (bytes.size() - at >= sizeof(cmsghdr)) {
    cmsghdr h{};
    std::memcpy(&h, bytes.data() + at, sizeof h);
    if (h.cmsg_len < sizeof h || h.cmsg_len > bytes.size() - at) return Errno{EINVAL};
    const ByteSpan data = ByteSpan(bytes).subspan(at + sizeof h, h.cmsg_len - sizeof h);
    if (h.cmsg_level == SOL_SOCKET) {
      switch (h.cmsg_type) {
        case SCM_RIGHTS: TRY(read_rights(task, data, out)); break;
        case SCM_CREDENTIALS: TRY(read_credentials(task, data, out)); break;
        default: return Errno{EINVAL};
      }
    }
    const size_t step = CMSG_ALIGN(h.cmsg_len);
    if (step > bytes.size() - at) break;
    at += step;
  }
  return ok();
}

// Appends one control message to the guest's buffer, cut to what fits.
class ControlWriter {
 public:
  ControlWriter(Task& task, const GuestMessage& m) : task_(task), at_(m.control), left_(m.control_length) {}
  size_t room() const { return left_ < sizeof(cmsghdr) ? 0 : left_ - sizeof(cmsghdr); }
  Result<void> put(int level, int type, const void* data, size_t n) {
    const cmsghdr h{.cmsg_len = sizeof(cmsghdr) + n, .cmsg_level = level, .cmsg_type = type};
    std::vector<std::byte> message(h.cmsg_len);
    std::memcpy(message.data(), &h, sizeof h);
    std::memcpy(message.data() + sizeof h, data, n);
    TRY(task_.memory().copy_out(at_, message.data(), message.size()));
    const size_t step = std::min<size_t>(CMSG_ALIGN(h.cmsg_len), left_);
    at_ += step;
    left_ -= step;
    written_ += step;
    return ok();
  }
  size_t written() const { return written_; }
  bool truncated = false;

 private:
  Task& task_;
  uint64_t at_;
  size_t left_;
  size_t written_ = 0;
};

Result<void> write_rights(Task& task, ControlWriter& out, std::vector<vfs::FileRef>& files, bool cloexec) {
  const size_t fit = std::min(files.size(), out.room() / sizeof(int));
  std::vector<int> numbers;
  for (size_t i = 0; i < fit; ++i) {
    const auto fd = install_file(task, files[i], cloexec);
    if (!fd.has_value()) break;
    numbers.push_back(static_cast<int>(fd.value()));
  }
  if (numbers.size() < files.size()) out.truncated = true;
  if (!numbers.empty()) TRY(out.put(SOL_SOCKET, SCM_RIGHTS, numbers.data(), numbers.size() * sizeof(int)));
  return ok();
}

Result<void> write_control(Task& task, const Socket& s, ControlWriter& out, Received& r, bool cloexec) {
  if (s.options.pass_credentials && r.creds) {
    if (out.room() >= sizeof(ucred)) {
      TRY(out.put(SOL_SOCKET, SCM_CREDENTIALS, &*r.creds, sizeof *r.creds));
    } else {
      out.truncated = true;
    }
  }
  for (const SocketControl& c : r.control) {
    const size_t n = std::min(c.data.size(), out.room());
    if (n < c.data.size()) out.truncated = true;
    if (n > 0) TRY(out.put(c.level, c.type, c.data.data(), n));
  }
  if (!r.files.empty()) TRY(write_rights(task, out, r.files, cloexec));
  return ok();
}

Result<uint64_t> send(Task& task, Socket& s, GuestSegments& data, Outgoing extra, int flags) {
  if (s.type() != SOCK_STREAM) {
    if (data.remaining() > kMaxPacket) return Errno{EMSGSIZE};
    std::vector<std::byte> packet(data.remaining());
    if (!packet.empty() && TRY(data.copy_in(packet)) != packet.size()) return Errno{EFAULT};
    return TRY(s.send(task, packet, std::move(extra), flags));
  }
  uint64_t done = 0;
  const Bounce piece(task, std::min<uint64_t>(data.remaining(), kPiece), true);
  do {
    const auto part = piece.first(data.remaining());
    Result<size_t> n = size_t{0};
    if (!part.empty()) n = data.copy_in(part);
    // As Linux: of a piece that cannot be read whole nothing is sent.
    if (n.has_value() && n.value() < part.size()) n = Errno{EFAULT};
    if (n.has_value()) n = s.send(task, part, std::move(extra), flags);
    if (!n.has_value()) {
      if (done > 0) return done;
      return n.error();
    }
    extra = {};
    done += n.value();
    if (n.value() < part.size()) break;
  } while (data.remaining() > 0);
  return done;
}

Result<uint64_t> send_message(Task& task, Socket& s, uint64_t address, int flags) {
  const auto m = TRY(task.memory().read(UserPtr<GuestMessage>{address}));
  if (m.iov_count > kMaxMessages) return Errno{EMSGSIZE};
  Outgoing extra;
  if (m.name != 0 && m.name_length > 0) extra.to = TRY(read_name(task, m.name, m.name_length));
  const IoVec vec = TRY(task.memory().read_iovec(m.iov, m.iov_count));
  auto data = TRY(GuestSegments::create(task.memory(), vec));
  TRY(read_control(task, m, extra));
  return send(task, s, data, std::move(extra), flags);
}

struct Answer {
  uint64_t count = 0;  // what the call returns
  int flags = 0;       // MSG_TRUNC
  Received message;
};

Result<Answer> receive(Task& task, Socket& s, GuestSegments& data, int flags) {
  Answer a;
  // A big buffer for a stream is filled piece by piece only as far as data is there.
  const size_t limit = s.type() == SOCK_STREAM ? kPiece : kMaxPacket;
  const bool more_pieces = s.type() == SOCK_STREAM && (flags & MSG_PEEK) == 0;
  const Bounce buffer(task, std::min<uint64_t>(data.remaining(), limit), true, kMaxPacket);
  // tcp(7): taken, and given to nobody.
  const bool discards = s.protocol() == IPPROTO_TCP && (flags & MSG_TRUNC) != 0;
  if (s.type() == SOCK_STREAM && !discards && (s.poll(task) & POLLIN) != 0) TRY(data.check_writable());
  do {
    const auto part = buffer.first(data.remaining());
    const bool again = a.count > 0 && (flags & MSG_WAITALL) == 0;
    auto r = s.receive(task, part, flags | (again ? MSG_DONTWAIT : 0));
    if (!r.has_value()) {
      if (a.count > 0) return a;
      return r.error();
    }
    const size_t n = r.value().copied;
    if (discards) {
      data.skip(n);
    } else if (n > 0 && TRY(data.copy_out(ByteSpan(part).first(n))) != n) {
      return Errno{EFAULT};
    }
    const bool last = n < part.size() || !r.value().files.empty();
    if (a.count == 0 || !r.value().files.empty()) a.message = std::move(r).value();
    a.count += n;
    if (last) break;
  } while (more_pieces && data.remaining() > 0);
  if (s.type() != SOCK_STREAM) {
    if (a.message.full > a.message.copied) a.flags |= MSG_TRUNC;
    if ((flags & MSG_TRUNC) != 0) a.count = a.message.full;
  }
  return a;
}

Result<uint64_t> receive_message(Task& task, Socket& s, uint64_t address, int flags) {
  auto m = TRY(task.memory().read(UserPtr<GuestMessage>{address}));
  if (m.iov_count > kMaxMessages) return Errno{EMSGSIZE};
  const IoVec vec = TRY(task.memory().read_iovec(m.iov, m.iov_count));
  auto data = TRY(GuestSegments::create(task.memory(), vec));
  auto a = TRY(receive(task, s, data, flags));
  ControlWriter control(task, m);
  TRY(write_control(task, s, control, a.message, (flags & MSG_CMSG_CLOEXEC) != 0));
  if (m.name != 0) {
    const auto& from = a.message.from;
    const size_t n = std::min<size_t>(from.size(), m.name_length);
    if (n > 0) TRY(task.memory().copy_out(m.name, from.data(), n));
    m.name_length = static_cast<uint32_t>(from.size());
  }
  m.flags = a.flags | (control.truncated ? MSG_CTRUNC : 0) | (flags & MSG_CMSG_CLOEXEC);
  m.control_length = control.written();
  TRY(task.memory().write(UserPtr<GuestMessage>{address}, m));
  return a.count;
}

}  // namespace

Result<uint64_t> sys_sendto(Task& task, GuestFd fd, uint64_t buffer, uint64_t count, int flags,
                            uint64_t name, uint32_t length) {
  const iovec one{reinterpret_cast<void*>(buffer), count};
  auto data = TRY(GuestSegments::create(task.memory(), std::span(&one, 1)));
  const auto socket = TRY(socket_of(task, fd));
  Outgoing extra;
  if (name != 0) extra.to = TRY(read_name(task, name, length));
  return send(task, *socket, data, std::move(extra), flags);
}

Result<uint64_t> sys_recvfrom(Task& task, GuestFd fd, uint64_t buffer, uint64_t count, int flags,
                              uint64_t name, UserPtr<int> length) {
  const iovec one{reinterpret_cast<void*>(buffer), count};
  auto data = TRY(GuestSegments::create(task.memory(), std::span(&one, 1)));
  const auto socket = TRY(socket_of(task, fd));
  const auto a = TRY(receive(task, *socket, data, flags));
  if (name != 0) TRY(write_name(task, a.message.from, name, length));
  return a.count;
}

Result<uint64_t> sys_sendmsg(Task& task, GuestFd fd, uint64_t message, int flags) {
  if ((flags & kCompat) != 0) return Errno{EINVAL};
  const auto socket = TRY(socket_of(task, fd));
  return send_message(task, *socket, message, flags);
}

Result<uint64_t> sys_recvmsg(Task& task, GuestFd fd, uint64_t message, int flags) {
  if ((flags & kCompat) != 0) return Errno{EINVAL};
  const auto socket = TRY(socket_of(task, fd));
  return receive_message(task, *socket, message, flags);
}

Result<uint64_t> sys_sendmmsg(Task& task, GuestFd fd, uint64_t messages, uint32_t count, int flags) {
  if ((flags & kCompat) != 0) return Errno{EINVAL};
  const auto socket = TRY(socket_of(task, fd));
  count = std::min(count, kMaxMessages);
  uint64_t done = 0;
  for (; done < count; ++done) {
    const uint64_t at = messages + done * sizeof(GuestMmessage);
    const auto n = send_message(task, *socket, at, flags);
    if (!n.has_value()) {
      if (done > 0) return done;
      return n.error();
    }
    TRY(task.memory().write(UserPtr<uint32_t>{at + offsetof(GuestMmessage, length)},
                            static_cast<uint32_t>(n.value())));
  }
  return done;
}

// The timeout is looked at between messages only, as on Linux (recvmmsg(2), BUGS).
Result<uint64_t> sys_recvmmsg(Task& task, GuestFd fd, uint64_t messages, uint32_t count, int flags,
                              uint64_t timeout) {
  if ((flags & kCompat) != 0) return Errno{EINVAL};
  const auto ns = TRY(read_timeout(task, timeout));
  const auto socket = TRY(socket_of(task, fd));
  const uint64_t deadline = ns ? saturating_add(EventLoop::now_ns(), *ns) : ~uint64_t{0};
  const bool for_one = (flags & MSG_WAITFORONE) != 0;
  flags &= ~MSG_WAITFORONE;
  count = std::min(count, kMaxMessages);
  uint64_t done = 0;
  while (done < count) {
    const uint64_t at = messages + done * sizeof(GuestMmessage);
    const auto n = receive_message(task, *socket, at, flags);
    if (!n.has_value()) {
      if (done > 0) return done;
      return n.error();
    }
    TRY(task.memory().write(UserPtr<uint32_t>{at + offsetof(GuestMmessage, length)},
                            static_cast<uint32_t>(n.value())));
    ++done;
    if (for_one) flags |= MSG_DONTWAIT;
    if (EventLoop::now_ns() >= deadline) break;
  }
  if (ns) {
    const uint64_t now = EventLoop::now_ns();
    TRY(task.memory().write(UserPtr<timespec>{timeout},
                            to_timespec(deadline > now ? deadline - now : 0)));
  }
  return done;
}

}  // namespace run9::sentry
