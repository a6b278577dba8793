#include "p9/transport/socket_io.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>

#include "base/check.h"
#include "p9/types.h"

namespace run9::p9 {

namespace {

// All that came, or none: where one was left out (there was no room for so many, here or in our table) the others could
// be taken for it.
std::vector<UniqueFd> take_fds(msghdr& msg) {
  std::vector<UniqueFd> fds;
  for (cmsghdr* c = CMSG_FIRSTHDR(&msg); c != nullptr; c = CMSG_NXTHDR(&msg, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    const size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < n; ++i) {
      int raw;
      std::memcpy(&raw, CMSG_DATA(c) + i * sizeof raw, sizeof raw);
      fds.emplace_back(raw);
    }
  }
  if ((msg.msg_flags & MSG_CTRUNC) != 0) fds.clear();
  return fds;
}

ssize_t send_some_with(BorrowedFd socket, ByteSpan bytes, std::span<const UniqueFd> fds, int flags) {
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kMaxOpens)] = {};
  iovec iov{const_cast<std::byte*>(bytes.data()), bytes.size()};
  msghdr msg{};
  msg.msg_iov = &iov;
  msg.msg_iovlen = 1;
  msg.msg_control = control;
  msg.msg_controllen = CMSG_SPACE(sizeof(int) * fds.size());
  cmsghdr* c = CMSG_FIRSTHDR(&msg);
  c->cmsg_level = SOL_SOCKET;
  c->cmsg_type = SCM_RIGHTS;
  c->cmsg_len = CMSG_LEN(sizeof(int) * fds.size());
  for (size_t i = 0; i < fds.size(); ++i) {
    const int raw = fds[i].get();
    std::memcpy(CMSG_DATA(c) + i * sizeof raw, &raw, sizeof raw);
  }
  return sendmsg(socket.get(), &msg, flags);
}

}  // namespace

Result<Received> receive_with_fds(BorrowedFd socket, std::span<std::byte> to, int flags) {
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kMaxOpens)];
  iovec iov{to.data(), to.size()};
  msghdr msg{};
  msg.msg_iov = &iov;
  msg.msg_iovlen = 1;
  msg.msg_control = control;
  msg.msg_controllen = sizeof control;
  ssize_t n;
  do {
    n = recvmsg(socket.get(), &msg, flags | MSG_CMSG_CLOEXEC);
  } while (n < 0 && errno == EINTR);
  if (n < 0) return last_errno();
  return Received{static_cast<size_t>(n), take_fds(msg)};
}

Result<void> wait_for(BorrowedFd socket, short events, Deadline deadline, BorrowedFd news) {
  using std::chrono::milliseconds;
  for (;;) {
    int left = -1;
    if (deadline) {
      const auto rest = std::chrono::ceil<milliseconds>(*deadline - std::chrono::steady_clock::now());
      left = static_cast<int>(std::clamp<int64_t>(rest.count(), 0, 1'000'000'000));
    }
    pollfd p[] = {{socket.get(), events, 0}, {news.get(), POLLIN, 0}};  // -1 is passed over
    const int n = poll(p, std::size(p), left);
    if (n > 0) return p[1].revents != 0 ? Errno{EINTR} : Result<void>(ok());
    if (n == 0) return Errno{ETIMEDOUT};
    if (errno != EINTR) return last_errno();
  }
}

Result<void> send_with_fds(BorrowedFd socket, ByteSpan bytes, std::span<const UniqueFd> fds, Deadline deadline) {
  CHECK(fds.size() <= kMaxOpens);
  const int flags = MSG_NOSIGNAL | (deadline ? MSG_DONTWAIT : 0);
  while (!bytes.empty()) {
    // A message without descriptors needs no sendmsg(2), which reads three structures before it begins.
    const ssize_t n = fds.empty() ? send(socket.get(), bytes.data(), bytes.size(), flags) : send_some_with(socket, bytes, fds, flags);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) {
      TRY(wait_for(socket, POLLOUT, deadline));
      continue;
    }
    if (n < 0) return last_errno();
    fds = {};
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
  return ok();
}

}  // namespace run9::p9
