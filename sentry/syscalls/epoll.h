// epoll(7).
#pragma once
#include "sentry/syscalls/syscall.h"

namespace run9::sentry {

Result<uint64_t> sys_epoll_create(Task& task, int size);
Result<uint64_t> sys_epoll_create1(Task& task, int flags);
Result<uint64_t> sys_epoll_ctl(Task& task, GuestFd epfd, int op, GuestFd fd, uint64_t event);
Result<uint64_t> sys_epoll_wait(Task& task, GuestFd epfd, uint64_t events, int max, int timeout);
Result<uint64_t> sys_epoll_pwait(Task& task, GuestFd epfd, uint64_t events, int max, int timeout,
                                 uint64_t mask, uint64_t size);
Result<uint64_t> sys_epoll_pwait2(Task& task, GuestFd epfd, uint64_t events, int max,
                                  uint64_t timeout, uint64_t mask, uint64_t size);

}  // namespace run9::sentry
