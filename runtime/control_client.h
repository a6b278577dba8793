// The runtime's end of a sandbox's control socket (spec/control.proto). What comes back is not trusted:
// it is printed, never acted on.
#pragma once
#include <optional>

#include "base/unique_fd.h"
#include "runtime/failure.h"
#include "runtime/state_store.h"
#include "sentry/boot.h"
#include "spec/control.pb.h"

namespace run9::runtime {

// One request, one answer, within `timeout_ms`.
Expected<control::Reply> ask(const StateDir& dir, const control::Request& request, int timeout_ms = 5000);
// The connection on which the answer will come.
Expected<UniqueFd> send_request(const StateDir& dir, const control::Request& request);
// The next one there, within the time that the connection was made with.
Expected<control::Reply> receive_reply(const UniqueFd& connection);
Expected<void> signal_guest(const StateDir& dir, int32_t pid, int signo, bool all);
void resize_guest(const StateDir& dir, int32_t pid, uint16_t rows, uint16_t columns);

// A process that `exec` started.
struct RunningExec {
  UniqueFd connection;  // readable when it has ended
  int32_t pid = 0;      // in the container
};
Expected<RunningExec> start_exec(const StateDir& dir, const sentry::ProcessSpec& spec);
// After `connection` became readable: wait4's status; none if the sandbox went away.
std::optional<int> exec_status(BorrowedFd connection);

}  // namespace run9::runtime
