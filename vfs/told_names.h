// ToldNames: which names guests were told of, in a way that they believe until we say otherwise: that a name of a directory is there, or is
// not, and that they may search the directory. As soon as one of these is not so any more all that was told is void, and whoever told it is
// told (`changed`); a name that comes, and replaces none, makes void only what was told of names that are missing (`came`). And which files they were told the
// attributes of: as soon as these change, or the name that they are found by leads elsewhere, whoever told them is told which (`moved`).
//
// A place that was told of is kept until then, as by a descriptor; umount(2) ends that first.
#pragma once
#include <array>
#include <functional>
#include <memory>
#include <unordered_map>
#include <vector>

#include "vfs/watch.h"

namespace run9::vfs {

class ToldNames {
 public:
  struct Hears {
    std::function<void()> changed = [] {}, came = [] {};
    std::function<void(uint32_t record)> moved = [](uint32_t) {};
  };
  ToldNames();
  ~ToldNames();
  void on_change(Hears hears) { hears_ = std::move(hears); }
  // Takes note of it, before it is looked up: with no name, that the directory may be searched. False: it had better not be told, as others change the
  // directory, or the name comes and goes.
  bool tell(const Path& dir, std::string_view name = {});
  // The same of a name that nothing is told of but attributes, as `record`.
  bool tell_last(const Path& dir, std::string_view name, uint32_t record);
  // False: they are not told, as others change them, or something does often; or nobody tells us.
  bool may_tell_attributes(const Inode& file) const;
  // Takes note of the attributes of a file, before they are looked up; who tells them knows them as `record`. False as above.
  bool tell_attributes(const Path& file, uint32_t record);
  // They have not changed since.
  bool still_tells(const Path& file) const { return files_.contains(file.inode()); }
  void drop();
  // How often something of it was void.
  uint64_t voids() const { return voids_; }

 private:
  using Records = std::vector<uint32_t>;
  class Dir;
  class Attributes;
  static size_t hash(const Inode& dir, std::string_view name);
  bool is_unsteady(size_t hash) const { return unsteady_[hash % unsteady_.size()] == hash >> 32; }
  void note_unsteady(size_t hash) { unsteady_[hash % unsteady_.size()] = static_cast<uint32_t>(hash >> 32); }
  // Null: nothing is told of this name. With none, of the directory.
  Dir* watch(const Path& dir, std::string_view name);
  void happened(Dir& dir, const WatchEvent& event);
  void moved(const Attributes& attributes);

  Hears hears_;
  std::unordered_map<const Inode*, std::unique_ptr<Dir>> dirs_;
  size_t names_ = 0;  // of all directories
  std::unordered_map<const Inode*, std::unique_ptr<Attributes>> files_;
  std::array<uint32_t, 256> unsteady_{};  // names that have come or gone after they were told, and files that have changed, by a part of their hash
  uint64_t voids_ = 0;
};

}  // namespace run9::vfs
