// socket(2) and its family.
#pragma once
#include "sentry/net/socket.h"
#include "sentry/syscalls/syscall.h"

namespace run9::sentry {

Result<uint64_t> sys_socket(Task& task, int family, int type, int protocol);
Result<uint64_t> sys_socketpair(Task& task, int family, int type, int protocol, UserPtr<int> out);
Result<uint64_t> sys_bind(Task& task, GuestFd fd, uint64_t name, uint32_t length);
Result<uint64_t> sys_listen(Task& task, GuestFd fd, int backlog);
Result<uint64_t> sys_connect(Task& task, GuestFd fd, uint64_t name, uint32_t length);
Result<uint64_t> sys_accept(Task& task, GuestFd fd, uint64_t name, UserPtr<int> length);
Result<uint64_t> sys_accept4(Task& task, GuestFd fd, uint64_t name, UserPtr<int> length, int flags);
Result<uint64_t> sys_getsockname(Task& task, GuestFd fd, uint64_t name, UserPtr<int> length);
Result<uint64_t> sys_getpeername(Task& task, GuestFd fd, uint64_t name, UserPtr<int> length);
Result<uint64_t> sys_shutdown(Task& task, GuestFd fd, int how);
Result<uint64_t> sys_getsockopt(Task& task, GuestFd fd, int level, int name, uint64_t value,
                                UserPtr<int> length);
Result<uint64_t> sys_setsockopt(Task& task, GuestFd fd, int level, int name, uint64_t value,
                                int length);

// socket_message.cc
Result<uint64_t> sys_sendto(Task& task, GuestFd fd, uint64_t buffer, uint64_t count, int flags,
                            uint64_t name, uint32_t length);
Result<uint64_t> sys_recvfrom(Task& task, GuestFd fd, uint64_t buffer, uint64_t count, int flags,
                              uint64_t name, UserPtr<int> length);
Result<uint64_t> sys_sendmsg(Task& task, GuestFd fd, uint64_t message, int flags);
Result<uint64_t> sys_recvmsg(Task& task, GuestFd fd, uint64_t message, int flags);
Result<uint64_t> sys_sendmmsg(Task& task, GuestFd fd, uint64_t messages, uint32_t count, int flags);
Result<uint64_t> sys_recvmmsg(Task& task, GuestFd fd, uint64_t messages, uint32_t count, int flags,
                              uint64_t timeout);

// ENOTSOCK
Result<std::shared_ptr<Socket>> socket_of(Task& task, GuestFd fd);
Result<SocketName> read_name(Task& task, uint64_t address, uint32_t length);
// Cut to *length, which becomes the true length.
Result<void> write_name(Task& task, const SocketName& name, uint64_t address, UserPtr<int> length);

}  // namespace run9::sentry
