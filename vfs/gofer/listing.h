// Listing: the names of one directory as the server gave them. In a tree that is ours alone the
// directory keeps it, our own changes are made to it too, and it answers lookups: a name that is not
// in it does not exist, and one that is comes with its attributes. Entries have positions that stay
// theirs, so that an iteration goes on correctly while names come and go.
//
// Shared by the directory's inode and by the open directories that read it. Many are kept, of large trees: a name costs some
// 55 bytes beside itself, and 170 more as long as its attributes are told here.
#pragma once
#include <boost/unordered/unordered_flat_set.hpp>
#include <memory>
#include <memory_resource>
#include <optional>
#include <string_view>
#include <vector>

#include "p9/types.h"

namespace run9::vfs::gofer {

// What the entries of a directory come with: attributes of the directories in it, or of all, or whether they have extended ones too.
enum class Detail : uint8_t { kDirectories, kAll, kXattrs };

// The type that a directory entry of such a file has: DT_*.
inline uint8_t dirent_type(uint32_t mode) { return static_cast<uint8_t>((mode & 0170000) >> 12); }

class Listing {
 public:
  // Good until a name is added or erased.
  struct Entry {
    p9::Qid qid;
    // 1 and 2 are "." and "..", which the reader adds.
    uint64_t position = 0;
    // What the server said with the name; taken away by the first lookup, for from then on the inode
    // knows better. Null: not known.
    std::unique_ptr<p9::AttrX> attr;
    bool has_attributes() const { return attr != nullptr && (attr->valid & p9::kAttrBasic) == p9::kAttrBasic; }
    std::string_view name() const { return {name_, length_}; }
    uint8_t type() const { return type_; }  // DT_*

   private:
    friend class Listing;
    const char* name_ = nullptr;  // null: erased
    uint16_t length_ = 0;
    uint8_t type_ = 0;
  };
  static constexpr uint64_t kFirst = 3;
  // Who looks for the next files or directories in one looks at only so many entries: the rest may be of another kind.
  static constexpr size_t kMostLooks = 256;

  explicit Listing(Detail detail = Detail::kAll) : detail_(detail) {}
  Listing(const Listing&) = delete;
  Listing& operator=(const Listing&) = delete;

  Detail detail() const { return detail_; }
  bool light() const { return detail_ == Detail::kDirectories; }
  uint64_t parent_ino() const { return parent_ino_; }
  void set_parent_ino(uint64_t ino) { parent_ino_ = ino; }
  size_t size() const { return by_name_.size(); }

  Entry* find(std::string_view name);
  std::optional<uint64_t> position_of(std::string_view name);
  // Replaces an entry of that name. `attr` with valid 0: not known.
  void add(std::string_view name, p9::Qid qid, uint8_t type, const p9::AttrX& attr = {});
  void erase(std::string_view name);
  void forget_attributes();
  // All have come: gives back the memory that there was for more.
  void complete() { entries_.shrink_to_fit(); }

  // The entries behind a position, in their order.
  class Iterator {
   public:
    Iterator(Entry* at, Entry* end) : at_(at), end_(end) { skip(); }
    Entry& operator*() const { return *at_; }
    Iterator& operator++() {
      ++at_;
      skip();
      return *this;
    }
    bool operator==(const Iterator& other) const { return at_ == other.at_; }

   private:
    void skip() {
      while (at_ != end_ && at_->name_ == nullptr) ++at_;
    }
    Entry* at_;
    Entry* end_;
  };
  struct Range {
    Iterator first, last;
    Iterator begin() const { return first; }
    Iterator end() const { return last; }
  };
  Range after(uint64_t position);
  Range all() { return after(0); }

 private:
  using Index = uint32_t;  // in entries_
  struct Hash {
    using is_transparent = void;
    const std::vector<Entry>* entries;
    size_t operator()(std::string_view name) const { return std::hash<std::string_view>{}(name); }
    size_t operator()(Index i) const { return (*this)((*entries)[i].name()); }
  };
  struct Equal {
    using is_transparent = void;
    const std::vector<Entry>* entries;
    bool operator()(Index a, Index b) const { return a == b; }
    bool operator()(std::string_view name, Index i) const { return (*entries)[i].name() == name; }
    bool operator()(Index i, std::string_view name) const { return (*entries)[i].name() == name; }
  };
  static constexpr size_t kNamesAtFirst = 128;  // bytes

  static std::unique_ptr<std::pmr::monotonic_buffer_resource> new_names() {
    return std::make_unique<std::pmr::monotonic_buffer_resource>(kNamesAtFirst);
  }
  const char* keep(std::string_view name);
  void drop_erased();

  std::vector<Entry> entries_;  // by position
  std::unique_ptr<std::pmr::monotonic_buffer_resource> names_ = new_names();
  boost::unordered_flat_set<Index, Hash, Equal> by_name_{0, Hash{&entries_}, Equal{&entries_}};
  uint64_t next_ = kFirst;
  uint64_t parent_ino_ = 0;
  Detail detail_;
};

}  // namespace run9::vfs::gofer
