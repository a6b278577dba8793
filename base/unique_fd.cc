#include "base/unique_fd.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace run9 {

void UniqueFd::reset() {
  if (fd_ >= 0) close(std::exchange(fd_, -1));
}

int host_fstat(int fd, struct stat* st) { return static_cast<int>(syscall(SYS_fstat, fd, st)); }

Result<UniqueFd> UniqueFd::dup() const { return take_fd(fcntl(fd_, F_DUPFD_CLOEXEC, 3)); }

}  // namespace run9
