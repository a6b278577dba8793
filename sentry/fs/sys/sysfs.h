// The small file systems that programs look for: sysfs, cgroup, cgroup2, devtmpfs, mqueue.
#pragma once
#include <string_view>

#include "vfs/inode.h"

namespace run9::sentry {

class Kernel;

Result<vfs::FileSystemRef> make_sysfs(Kernel&, vfs::OpContext&, std::string_view source,
                                      std::string_view data);
// One group with everything in it and no controllers.
Result<vfs::FileSystemRef> make_cgroup(Kernel&, vfs::OpContext&, std::string_view source,
                                       std::string_view data);
Result<vfs::FileSystemRef> make_cgroup2(Kernel&, vfs::OpContext&, std::string_view source,
                                        std::string_view data);
// A tmpfs with the nodes of /dev.
Result<vfs::FileSystemRef> make_devtmpfs(Kernel&, vfs::OpContext&, std::string_view source,
                                         std::string_view data);
// A tmpfs: message queues themselves are not there.
Result<vfs::FileSystemRef> make_mqueue(Kernel&, vfs::OpContext&, std::string_view source,
                                       std::string_view data);

}  // namespace run9::sentry
