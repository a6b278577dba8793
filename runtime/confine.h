// What the Sentry's process gives up before sentry_main: the host's file systems, its ids, capabilities,
// descriptors. Seccomp comes later, from the Sentry itself, once its stub is there.
#pragma once
#include "runtime/failure.h"
#include "sentry/boot.h"

namespace run9::runtime {

// The one user and group id inside the sandbox's user namespace. Not 0: exec gives root capabilities.
inline constexpr unsigned kSandboxId = 65534;
inline constexpr int kStartFailed = 125;

struct ConfineOptions {
  bool die_with_parent = false;
};

// In the new process, in its namespaces, ids mapped. On success only the spec's descriptors are open,
// and 0 to 2, which are /dev/null and the log.
Expected<void> confine(const sentry::BootSpec& spec, const ConfineOptions& options);

// Where glibc keeps this thread's id, if the kernel tells (CONFIG_CHECKPOINT_RESTORE).
bool prctl_get_tid_address(int** address);

// Overwrites the arguments and the environment that /proc/PID/cmdline and environ show: they are the
// caller's, and no business of the sandbox's. Call before the fork with main's own vectors.
void remember_arguments(int argc, char** argv);

}  // namespace run9::runtime
