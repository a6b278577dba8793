// Servers and their clients, over the loopback interface and AF_UNIX.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <vector>

#include "bench/micro/rows.h"

namespace run9::bench {
namespace {

constexpr int kConnections = 8;
constexpr size_t kRequest = 40, kAnswer = 200, kChunk = 64 * 1024;

struct Pair {
  int ours = -1, theirs = -1;
};

int listener(sockaddr_in& address) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  auto* const name = reinterpret_cast<sockaddr*>(&address);
  check(bind(fd, name, size) == 0 && listen(fd, 64) == 0 && getsockname(fd, name, &size) == 0, "listen");
  return fd;
}

int connected(const sockaddr_in& address) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  check(connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0, "connect");
  return fd;
}

Pair make_pair(int family) {
  if (family == AF_UNIX) {
    int fds[2];
    check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0, "socketpair");
    return {fds[0], fds[1]};
  }
  sockaddr_in address;
  const int at = listener(address);
  const Pair pair{connected(address), accept4(at, nullptr, nullptr, SOCK_CLOEXEC)};
  const int on = 1;
  for (const int fd : {pair.ours, pair.theirs}) check(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0, "TCP_NODELAY");
  close(at);
  return pair;
}

int watch_all(const std::vector<int>& fds) {
  const int epoll = epoll_create1(EPOLL_CLOEXEC);
  for (const int fd : fds) {
    epoll_event e{.events = EPOLLIN, .data = {.fd = fd}};
    check(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e) == 0, "epoll_ctl");
  }
  return epoll;
}

// What a request takes to be understood, some 2 us.
void think() {
  volatile unsigned x = 0;
  for (int i = 0; i < 2000; ++i) x = x + 1;
}

void serve(const std::vector<int>& fds) {
  const int epoll = watch_all(fds);
  std::array<char, kAnswer> bytes{};
  for (;;) {
    epoll_event events[kConnections];
    const int n = epoll_wait(epoll, events, kConnections, -1);
    for (int i = 0; i < n; ++i) {
      const int fd = events[i].data.fd;
      if (read(fd, bytes.data(), bytes.size()) != kRequest) _exit(0);
      think();
      if (write(fd, bytes.data(), kAnswer) != kAnswer) _exit(0);
    }
  }
}

// Each connection asks again as soon as it has its answer.
Body requests(int family) {
  std::vector<int> ours, theirs;
  for (int i = 0; i < kConnections; ++i) {
    const Pair pair = make_pair(family);
    ours.push_back(pair.ours);
    theirs.push_back(pair.theirs);
  }
  const pid_t child = fork();
  check(child >= 0, "fork");
  if (child == 0) {
    for (const int fd : ours) close(fd);
    serve(theirs);
  }
  for (const int fd : theirs) close(fd);
  return [ours, epoll = watch_all(ours)](int count) {
    std::array<char, kAnswer> bytes{};
    int asked = 0, answered = 0;
    for (const int fd : ours) {
      if (asked < count) ++asked, check(write(fd, bytes.data(), kRequest) == kRequest, "request");
    }
    while (answered < count) {
      epoll_event events[kConnections];
      const int n = epoll_wait(epoll, events, kConnections, -1);
      for (int i = 0; i < n; ++i) {
        const int fd = events[i].data.fd;
        check(read(fd, bytes.data(), bytes.size()) == kAnswer, "answer");
        think();
        ++answered;
        if (asked < count) ++asked, check(write(fd, bytes.data(), kRequest) == kRequest, "request");
      }
    }
  };
}

Body stream(int family) {
  const Pair pair = make_pair(family);
  const pid_t child = fork();
  check(child >= 0, "fork");
  std::vector<char> bytes(kChunk);
  if (child == 0) {
    close(pair.ours);
    while (read(pair.theirs, bytes.data(), bytes.size()) > 0) {
    }
    _exit(0);
  }
  close(pair.theirs);
  return [fd = pair.ours, bytes](int count) {
    for (int i = 0; i < count; ++i) check(write(fd, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()), "write");
  };
}

// Closed by a reset, so that ports are free again at once.
Body connect_accept() {
  sockaddr_in address;
  const int at = listener(address);
  return [at, address](int count) {
    const linger reset{.l_onoff = 1, .l_linger = 0};
    for (int i = 0; i < count; ++i) {
      const int ours = connected(address), theirs = accept4(at, nullptr, nullptr, SOCK_CLOEXEC);
      check(theirs >= 0 && setsockopt(ours, SOL_SOCKET, SO_LINGER, &reset, sizeof reset) == 0, "accept");
      close(ours);
      close(theirs);
    }
  };
}

}  // namespace

void add_sockets(Rows& rows) {
  rows.push_back({"requests_tcp", [] { return requests(AF_INET); }});
  rows.push_back({"requests_unix", [] { return requests(AF_UNIX); }});
  rows.push_back({"stream_tcp", [] { return stream(AF_INET); }});
  rows.push_back({"stream_unix", [] { return stream(AF_UNIX); }});
  rows.push_back({"connect_accept", connect_accept});
}

}  // namespace run9::bench
