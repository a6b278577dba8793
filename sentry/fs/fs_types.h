// The file systems that mount(2) and boot know by name.
#pragma once
#include <span>
#include <string_view>

#include "vfs/inode.h"

namespace run9::sentry {

class Kernel;

struct FsType {
  std::string_view name;
  // data: the options of mount(2), "size=4k,mode=755".
  Result<vfs::FileSystemRef> (*make)(Kernel&, vfs::OpContext&, std::string_view source,
                                     std::string_view data);
};
// For /proc/filesystems; all of them are "nodev".
std::span<const FsType> file_system_types();

// What the sandbox may use at most: its limit, or the machine's memory.
uint64_t memory_size(Kernel& kernel);

// ENODEV for a type that is not there. The result has its st_dev number.
Result<vfs::FileSystemRef> make_file_system(Kernel& kernel, vfs::OpContext& ctx,
                                            std::string_view type, std::string_view source,
                                            std::string_view data);

}  // namespace run9::sentry
