#include "gofer/qid_map.h"

#include <algorithm>

namespace run9::gofer {
namespace {

constexpr int kInoBits = 48;
constexpr uint64_t kForeign = uint64_t{1} << 62;
constexpr uint64_t kHashed = uint64_t{1} << 63;
constexpr size_t kMaxDevices = 0x3fff;

// Inode numbers that use their high bits (overlayfs with xino) and devices beyond the table: 63
// bits of hash, where a collision is not a practical matter.
uint64_t hashed(FileId id) {
  uint64_t h = id.ino * 0x9e3779b97f4a7c15u;
  h ^= h >> 29;
  h = (h + id.dev) * 0xbf58476d1ce4e5b9u;
  h ^= h >> 32;
  return h | kHashed;
}

}  // namespace

uint64_t QidMap::prefix(uint64_t dev) {
  std::lock_guard lock(mu_);
  const auto it = std::find(devices_.begin(), devices_.end(), dev);
  const auto index = static_cast<uint64_t>(it - devices_.begin());
  if (it == devices_.end()) {
    if (devices_.size() == kMaxDevices) return 0;
    devices_.push_back(dev);
  }
  return kForeign | (index << kInoBits);
}

uint64_t QidMap::path(FileId id) {
  if (id.ino >> kInoBits != 0) return hashed(id);
  if (id.dev == root_dev_) return id.ino;
  const uint64_t p = prefix(id.dev);
  return p == 0 ? hashed(id) : p | id.ino;
}

p9::QidType QidMap::type_of(uint32_t mode) {
  if (S_ISDIR(mode)) return p9::QidType::kDir;
  if (S_ISLNK(mode)) return p9::QidType::kSymlink;
  return p9::QidType::kFile;
}

}  // namespace run9::gofer
