// The host's release is in the vDSO's note; guests get a copy that says Run9's (6.12).
#pragma once
#include "sentry/platform/ptrace/ptrace_platform.h"

namespace run9::sentry::ptrace {

// Replaces the vDSO of a stub at `vdso`; what AT_SYSINFO_EHDR is to say, 0 if it must do without.
Result<uint64_t> make_private_vdso(PtraceSpace& space, uint64_t vdso);

}  // namespace run9::sentry::ptrace
