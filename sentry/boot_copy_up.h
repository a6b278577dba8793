// tmpcopyup: a tmpfs that begins with a copy of what its mount covers.
#pragma once
#include "sentry/task/kernel.h"

namespace run9::sentry {

// Whether the new root has the covered directory's owner and mode too; its own if the options name some.
enum class RootMode { kOwn, kCopied };

// Before `to` is mounted at `from`. On a fiber.
Result<void> copy_up(Kernel& kernel, const vfs::Path& from, vfs::FileSystem& to, RootMode root_mode);

}  // namespace run9::sentry
