// /proc/PID/net: the sandbox's network.
#include <netinet/in.h>
#include <netinet/tcp.h>

#include <cstring>

#include "sentry/fs/proc/proc_fs.h"
#include "sentry/ipc/ipc_objects.h"
#include "sentry/net/inet_socket.h"

namespace run9::sentry {
namespace {

constexpr std::string_view kDev =
    "Inter-|   Receive                                                |  Transmit\n"
    " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop "
    "fifo colls carrier compressed\n"
    "    lo:       0       0    0    0    0     0          0         0        0       0    0    0    "
    "0     0       0          0\n";
constexpr std::string_view kRoute =
    "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT"
    "                                                       \n";

// Words of the address in the machine's order, as Linux prints them.
std::string address_text(const InetAddress& a, int family) {
  uint32_t words[4];
  std::memcpy(words, a.ip.data(), sizeof words);
  if (family == AF_INET) return fmt::format("{:08X}:{:04X}", words[3], a.port);
  return fmt::format("{:08X}{:08X}{:08X}{:08X}:{:04X}", words[0], words[1], words[2], words[3], a.port);
}

std::string sockets(View& v, int family, int type) {
  const bool tcp = type == SOCK_STREAM;
  std::string text = family == AF_INET
                         ? "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode"
                         : "  sl  local_address                         remote_address                        st tx_queue "
                           "rx_queue tr tm->when retrnsmt   uid  timeout inode";
  text += !tcp ? " ref pointer drops\n" : family == AF_INET ? "                                                     \n" : "\n";
  int slot = 0;
  ipc_objects(v.kernel).inet_ports().of(type).for_each([&](const InetEnd& e) {
    // A socket of TCP that is only bound is in no list of Linux' either.
    const int state = tcp_state(e);
    if (e.family != family || (tcp && state == TCP_CLOSE)) return;
    text += fmt::format("{:4}: {} {} {:02X} 00000000:{:08X} 00:00000000 00000000 {:5}        0 {} 1 0000000000000000{}\n", slot++,
                        address_text(e.local, family), address_text(e.remote, family), state, e.inbox.unread(), e.uid, e.ino,
                        tcp ? " 100 0 0 10 0" : " 0");
  });
  return text;
}

}  // namespace

Result<std::string> text_net(View& v) {
  const auto name = v.path.substr(4);
  if (name == "dev") return std::string(kDev);
  if (name == "tcp") return sockets(v, AF_INET, SOCK_STREAM);
  if (name == "tcp6") return sockets(v, AF_INET6, SOCK_STREAM);
  if (name == "udp") return sockets(v, AF_INET, SOCK_DGRAM);
  if (name == "udp6") return sockets(v, AF_INET6, SOCK_DGRAM);
  if (name == "if_inet6") return std::string("00000000000000000000000000000001 01 80 10 80       lo\n");
  if (name == "raw" || name == "udplite") {
    return std::string("  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid"
                       "  timeout inode ref pointer drops             \n");
  }
  if (name == "raw6") {
    return std::string("  sl  local_address                         remote_address                        "
                       "st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n");
  }
  if (name == "unix") return std::string("Num       RefCount Protocol Flags    Type St Inode Path\n");
  if (name == "route") return std::string(kRoute);
  if (name == "arp") {
    return std::string("IP address       HW type     Flags       HW address            Mask     Device\n");
  }
  if (name == "netlink") {
    return std::string("sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops"
                       "    Inode\n");
  }
  if (name == "packet") return std::string("sk               RefCnt Type Proto  Iface R Rmem   User   Inode\n");
  if (name == "sockstat") {
    return std::string("sockets: used 0\nTCP: inuse 0 orphan 0 tw 0 alloc 0 mem 0\nUDP: inuse 0 mem 0\n"
                       "UDPLITE: inuse 0\nRAW: inuse 0\nFRAG: inuse 0 memory 0\n");
  }
  return std::string();
}

}  // namespace run9::sentry
