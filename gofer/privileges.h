// Capabilities, limits and descriptors of the calling process.
#pragma once
#include <vector>

#include "base/result.h"

namespace run9::gofer {

inline constexpr int kCapSetgid = 6, kCapSetuid = 7, kCapSysAdmin = 21;
bool has_capability(int cap);

enum class Ids { kFixed, kChanging };  // --multi-user changes them
// Keeps CHOWN, DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER and FSETID, as far as we have them, in the
// effective and permitted sets, and SETGID and SETUID if ids change; empties the others, and sets no_new_privs.
Result<void> drop_capabilities(Ids ids);
enum class FileRights { kNone, kRoot };
// Of the calling thread, after drop_capabilities(kChanging): those over files, or none of them.
Result<void> set_effective_capabilities(FileRights rights);
// As many descriptors as we may have, no core dumps, not traceable by others of our user.
Result<void> set_limits();
// All descriptors but 0 to 2 and those in `keep`.
Result<void> close_others(std::vector<int> keep);

}  // namespace run9::gofer
