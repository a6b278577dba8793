// Whether those who list directories want to know more of the files in them than their names and types, or than their
// attributes: a server spends most of its time for a listing on that.
#pragma once
#include <cstddef>

namespace run9::vfs::gofer {

class AttributeUse {
 public:
  enum Start { kPays, kNot };
  explicit AttributeUse(Start start) : unused_(start == kPays ? 0 : kEnough) {}
  // Somebody reads a directory that was listed with attributes.
  void told() { unused_ += unused_ < kEnough ? 1 : 0; }
  // Somebody wants those of a file in one.
  void wanted() { unused_ = 0; }
  bool pays() const { return unused_ < kEnough; }

 private:
  static constexpr size_t kEnough = 16;
  size_t unused_;  // directories since then
};

}  // namespace run9::vfs::gofer
