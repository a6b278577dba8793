// Calls that this thread answers by what it was told of a descriptor with the answer to its last call, and descriptors that it closes by
// itself: the Sentry hears of those with the next call.
#pragma once
#include <errno.h>

#include "sentry/platform/trap/stub/own_files.h"
#include "sentry/platform/trap/stub/own_memory.h"

namespace run9::sentry::trap::stub {

inline constexpr uint64_t kClosable = 64;      // descriptors below may be closed here
inline constexpr uint32_t kCloexec = 02000000;  // O_CLOEXEC
inline constexpr uint64_t kStatSize = 144;
inline constexpr uint32_t kTcgets = 0x5401;  // TCGETS
inline constexpr uint64_t kBrief = 50'000;  // ticks, some 20 us

constexpr uint64_t closable_bit(uint64_t fd) { return fd < kClosable ? uint64_t{1} << fd : 0; }

inline void no_longer_closable(ControlPage* c, uint64_t bits) { __atomic_fetch_and(&c->may_close, ~bits, __ATOMIC_SEQ_CST); }

// Before a request: the Sentry is told what was closed, and what it told is no longer so.
inline void ask_about_files(ControlPage* c) {
  CallLine& line = c->line;
  const uint32_t facts = c->told_facts;
  c->told_fd = c->told_facts = 0;
  if ((facts & kUsedStat) != 0) line.kind |= kReqUsedStat;
  if ((facts & kUsedStart) != 0) line.kind |= kReqUsedStart;
  if (c->start_read == 0) {
    __atomic_store_n(&c->start_read, kNoStart, __ATOMIC_RELAXED);
  } else if (c->start_read != kNoStart) {
    line.kind |= kReqReadStart;
  }
  if ((c->may_close | c->closed) == 0 || !has_number(line.kind)) return;
  const auto fd = static_cast<uint32_t>(c->gregs[kRdi]);
  switch (line.nr) {
    case __NR_close: no_longer_closable(c, closable_bit(fd)); break;
    case __NR_dup2:
    case __NR_dup3: no_longer_closable(c, closable_bit(static_cast<uint32_t>(c->gregs[kRsi]))); break;
    case __NR_close_range: no_longer_closable(c, ~uint64_t{0}); break;
    default: break;
  }
  // Any other number is no call's.
  if (c->closed == 0 || line.nr < 0 || line.nr >> kClosedShift != 0) return;
  line.nr |= static_cast<int32_t>(__atomic_exchange_n(&c->closed, 0, __ATOMIC_SEQ_CST) << kClosedShift);
  line.kind |= kReqClosed;
}

// After an answer, before the guest sees it. `nr`: the call's number.
inline void note_told(ControlPage* c, uint64_t nr) {
  const Reply& reply = c->line.reply;
  const uint32_t flags = reply.flags;
  const uint64_t fd = (flags & kToldFile) != 0 ? reply.rax : c->gregs[kRdi];
  c->told_fd = static_cast<uint32_t>(fd) + 1;
  c->told_facts = flags & (kToldFile | kToldNew | kToldStat | kToldStart | kToldEnd);
  c->told_flags = (flags & kToldFile) != 0 ? reply.file_flags : static_cast<uint32_t>(nr);
  c->told_round = static_cast<uint32_t>(c->line.nr);
  c->told_until = (flags & kToldBriefly) != 0 ? __builtin_ia32_rdtsc() + kBrief : 0;
  if ((flags & kToldStart) != 0) {
    c->start_size = static_cast<uint16_t>(reply.results[1].size);
    __atomic_store_n(&c->start_read, 0, __ATOMIC_SEQ_CST);
  }
  if ((flags & kToldClose) != 0) __atomic_fetch_or(&c->may_close, closable_bit(fd), __ATOMIC_SEQ_CST);
}

inline bool told_of(const ControlPage* c, uint32_t fd, uint32_t fact) {
  if ((c->told_facts & fact) == 0 || c->told_fd != fd + 1) return false;
  if (__atomic_load_n(&shared()->files_round, __ATOMIC_ACQUIRE) != c->told_round) return false;
  return fact == kToldFile || fact == kToldNew || c->told_until == 0 || __builtin_ia32_rdtsc() < c->told_until;
}

inline bool close_here(ControlPage* c, uint32_t fd) {
  const uint64_t bit = closable_bit(fd);
  if ((c->may_close & bit) == 0) return false;
  uint32_t before = __atomic_load_n(&c->closed, __ATOMIC_RELAXED);
  if (before > 0xff) return false;
  if ((__atomic_fetch_and(&c->may_close, ~bit, __ATOMIC_SEQ_CST) & bit) == 0) return false;
  // Only the Sentry changes it meanwhile, and takes all.
  while (!__atomic_compare_exchange_n(&c->closed, &before, before << 8 | (fd + 1), false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED)) {
  }
  if (c->told_fd == fd + 1) {
    c->told_facts &= kUsed;
    if (c->start_read != kNoStart) __atomic_store_n(&c->start_read, kNoStart, __ATOMIC_SEQ_CST);
  }
  if (c->keeps != 0) forget_file(c, fd);
  forget_segments();
  return true;
}

inline bool stat_here(ControlPage* c, uint64_t to) {
  if (to >= kGuestEnd || try_copy(reinterpret_cast<void*>(to), c->out_buffer, kStatSize) != 0) return false;
  c->told_facts |= kUsedStat;
  return true;
}

// What a call wants of the start from `at` on, `n` bytes. False: it does not lie there, or there may be more.
inline bool copy_of_start(const ControlPage* c, uint64_t at, uint64_t& n) {
  const uint64_t to = c->gregs[kRsi], count = c->gregs[kRdx], size = c->start_size & kMostStart;
  if (!lies_in_guest(to, count) || at > size) return false;
  n = count < size - at ? count : size - at;
  if (n < count && (c->start_size & kStartIsAll) == 0) return false;
  const uint8_t* const start = (c->start_size & kStartInBulk) != 0 ? reinterpret_cast<const uint8_t*>(bulk_address(slot_of_page(c))) : c->out_buffer + kStartAt;
  return try_copy(reinterpret_cast<void*>(to), start + at, n) == 0;
}

// read(2) of what lies within the start, or at the end. False: somebody wants to know where the file is, or there may be more.
inline bool read_start_here(ControlPage* c, uint64_t& value) {
  uint32_t read = __atomic_load_n(&c->start_read, __ATOMIC_RELAXED);
  uint64_t n;
  if (!copy_of_start(c, read, n)) return false;
  if (!__atomic_compare_exchange_n(&c->start_read, &read, read + static_cast<uint32_t>(n), false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED)) return false;
  c->told_facts = (c->told_facts & ~kToldNew) | kUsedStart;  // it is not at its beginning
  value = n;
  return true;
}

// pread64(2) likewise.
inline bool pread_start_here(ControlPage* c, uint64_t& value) {
  if (__atomic_load_n(&c->start_read, __ATOMIC_RELAXED) == kNoStart || !copy_of_start(c, c->gregs[kR10], value)) return false;
  c->told_facts |= kUsedStart;
  return true;
}

// newfstatat(2) of a descriptor, as libc makes fstat(3).
inline bool names_descriptor(const ControlPage* c) {
  constexpr uint64_t kEmptyPath = 0x1000, kHarmless = 0x900;  // AT_EMPTY_PATH; AT_NO_AUTOMOUNT, AT_SYMLINK_NOFOLLOW
  const auto flags = static_cast<uint32_t>(c->gregs[kR10]);
  if ((flags & ~kHarmless) != kEmptyPath || c->gregs[kRsi] >= kGuestEnd) return false;
  char first;
  return try_copy(&first, reinterpret_cast<void*>(c->gregs[kRsi]), 1) == 0 && first == 0;
}

// lseek(2) that says where it is, or goes to where it is.
inline bool stays_at_beginning(const ControlPage* c) {
  return c->gregs[kRsi] == 0 && static_cast<uint32_t>(c->gregs[kRdx]) <= 1;  // SEEK_SET, SEEK_CUR
}

inline bool flags_here(const ControlPage* c, uint64_t& value) {
  enum { kGetfd = 1, kSetfd = 2, kGetfl = 3 };
  const bool cloexec = (c->told_flags & kCloexec) != 0;
  switch (static_cast<uint32_t>(c->gregs[kRsi])) {
    case kGetfd: value = cloexec ? 1 : 0; return true;
    case kSetfd: value = 0; return ((c->gregs[kRdx] & 1) != 0) == cloexec;
    case kGetfl: value = c->told_flags & ~kCloexec; return true;
    default: return false;
  }
}

// False: it is the Sentry's to answer.
inline bool answer_file(ControlPage* c, uint64_t nr, uint64_t& value) {
  if ((c->identity.valid & kOwnDescriptors) == 0) return false;
  const auto fd = static_cast<uint32_t>(c->gregs[kRdi]);
  value = 0;
  switch (nr) {
    case __NR_close: return close_here(c, fd);
    case __NR_fstat: return told_of(c, fd, kToldStat) && stat_here(c, c->gregs[kRsi]);
    case __NR_newfstatat: return told_of(c, fd, kToldStat) && names_descriptor(c) && stat_here(c, c->gregs[kRdx]);
    case __NR_lseek: return told_of(c, fd, kToldNew) && stays_at_beginning(c);
    case __NR_ioctl:  // isatty(3)
      value = static_cast<uint64_t>(-ENOTTY);
      return told_of(c, fd, kToldNew) && static_cast<uint32_t>(c->gregs[kRsi]) == kTcgets;
    case __NR_fcntl: return told_of(c, fd, kToldFile) && flags_here(c, value);
    case __NR_pread64: return told_of(c, fd, kToldStart) && pread_start_here(c, value);
    case __NR_read:
      if (told_of(c, fd, kToldStart)) return read_start_here(c, value);
      [[fallthrough]];
    case __NR_getdents64: return told_of(c, fd, kToldEnd) && c->told_flags == nr && c->gregs[kRsi] < kGuestEnd && c->gregs[kRdx] <= kGuestEnd - c->gregs[kRsi];
    default: return false;
  }
}

}  // namespace run9::sentry::trap::stub
