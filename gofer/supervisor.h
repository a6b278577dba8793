// --config FILE: a process that serves nothing itself. It holds the listening sockets and starts a
// worker, which is this program with the file's options; on SIGHUP it reads the file again and
// starts another one on the same sockets. A jailed process could not reload: it has no root to look
// for exports in.
//
// It runs with the caller's rights, and reads nothing of clients: the file, and its children's
// ends, are all.
#pragma once
#include "gofer/sockets.h"

namespace run9::gofer {

// The file's lines as options: `export /srv:data` is --export /srv:data; blank lines and those that
// begin with # are nothing. EINVAL for what only the command line may say.
Result<std::vector<std::string>> parse_config(std::string_view text, std::string& error);

// Until SIGTERM or SIGINT, which end the workers by SIGTERM; ECHILD when the worker ended by
// itself.
Result<void> supervise(const Options& own, const SocketSource& source);

}  // namespace run9::gofer
