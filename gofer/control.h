// --control: a socket where who connects gets the gofer's counters (spec/control.proto,
// GoferState). Nothing is read there: the jail has no parser for it.
#pragma once
#include <vector>

#include "base/unique_fd.h"
#include "gofer/counters.h"

namespace run9::gofer {

// A listening SOCK_SEQPACKET socket, for the caller's user alone. Before the jail.
Result<UniqueFd> listen_for_control(const std::string& path);

// Answers one connection that waits there, if one does. Waits for nobody.
void answer_control(BorrowedFd listener, std::span<const Counters> all);

}  // namespace run9::gofer
