#include "p9/transport/address.h"

#include <arpa/inet.h>
#include <linux/vm_sockets.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/un.h>

#include <charconv>

#include "p9/transport/socket_address.h"

namespace run9::p9 {

namespace {

template <typename T>
bool parse_number(std::string_view text, T& out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return error == std::errc{} && end == text.data() + text.size() && !text.empty();
}

// HOST:PORT, [HOST]:PORT.
bool parse_host_port(std::string_view text, Address& out) {
  const size_t colon = text.rfind(':');
  if (colon == text.npos || colon == 0) return false;
  std::string_view host = text.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  else if (host.find(':') != host.npos) return false;  // which of them ends the host?
  out.host = host;
  return parse_number(text.substr(colon + 1), out.port) && out.port <= 65535;
}

bool parse_cid_port(std::string_view text, Address& out) {
  const size_t colon = text.find(':');
  return colon != text.npos && parse_number(text.substr(0, colon), out.cid) &&
         parse_number(text.substr(colon + 1), out.port);
}

template <typename Raw>
SocketAddress pack(const Raw& raw, size_t size = sizeof(Raw)) {
  SocketAddress out;
  std::memcpy(&out.bytes, &raw, size);
  out.family = out.bytes.ss_family;
  out.size = static_cast<socklen_t>(size);
  return out;
}

Result<SocketAddress> unix_address(const std::string& path) {
  sockaddr_un un{.sun_family = AF_UNIX};
  if (path.size() >= sizeof un.sun_path) return Errno{ENAMETOOLONG};
  path.copy(un.sun_path, path.size());
  if (!path.starts_with('@')) return pack(un);
  un.sun_path[0] = '\0';
  return pack(un, offsetof(sockaddr_un, sun_path) + path.size());
}

Result<SocketAddress> tcp_address(const Address& a) {
  const auto port = htons(static_cast<uint16_t>(a.port));
  const std::string host = a.host == "localhost" ? "127.0.0.1" : a.host;
  sockaddr_in v4{.sin_family = AF_INET, .sin_port = port};
  if (inet_pton(AF_INET, host.c_str(), &v4.sin_addr) == 1) return pack(v4);
  sockaddr_in6 v6{.sin6_family = AF_INET6, .sin6_port = port};
  if (inet_pton(AF_INET6, host.c_str(), &v6.sin6_addr) == 1) return pack(v6);
  return Errno{EADDRNOTAVAIL};
}

void set_option(BorrowedFd socket, int level, int name) {
  const int on = 1;
  // Only speed and comfort depend on it.
  static_cast<void>(setsockopt(socket.get(), level, name, &on, sizeof on));
}

}  // namespace

std::optional<Address> parse_address(std::string_view text) {
  const size_t colon = text.find(':');
  if (colon == text.npos) return std::nullopt;
  const std::string_view scheme = text.substr(0, colon), rest = text.substr(colon + 1);
  Address a;
  bool good = false;
  if (scheme == "unix") {
    a.kind = Address::Kind::kUnix;
    a.path = rest;
    good = !rest.empty() && rest != "@";
  } else if (scheme == "tcp") {
    a.kind = Address::Kind::kTcp;
    good = parse_host_port(rest, a);
  } else if (scheme == "vsock") {
    a.kind = Address::Kind::kVsock;
    good = parse_cid_port(rest, a);
  } else if (scheme == "fd") {
    a.kind = Address::Kind::kFd;
    good = parse_number(rest, a.fd) && a.fd >= 0;
  }
  if (!good) return std::nullopt;
  return a;
}

std::optional<Address> parse_listen_address(std::string_view text) {
  constexpr std::string_view kVsock = "vsock:";
  if (Address a{.kind = Address::Kind::kVsock, .cid = VMADDR_CID_ANY};
      text.starts_with(kVsock) && parse_number(text.substr(kVsock.size()), a.port)) {
    return a;
  }
  return parse_address(text);
}

Result<SocketAddress> socket_address(const Address& a) {
  switch (a.kind) {
    case Address::Kind::kUnix: return unix_address(a.path);
    case Address::Kind::kTcp: return tcp_address(a);
    case Address::Kind::kVsock: {
      sockaddr_vm vm{};
      vm.svm_family = AF_VSOCK;
      vm.svm_cid = a.cid;
      vm.svm_port = a.port;
      return pack(vm);
    }
    case Address::Kind::kFd: break;
  }
  return Errno{EINVAL};
}

// A request waits for its answer: Nagle's algorithm would hold it back.
void prepare_socket(BorrowedFd socket, int family) {
  if (family != AF_INET && family != AF_INET6) return;
  set_option(socket, IPPROTO_TCP, TCP_NODELAY);
  set_option(socket, SOL_SOCKET, SO_KEEPALIVE);
}

Result<UniqueFd> make_socket(int family) {
  UniqueFd fd = TRY(take_fd(socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0)));
  prepare_socket(fd.borrow(), family);
  return fd;
}

Result<UniqueFd> listen_on(const Address& address) {
  const SocketAddress at = TRY(socket_address(address));
  UniqueFd fd = TRY(make_socket(at.family));
  if (address.kind == Address::Kind::kTcp) set_option(fd.borrow(), SOL_SOCKET, SO_REUSEADDR);
  if (bind(fd.get(), at.get(), at.size) < 0) return last_errno();
  if (listen(fd.get(), 16) < 0) return last_errno();
  return fd;
}

}  // namespace run9::p9
