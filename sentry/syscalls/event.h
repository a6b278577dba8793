// Descriptors for events: eventfd, signalfd, timerfd, pidfd.
#pragma once
#include <time.h>

#include "sentry/syscalls/syscall.h"

namespace run9::sentry {

Result<uint64_t> sys_eventfd(Task& task, uint32_t count);
Result<uint64_t> sys_eventfd2(Task& task, uint32_t count, int flags);
Result<uint64_t> sys_inotify_init(Task& task);
Result<uint64_t> sys_inotify_init1(Task& task, int flags);
Result<uint64_t> sys_inotify_add_watch(Task& task, GuestFd fd, UserString path, uint32_t mask);
Result<uint64_t> sys_inotify_rm_watch(Task& task, GuestFd fd, int32_t wd);
Result<uint64_t> sys_signalfd(Task& task, GuestFd fd, UserPtr<uint64_t> mask, uint64_t size);
Result<uint64_t> sys_signalfd4(Task& task, GuestFd fd, UserPtr<uint64_t> mask, uint64_t size,
                               int flags);
Result<uint64_t> sys_timerfd_create(Task& task, int32_t clock, int flags);
Result<uint64_t> sys_timerfd_settime(Task& task, GuestFd fd, int flags, UserPtr<itimerspec> in,
                                     UserPtr<itimerspec> old);
Result<uint64_t> sys_timerfd_gettime(Task& task, GuestFd fd, UserPtr<itimerspec> out);
Result<uint64_t> sys_pidfd_open(Task& task, int32_t pid, uint32_t flags);
Result<uint64_t> sys_pidfd_send_signal(Task& task, GuestFd fd, int sig, uint64_t info,
                                       uint32_t flags);
Result<uint64_t> sys_pidfd_getfd(Task& task, GuestFd pidfd, GuestFd target, uint32_t flags);

}  // namespace run9::sentry
