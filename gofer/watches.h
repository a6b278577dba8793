// Watches: what a client caches under a lease, the host watches: inotify on the directories that it
// walked through. The client holds the same inotify descriptor and reads the events itself, so that
// a change on the host is known to it as soon as the call that made it is over. One for each
// connection, on its thread.
#pragma once
#include <unordered_map>

#include "gofer/host_calls.h"

namespace run9::gofer {

// Of the changes that a client asks for by Tevents, for as long as it likes: on an inotify descriptor of their own, since
// there is one watch for an inode on each.
class Reports {
 public:
  // For the client; made when it is first asked for. The host has few for each user.
  Result<UniqueFd> events();
  // `name` of `dir`, "." for itself; a link itself. The number that the events have. ENOSPC. EBADF before events().
  Result<uint32_t> add(BorrowedFd dir, const char* name, uint32_t mask);
  void remove(uint32_t watch);

 private:
  static constexpr size_t kMost = 16384;
  UniqueFd events_;
  std::unordered_map<uint32_t, size_t> users_;  // nodes of each watch: several names of one inode have the same
};

// The inotify descriptor of a connection. Before the filter.
Result<UniqueFd> make_events();
// inotify takes names only, "." of the directory in question: the thread needs a working directory
// that no other thread changes. Before the filter.
Result<void> own_working_directory();

class Watches {
 public:
  // `events` is make_events()'s and outlives this; invalid: no leases.
  explicit Watches(BorrowedFd events) : events_(events) {}

  bool possible() const { return events_.valid(); }
  Result<UniqueFd> events() const;
  // Reports the next change of the directory, or of anything in it, once. 0 where that cannot be:
  // too many watches (ours, or the host's for this user), no right to read the directory, or a file
  // system that others change without this kernel's knowledge.
  uint32_t add(BorrowedFd dir, uint64_t dev);
  void remove(uint32_t watch);
  // add() gave the number of a watch that there was.
  void merged(uint32_t watch) { count_ -= watch != 0 ? 1 : 0; }

 private:
  static constexpr size_t kMost = 16384;
  bool tells(BorrowedFd dir, uint64_t dev);

  const BorrowedFd events_;
  size_t count_ = 0;
  // The device that was asked about last, and the answer.
  uint64_t dev_ = 0;
  bool dev_tells_ = false;
};

}  // namespace run9::gofer
