// Relay: copies bytes one way between two descriptors, for standard streams that are a real terminal:
// the sandbox gets the other end of a pipe or socket, never the terminal. Driven by Supervisor's poll.
#pragma once
#include <poll.h>

#include <string>
#include <vector>

#include "base/unique_fd.h"

namespace run9::runtime {

class Relay {
 public:
  // Borrowed descriptors (0, 1, 2) are kept as they are, O_NONBLOCK too; owned ones are ours alone.
  Relay(UniqueFd from, BorrowedFd to) : owned_(std::move(from)), from_(owned_.borrow()), to_(to), outward_(true) {}
  Relay(BorrowedFd from, UniqueFd to) : owned_(std::move(to)), from_(from), to_(owned_.borrow()) {}
  Relay(Relay&&) = default;
  Relay& operator=(Relay&&) = default;

  // Adds what to wait for; call on_ready with the same entry afterwards.
  void prepare(std::vector<pollfd>& out);
  void on_ready(const pollfd& entry);
  bool done() const { return done_; }
  // From the sandbox to us: has to be emptied before we leave.
  bool outward() const { return outward_; }

 private:
  void read_some();
  void write_some();
  void finish();

  UniqueFd owned_;
  BorrowedFd from_, to_;
  bool outward_ = false;
  bool done_ = false;
  std::string pending_;
};

// Until each outward relay has seen its end, or nothing came for `idle_ms`.
void drain(std::vector<Relay>& relays, int idle_ms);

}  // namespace run9::runtime
