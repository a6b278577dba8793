// The container's own /etc/passwd and /etc/group, as a runtime has to read them.
#pragma once
#include <string>

#include "base/result.h"
#include "sentry/boot.h"
#include "sentry/task/kernel.h"

namespace run9::sentry {

// Turns spec.user into ids, and gives the environment a HOME if it has none. Runs on a fiber. ENOENT and
// `error` if the name is not there.
Result<void> resolve_user(Kernel& kernel, ProcessSpec& spec, std::string& error);

}  // namespace run9::sentry
