#include "runtime/terminal.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>

namespace run9::runtime {
namespace {

Expected<void> send_descriptor(BorrowedFd socket, BorrowedFd descriptor, std::string name) {
  iovec part{name.data(), name.size()};
  alignas(cmsghdr) char space[CMSG_SPACE(sizeof(int))]{};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = space;
  header.msg_controllen = sizeof space;
  cmsghdr* c = CMSG_FIRSTHDR(&header);
  c->cmsg_level = SOL_SOCKET;
  c->cmsg_type = SCM_RIGHTS;
  c->cmsg_len = CMSG_LEN(sizeof(int));
  const int fd = descriptor.get();
  std::memcpy(CMSG_DATA(c), &fd, sizeof fd);
  TRY(check(static_cast<int>(sendmsg(socket.get(), &header, MSG_NOSIGNAL)), "sending the console"));
  return ok();
}

void set_raw(int fd) {
  termios t{};
  if (tcgetattr(fd, &t) != 0) return;
  cfmakeraw(&t);
  tcsetattr(fd, TCSANOW, &t);
}

}  // namespace

RawTerminal RawTerminal::enter(BorrowedFd terminal) {
  RawTerminal out;
  termios t{};
  if (tcgetattr(terminal.get(), &t) != 0) return out;
  out.fd_ = terminal;
  out.saved_ = t;
  cfmakeraw(&t);
  tcsetattr(terminal.get(), TCSADRAIN, &t);
  return out;
}

RawTerminal& RawTerminal::operator=(RawTerminal&& o) noexcept {
  if (this != &o) {
    leave();
    fd_ = o.fd_;
    saved_ = std::exchange(o.saved_, {});
  }
  return *this;
}

void RawTerminal::leave() {
  if (saved_) tcsetattr(fd_.get(), TCSADRAIN, &*saved_);
  saved_.reset();
}

WindowSize window_size(BorrowedFd terminal) {
  winsize w{};
  if (ioctl(terminal.get(), TIOCGWINSZ, &w) != 0) return {};
  return {w.ws_row, w.ws_col};
}

Expected<UniqueFd> open_console(const std::string& path, WindowSize size) {
  UniqueFd socket_fd = TRY(explain(take_fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)), "socket"));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    return fail("--console-socket {}: longer than {} characters; use a shorter path", path,
                sizeof address.sun_path - 1);
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  TRY(check(connect(socket_fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address),
            "--console-socket {}", path));
  const UniqueFd master = TRY(explain(take_fd(posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC)), "/dev/ptmx"));
  int unlocked = 0;
  int number = 0;
  TRY(check(ioctl(master.get(), TIOCSPTLCK, &unlocked), "unlocking the console"));
  TRY(check(ioctl(master.get(), TIOCGPTN, &number), "naming the console"));
  UniqueFd slave = TRY(explain(
      take_fd(ioctl(master.get(), TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC)), "opening the console"));
  set_raw(slave.get());
  if (size.rows != 0 || size.columns != 0) {
    const winsize w{.ws_row = size.rows, .ws_col = size.columns, .ws_xpixel = 0, .ws_ypixel = 0};
    ioctl(master.get(), TIOCSWINSZ, &w);
  }
  TRY(send_descriptor(socket_fd.borrow(), master.borrow(), fmt::format("/dev/pts/{}", number)));
  return slave;
}

}  // namespace run9::runtime
