// The window of a terminal whose master was sent away (--console-socket): whoever has it changes its size
// there, and the host tells that to the processes of the terminal's session alone. A small process is this
// session; it passes the sizes on to the Sentry, and ends with the program.
#pragma once
#include <cstdint>

#include "base/unique_fd.h"
#include "runtime/state_store.h"
#include "runtime/terminal.h"

namespace run9::runtime {

// `guest_pid`: whose terminal it is, 0 for init. `known`: the size that the guest was given already.
void watch_window(const StateDir& dir, int32_t guest_pid, UniqueFd slave, WindowSize known);

}  // namespace run9::runtime
