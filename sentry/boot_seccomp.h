// The Sentry's own seccomp filter: what the host kernel still does for us once guests may run. The table in
// docs/SECURITY.md is this list.
#pragma once
#include "base/result.h"

namespace run9::sentry {

// For good; every thread of the process must exist already. ptrace: the list of that platform.
Result<void> install_sentry_filter(bool ptrace);

}  // namespace run9::sentry
