#include "sentry/fs/fs_types.h"

#include <unistd.h>

#include <algorithm>

#include "sentry/fs/devpts/devpts_fs.h"
#include "sentry/fs/proc/proc_fs.h"
#include "sentry/fs/sys/sysfs.h"
#include "sentry/task/kernel.h"
#include "vfs/tmpfs/tmpfs.h"

namespace run9::sentry {
namespace {

// The size tmpfs has when its options name none: half of what the sandbox may use.
Result<vfs::FileSystemRef> make_tmpfs(Kernel& kernel, vfs::OpContext& ctx, std::string_view,
                                      std::string_view data) {
  const uint64_t memory = memory_size(kernel);
  auto options = TRY(vfs::parse_tmpfs_options(data, memory));
  if (options.size == 0 && data.find("size=") == std::string_view::npos) options.size = memory / 2;
  return vfs::make_tmpfs(options, ctx.now());
}

// One row a file system: include its header above, and add it here.
constexpr FsType kTypes[] = {
    {"tmpfs", make_tmpfs},         {"proc", make_proc},       {"sysfs", make_sysfs},
    {"devtmpfs", make_devtmpfs},   {"devpts", make_devpts},   {"mqueue", make_mqueue},
    {"cgroup", make_cgroup},       {"cgroup2", make_cgroup2},
};

}  // namespace

uint64_t memory_size(Kernel& kernel) {
  const uint64_t limit = kernel.options().limits.memory;
  if (limit != 0) return limit;
  return static_cast<uint64_t>(::sysconf(_SC_PHYS_PAGES)) * 4096;
}

std::span<const FsType> file_system_types() { return kTypes; }

Result<vfs::FileSystemRef> make_file_system(Kernel& kernel, vfs::OpContext& ctx,
                                            std::string_view type, std::string_view source,
                                            std::string_view data) {
  const auto* row = std::find_if(std::begin(kTypes), std::end(kTypes),
                                 [&](const FsType& t) { return t.name == type; });
  if (row == std::end(kTypes)) return Errno{ENODEV};
  auto fs = TRY(row->make(kernel, ctx, source, data));
  if (fs->dev() == 0) fs->set_dev(kernel.next_dev());
  return fs;
}

}  // namespace run9::sentry
