// What glibc's pthread_create asks clone(2) for: seccomp filters of processes that make threads let nothing else through.
#pragma once
#include <sched.h>

#include <cstdint>

namespace run9 {

inline constexpr uint32_t kThreadFlags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SYSVSEM | CLONE_SIGHAND | CLONE_THREAD |
                                         CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID;

}  // namespace run9
