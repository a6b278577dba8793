#include "sentry/net/unix_socket.h"

#include <poll.h>
#include <sys/ioctl.h>
#include <sys/un.h>

#include <algorithm>
#include <cstring>

#include "sentry/fs/anon.h"
#include "sentry/ipc/ipc_objects.h"
#include "sentry/ipc/pipe.h"
#include "sentry/task/kernel.h"

namespace run9::sentry {
namespace {

constexpr uint32_t kIn = POLLIN | POLLRDNORM, kOut = POLLOUT | POLLWRNORM;
constexpr size_t kFamilySize = sizeof(sa_family_t);

ucred creds_of(const vfs::OpContext& ctx) {
  return {ctx.tgid(), ctx.creds().euid, ctx.creds().egid};
}

// unix_validate_addr(): the part behind sun_family.
Result<std::string_view> path_part(const SocketName& name) {
  sa_family_t family = 0;
  if (name.size() <= kFamilySize || name.size() > sizeof(sockaddr_un)) return Errno{EINVAL};
  std::memcpy(&family, name.data(), sizeof family);
  if (family != AF_UNIX) return Errno{EINVAL};
  return std::string_view(name).substr(kFamilySize);
}

SocketName make_name(std::string_view path) {
  SocketName n = bytes_of(sa_family_t{AF_UNIX});
  n += path;
  return n;
}

vfs::Path start_of(Task& task) { return task.fs().cwd; }

}  // namespace

UnixSocket::UnixSocket(Kernel& kernel, vfs::Path path, uint32_t flags, std::shared_ptr<UnixEnd> end)
    : Socket(std::move(path), flags, AF_UNIX, end->type, 0), kernel_(kernel), end_(std::move(end)) {}

UnixSocket::~UnixSocket() {
  if (!end_->abstract_name.empty()) {
    ipc_objects(kernel_).abstract_names().release(end_->abstract_name);
  }
  end_->close();
}

std::shared_ptr<UnixSocket> UnixSocket::create(Kernel& kernel, const vfs::OpContext& owner, int type,
                                               uint32_t flags, std::shared_ptr<UnixEnd> end) {
  if (end == nullptr) end = std::make_shared<UnixEnd>(type);
  auto path = make_anon_path(kernel, "socket:", S_IFSOCK | 0777, owner);
  return std::make_shared<UnixSocket>(kernel, std::move(path), flags, std::move(end));
}

void UnixSocket::make_pair(vfs::OpContext& ctx, UnixSocket& a, UnixSocket& b) {
  const ucred c = creds_of(ctx);
  for (auto* s : {&a, &b}) {
    UnixEnd& end = *s->end_;
    end.connected = true;
    end.own_creds = end.peer_creds = c;
    end.peer = (s == &a ? b : a).end_;
    end.peer_name = make_name("");
  }
  if (a.end_->datagram()) {
    a.end_->senders.push_back(b.end_);
    b.end_->senders.push_back(a.end_);
  }
}

Result<void> UnixSocket::autobind(vfs::OpContext&) {
  if (!end_->name.empty()) return ok();
  auto& names = ipc_objects(kernel_).abstract_names();
  const std::string name = names.pick();
  TRY(names.bind(name, end_));
  end_->abstract_name = name;
  end_->name = make_name(std::string(1, '\0') + name);
  return ok();
}

Result<void> UnixSocket::bind(vfs::OpContext& ctx, const SocketName& name) {
  if (name.size() == kFamilySize) {
    if (!end_->name.empty()) return Errno{EINVAL};
    return autobind(ctx);
  }
  std::string_view path = TRY(path_part(name));
  if (!end_->name.empty()) return Errno{EINVAL};
  if (path[0] == '\0') {
    const std::string key(path.substr(1));
    TRY(ipc_objects(kernel_).abstract_names().bind(key, end_));
    end_->abstract_name = key;
    end_->name = name;
    return ok();
  }
  Task* task = task_of(ctx);
  if (task == nullptr) return Errno{EINVAL};
  path = path.substr(0, path.find('\0'));
  const auto made = task->mounts().mknod(ctx, task->fs(), start_of(*task), path, S_IFSOCK | 0777, 0);
  if (!made.has_value()) {
    return made.error() == Errno{EEXIST} ? Errno{EADDRINUSE} : made.error();
  }
  made.value().inode()->attachment() = std::make_shared<std::weak_ptr<UnixEnd>>(end_);
  end_->name = make_name(std::string(path) + '\0');
  return ok();
}

Result<UnixSocket::Target> UnixSocket::find(vfs::OpContext& ctx, const SocketName& name) {
  std::string_view path = TRY(path_part(name));
  Target at;
  if (path[0] == '\0') {
    at.end = ipc_objects(kernel_).abstract_names().find(std::string(path.substr(1)));
  } else {
    Task* task = task_of(ctx);
    if (task == nullptr) return Errno{EINVAL};
    path = path.substr(0, path.find('\0'));
    const auto place =
        TRY(task->mounts().walk(ctx, task->fs(), start_of(*task), path, vfs::kFollow));
    TRY(place.inode()->permission(ctx, 2));
    const auto& slot = place.inode()->attachment();
    if (place.inode()->type() == S_IFSOCK && slot != nullptr) {
      at.end = static_cast<std::weak_ptr<UnixEnd>*>(slot.get())->lock();
    } else if (place.inode()->type() == S_IFSOCK) {
      at.outside = place.dentry->inode_ref();
    }
  }
  if (at.outside != nullptr) return at;
  if (at.end == nullptr || at.end->closed) return Errno{ECONNREFUSED};
  return at;
}

Result<void> UnixSocket::listen(vfs::OpContext& ctx, int backlog) {
  if (end_->datagram()) return Errno{EOPNOTSUPP};
  if (end_->name.empty() || end_->connected) return Errno{EINVAL};
  const bool more = backlog > end_->backlog;
  end_->listening = true;
  end_->backlog = std::clamp(backlog, 0, 4096);
  end_->own_creds = creds_of(ctx);
  if (more) end_->queue.notify(kOut);
  return ok();
}

Result<void> UnixSocket::connect(vfs::OpContext& ctx, const SocketName& name) {
  if (name.size() < kFamilySize) return Errno{EINVAL};
  if (!end_->datagram()) return connect_stream(ctx, name);
  sa_family_t family = 0;
  std::memcpy(&family, name.data(), sizeof family);
  if (family == AF_UNSPEC) {
    end_->peer.reset();
    outside_.reset();
    end_->connected = false;
    return ok();
  }
  const auto [target, outside] = TRY(find(ctx, name));
  if (outside != nullptr) return connect_outside(ctx, *outside, name);
  if (target->type != SOCK_DGRAM) return Errno{EPROTOTYPE};
  if (options.pass_credentials) TRY(autobind(ctx));
  const auto theirs = target->peer.lock();
  if (theirs != nullptr && theirs != end_) return Errno{EPERM};
  outside_.reset();
  end_->peer = target;
  end_->peer_name = target->name;
  end_->connected = true;
  std::erase_if(target->senders, [](const auto& w) { return w.expired(); });
  target->senders.push_back(end_);
  end_->queue.notify(kOut);
  return ok();
}

Result<void> UnixSocket::connect_stream(vfs::OpContext& ctx, const SocketName& name) {
  if (end_->listening) return Errno{EINVAL};
  if (options.pass_credentials) TRY(autobind(ctx));
  const auto keep = shared_from_this();
  std::shared_ptr<UnixEnd> listener;
  for (;;) {
    const Target at = TRY(find(ctx, name));
    if (end_->connected) return Errno{EISCONN};
    if (at.outside != nullptr) return connect_outside(ctx, *at.outside, name);
    listener = at.end;
    if (listener->type != end_->type) return Errno{EPROTOTYPE};
    if (!listener->listening || listener->read_shut) return Errno{ECONNREFUSED};
    if (listener->pending.size() <= static_cast<size_t>(listener->backlog)) break;
    if (nonblocking()) return Errno{EAGAIN};
    TRY(wait_within(ctx, listener->space_queue, kOut, options.send_timeout_ns));
  }
  auto server = std::make_shared<UnixEnd>(end_->type);
  server->connected = end_->connected = true;
  server->peer = end_;
  end_->peer = server;
  server->name = end_->peer_name = listener->name;
  server->peer_name = end_->name.empty() ? make_name("") : end_->name;
  server->own_creds = end_->peer_creds = listener->own_creds;
  end_->own_creds = server->peer_creds = creds_of(ctx);
  listener->pending.push_back(std::move(server));
  listener->queue.notify(kIn);
  end_->queue.notify(kOut);
  return ok();
}

Result<std::shared_ptr<Socket>> UnixSocket::accept(vfs::OpContext& ctx, uint32_t flags) {
  if (end_->datagram()) return Errno{EOPNOTSUPP};
  const auto keep = shared_from_this();
  while (end_->listening && end_->pending.empty()) {
    if (end_->read_shut) return Errno{EINVAL};
    if (nonblocking()) return Errno{EAGAIN};
    TRY(wait_within(ctx, end_->queue, kIn, options.receive_timeout_ns));
  }
  if (!end_->listening) return Errno{EINVAL};
  auto server = std::move(end_->pending.front());
  end_->pending.pop_front();
  end_->space_queue.notify(kOut);
  auto socket = create(kernel_, ctx, end_->type, flags, std::move(server));
  socket->options.pass_credentials = options.pass_credentials;
  return std::shared_ptr<Socket>(std::move(socket));
}

Result<void> UnixSocket::shutdown(int how) {
  if (how < SHUT_RD || how > SHUT_RDWR) return Errno{EINVAL};
  if (outside_ != nullptr) TRY(outside_->shutdown(how));
  const bool rd = how != SHUT_WR, wr = how != SHUT_RD;
  end_->read_shut |= rd;
  end_->write_shut |= wr;
  const uint32_t told = kIn | kOut | POLLRDHUP | POLLHUP;
  if (auto p = end_->peer.lock(); p != nullptr && !end_->datagram()) {
    p->read_shut |= wr;
    p->write_shut |= rd;
    p->queue.notify_all(told);
  }
  end_->queue.notify_all(told);
  end_->space_queue.notify_all(told);
  return ok();
}

Result<SocketName> UnixSocket::local_name() {
  return end_->name.empty() ? make_name("") : end_->name;
}

Result<SocketName> UnixSocket::peer_name() {
  if (!end_->connected) return Errno{ENOTCONN};
  return end_->peer_name.empty() ? make_name("") : end_->peer_name;
}

uint32_t UnixSocket::poll(vfs::OpContext&) {
  if (outside_ != nullptr) return outside_->poll();
  const UnixEnd& e = *end_;
  uint32_t bits = 0;
  if (e.error != 0) bits |= POLLERR;
  if (e.read_shut && e.write_shut) bits |= POLLHUP;
  if (e.read_shut) bits |= POLLRDHUP | kIn;
  if (e.listening) return bits | (e.pending.empty() ? 0 : kIn);
  if (!e.inbox.empty()) bits |= kIn;
  if (!e.datagram() && !e.connected) return bits | POLLHUP | kOut;
  const auto p = e.peer.lock();
  if (p == nullptr || p->inbox.has_room()) bits |= kOut;
  return bits;
}

Result<uint64_t> UnixSocket::ioctl(vfs::OpContext& ctx, uint32_t request, uint64_t arg) {
  switch (request) {
    case FIONREAD: {
      if (end_->listening) return Errno{EINVAL};
      if (outside_ != nullptr) return answer_int(ctx, arg, TRY(outside_->unread()));
      return answer_int(ctx, arg, static_cast<int>(end_->inbox.unread()));
    }
    case TIOCOUTQ: {
      const auto p = end_->peer.lock();
      return answer_int(ctx, arg, p == nullptr ? 0 : static_cast<int>(p->inbox.bytes()));
    }
    default: return Socket::ioctl(ctx, request, arg);
  }
}

}  // namespace run9::sentry
