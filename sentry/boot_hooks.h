// startContainer hooks: programs of the container that run before its own.
#pragma once
#include "sentry/boot.h"
#include "sentry/task/kernel.h"

namespace run9::sentry {

// One after the other, until one fails. On a fiber; `error` says which and why.
Result<void> run_start_hooks(Kernel& kernel, std::vector<StartHook> hooks, std::string& error);

}  // namespace run9::sentry
