// DentryCache: keeps recently used dentries alive. Second chance: a hit sets a bit, and the oldest
// entry is dropped only if its bit is clear; the dentries in use elsewhere survive being dropped.
#pragma once
#include <cstddef>
#include <list>

#include "vfs/dentry.h"

namespace run9::vfs {

class DentryCache {
 public:
  ~DentryCache();
  void touch(const DentryRef& d);
  // Of a removed name: the cache must not keep the inode, and its blocks, alive.
  void drop(Dentry& d);
  void set_limit(size_t limit);
  // Lets go of those used longest ago.
  void forget_oldest(size_t count);
  // Lets go of every dentry of `fs`; the last umount calls it.
  void forget(const FileSystem& fs);

 private:
  void shrink_to(size_t limit);
  std::list<DentryRef> entries_;  // oldest first
  size_t limit_ = 32768;
};

}  // namespace run9::vfs
