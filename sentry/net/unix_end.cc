#include <poll.h>

#include <fmt/format.h>

#include "sentry/net/unix_socket.h"

namespace run9::sentry {

void UnixEnd::push(UnixMessage m) {
  // A stream is one run of bytes; descriptors and changes of sender are borders in it.
  if (type == SOCK_STREAM && !inbox.empty() && m.files.empty()) {
    UnixMessage& last = inbox.back();
    if (last.files.empty() && last.data.size() < 16384 && last.creds.pid == m.creds.pid &&
        last.creds.uid == m.creds.uid && last.creds.gid == m.creds.gid) {
      inbox_bytes += m.data.size();
      last.data += m.data;
      queue.notify(POLLIN | POLLRDNORM);
      return;
    }
  }
  // Never free: a queue of empty messages has a size, too.
  inbox_bytes += m.left() + (type == SOCK_STREAM ? 0 : 32);
  inbox.push_back(std::move(m));
  queue.notify(POLLIN | POLLRDNORM);
}

void UnixEnd::pop_front() {
  inbox_bytes -= inbox.front().left() + (type == SOCK_STREAM ? 0 : 32);
  // The descriptors in it may be the last references: closed when the inbox is consistent again.
  const UnixMessage gone = std::move(inbox.front());
  inbox.pop_front();
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
  inbox_bytes = 0;
  const auto gone = std::move(inbox);
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
