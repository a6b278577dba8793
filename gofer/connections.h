// The connections that are being served, and how they are told to end. Shared by a gofer's threads;
// the mutex is taken for moments and never while another one is held.
#pragma once
#include <mutex>
#include <set>

#include "base/unique_fd.h"

namespace run9::gofer {

class Connections {
 public:
  // `stopping` is an eventfd: see stopping().
  explicit Connections(UniqueFd stopping) : stopping_(std::move(stopping)) {}

  // False: no more connections are wanted. Else the socket stays open until leave().
  bool enter(BorrowedFd socket);
  void leave(BorrowedFd socket);

  // Readable once no more connections are wanted; for who waits for some.
  BorrowedFd stopping() const { return stopping_.borrow(); }
  // Those that there are go on.
  void stop_accepting();
  // Each is answered what it has sent, and hears no more: its server sees its end.
  void drain();

 private:
  void stop_locked();

  const UniqueFd stopping_;
  std::mutex mu_;
  std::set<int> open_;    // guarded by mu_
  bool stopped_ = false;  // guarded by mu_
};

}  // namespace run9::gofer
