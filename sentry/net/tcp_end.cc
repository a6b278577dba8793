// The states of TCP connections. Both ends are here, so that a segment arrives when it is sent, and closing takes no time.
#include <poll.h>

#include <algorithm>

#include "sentry/net/inet_end.h"
#include "sentry/net/port_table.h"

namespace run9::sentry {
namespace {

constexpr uint32_t kIn = POLLIN | POLLRDNORM, kOut = POLLOUT | POLLWRNORM;
constexpr size_t kMaxWaiting = 4096;  // for room in a listener's backlog
constexpr uint32_t kAll = kIn | kOut | POLLHUP | POLLRDHUP | POLLERR;

}  // namespace

void InetEnd::connect_to(const std::shared_ptr<InetEnd>& to) {
  if (to == nullptr || to->waiting.size() >= kMaxWaiting) {
    error = to == nullptr ? ECONNREFUSED : ETIMEDOUT;
    read_shut = write_shut = true;
    notify(kAll);
    return;
  }
  state = State::kConnecting;
  listener = to;
  to->waiting.push_back(weak_from_this());
  to->admit();
}

void InetEnd::admit() {
  // As many as listen(2) was told, and one.
  while (!waiting.empty() && pending.size() <= backlog) {
    const auto client = waiting.front().lock();
    waiting.pop_front();
    if (client != nullptr) establish(*client);
  }
}

void InetEnd::establish(InetEnd& client) {
  auto server = std::make_shared<InetEnd>(ports, family, type);
  server->local = client.remote;
  server->remote = client.local;
  server->v6_only = v6_only;
  server->reuse_address = reuse_address;
  server->reuse_port = reuse_port;
  server->send_buffer = send_buffer;
  server->receive_buffer = receive_buffer;
  server->uid = uid;
  server->peer = client.weak_from_this();
  client.peer = server;
  client.listener.reset();
  server->state = client.state = State::kConnected;
  server->size_queues();
  ports.adopt(*server);
  pending.push_back(std::move(server));
  queue.notify(kIn);
  client.notify(kOut);
}

void InetEnd::abandon() {
  if (const auto l = listener.lock()) {
    std::erase_if(l->waiting, [this](const auto& w) { return w.lock().get() == this; });
  }
  listener.reset();
}

void InetEnd::stop_listening() {
  state = State::kClosed;
  for (const auto& c : std::exchange(pending, {})) c->close(true);
  for (const auto& w : std::exchange(waiting, {})) {
    const auto client = w.lock();
    if (client == nullptr) continue;
    client->state = State::kClosed;
    client->connect_to(nullptr);
  }
  notify(kAll);
}

// Both directions have ended: LAST_ACK and TIME_WAIT are over at once.
void InetEnd::check_closed() {
  if (finished && write_shut) state = State::kClosed;
}

void InetEnd::finish() {
  if (std::exchange(write_shut, true)) return;
  if (const auto p = peer.lock()) {
    p->finished = p->read_shut = true;
    p->check_closed();
    p->notify(kAll);
  }
  check_closed();
}

// tcp_reset(): what was received before can still be read.
void InetEnd::reset() {
  if (state != State::kConnected) return;
  error = finished ? EPIPE : ECONNRESET;
  read_shut = write_shut = true;
  state = State::kClosed;
  peer.reset();
  notify(kAll);
}

void InetEnd::size_queues() {
  const auto p = peer.lock();
  if (p == nullptr) return;
  p->inbox.limit = send_buffer + p->receive_buffer;
  inbox.limit = p->send_buffer + receive_buffer;
  notify(kOut);
  p->notify(kOut);
}

bool InetEnd::writable() const {
  const auto p = peer.lock();
  return p == nullptr || (p->inbox.has_room() && p->inbox.space() >= p->inbox.limit / 3);
}

void InetEnd::close(bool abort) {
  ports.release(*this);
  if (state == State::kListening) stop_listening();
  abandon();
  if (state == State::kConnected && type == SOCK_STREAM) {
    const auto p = peer.lock();
    // Data that nobody will read: the peer is to know (RFC 2525, 2.17).
    if (p != nullptr && (abort || !inbox.empty())) {
      p->reset();
    } else {
      finish();
    }
  }
  closed = true;
  state = State::kClosed;
  inbox.clear();
  notify(kAll);
}

}  // namespace run9::sentry
