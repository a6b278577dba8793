// A small file of the host's, before the jail. Not by streams: their set-up costs every gofer
// memory.
#pragma once
#include <string>

#include "base/result.h"

namespace run9::gofer {

// EFBIG beyond a size that no list of people's is.
Result<std::string> read_text_file(const std::string& path);

}  // namespace run9::gofer
