// A traced thread's extended state, in the form that a signal frame has: the XSAVE area with Linux's words
// for software in it, and the second magic number behind it.
#pragma once
#include <cstddef>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

namespace run9::sentry::ptrace {

Result<std::vector<std::byte>> read_xstate(int tid);
// EINVAL: the wrong size, or the host will not have it.
Result<void> write_xstate(int tid, ByteSpan frame);
Result<void> write_initial_xstate(int tid);

}  // namespace run9::sentry::ptrace
