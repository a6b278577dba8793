// OCI hooks: programs of the host, run by the runtime at points of the life cycle, with the container's
// state as JSON on standard input.
#pragma once
#include <string>
#include <vector>

#include "runtime/config.h"

namespace run9::runtime {

// In order; stops at the first that fails.
Expected<void> run_hooks(const std::string& kind, const std::vector<ConfigHook>& hooks,
                         const std::string& bundle, const std::string& state_json);

}  // namespace run9::runtime
