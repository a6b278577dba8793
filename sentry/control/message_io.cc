#include "sentry/control/message_io.h"

#include <sys/socket.h>

#include <cstring>
#include <string>

namespace run9::control {
namespace {

constexpr size_t kControlSpace = CMSG_SPACE(kMaxDescriptors * sizeof(int));

// Everything that came along is owned at once, so that no path leaks one.
std::vector<UniqueFd> collect_descriptors(msghdr& header) {
  std::vector<UniqueFd> out;
  for (cmsghdr* c = CMSG_FIRSTHDR(&header); c != nullptr; c = CMSG_NXTHDR(&header, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    const size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < n; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
      out.emplace_back(fd);
    }
  }
  return out;
}

// The length of the next message; 0: the peer has closed.
Result<size_t> next_length(BorrowedFd socket, int flags) {
  for (;;) {
    char byte = 0;
    const ssize_t n = recv(socket.get(), &byte, 1, MSG_PEEK | MSG_TRUNC | flags);
    if (n >= 0) return static_cast<size_t>(n);
    if (errno == ECONNRESET) return size_t{0};
    if (errno != EINTR) return last_errno();
  }
}

}  // namespace

Result<void> send_message(BorrowedFd socket, const google::protobuf::MessageLite& message,
                          std::span<const int> descriptors, Blocking blocking) {
  std::string bytes;
  if (!message.SerializeToString(&bytes)) return Errno{EINVAL};
  if (descriptors.size() > kMaxDescriptors || bytes.empty()) return Errno{EINVAL};
  iovec part{bytes.data(), bytes.size()};
  alignas(cmsghdr) char space[kControlSpace]{};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  if (!descriptors.empty()) {
    header.msg_control = space;
    header.msg_controllen = CMSG_SPACE(descriptors.size_bytes());
    cmsghdr* c = CMSG_FIRSTHDR(&header);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(descriptors.size_bytes());
    std::memcpy(CMSG_DATA(c), descriptors.data(), descriptors.size_bytes());
  }
  const int flags = MSG_NOSIGNAL | (blocking == Blocking::kNo ? MSG_DONTWAIT : 0);
  while (sendmsg(socket.get(), &header, flags) < 0) {
    if (errno != EINTR) return last_errno();
  }
  return ok();
}

Result<bool> receive_message(BorrowedFd socket, google::protobuf::MessageLite& message,
                             std::vector<UniqueFd>* descriptors, Blocking blocking) {
  const int flags = blocking == Blocking::kNo ? MSG_DONTWAIT : 0;
  const size_t length = TRY(next_length(socket, flags));
  if (length == 0) return false;
  std::string bytes(std::min(length, kMaxMessage), '\0');
  iovec part{bytes.data(), bytes.size()};
  alignas(cmsghdr) char space[kControlSpace]{};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = space;
  header.msg_controllen = sizeof space;
  ssize_t n = -1;
  do {
    n = recvmsg(socket.get(), &header, flags | MSG_CMSG_CLOEXEC);
  } while (n < 0 && errno == EINTR);
  if (n < 0) return last_errno();
  std::vector<UniqueFd> received = collect_descriptors(header);
  if (n == 0) return false;
  if ((header.msg_flags & MSG_TRUNC) != 0) return Errno{EMSGSIZE};
  if ((header.msg_flags & MSG_CTRUNC) != 0) return Errno{EMFILE};
  if (descriptors == nullptr && !received.empty()) return Errno{EPROTO};
  if (!message.ParseFromArray(bytes.data(), static_cast<int>(n))) return Errno{EPROTO};
  if (descriptors != nullptr) *descriptors = std::move(received);
  return true;
}

}  // namespace run9::control
