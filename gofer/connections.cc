#include "gofer/connections.h"

#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"

namespace run9::gofer {

bool Connections::enter(BorrowedFd socket) {
  const std::lock_guard lock(mu_);
  if (stopped_) return false;
  open_.insert(socket.get());
  return true;
}

void Connections::leave(BorrowedFd socket) {
  const std::lock_guard lock(mu_);
  open_.erase(socket.get());
}

void Connections::stop_locked() {
  stopped_ = true;
  const uint64_t one = 1;
  CHECK(write(stopping_.get(), &one, sizeof one) == sizeof one);
}

void Connections::stop_accepting() {
  const std::lock_guard lock(mu_);
  stop_locked();
}

void Connections::drain() {
  const std::lock_guard lock(mu_);
  stop_locked();
  // What has arrived can still be read, then comes the end.
  for (const int fd : open_) shutdown(fd, SHUT_RD);
}

}  // namespace run9::gofer
