// Whether what was done ahead of need has been of use lately.
#pragma once
#include <cstddef>

namespace run9::vfs::gofer {

class Foresight {
 public:
  void used(size_t n = 1) { note(used_, n); }
  void wasted(size_t n = 1) { note(wasted_, n); }
  // Most of it was used. Not as long as there was little of it.
  bool pays() const { return used_ >= kEnough && used_ > 2 * wasted_; }

 private:
  static constexpr size_t kEnough = 8, kRemembered = 128;
  void note(size_t& count, size_t n) {
    count += n;
    if (used_ + wasted_ > kRemembered) used_ /= 2, wasted_ /= 2;
  }
  size_t used_ = 0, wasted_ = 0;
};

}  // namespace run9::vfs::gofer
