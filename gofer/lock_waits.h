// LockWaits: the locks that a connection's client waits for. The host wakes nobody but a thread that sleeps in the call,
// so there is a thread for each; it can do nothing else, and holds a descriptor of the open file. One LockWaits for each
// connection, used on its thread.
#pragma once
#include <memory>

#include "base/unique_fd.h"
#include "p9/server/backend.h"

namespace run9::gofer {

class LockWaits {
 public:
  // Before the filter: makes the descriptor that tells of results, and has the process catch the signal that ends a wait.
  static Result<LockWaits> create();

  // Readable from a wait's end until hear().
  BorrowedFd news() const { return news_.borrow(); }
  void hear();
  // ENOLCK if the host makes no thread. `file`: a duplicate, for the thread alone. The LockWaits outlives the wait.
  Result<std::unique_ptr<p9::LockWait>> start(UniqueFd file, const p9::OpenFileLock& lock);

 private:
  explicit LockWaits(UniqueFd news) : news_(std::move(news)) {}
  UniqueFd news_;
};

// One call, of F_OFD_SETLK or flock(2). kBlocked.
Result<p9::LockStatus> try_lock(BorrowedFd file, const p9::OpenFileLock& lock);

}  // namespace run9::gofer
