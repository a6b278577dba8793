// Descriptors for reading that the gofer sent along with one that was asked for, since whoever opens one file of a
// directory after the other wants them next. Nobody can use them before he has opened their file, with all that is
// checked then. Bounded in number, and in age whenever there is something to do here.
//
// Owned by GoferFs.
#pragma once
#include <cstdint>
#include <deque>

#include "base/unique_fd.h"

namespace run9::vfs::gofer {

class OpenedAhead {
 public:
  // By the file's qid.path, which stays its own as long as the descriptor holds the file.
  void put(uint64_t path, UniqueFd host);
  bool has(uint64_t path) const;
  // Not valid: there is none.
  UniqueFd take(uint64_t path);

 private:
  static constexpr size_t kMost = 128;
  static constexpr int64_t kOldestNs = 2'000'000'000;
  struct Held {
    uint64_t path;
    UniqueFd host;
    int64_t since_ns;
  };
  void close_old();

  std::deque<Held> held_;  // oldest first
};

}  // namespace run9::vfs::gofer
