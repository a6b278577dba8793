// What the only thread of a process may do to its mappings by itself, and what it has done: brk(2) upward, private anonymous memory that it
// maps and unmaps again, and the calls that a dynamic linker makes for a library behind its first. MemoryManager offers it
// (mm/own_memory.cc), the thread makes the host's call, and the list of mappings follows when somebody looks at it.
//
// The guest writes all of it at any time. What it makes up is its own loss: the Sentry believes only changes within what it has offered, and the
// host's calls are those that threads may make anyhow (docs/SECURITY.md, gate ORDER).
#pragma once
#include <stdint.h>

namespace run9::sentry {

inline constexpr uint32_t kOwnMaps = 5, kOwnProtects = 16, kOwnPieces = 16, kLimits = 16;
inline constexpr int32_t kOwnZeros = -1;

struct OwnMemory {
  struct Map {  // in place already: mmap(addr, length, prot, kLinkerFlags, fd, offset) gives addr. kOwnZeros: anonymous, to be made
    uint64_t addr, length, offset;
    uint32_t prot;
    int32_t fd;
  };
  struct Range {
    uint64_t addr, length;  // bytes; both of whole pages
  };
  uint32_t changes;  // by the thread: how often it has changed something. Written last.
  uint32_t maps, protects;  // how many there are
  uint32_t maps_done, protects_done;  // by the thread: which of them have been asked for, one bit each
  uint32_t pieces;                    // by the thread
  // The break, which the thread may move up to `heap_limit`; 0: it has to ask.
  uint64_t heap_end, heap_limit;
  // Free addresses, of which it takes the highest: those below `top`, not below `floor`. Both are the same: none.
  uint64_t floor, top;
  Map map[kOwnMaps];
  Range protect[kOwnProtects];  // which the linker makes read-only
  // What it has taken; PROT_* and kPieceNoReserve in the low bits of the length. Length 0: unmapped again.
  Range piece[kOwnPieces];
  // getrlimit(2)'s, by RLIMIT_*, if limits_told is not 0: soft and hard.
  uint32_t limits_told;
  uint64_t limits[kLimits][2];
};

inline constexpr uint64_t kPieceProt = 3, kPieceNoReserve = 8, kPieceBits = 0xfff;

}  // namespace run9::sentry
