// Console: the terminal of a container's program or of `run9 exec`. Its keyboard and screen are a
// descriptor of the host: a pty that is raw there (we do the line discipline), or a socket.
#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "base/unique_fd.h"
#include "sentry/fs/devpts/tty.h"
#include "vfs/file.h"

namespace run9::sentry {

struct Console {
  std::shared_ptr<Tty> tty;
  vfs::FileRef file;  // open O_RDWR
};
// stdio[0] is the host's end. `uid` owns the node. Its place is /dev/pts/N where devpts is mounted.
Result<Console> make_console(Kernel&, std::vector<UniqueFd> stdio, uint16_t rows, uint16_t columns,
                             uint32_t uid);
// The window of the controlling terminal of `pid`: ENOTTY if it has none.
Result<void> resize_console(Kernel&, int32_t pid, uint16_t rows, uint16_t columns);

}  // namespace run9::sentry
