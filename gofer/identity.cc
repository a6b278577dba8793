#include "gofer/identity.h"

#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/check.h"
#include "gofer/privileges.h"

namespace run9::gofer {

void Identity::become(const User& user) {
  if (now_ == &user) return;
  now_ = nullptr;
  CHECK(syscall(SYS_setgroups, user.groups.size(), user.groups.data()) == 0);
  // These two give the old id back, and no error.
  syscall(SYS_setfsgid, user.gid);
  syscall(SYS_setfsuid, user.uid);
  constexpr long kAsk = -1;
  CHECK(static_cast<uint32_t>(syscall(SYS_setfsgid, kAsk)) == user.gid);
  CHECK(static_cast<uint32_t>(syscall(SYS_setfsuid, kAsk)) == user.uid);
  CHECK(set_effective_capabilities(user.uid == 0 ? FileRights::kRoot : FileRights::kNone)
            .has_value());
  now_ = &user;
}

void Identity::lend_rights() {
  now_ = nullptr;  // whoever comes next takes them away
  CHECK(set_effective_capabilities(FileRights::kRoot).has_value());
}

Result<uint32_t> peer_uid(BorrowedFd socket) {
  ucred peer{};
  socklen_t size = sizeof peer;
  if (getsockopt(socket.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0) return last_errno();
  return peer.uid;
}

}  // namespace run9::gofer
