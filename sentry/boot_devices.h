// The nodes of /dev, and the settings of /proc/sys, that a container begins with.
#pragma once
#include "sentry/boot.h"
#include "sentry/task/kernel.h"

namespace run9::sentry {

enum class HasConsole { kNo, kYes };

// /dev/null and its like, as runc makes them (runtime-spec, "Default Devices"); /dev/console for a container
// with a terminal. On a fiber, as all of these.
Result<void> make_devices(Kernel& kernel, HasConsole console);
// linux.devices. A node of a device that we do not have can be seen, and opening it gives ENXIO.
Result<void> add_devices(Kernel& kernel, const std::vector<DeviceSpec>& devices, std::string& error);
// linux.sysctl, through /proc/sys.
Result<void> set_sysctls(Kernel& kernel, const std::vector<std::pair<std::string, std::string>>& settings,
                         std::string& error);

}  // namespace run9::sentry
