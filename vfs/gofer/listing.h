// Listing: the names of one directory as the server gave them. In a tree that is ours alone the
// directory keeps it, our own changes are made to it too, and it answers lookups: a name that is not
// in it does not exist, and one that is comes with its attributes. Entries have positions that stay
// theirs, so that an iteration goes on correctly while names come and go.
//
// Shared by the directory's inode and by the open directories that read it.
#pragma once
#include <map>
#include <string>
#include <string_view>
#include <unordered_map>

#include "p9/types.h"

namespace run9::vfs::gofer {

// The type that a directory entry of such a file has: DT_*.
inline uint8_t dirent_type(uint32_t mode) { return static_cast<uint8_t>((mode & 0170000) >> 12); }

class Listing {
 public:
  struct Entry {
    std::string name;
    p9::Qid qid;
    uint8_t type = 0;  // DT_*
    // What the server said with the name; used up by the first lookup, for from then on the inode
    // knows better. valid 0: not known.
    p9::AttrX attr;
  };
  // By position. 1 and 2 are "." and "..", which the reader adds.
  using Entries = std::map<uint64_t, Entry>;
  static constexpr uint64_t kFirst = 3;
  // Who looks for the next files or directories in one looks at only so many entries: the rest may be of another kind.
  static constexpr size_t kMostLooks = 256;

  // `light`: only directories came with attributes.
  explicit Listing(bool light = false) : light_(light) {}
  bool light() const { return light_; }
  const Entries& entries() const { return entries_; }
  uint64_t parent_ino() const { return parent_ino_; }
  void set_parent_ino(uint64_t ino) { parent_ino_ = ino; }

  Entry* find(std::string_view name) {
    const auto it = by_name_.find(name);
    return it == by_name_.end() ? nullptr : &entries_.find(it->second)->second;
  }
  const uint64_t* position_of(std::string_view name) const {
    const auto it = by_name_.find(name);
    return it == by_name_.end() ? nullptr : &it->second;
  }
  // Replaces an entry of that name.
  void add(std::string_view name, p9::Qid qid, uint8_t type, const p9::AttrX& attr = {}) {
    erase(name);
    const uint64_t position = next_++;
    const auto it = entries_.emplace(position, Entry{std::string(name), qid, type, attr}).first;
    by_name_.emplace(it->second.name, position);
  }
  void erase(std::string_view name) {
    const auto it = by_name_.find(name);
    if (it == by_name_.end()) return;
    const uint64_t position = it->second;
    by_name_.erase(it);  // its key is the entry's
    entries_.erase(position);
  }
  void forget_attributes() {
    for (auto& [position, entry] : entries_) entry.attr.valid = 0;
  }
  size_t size() const { return entries_.size(); }

 private:
  Entries entries_;
  std::unordered_map<std::string_view, uint64_t> by_name_;
  uint64_t next_ = kFirst;
  uint64_t parent_ino_ = 0;
  bool light_;
};

}  // namespace run9::vfs::gofer
