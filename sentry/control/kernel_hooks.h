// The control socket's requests in terms of the Kernel.
#pragma once
#include <functional>

#include "sentry/control/control_server.h"
#include "sentry/task/kernel.h"

namespace run9::sentry {

// What only boot knows how to do: a ProcessSpec as a guest process, a terminal's window. The server
// and what it was given must not outlive the kernel.
struct BootHooks {
  std::function<Result<int32_t>(Kernel&, ProcessSpec, OnExit, std::string& error)> spawn_process;
  std::function<Result<void>(Kernel&, int32_t pid, uint16_t rows, uint16_t columns)> resize;
};

ControlHooks kernel_hooks(Kernel& kernel, BootHooks boot);

}  // namespace run9::sentry
