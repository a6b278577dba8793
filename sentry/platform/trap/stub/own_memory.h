// Changes of its mappings that a process's only thread makes by itself (docs/decisions/0039-mappings-by-guest-threads.md). False, of all of these:
// it is the Sentry's to do.
#pragma once
#include <asm/unistd.h>
#include <errno.h>
#include <sys/mman.h>

#include "sentry/platform/trap/stub/page.h"

namespace run9::sentry::trap::stub {

inline OwnMemory& own_memory() { return *reinterpret_cast<OwnMemory*>(STUB_CTL + STUB_OWN_MEMORY); }

inline constexpr uint64_t kPageSize = 0x1000;
constexpr uint64_t page_up(uint64_t n) { return (n + kPageSize - 1) & ~(kPageSize - 1); }

// What the Sentry shall see goes before.
inline void changed(OwnMemory& own) { __atomic_store_n(&own.changes, own.changes + 1, __ATOMIC_RELEASE); }

inline bool map_zeros(uint64_t addr, uint64_t length, uint64_t prot, uint64_t flags) {
  return gate_order(__NR_mmap, addr, length, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | flags, -1, 0) == static_cast<long>(addr);
}

// brk(2) that asks where the heap ends, or lets it grow.
inline bool grow_heap(const ControlPage* c, uint64_t& value) {
  OwnMemory& own = own_memory();
  const uint64_t to = c->gregs[kRdi], limit = __atomic_load_n(&own.heap_limit, __ATOMIC_RELAXED), end = own.heap_end;
  if (limit == 0 || to > limit || (to < end && to != 0)) return false;
  if (to != 0) {
    const uint64_t old_top = page_up(end), top = page_up(to);
    if (top > old_top && !map_zeros(old_top, top - old_top, PROT_READ | PROT_WRITE, 0)) return false;
    __atomic_store_n(&own.heap_end, to, __ATOMIC_RELEASE);
    changed(own);
  }
  value = own.heap_end;
  return true;
}

// mmap(2) of private anonymous memory, anywhere.
inline bool map_piece(uint64_t length, uint64_t prot, uint64_t flags, uint64_t& value) {
  constexpr uint64_t kIgnored = MAP_STACK;
  OwnMemory& own = own_memory();
  const uint64_t floor = __atomic_load_n(&own.floor, __ATOMIC_RELAXED), top = own.top, size = page_up(length);
  const uint32_t at = own.pieces;
  if ((flags & ~(kIgnored | MAP_NORESERVE)) != (MAP_PRIVATE | MAP_ANONYMOUS) || (prot & ~kPieceProt) != 0) return false;
  if (length == 0 || floor >= top || length > top - floor || size > top - floor || at >= kOwnPieces) return false;
  const uint64_t addr = top - size;
  if (!map_zeros(addr, size, prot, flags & MAP_NORESERVE)) return false;
  own.piece[at] = {addr, size | prot | ((flags & MAP_NORESERVE) != 0 ? kPieceNoReserve : 0)};
  own.top = addr;
  __atomic_store_n(&own.pieces, at + 1, __ATOMIC_RELEASE);
  changed(own);
  value = addr;
  return true;
}

// mmap(2) of a library's segment over its place, which the Sentry has made already, or of the zeros behind its last one.
inline bool take_segment(const ControlPage* c, uint64_t& value) {
  OwnMemory& own = own_memory();
  const uint64_t addr = c->gregs[kRdi], length = page_up(c->gregs[kRsi]);
  const uint32_t maps = __atomic_load_n(&own.maps, __ATOMIC_RELAXED);
  const bool zeros = c->gregs[kR10] == (MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS);
  if (!zeros && c->gregs[kR10] != (MAP_PRIVATE | MAP_FIXED | MAP_DENYWRITE)) return false;
  for (uint32_t i = 0; i < maps && i < kOwnMaps; ++i) {
    const OwnMemory::Map& m = own.map[i];
    if (m.addr != addr || m.length != length || m.prot != c->gregs[kRdx] || (own.maps_done >> i & 1) != 0) continue;
    if (zeros ? m.fd != kOwnZeros : m.fd != static_cast<int32_t>(c->gregs[kR8]) || m.offset != c->gregs[kR9]) continue;
    if (zeros && !map_zeros(addr, length, m.prot, 0)) return false;
    __atomic_store_n(&own.maps_done, own.maps_done | 1u << i, __ATOMIC_RELEASE);
    changed(own);
    value = addr;
    return true;
  }
  return false;
}

inline bool map_here(const ControlPage* c, uint64_t& value) {
  const uint64_t flags = c->gregs[kR10];
  if ((flags & MAP_FIXED) != 0) return take_segment(c, value);
  return c->gregs[kRdi] == 0 && c->gregs[kR9] == 0 && map_piece(c->gregs[kRsi], c->gregs[kRdx], flags, value);
}

inline bool has_all_segments(const OwnMemory& own) {
  const uint32_t maps = __atomic_load_n(&own.maps, __ATOMIC_RELAXED);
  return maps == 0 || own.maps_done == (uint64_t{1} << (maps & 31)) - 1;
}

// A descriptor is closed: its number may be another file's by the time of the next call. A library that lacks some is none that a linker maps.
inline void forget_segments() {
  OwnMemory& own = own_memory();
  if (!has_all_segments(own)) __atomic_store_n(&own.protects, 0, __ATOMIC_RELAXED);
  __atomic_store_n(&own.maps, 0, __ATOMIC_RELAXED);
}

// munmap(2) of a piece, whole.
inline bool unmap_here(const ControlPage* c, uint64_t& value) {
  OwnMemory& own = own_memory();
  const uint64_t addr = c->gregs[kRdi], length = page_up(c->gregs[kRsi]);
  const uint32_t pieces = own.pieces;
  if (length == 0) return false;
  for (uint32_t i = 0; i < pieces && i < kOwnPieces; ++i) {
    OwnMemory::Range& piece = own.piece[i];
    if (piece.addr != addr || (piece.length & ~kPieceBits) != length) continue;
    if (gate_order(__NR_munmap, addr, length) != 0) return false;
    __atomic_store_n(&piece.length, 0, __ATOMIC_RELEASE);
    // The last one's addresses are free again.
    if (i + 1 == pieces && own.top == addr) {
      own.top = addr + length;
      __atomic_store_n(&own.pieces, i, __ATOMIC_RELEASE);
    }
    changed(own);
    value = 0;
    return true;
  }
  return false;
}

// mprotect(2) of what a library has read-only after relocation.
inline bool protect_here(const ControlPage* c, uint64_t& value) {
  OwnMemory& own = own_memory();
  const uint64_t addr = c->gregs[kRdi], length = page_up(c->gregs[kRsi]);
  const uint32_t protects = __atomic_load_n(&own.protects, __ATOMIC_RELAXED);
  if (c->gregs[kRdx] != PROT_READ || !has_all_segments(own)) return false;
  for (uint32_t i = 0; i < protects && i < kOwnProtects; ++i) {
    const OwnMemory::Range& r = own.protect[i];
    if (r.addr != addr || r.length != length || (own.protects_done >> i & 1) != 0) continue;
    if (gate_order(__NR_mprotect, addr, length, PROT_READ) != 0) return false;
    __atomic_store_n(&own.protects_done, own.protects_done | 1u << i, __ATOMIC_RELEASE);
    changed(own);
    value = 0;
    return true;
  }
  return false;
}

}  // namespace run9::sentry::trap::stub
