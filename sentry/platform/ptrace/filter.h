// The seccomp filter of ptrace stubs: what the Sentry injects, and nothing else.
#pragma once
#include "sentry/platform/bpf.h"

namespace run9::sentry::ptrace {

BpfProgram make_filter();

}  // namespace run9::sentry::ptrace
