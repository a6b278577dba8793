// Inbox: what waits to be received at a socket whose peers are in the sandbox: bytes, datagrams or records.
#pragma once
#include <deque>

#include "sentry/net/socket.h"

namespace run9::sentry {

struct SocketMessage {
  std::string data;
  size_t taken = 0;  // bytes a stream reader has had
  std::vector<vfs::FileRef> files;
  ucred creds{};
  SocketName from;
  std::vector<SocketControl> control;
  size_t left() const { return data.size() - taken; }
};

class Inbox {
 public:
  explicit Inbox(int type) : type_(type) {}
  bool empty() const { return messages_.empty(); }
  size_t bytes() const { return bytes_; }
  size_t space() const { return bytes_ < limit ? limit - bytes_ : 0; }
  bool has_room() const { return bytes_ < limit && messages_.size() < kMaxMessages; }
  size_t unread() const;  // FIONREAD
  void push(SocketMessage m);
  // A datagram or record, as much of it as fits.
  void take_packet(std::span<std::byte> dst, int flags, Received& r);
  // Appends to `r` from messages of one sender, up to and with the first that carries descriptors.
  void take_stream(std::span<std::byte> dst, int flags, Received& r);
  void clear();

  size_t limit = 212992;  // what bytes() may reach before has_room() says no

 private:
  static constexpr size_t kMaxMessages = 4096;
  bool merge(const SocketMessage& m);
  void pop_front();
  const int type_;
  std::deque<SocketMessage> messages_;
  size_t bytes_ = 0;
};

}  // namespace run9::sentry
