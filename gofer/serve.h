// Serves one connection, to its end, on the calling thread.
#pragma once
#include "gofer/counters.h"
#include "gofer/host_server.h"
#include "p9/transport/serve_fd.h"

namespace run9::gofer {

enum class Log9p { kNo, kYes };  // each message, in one line of the log

// `counters` may be null.
Result<void> serve_connection(BorrowedFd socket, HostServer& server, p9::ServeOptions options,
                              Log9p log_9p, Counters* counters);

}  // namespace run9::gofer
