// PortTable: who has which port of one protocol (TCP or UDP) in the sandbox's network. Owned by IpcObjects.
#pragma once
#include <functional>
#include <map>
#include <memory>
#include <unordered_set>
#include <vector>

#include "sentry/net/inet_end.h"

namespace run9::sentry {

class PortTable {
 public:
  // Ends are in it from bind() or adopt() to release().
  // Port 0: any free one. EADDRINUSE.
  Result<void> bind(InetEnd& end, const InetAddress& to);
  void adopt(InetEnd& accepted);  // has its listener's port
  void release(InetEnd& end);
  Result<void> may_listen(const InetEnd& end) const;  // EADDRINUSE: another does
  // Who gets what `from` sends to `to`; of TCP, who listens there. Null: nobody.
  std::shared_ptr<InetEnd> find(const InetAddress& to, const InetAddress& from) const;
  void for_each(const std::function<void(const InetEnd&)>& see) const;

 private:
  struct Port {
    std::vector<InetEnd*> bound;  // the newest last
    std::unordered_set<InetEnd*> accepted;
  };
  static bool conflict(const InetEnd& end, const InetAddress& at, const InetEnd& other);
  Result<uint16_t> pick();
  std::map<uint16_t, Port> ports_;
  uint16_t next_ = 0;  // an ephemeral port, less the first
};

// The sandbox's two.
struct InetPorts {
  PortTable tcp, udp;
  PortTable& of(int type) { return type == SOCK_STREAM ? tcp : udp; }
};

}  // namespace run9::sentry
