// Capabilities, limits and descriptors of the calling process.
#pragma once
#include <vector>

#include "base/result.h"

namespace run9::gofer {

inline constexpr int kCapSysAdmin = 21;
bool has_capability(int cap);

// Keeps CHOWN, DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER and FSETID, as far as we have them, in the
// effective and permitted sets; empties the others, and sets no_new_privs.
Result<void> drop_capabilities();
// As many descriptors as we may have, no core dumps, not traceable by others of our user.
Result<void> set_limits();
// All descriptors but 0 to 2 and those in `keep`.
Result<void> close_others(std::vector<int> keep);

}  // namespace run9::gofer
