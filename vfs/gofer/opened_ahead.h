// Descriptors for reading that the gofer sends before anybody asks for them, since whoever opens one file of a
// directory after the other wants them next: those that came along with one that was asked for, and those of messages
// that nobody waits for yet. Nobody can use them before he has opened their file, with all that is checked then. Bounded
// in number, and in age whenever there is something to do here.
//
// Owned by GoferFs.
#pragma once
#include <cstdint>
#include <deque>
#include <list>
#include <memory>

#include "base/unique_fd.h"
#include "vfs/gofer/foresight.h"
#include "vfs/gofer/wire.h"

namespace run9::vfs::gofer {

class OpenedAhead {
 public:
  // By the file's qid.path, which stays its own as long as the descriptor holds the file.
  void put(uint64_t path, UniqueFd host);
  // They are on their way.
  void expect(Wire::Opening opening);
  bool has(uint64_t path) const;
  // Blocks the calling fiber until one that is on its way is there. Not valid: there is none.
  UniqueFd take(uint64_t path);
  // The file has no name any more.
  void drop(uint64_t path);
  // How many more there may be.
  size_t room() const;
  bool pays() const { return foresight_.pays(); }

 private:
  static constexpr size_t kMost = 256;
  static constexpr int64_t kOldestNs = 2'000'000'000;
  struct Held {
    uint64_t path;
    UniqueFd host;
    int64_t since_ns;
  };
  void close_old();
  void drop_oldest();
  UniqueFd take_held(uint64_t path);
  // Takes the answers that are there.
  void settle();

  std::deque<Held> held_;  // oldest first
  std::list<std::shared_ptr<Wire::Opening>> expected_;
  size_t files_expected_ = 0;
  Foresight foresight_;
};

}  // namespace run9::vfs::gofer
