// The system calls of a serving gofer, as a seccomp filter whose program is built at compile time
// (seccomp.cc has the table; docs/SECURITY.md prints it).
#pragma once
#include <signal.h>

#include <string_view>
#include <vector>

#include "base/result.h"

namespace run9::gofer {

// Ends a LockWaits' wait: the one signal that the process may send, to a thread of its own.
constexpr int kEndWait = SIGURG;

// What a gofer does beside serving the connections that it was born with.
enum class Accepts : uint8_t { kNothing, kControl, kConnections };  // those who connect; the last: both
struct SeccompMode {
  Accepts accepts = Accepts::kNothing;
  bool multi_user = false;
  bool host_sockets = false;
};
enum class OnViolation {
  kKill,
  kLog,  // for development: log the number, answer ENOSYS
};

// For every thread of the process, which keeps its id. no_new_privs must be set.
Result<void> install_seccomp(SeccompMode mode, OnViolation on_violation);
// "openat2(dirfd >= 0)" for each row, for documents and tests.
std::vector<std::string_view> seccomp_table(SeccompMode mode);

}  // namespace run9::gofer
