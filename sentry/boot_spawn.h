// From the runtime's ProcessSpec to a guest process.
#pragma once
#include <functional>

#include "sentry/boot.h"
#include "sentry/task/kernel.h"

namespace run9::sentry {

// On a fiber. `error` gets a sentence when it fails. on_exit: the wait status.
Result<int32_t> spawn_process(Kernel& kernel, ProcessSpec spec, bool init,
                              std::function<void(int)> on_exit, std::string& error);

}  // namespace run9::sentry
