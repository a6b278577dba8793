// The sockets that a gofer serves: inherited, handed over by systemd, or made here. All before the
// jail: a socket's path is the host's, and the filter forbids what this needs.
#pragma once
#include <memory>
#include <vector>

#include "gofer/lock_waits.h"
#include "gofer/options.h"

namespace run9::gofer {

// Opens what --listen names.
class SocketSource {
 public:
  // Takes what systemd has handed to this very process (sd_listen_fds(3), LISTEN_PID and its like),
  // which may be nothing. The variables go: what we start shall not take the sockets for its own.
  SocketSource();
  // Says in the log what is wrong, and what to do about it. Sockets of systemd's are duplicates,
  // which share their queue.
  Result<std::vector<UniqueFd>> open(const ListenSpec& spec) const;
  // The same for --control; invalid if there is none.
  static Result<UniqueFd> open_control(const ListenSpec& spec);

 private:
  struct Named {
    std::string name;
    UniqueFd fd;
  };
  std::vector<Named> systemd_;
};

// One thread's work: a connection that exists, or one after another from a listening socket.
struct Job {
  UniqueFd socket;
  UniqueFd events;  // for leases; none where connections come and go
  std::unique_ptr<LockWaits> lock_waits;
  bool listening = false;
  bool local = true;  // descriptors can be passed, and the kernel knows who the peer is
  size_t chosen = 0;
  OtherExports others = OtherExports::kByName;
};
Result<std::vector<Job>> make_jobs(const Options& options, const SocketSource& source);

}  // namespace run9::gofer
