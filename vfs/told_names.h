// ToldNames: which names guests were told of, in a way that they believe until we say otherwise: that a name of a directory is there, or is
// not, and that they may search the directory. As soon as one of these is not so any more all that was told is void, and whoever told it is
// told (`changed`).
//
// A place that names were told of is kept until then, as by a descriptor; umount(2) ends that first.
#pragma once
#include <array>
#include <functional>
#include <memory>
#include <unordered_map>
#include <unordered_set>

#include "vfs/watch.h"

namespace run9::vfs {

class ToldNames {
 public:
  ToldNames();
  ~ToldNames();
  void on_change(std::function<void()> changed) { changed_ = std::move(changed); }
  // Takes note of it, before it is looked up: with no name, that the directory may be searched. False: it had better not be told, as others change the
  // directory, or the name comes and goes.
  bool tell(const Path& dir, std::string_view name = {});
  void drop();
  // How often all was void.
  uint64_t drops() const { return drops_; }

 private:
  class Dir;
  static size_t hash(const Inode& dir, std::string_view name);
  void happened(const Inode& dir, const WatchEvent& event);

  std::function<void()> changed_;
  std::unordered_map<const Inode*, std::unique_ptr<Dir>> dirs_;
  std::unordered_set<size_t> names_;
  std::array<uint32_t, 256> unsteady_{};  // names that have come or gone after they were told, by a part of their hash
  uint64_t drops_ = 0;
};

}  // namespace run9::vfs
