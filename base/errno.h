// Errno: the error half of every Result. Values are Linux's errno numbers (errno(3)); the few above
// 511 are Linux's own restart codes (include/linux/errno.h) and never leave the Sentry.
#pragma once
#include <cerrno>
#include <string>

namespace run9 {

enum class Errno : int {};

inline constexpr Errno kErestartsys{512};           // restart if the handler has SA_RESTART
inline constexpr Errno kErestartnointr{513};        // always restart
inline constexpr Errno kErestartnohand{514};        // restart only if no handler ran
inline constexpr Errno kErestartRestartblock{516};  // continue through restart_syscall(2)

// errno, and never another thread's: a compiler may keep errno's address over a call in which a fiber comes to be on another thread.
int host_errno();
inline Errno last_errno() { return Errno{host_errno()}; }
constexpr int to_int(Errno e) { return static_cast<int>(e); }
// "ENOENT (No such file or directory)"; for people.
std::string describe(Errno e);

}  // namespace run9
