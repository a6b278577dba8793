// InetEnd: what others refer to of an AF_INET or AF_INET6 socket: a peer, a listener's queue, the table of ports, all weakly
// or until close(). Its socket (the File) owns it and closes it; until accept, its listener does.
#pragma once
#include <deque>
#include <memory>

#include "sentry/net/inet_address.h"
#include "sentry/net/inbox.h"

namespace run9::sentry {

class PortTable;

struct InetEnd : std::enable_shared_from_this<InetEnd> {
  enum class State { kClosed, kConnecting, kConnected, kListening };
  InetEnd(PortTable& ports, int family, int type)
      : ports(ports), family(family), type(type), local(InetAddress::any(family)), remote(local), inbox(type) {}

  PortTable& ports;
  const int family, type;
  State state = State::kClosed;
  InetAddress local, remote;
  bool bound = false;          // in the table, with local.port
  bool address_given = false, port_given = false;  // by bind(2): a disconnect does not take them back
  bool v6_only = false, reuse_address = false, reuse_port = false;
  bool read_shut = false, write_shut = false;
  bool finished = false;  // the peer sends no more (FIN)
  bool closed = false;    // its socket is gone
  int error = 0;
  size_t send_buffer = 0, receive_buffer = 0;
  uid_t uid = 0;
  uint64_t ino = 0;  // /proc/net
  std::weak_ptr<InetEnd> peer;
  size_t backlog = 0;
  std::deque<std::shared_ptr<InetEnd>> pending;  // a listener's connections not yet accepted
  std::deque<std::weak_ptr<InetEnd>> waiting;    // those that wait for room in `pending`
  std::weak_ptr<InetEnd> listener;               // whose `waiting` it is in
  Inbox inbox;
  WaitQueue queue;

  void notify(uint32_t events) { queue.notify_all(events); }
  // TCP (tcp_end.cc).
  void connect_to(const std::shared_ptr<InetEnd>& listener);  // null: refused
  void admit();           // a listener's: takes from `waiting` what there is room for
  void stop_listening();
  void finish();          // sends FIN
  void reset();           // has got RST
  void abandon();         // out of its listener's `waiting`
  void size_queues();     // after a change of either side's buffers
  bool writable() const;  // POLLOUT: a third of what may be queued is free
  void close(bool abort);

 private:
  void establish(InetEnd& client);
  void check_closed();
};

}  // namespace run9::sentry
