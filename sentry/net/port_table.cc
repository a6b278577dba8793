#include "sentry/net/port_table.h"

#include <algorithm>

namespace run9::sentry {
namespace {

// net.ipv4.ip_local_port_range
constexpr uint16_t kFirstEphemeral = 32768, kLastEphemeral = 60999;

// How well an end fits what comes: 0 if not at all.
int fit(const InetEnd& end, const InetAddress& to, const InetAddress& from) {
  if (!covers(end.local, end.v6_only, to)) return 0;
  int score = 1;
  if (end.type == SOCK_STREAM) {
    if (end.state != InetEnd::State::kListening) return 0;
  } else if (end.state == InetEnd::State::kConnected) {
    if (end.remote != from) return 0;
    score += 4;
  }
  if (end.local.ip == to.ip) score += 2;
  if ((end.family == AF_INET) == to.is_v4()) score += 1;
  return score;
}

}  // namespace

bool PortTable::conflict(const InetEnd& end, const InetAddress& at, const InetEnd& other) {
  if (&end == &other) return false;
  if (!covers(at, end.v6_only, other.local) && !covers(other.local, other.v6_only, at)) return false;
  if (end.reuse_port && other.reuse_port && end.uid == other.uid) return false;
  return !end.reuse_address || !other.reuse_address || other.state == InetEnd::State::kListening;
}

Result<uint16_t> PortTable::pick() {
  constexpr uint16_t kCount = kLastEphemeral - kFirstEphemeral + 1;
  for (int i = 0; i < kCount; ++i) {
    const uint16_t port = kFirstEphemeral + next_;
    next_ = (next_ + 1) % kCount;
    if (!ports_.contains(port)) return port;
  }
  return Errno{EADDRINUSE};
}

Result<void> PortTable::bind(InetEnd& end, const InetAddress& to) {
  InetAddress at = to;
  if (at.port == 0) at.port = TRY(pick());
  if (const auto it = ports_.find(at.port); it != ports_.end()) {
    const auto against = [&](const InetEnd* other) { return conflict(end, at, *other); };
    if (std::ranges::any_of(it->second.bound, against) || std::ranges::any_of(it->second.accepted, against)) {
      return Errno{EADDRINUSE};
    }
  }
  ports_[at.port].bound.push_back(&end);
  end.local = at;
  end.bound = true;
  return ok();
}

void PortTable::adopt(InetEnd& accepted) {
  ports_[accepted.local.port].accepted.insert(&accepted);
  accepted.bound = true;
}

void PortTable::release(InetEnd& end) {
  if (!std::exchange(end.bound, false)) return;
  const auto it = ports_.find(end.local.port);
  Port& port = it->second;
  if (port.accepted.erase(&end) == 0) std::erase(port.bound, &end);
  if (port.bound.empty() && port.accepted.empty()) ports_.erase(it);
}

Result<void> PortTable::may_listen(const InetEnd& end) const {
  for (const InetEnd* other : ports_.at(end.local.port).bound) {
    if (other->state == InetEnd::State::kListening && conflict(end, end.local, *other)) return Errno{EADDRINUSE};
  }
  return ok();
}

std::shared_ptr<InetEnd> PortTable::find(const InetAddress& to, const InetAddress& from) const {
  const auto it = ports_.find(to.port);
  if (it == ports_.end()) return nullptr;
  int best = 1;
  std::vector<InetEnd*> ends;
  for (InetEnd* end : it->second.bound) {
    const int score = fit(*end, to, from);
    if (score < best || score == 0) continue;
    if (score > best) ends.clear();
    best = score;
    ends.push_back(end);
  }
  if (ends.empty()) return nullptr;
  const bool spread = std::ranges::all_of(ends, [](const InetEnd* e) { return e->reuse_port; });
  // By the sender: one sender's datagrams all go to the same socket.
  return (spread ? ends[from.port % ends.size()] : ends.back())->shared_from_this();
}

void PortTable::for_each(const std::function<void(const InetEnd&)>& see) const {
  for (const auto& [number, port] : ports_) {
    for (const InetEnd* end : port.bound) see(*end);
    for (const InetEnd* end : port.accepted) see(*end);
  }
}

}  // namespace run9::sentry
