#include "sentry/net/inbox.h"

#include <algorithm>

#include "base/copy.h"

namespace run9::sentry {
namespace {

constexpr size_t kMergedMessage = 16384;  // a message of a stream does not grow beyond it
constexpr size_t kPacketCost = 32;        // never free: a queue of empty packets has a size, too

bool same_sender(const ucred& a, const ucred& b) { return a.pid == b.pid && a.uid == b.uid && a.gid == b.gid; }

}  // namespace

size_t Inbox::unread() const {
  if (type_ == SOCK_STREAM) return bytes_;
  return messages_.empty() ? 0 : messages_.front().left();
}

// A stream is one run of bytes; descriptors and changes of sender are borders in it.
bool Inbox::merge(const SocketMessage& m) {
  if (type_ != SOCK_STREAM || messages_.empty() || !m.files.empty()) return false;
  SocketMessage& last = messages_.back();
  if (!last.files.empty() || last.data.size() >= kMergedMessage || !same_sender(last.creds, m.creds)) return false;
  last.data += m.data;
  return true;
}

void Inbox::push(SocketMessage m) {
  bytes_ += m.left() + (type_ == SOCK_STREAM ? 0 : kPacketCost);
  if (!merge(m)) messages_.push_back(std::move(m));
}

void Inbox::pop_front() {
  bytes_ -= messages_.front().left() + (type_ == SOCK_STREAM ? 0 : kPacketCost);
  // The descriptors in it may be the last references: closed when the queue is consistent again.
  const SocketMessage gone = std::move(messages_.front());
  messages_.pop_front();
}

void Inbox::clear() {
  bytes_ = 0;
  const auto gone = std::move(messages_);
  messages_.clear();
}

void Inbox::take_packet(std::span<std::byte> dst, int flags, Received& r) {
  SocketMessage& m = messages_.front();
  r.full = m.data.size();
  r.copied = std::min(dst.size(), r.full);
  copy_bytes(dst.data(), m.data.data(), r.copied);
  r.from = m.from;
  r.creds = m.creds;
  r.files = m.files;
  r.control = m.control;
  if ((flags & MSG_PEEK) == 0) pop_front();
}

void Inbox::take_stream(std::span<std::byte> dst, int flags, Received& r) {
  size_t i = 0;
  const bool peek = (flags & MSG_PEEK) != 0;
  while (r.copied < dst.size() && i < messages_.size()) {
    SocketMessage& m = messages_[i];
    if (r.creds && !same_sender(*r.creds, m.creds)) break;
    r.creds = m.creds;
    const size_t n = std::min(dst.size() - r.copied, m.left());
    copy_bytes(dst.data() + r.copied, m.data.data() + m.taken, n);
    r.copied += n;
    const bool with_files = !m.files.empty();
    if (with_files) r.files = peek ? m.files : std::move(m.files);
    if (peek) {
      ++i;
    } else {
      m.files.clear();
      m.taken += n;
      bytes_ -= n;
      if (m.left() == 0) pop_front();
    }
    if (with_files) break;
  }
  r.full = r.copied;
}

}  // namespace run9::sentry
