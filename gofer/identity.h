// Whom a thread acts as (--multi-user). The kernel keeps ids for each thread; libc's calls would
// change all threads.
#pragma once
#include <optional>

#include "base/unique_fd.h"
#include "gofer/users.h"

namespace run9::gofer {

// One for each thread that serves, on that thread's stack.
class Identity {
 public:
  // The file-system ids and groups become the user's, and the effective capabilities over files go
  // unless it is root. Ends the process if the kernel refuses: nothing may be done in another
  // user's name. `user` stays where it is.
  void become(const User& user);
  // The capabilities over files until the next become(): for what the user's rights are not asked about.
  void lend_rights();

 private:
  const User* now_ = nullptr;
};

// Whom the attaches of a connection act as. Without users: as the gofer itself (sandbox mode).
struct Actors {
  const Users* users = nullptr;
  Identity* identity = nullptr;
  // Who connected, if the kernel knows: root may attach as anyone, others as themselves. If it does
  // not know, the client is believed, but root is nobody.
  std::optional<uint32_t> peer;
};

// SO_PEERCRED of a unix socket.
Result<uint32_t> peer_uid(BorrowedFd socket);

}  // namespace run9::gofer
