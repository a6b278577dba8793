// What agents are told to do (stub_abi.h, CommandPage).
#pragma once
#include <asm/unistd.h>

#include <cstddef>
#include <vector>

#include "sentry/platform/platform.h"
#include "sentry/platform/trap/stub_abi.h"

namespace run9::sentry::trap {

inline Command command(uint64_t nr, uint64_t a0 = 0, uint64_t a1 = 0, uint64_t a2 = 0, uint64_t a3 = 0,
                uint64_t a4 = 0, uint64_t a5 = 0, CommandKind kind = kPlain) {
  return {nr, {a0, a1, a2, a3, a4, a5}, kind};
}

// The header is read-only there, so the host's write-back of lengths fails with EFAULT, after the
// descriptors have arrived: what counts is that no guest can make the message stay in the queue.
inline Command receive_command() { return command(__NR_recvmsg, STUB_FD_AGENT, STUB_MESSAGES); }

// The guest's part of the address space goes.
inline Command unmap_all() {
  constexpr uint64_t kStart = STUB_TABLE + STUB_TABLE_SIZE;
  return command(__NR_munmap, kStart, kGuestEnd - kStart);
}

inline Command map_command(const MapRequest& r, int fd) {
  const int flags = MAP_FIXED | r.extra_flags | (r.shared ? MAP_SHARED : MAP_PRIVATE) |
                    (r.fd.valid() ? 0 : MAP_ANONYMOUS);
  return command(__NR_mmap, r.addr, r.length, static_cast<uint64_t>(r.prot),
                 static_cast<uint64_t>(flags), static_cast<uint64_t>(static_cast<int64_t>(fd)), r.offset);
}

// What a thread does as well.
inline ThreadOrder as_order(const Command& c) {
  ThreadOrder o{};
  o.nr = c.nr;
  for (int i = 0; i < 6; ++i) o.args[i] = c.args[i];
  return o;
}

// The numbers that a message's descriptors get in an agent: the lowest that are free.
constexpr uint64_t received(size_t i) { return i < STUB_FD_AGENT ? i : i + STUB_FDS_END - STUB_FD_AGENT; }
// Away with them, if there were so many.
inline void close_received(std::vector<Command>& list, size_t count) {
  if (count > 0) list.push_back(command(__NR_close_range, 0, STUB_FD_AGENT - 1));
  if (count > STUB_FD_AGENT) list.push_back(command(__NR_close_range, STUB_FDS_END, ~0u));
}

}  // namespace run9::sentry::trap
