// Where the ptrace stub's own pages are (the top of every guest address space), and its descriptors.
#pragma once
#include <cstdint>

namespace run9::sentry::ptrace {

inline constexpr uint64_t kGate = 0x7fff'0000'0000;      // gate.S; stub.lds puts it there
inline constexpr uint64_t kGateIp = kGate + 2;           // as seccomp sees it
inline constexpr uint64_t kHeaderPage = 0x7fff'0020'0000;  // recvmsg's header; read-only
inline constexpr uint64_t kDataPage = 0x7fff'0030'0000;    // recvmsg's buffers; the guest may write it
inline constexpr int kSocketFd = 3;
inline constexpr int kReceivedFd = 0;  // the lowest that is free

}  // namespace run9::sentry::ptrace
