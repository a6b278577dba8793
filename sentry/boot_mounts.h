// Making the container's mount tree from the runtime's list.
#pragma once
#include "sentry/boot.h"
#include "sentry/task/kernel.h"

namespace run9::sentry {

// On a fiber. On failure `error` says which mount and why. host_files: descriptors that the host lets us have.
Result<void> make_mounts(Kernel& kernel, std::vector<MountSpec>& mounts, size_t host_files, std::string& error);
// linux.maskedPaths and linux.readonlyPaths: those that exist.
Result<void> hide_paths(Kernel& kernel, const std::vector<std::string>& masked,
                        const std::vector<std::string>& read_only, std::string& error);

}  // namespace run9::sentry
