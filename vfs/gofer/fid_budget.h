// How many fids the trees of one sandbox may hold together. Each is a descriptor of the gofer's, and its host
// (RLIMIT_NOFILE) may allow fewer than there are names worth knowing: then those used longest ago are forgotten.
#pragma once
#include <cstddef>
#include <functional>
#include <utility>

namespace run9::vfs::gofer {

// Shared by all GoferFs of a sandbox. One thread.
class FidBudget {
 public:
  // `forget_some`: lets go of some cached names, of whatever tree.
  FidBudget(size_t limit, std::function<void()> forget_some) : limit_(limit), forget_some_(std::move(forget_some)) {}

  // A tree, of which `known` fids were counted the last time, has `now` and wants more. The fids of names that are
  // forgotten are in its count until they are clunked.
  void make_room(size_t& known, size_t now) {
    held_ += now - std::exchange(known, now);
    if (held_ >= limit_) forget_some_();
  }
  // Soon names will have to be forgotten.
  bool scarce() const { return held_ >= limit_ - limit_ / 8; }
  void end(size_t& known) { held_ -= std::exchange(known, 0); }

 private:
  const size_t limit_;
  size_t held_ = 0;
  const std::function<void()> forget_some_;
};

}  // namespace run9::vfs::gofer
