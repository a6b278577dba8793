// tmpfs: files in memory. What the kernel mounts on /tmp and /dev/shm, what an overlay writes to, and
// where memfds and System V shared memory live. Owned by its mounts; it owns all of its inodes.
#pragma once
#include <memory>
#include <string>
#include <string_view>

#include "vfs/file.h"
#include "vfs/inode.h"

namespace run9::vfs {

struct TmpfsOptions {
  uint64_t size = 0;       // bytes, 0: no limit
  uint64_t nr_inodes = 0;  // 0: no limit
  uint32_t mode = 01777;
  uint32_t uid = 0, gid = 0;
};

// mount(2)'s data: "size=64m,nr_inodes=10k,mode=755,uid=1,gid=1"; size may be a percentage of
// `memory_size`. EINVAL for what it does not know, as Linux.
Result<TmpfsOptions> parse_tmpfs_options(std::string_view data, uint64_t memory_size = 0);

FileSystemRef make_tmpfs(const TmpfsOptions&, Timespec now);

// An open file without a name in the tree, on the host a memfd from the start. `name` is what
// /proc/PID/maps shows: after a slash: "memfd:x", "SYSV00000000". Size 0. The mount keeps `fs` alive.
Result<FileRef> make_anonymous_file(OpContext&, const MountRef& mount,
                                    std::string name, uint32_t mode, uint32_t seals);
// A mount of its own, in no namespace: for make_anonymous_file.
MountRef make_internal_mount(FileSystemRef fs);

// memfd_create(2): seals are allowed with MFD_ALLOW_SEALING only (F_SEAL_SEAL otherwise).
Result<FileRef> create_memfd(OpContext&, const MountRef& mount,
                             std::string_view name, uint32_t mfd_flags);
// Its flags alone: whoever reads the name from a guest looks at them first.
Result<void> check_memfd_flags(uint32_t mfd_flags);
// F_ADD_SEALS, F_GET_SEALS; EINVAL for files that are not tmpfs's.
Result<void> add_seals(File&, uint32_t seals);
Result<uint32_t> get_seals(File&);

}  // namespace run9::vfs
