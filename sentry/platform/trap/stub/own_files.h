// Reads and writes that this thread makes at the host by itself, of files that the Sentry has sent it (docs/decisions/0034-reads-by-guest-threads.md,
// 0035-writes-by-guest-threads.md).
#pragma once
#include <asm/unistd.h>
#include <errno.h>
#include <sys/uio.h>

#include "sentry/platform/trap/stub/page.h"

namespace run9::sentry::trap::stub {

inline constexpr uint32_t kUsedStat = 1, kUsedStart = 2, kUsed = kUsedStat | kUsedStart;  // in told_facts, beside ReplyFlags
static_assert(kUsed < kToldFile);

inline OwnFiles& own_files(const ControlPage* c) { return *reinterpret_cast<OwnFiles*>(own_files_address(slot_of_page(c))); }

inline OwnFile* own_file(const ControlPage* c, uint32_t fd) {
  const uint32_t at = fd % kOwnFiles;
  if ((c->keeps >> at & 1) == 0) return nullptr;
  OwnFile& entry = own_files(c).entries[at];
  return __atomic_load_n(&entry.fd, __ATOMIC_ACQUIRE) == fd + 1 ? &entry : nullptr;
}

inline void drop_host_file(ControlPage* c, uint32_t at) {
  const OwnFile& entry = own_files(c).entries[at];
  if (entry.how != kDiscards) gate_order(__NR_close, entry.host);
  c->keeps &= ~(1u << at);
}

inline void keep_file(ControlPage* c, const ThreadOrder& o, long number) {
  const uint32_t at = o.args[0] % kOwnFiles;
  OwnFile& entry = own_files(c).entries[at];
  if ((c->keeps >> at & 1) != 0) drop_host_file(c, at);
  __atomic_store_n(&entry.fd, 0, __ATOMIC_RELAXED);
  const auto how = static_cast<uint16_t>(o.args[3]);
  if (number < 0 && how != kDiscards) return;  // no message, or no room in the table of descriptors
  entry.host = static_cast<uint16_t>(number);
  entry.how = how;
  entry.position = o.args[2];
  c->keeps |= 1u << at;
  __atomic_store_n(&entry.fd, static_cast<uint32_t>(o.args[1]), __ATOMIC_RELEASE);
}

// After an answer, in which the Sentry may have taken some back.
inline void drop_stale(ControlPage* c) {
  if (__atomic_load_n(&own_files(c).stale, __ATOMIC_RELAXED) == 0 || __atomic_exchange_n(&own_files(c).stale, 0, __ATOMIC_SEQ_CST) == 0) return;
  for (uint32_t at = 0; at < kOwnFiles; ++at) {
    if ((c->keeps >> at & 1) != 0 && __atomic_load_n(&own_files(c).entries[at].fd, __ATOMIC_ACQUIRE) == 0) drop_host_file(c, at);
  }
}

inline void drop_all_files(ControlPage* c) {
  for (uint32_t at = 0; at < kOwnFiles; ++at) {
    if ((c->keeps >> at & 1) != 0) drop_host_file(c, at);
  }
}

// The guest has closed it, without an answer (close_here).
inline void forget_file(ControlPage* c, uint32_t fd) {
  OwnFile* const entry = own_file(c, fd);
  if (entry == nullptr) return;
  __atomic_store_n(&entry->fd, 0, __ATOMIC_RELAXED);
  drop_host_file(c, fd % kOwnFiles);
}

inline bool lies_in_guest(uint64_t at, uint64_t size) { return at < kGuestEnd && size <= kGuestEnd - at; }

// pread(2), preadv(2), pwrite(2) or pwritev(2) of the host's, with the call's memory; kNoPosition: it writes at the end. Negative: the Sentry shall say what is wrong.
inline long transfer_at_host(const ControlPage* c, uint32_t kind, uint32_t host, uint64_t position) {
  const uint64_t memory = c->gregs[kRsi], count = c->gregs[kRdx];
  const bool writes = (kind & kOwnWrites) != 0, appends = position == kNoPosition;
  if ((kind & kOwnVector) == 0) {
    if (!lies_in_guest(memory, count)) return -EFAULT;
    const iovec whole{reinterpret_cast<void*>(memory), count};
    if (appends) return gate_order(__NR_pwritev2, host, &whole, 1, uint64_t{0}, 0, RWF_APPEND);
    return gate_order(writes ? __NR_pwrite64 : __NR_pread64, host, memory, count, position);
  }
  constexpr uint64_t kParts = 16;
  iovec parts[kParts];
  if (count > kParts || memory >= kGuestEnd || try_copy(parts, reinterpret_cast<void*>(memory), count * sizeof(iovec)) != 0) return -EFAULT;
  for (uint64_t i = 0; i < count; ++i) {
    if (!lies_in_guest(reinterpret_cast<uint64_t>(parts[i].iov_base), parts[i].iov_len)) return -EFAULT;
  }
  if (appends) return gate_order(__NR_pwritev2, host, parts, count, uint64_t{0}, 0, RWF_APPEND);
  return gate_order(writes ? __NR_pwritev : __NR_preadv, host, parts, count, position, 0);
}

// write(2) to /dev/null.
inline bool discard_here(const ControlPage* c, uint64_t& value) {
  constexpr uint64_t kMost = 0x7ffff000;  // MAX_RW_COUNT
  if (!lies_in_guest(c->gregs[kRsi], c->gregs[kRdx])) return false;
  value = c->gregs[kRdx] < kMost ? c->gregs[kRdx] : kMost;
  return true;
}

// One of kOwnCalls. False: not with this file, or somebody wants to know where it is. Then nothing has happened but that some bytes may lie there already.
inline bool transfer_here(ControlPage* c, uint64_t nr, uint64_t& value) {
  if (c->keeps == 0) return false;
  OwnFile* const entry = own_file(c, static_cast<uint32_t>(c->gregs[kRdi]));
  if (entry == nullptr) return false;
  if (entry->how == kDiscards) return nr == __NR_write && discard_here(c, value);
  const uint32_t kind = own_call_kind(static_cast<uint32_t>(nr));
  const bool writes = (kind & kOwnWrites) != 0, appends = writes && (entry->how & kAppends) != 0;
  const bool moves = (kind & kOwnOffset) == 0 && !appends;
  if ((entry->how & (writes ? kMayWrite | kAppends : kMayRead)) == 0 || (appends && (kind & kOwnOffset) != 0)) return false;
  uint64_t position = appends ? kNoPosition : moves ? __atomic_load_n(&entry->position, __ATOMIC_RELAXED) : c->gregs[kR10];
  if (!appends && static_cast<int64_t>(position) < 0) return false;
  const bool noted = shared()->profiling != 0;
  const uint64_t before = noted ? __builtin_ia32_rdtsc() : 0;
  const long n = transfer_at_host(c, kind, entry->host, position);
  if (noted) {
    auto& notes = own_files(c).notes[kind];
    notes.ticks += __builtin_ia32_rdtsc() - before;
    ++notes.count;
  }
  if (n < 0) return false;
  if (writes) c->told_facts &= kUsed | kToldFile;
  if (moves && !__atomic_compare_exchange_n(&entry->position, &position, position + static_cast<uint64_t>(n), false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED)) return false;
  value = static_cast<uint64_t>(n);
  return true;
}

// lseek(2) to where any file may be read.
inline bool seek_here(ControlPage* c, uint64_t& value) {
  constexpr uint64_t kFar = uint64_t{1} << 40;
  enum { kSet = 0, kCurrent = 1 };
  if (c->keeps == 0) return false;
  OwnFile* const entry = own_file(c, static_cast<uint32_t>(c->gregs[kRdi]));
  if (entry == nullptr) return false;
  uint64_t position = __atomic_load_n(&entry->position, __ATOMIC_RELAXED);
  const auto whence = static_cast<uint32_t>(c->gregs[kRdx]);
  if (position >= kFar || whence > kCurrent) return false;
  const uint64_t to = c->gregs[kRsi] + (whence == kCurrent ? position : 0);
  if (to >= kFar || !__atomic_compare_exchange_n(&entry->position, &position, to, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED)) return false;
  c->told_facts &= ~kToldEnd;
  value = to;
  return true;
}

}  // namespace run9::sentry::trap::stub
