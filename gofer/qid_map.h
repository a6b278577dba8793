// Inode numbers for clients: (device, inode) of the host to the 64 bits of a qid's path. Files of
// the export's own file system keep their number; others, below mounts that the export crosses, get
// a prefix for their device. Shared by the connections of an export, which run on threads.
#pragma once
#include <mutex>
#include <vector>

#include "gofer/host_calls.h"

namespace run9::gofer {

class QidMap {
 public:
  explicit QidMap(uint64_t root_dev) : root_dev_(root_dev) {}
  uint64_t path(FileId id);
  p9::Qid qid(FileId id, uint32_t mode) { return {type_of(mode), 0, path(id)}; }
  static p9::QidType type_of(uint32_t mode);

 private:
  uint64_t prefix(uint64_t dev);

  const uint64_t root_dev_;
  std::mutex mu_;
  std::vector<uint64_t> devices_;  // guarded by mu_; the index is the prefix
};

}  // namespace run9::gofer
