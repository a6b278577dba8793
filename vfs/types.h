// Plain values that file systems and the kernel exchange. Numbers and flags are Linux's x86-64 ABI.
#pragma once
#include <sys/stat.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/result.h"

namespace run9::vfs {

struct Timespec {
  int64_t sec = 0;
  uint32_t nsec = 0;
  auto operator<=>(const Timespec&) const = default;
};

// What stat(2) and statx(2) show. mask: STATX_* bits that are filled.
struct Stat {
  uint32_t mask = 0x7ff;  // STATX_BASIC_STATS
  uint64_t dev = 0;       // makedev form
  uint64_t ino = 0;
  uint32_t mode = 0;  // type and permissions
  uint32_t nlink = 1;
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint64_t rdev = 0;
  uint64_t size = 0;
  uint64_t blocks = 0;  // of 512 bytes
  uint32_t blksize = 4096;
  Timespec atime, mtime, ctime, btime;
};

struct StatFs {
  uint64_t type = 0;  // statfs(2) f_type
  uint64_t bsize = 4096, blocks = 0, bfree = 0, bavail = 0, files = 0, ffree = 0;
  uint64_t fsid = 0;
  uint32_t namelen = 255;
};

// Bits of SetAttr::valid.
enum SetAttrBits : uint32_t {
  kSetMode = 1,
  kSetUid = 2,
  kSetGid = 4,
  kSetSize = 8,
  kSetAtime = 16,     // to `atime`
  kSetMtime = 32,     // to `mtime`
  kSetAtimeNow = 64,  // to the clock
  kSetMtimeNow = 128,
};

// One change of attributes, made atomically where the file system can. Permissions were checked.
struct SetAttr {
  uint32_t valid = 0;
  uint32_t mode = 0;  // permission bits (07777)
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint64_t size = 0;
  Timespec atime, mtime;
};

struct DirEntry {
  uint64_t ino = 0;
  uint64_t next = 0;  // the position after this entry (d_off)
  uint8_t type = 0;   // DT_*
  std::string_view name;
};

// Receives entries in order; false = full, and the entry was not taken.
class DirSink {
 public:
  virtual ~DirSink() = default;
  virtual bool add(const DirEntry& entry) = 0;
};

}  // namespace run9::vfs
