#include <poll.h>

#include <fmt/format.h>

#include "sentry/net/unix_socket.h"

namespace run9::sentry {

void UnixEnd::push(SocketMessage m) {
  inbox.push(std::move(m));
  queue.notify(POLLIN | POLLRDNORM);
}

void UnixEnd::told_space() {
  constexpr uint32_t kOut = POLLOUT | POLLWRNORM;
  if (!datagram()) {
    if (auto p = peer.lock()) p->queue.notify(kOut);
    return;
  }
  space_queue.notify_all(kOut);
  for (auto& weak : senders) {
    if (auto s = weak.lock()) s->queue.notify(kOut);
  }
}

void UnixEnd::close() {
  closed = true;
  constexpr uint32_t kAll = POLLIN | POLLOUT | POLLHUP | POLLRDHUP | POLLERR;
  if (auto p = peer.lock(); p != nullptr && !datagram()) {
    p->read_shut = p->write_shut = true;
    if (!inbox.empty()) p->error = ECONNRESET;
    p->queue.notify_all(kAll);
  }
  for (auto& c : pending) {
    if (auto client = c->peer.lock()) client->error = ECONNRESET;
    c->close();
  }
  pending.clear();
  space_queue.notify_all();
  for (auto& weak : senders) {
    if (auto s = weak.lock()) s->queue.notify_all(kAll);
  }
  queue.notify_all(kAll);
  inbox.clear();
}

Result<void> AbstractNames::bind(const std::string& name, const std::shared_ptr<UnixEnd>& end) {
  auto& slot = names_[name];
  if (!slot.expired()) return Errno{EADDRINUSE};
  slot = end;
  return ok();
}

std::shared_ptr<UnixEnd> AbstractNames::find(const std::string& name) const {
  const auto it = names_.find(name);
  return it == names_.end() ? nullptr : it->second.lock();
}

std::string AbstractNames::pick() {
  for (;;) {
    std::string name = fmt::format("{:05x}", next_++ & 0xfffff);
    if (find(name) == nullptr) return name;
  }
}

}  // namespace run9::sentry
