// poll(2) of one descriptor, by ppoll: an interrupted one is begun anew, where poll's is gone on with by restart_syscall(2), which the Sentry's
// filter need not allow then.
#pragma once
#include <poll.h>

namespace run9 {

// What is ready; 0: nothing, or an error.
inline short host_poll(int fd, short events, long timeout_ms = 0) {
  pollfd p{fd, events, 0};
  const timespec timeout{timeout_ms / 1000, timeout_ms % 1000 * 1'000'000};
  return ppoll(&p, 1, &timeout, nullptr) > 0 ? p.revents : short{0};
}

}  // namespace run9
