// Calls without a signal: those that are answered here, and the way of the others to the Sentry.
#pragma once
#include <errno.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <time.h>

#include "sentry/platform/trap/call_parts.h"
#include "sentry/platform/trap/stub/names.h"
#include "sentry/platform/trap/stub/own_memory.h"
#include "sentry/platform/trap/stub/signals.h"

namespace run9::sentry::trap::stub {

// madvise(2) that drops pages, as threads do with their stacks when they end: an order that nobody need give. What the kernel
// knows of mappings does not change by it, but that of locked ones nothing may be dropped.
inline bool drop_pages(ControlPage* c, uint64_t& result) {
  const uint64_t addr = c->gregs[kRdi], length = c->gregs[kRsi];
  if (static_cast<int>(c->gregs[kRdx]) != MADV_DONTNEED || header().locked != 0) return false;
  if (addr >= kGuestEnd || length > kGuestEnd - addr) return false;
  result = static_cast<uint64_t>(gate_order(__NR_madvise, addr, length, MADV_DONTNEED));
  return true;
}

// set_tid_address(2), of a process's first thread.
inline bool note_clear_tid(const ControlPage* c) {
  ControlHeader& h = header();
  const auto own = static_cast<uint32_t>(slot_of_page(c)) + 1;
  uint32_t whose = 0;
  if (!__atomic_compare_exchange_n(&h.clear_slot, &whose, own, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST) && whose != own) return false;
  __atomic_store_n(&h.clear_tid, c->gregs[kRdi], __ATOMIC_RELEASE);
  return true;
}

inline constexpr uint32_t kArchSetFs = 0x1002;  // ARCH_SET_FS

// getrlimit(2), and prlimit(2) that asks for the process's own.
inline bool limit_here(const ControlPage* c, uint64_t nr, uint64_t& value) {
  const bool plain = nr == __NR_getrlimit;
  const auto which = static_cast<uint32_t>(plain ? c->gregs[kRdi] : c->gregs[kRsi]);
  const uint64_t to = plain ? c->gregs[kRsi] : c->gregs[kR10];
  const auto pid = static_cast<int32_t>(c->gregs[kRdi]);
  if (!plain && ((pid != 0 && pid != c->identity.pid) || c->gregs[kRdx] != 0)) return false;
  const OwnMemory& own = own_memory();
  if (which >= kLimits || to == 0 || to >= kGuestEnd || __atomic_load_n(&own.limits_told, __ATOMIC_ACQUIRE) == 0) return false;
  value = 0;
  return try_copy(reinterpret_cast<void*>(to), &own.limits[which], sizeof own.limits[which]) == 0;
}

// `brought`: answer_name's.
inline bool answer_here(ControlPage* c, uint64_t nr, uint32_t& brought) {
  const Identity& id = c->identity;
  if (id.valid == 0) return false;
  uint64_t value;
  switch (nr) {
    case __NR_getpid: value = static_cast<uint64_t>(id.pid); break;
    case __NR_gettid: value = static_cast<uint64_t>(id.tid); break;
    case __NR_getppid: value = static_cast<uint64_t>(id.ppid); break;
    case __NR_getuid: value = id.uid; break;
    case __NR_geteuid: value = id.euid; break;
    case __NR_getgid: value = id.gid; break;
    case __NR_getegid: value = id.egid; break;
    case __NR_rt_sigprocmask:
      if (!change_mask(c)) return false;
      value = 0;
      break;
    case __NR_madvise:
      if (!drop_pages(c, value)) return false;
      break;
    case __NR_brk:
      if (!grow_heap(c, value)) return false;
      break;
    case __NR_mmap:
      if (!map_here(c, value)) return false;
      break;
    case __NR_munmap:
      if (!unmap_here(c, value)) return false;
      break;
    case __NR_mprotect:
      if (!protect_here(c, value)) return false;
      break;
    case __NR_clock_gettime:
      if (static_cast<clockid_t>(c->gregs[kRdi]) != CLOCK_THREAD_CPUTIME_ID || c->gregs[kRsi] >= kGuestEnd) return false;
      value = static_cast<uint64_t>(gate_order(__NR_clock_gettime, CLOCK_THREAD_CPUTIME_ID, c->gregs[kRsi]));
      break;
    case __NR_sched_yield: value = static_cast<uint64_t>(gate_order(__NR_sched_yield)); break;
    case __NR_rseq: value = static_cast<uint64_t>(-ENOSYS); break;
    case __NR_set_robust_list:
      if (c->gregs[kRsi] != sizeof(robust_list_head)) return false;
      c->robust_list = c->gregs[kRdi];
      value = 0;
      break;
    case __NR_set_tid_address:
      if (!note_clear_tid(c)) return false;
      value = static_cast<uint64_t>(id.tid);
      break;
    case __NR_arch_prctl:
      if (static_cast<uint32_t>(c->gregs[kRdi]) != kArchSetFs || c->gregs[kRsi] >= kGuestEnd) return false;
      asm volatile("wrfsbase %0" : : "r"(c->gregs[kRsi]));
      value = 0;
      break;
    case __NR_getrlimit:
    case __NR_prlimit64:
      if (!limit_here(c, nr, value)) return false;
      break;
    case __NR_pread64:
      if (!transfer_here(c, nr, value) && !answer_file(c, nr, value)) return false;
      break;
    case __NR_readv:
    case __NR_preadv:
    case __NR_write:
    case __NR_writev:
    case __NR_pwrite64:
    case __NR_pwritev:
      if (!transfer_here(c, nr, value)) return false;
      break;
    case __NR_read:
      if (!transfer_here(c, nr, value) && !answer_file(c, nr, value)) return false;
      break;
    case __NR_lseek:
      if (!seek_here(c, value) && !answer_file(c, nr, value)) return false;
      break;
    case __NR_close:
    case __NR_fstat:
    case __NR_fcntl:
    case __NR_ioctl:
    case __NR_getdents64:
      if (!answer_file(c, nr, value)) return false;
      break;
    case __NR_newfstatat:
      if (!answer_file(c, nr, value) && !answer_name(c, nr, value, brought)) return false;
      break;
    case __NR_open:
    case __NR_openat:
    case __NR_access:
    case __NR_faccessat:
    case __NR_faccessat2:
    case __NR_stat:
    case __NR_lstat:
    case __NR_statx:
    case __NR_readlink:
    case __NR_readlinkat:
    case __NR_execve:
      if (!answer_name(c, nr, value, brought)) return false;
      break;
    default: return false;
  }
  c->gregs[kRax] = value;
  return true;
}

// A thread that leaves with nothing in its robust list: the Sentry need not look.
inline void leave_list(ControlPage* c, uint64_t nr) {
  robust_list_head head;
  if ((nr != __NR_exit && nr != __NR_exit_group) || c->robust_list == 0) return;
  const bool read = try_copy(&head, reinterpret_cast<void*>(c->robust_list), sizeof head) == 0;
  if (read && reinterpret_cast<uint64_t>(head.list.next) == c->robust_list && head.list_op_pending == nullptr) {
    c->robust_list = 0;
  }
}

inline iovec part_of_call(const ControlPage* c, uint32_t i) { return reinterpret_cast<const iovec*>(c->in_buffer)[i]; }

// In: copies what the call names to where the Sentry finds it.
class Bringer {
 public:
  Bringer(ControlPage* c, uint32_t used, uint64_t slot) : page_(c), place_(used, slot) {}
  void* take(uint64_t from, uint64_t size) {
    const Place at = place_.next(size);
    if (!at.found) return nullptr;
    uint8_t* const to = at.bulk ? reinterpret_cast<uint8_t*>(bulk_address(place_.slot())) + at.offset : page_->in_buffer + at.offset;
    return try_copy(to, reinterpret_cast<void*>(from), size) == 0 ? to : nullptr;
  }
  bool data(uint64_t total) { return place_.data(total); }
  bool in_bulk() const { return place_.in_bulk(); }

 private:
  ControlPage* page_;
  Places place_;
};

// Out: whether results can be written there.
struct Prober {
  bool add(uint64_t to, uint64_t size) {
    auto* const first = reinterpret_cast<uint8_t*>(to);
    return size == 0 || try_writable(first, first + size - 1) == 0;
  }
  bool add_data(uint64_t to, uint64_t size) { return add(to, first_of(size, STUB_BULK_SIZE)); }
};

inline bool all_writable(const ControlPage* c, uint32_t parts) {
  Prober prober;
  for (uint32_t i = 0; i < parts; ++i) {
    const iovec part = part_of_call(c, i);
    if (!prober.add(address_of(part.iov_base), part.iov_len)) return false;
  }
  return true;
}

// The Sentry works out the same parts.
inline void bring_parts(ControlPage* c, More more, uint64_t nr, uint32_t used, uint64_t slot) {
  CallLine& line = c->line;
  Bringer in(c, used, slot);
  Prober out;
  bool all = false;
  switch (more) {
    case More::kNone: return;
    case More::kGather: all = take_data(c->in_buffer, line.in_length[0] / sizeof(iovec), in); break;
    case More::kScatter:
      if (all_writable(c, line.in_length[0] / sizeof(iovec))) line.out_ready |= kBulkReady;
      return;
    case More::kSent: all = take_sent(copied_once<msghdr>(c->in_buffer), in); break;
    case More::kReceived: all = take_received(line.args[1], copied_once<msghdr>(c->in_buffer), in, out); break;
    case More::kSets: all = take_sets(nr, line.args, in, out); break;
  }
  line.in_length[1] = all ? kAllParts : in.in_bulk() ? kSomeParts : 0;
}

inline bool scatter(const ControlPage* c, uint64_t size) {
  auto* from = reinterpret_cast<const uint8_t*>(bulk_address(slot_of_page(c)));
  for (uint32_t i = 0; size > 0 && i < kMostParts; ++i) {
    const iovec part = part_of_call(c, i);
    const uint64_t n = part.iov_len < size ? part.iov_len : size;
    if (n != 0 && try_copy(part.iov_base, from, n) != 0) return false;
    from += n;
    size -= n;
  }
  return true;
}

// A path that answer_name has brought lies where fill_windows would have put it.
constexpr bool path_comes_first(uint64_t nr) {
  const uint64_t args[6] = {};
  NameCall call;
  name_call(nr, args, call);
  const WindowRule& first = window_table.calls[nr].in[0];
  return first.kind == WindowKind::kString && first.arg == call.path;
}
static_assert(path_comes_first(__NR_open) && path_comes_first(__NR_openat) && path_comes_first(__NR_access) && path_comes_first(__NR_faccessat) &&
              path_comes_first(__NR_faccessat2) && path_comes_first(__NR_stat) && path_comes_first(__NR_lstat) && path_comes_first(__NR_newfstatat) &&
              path_comes_first(__NR_statx) && path_comes_first(__NR_readlink) && path_comes_first(__NR_readlinkat) && path_comes_first(__NR_execve));

// CallLine::out_ready: what the Sentry may write for this call (call_windows.h). Before the line is written to, as a locked instruction waits until
// all is where it was stored to.
inline uint8_t writable_windows(uint64_t nr, const uint64_t* args, uint64_t slot) {
  const CallWindows* const rules = windows_of(nr, args);
  if (rules == nullptr) return 0;
  const bool large = rules->large && slot < STUB_BULK_SLOTS;
  uint8_t ready = 0;
  for (int i = 0; i < kWindows && rules->out[i].kind != WindowKind::kNone; ++i) {
    const uint64_t to = args[rules->out[i].arg];
    const uint64_t size = rules->out[i].out_bytes(args);
    if (to == 0 || size == 0) continue;
    auto* first = reinterpret_cast<uint8_t*>(to);
    if (try_writable(first, first + size - 1) != 0) continue;
    ready |= static_cast<uint8_t>(1 << i);
    const uint64_t more = large ? rules->out[i].bulk_bytes(args) : 0;
    if (more > size && try_writable(first, first + more - 1) == 0) ready |= kBulkReady;
  }
  return ready;
}

// What the Sentry reads for this call, as far as it can be brought along. `brought`: bytes of the first string, if it is in its place already.
inline void fill_windows(ControlPage* c, uint64_t nr, uint64_t slot, uint32_t brought) {
  CallLine& line = c->line;
  line.in_length[0] = line.in_length[1] = 0;
  const CallWindows* const rules = windows_of(nr, line.args);
  if (rules == nullptr) return;
  const CallWindows& w = *rules;
  const bool large = w.large && slot < STUB_BULK_SLOTS;
  uint32_t used = 0;
  for (int i = 0; i < kWindows && w.in[i].kind != WindowKind::kNone; ++i) {
    const uint64_t from = line.args[w.in[i].arg];
    const uint32_t room = kInBuffer - used;
    if (from == 0) continue;
    uint64_t size = 0;
    if (i == 0 && brought != 0) {
      size = brought;
    } else if (w.in[i].kind == WindowKind::kString) {
      const long n = try_string(reinterpret_cast<char*>(c->in_buffer + used), reinterpret_cast<char*>(from), room);
      if (n > 0 && n <= static_cast<long>(room)) size = static_cast<uint64_t>(n);
    } else {
      size = w.in[i].bytes(line.args);
      if (large && goes_by_bulk(size)) {
        const bool copied = try_copy(reinterpret_cast<void*>(bulk_address(slot)), reinterpret_cast<void*>(from), size) == 0;
        line.in_length[i] = copied ? kAllInBulk : 0;
        continue;
      }
      const bool small = w.spare && size <= kSmall;
      void* const to = small ? static_cast<void*>(&line.args[4]) : c->in_buffer + used;
      if (size > room || try_copy(to, reinterpret_cast<void*>(from), size) != 0) size = 0;
    }
    line.in_length[i] = static_cast<uint16_t>(size);
    used += padded(static_cast<uint32_t>(size));
    if (used > kInBuffer) used = kInBuffer;
  }
  if (w.more != More::kNone && (line.in_length[0] != 0 || w.more == More::kSets)) bring_parts(c, w.more, nr, used, slot);
}

// What the call has written. False: some of it cannot be.
inline bool store_results(const ControlPage* c) {
  bool all = true;
  const Window* list = c->line.reply.results;
  uint32_t most = kWindows;
  if (list[0].offset == kListed) {
    most = list[0].size < kMostListed ? list[0].size : kMostListed;
    list = reinterpret_cast<const Window*>(c->out_buffer + kOutList);
  }
  for (uint32_t i = 0; i < most; ++i) {
    const Window& w = list[i];
    if (w.size == 0) break;
    if (w.offset == kScattered) return scatter(c, w.size);
    const void* from = c->out_buffer + w.offset;
    if (rides_in_line(w.offset)) from = &c->line.reply.results[1];
    if (w.offset == kInBulk) from = reinterpret_cast<const void*>(bulk_address(slot_of_page(c)));
    if (try_copy(reinterpret_cast<void*>(w.addr), from, w.size) != 0 && w.offset != kToldInLine) all = false;
    if (rides_in_line(w.offset)) break;
  }
  return all;
}

// What the host's kernel writes there (copy_fpstate_to_sigframe of arch/x86/kernel/fpu/signal.c).
inline bool store_state(uint64_t to) {
  const uint64_t size = xstate_size(), features = shared()->xfeatures;
  const uint32_t end = FP_XSTATE_MAGIC2;
  _fpx_sw_bytes said = {};
  said.magic1 = FP_XSTATE_MAGIC1;
  said.extended_size = static_cast<uint32_t>(size);
  said.xstate_bv = features;
  said.xstate_size = static_cast<uint32_t>(size - sizeof end);
  return try_xsave(reinterpret_cast<void*>(to), features) == 0 && try_copy(reinterpret_cast<void*>(to + kStateSaid), &said, sizeof said) == 0 &&
         try_copy(reinterpret_cast<void*>(to + size - sizeof end), &end, sizeof end) == 0;
}

// Into a signal handler. Where its frame cannot be written it ends at once, in a page fault. Protection keys stay as they are: nobody
// has any.
inline void enter_handler_from_call(ControlPage* c, bool stored) {
  constexpr uint64_t kProtectionKeys = 1 << 9;
  note_left(c);
  if (!stored || !store_state(c->state_to)) c->gregs[kRip] = 0;
  reset_xstate(shared()->xfeatures & ~kProtectionKeys);
  c->mode = MODE_PLAIN;
  c->flags = lahf_and_seto(c->gregs[kEfl]);
}

// The way out is prepared; 1 if it goes by a frame: then `by_frame` are the flags of the answer for which it does.
inline uint32_t conclude(ControlPage* c, uint32_t by_frame) {
  const Reply& reply = c->line.reply;
  const uint32_t flags = reply.flags;
  if (flags & kExit) leave(c, Store::kHere);
  const uint64_t nr = c->gregs[kRax];
  if (!(flags & kRegs)) c->gregs[kRax] = reply.rax;
  const bool stored = store_results(c);
  if (flags & kHandler) {
    enter_handler_from_call(c, stored);
  } else if (!stored) {
    c->gregs[kRax] = static_cast<uint64_t>(-EFAULT);
  }
  if (flags & by_frame) {
    c->reason = kTrapApply;
    return 1;
  }
  if (flags & kSetFs) asm volatile("wrfsbase %0" : : "r"(c->fs_base));
  if (flags & kSetGs) set_guest_gs(c, c->gs_base);
  if ((flags & (kToldFile | kToldEnd)) != 0 && (flags & kHandler) == 0 && stored) note_told(c, nr);
  __atomic_store_n(&c->line.state, kIdle, __ATOMIC_RELEASE);
  return 0;
}

inline uint32_t finish(ControlPage* c, uint64_t slot) {
  if (converse(c, nullptr, slot)) {
    c->reason = kTrapFrame;
    return 1;
  }
  return conclude(c, kRegs | kResetFpu);
}

// Writes down what the dispatcher's assembly did not.
inline void describe(ControlPage* c) {
  c->frame = 0;
  c->behind = c->gregs[kRip];
  c->gregs[kEfl] = c->gregs[kR11] = guest_flags(c);
  asm volatile("rdfsbase %0" : "=r"(c->fs_base));
  c->gs_base = 0;
}

// 0: the call is over, its result in the page. 1: a frame is needed (ControlPage::reason).
[[gnu::noinline]] inline uint32_t ask(ControlPage* c, uint64_t nr, RequestKind kind, uint32_t brought) {
  describe(c);
  if (nr == __NR_rt_sigreturn && may_return(c)) leave_handler(c, slot_of_page(c));
  if (needs_frame(nr, c->gregs[kRdi])) {
    c->reason = kTrapSlow;
    return 1;
  }
  leave_list(c, nr);
  const uint64_t slot = slot_of_page(c);
  const uint64_t args[6] = {c->gregs[kRdi], c->gregs[kRsi], c->gregs[kRdx], c->gregs[kR10], c->gregs[kR8], c->gregs[kR9]};
  const uint8_t ready = writable_windows(nr, args, slot);
  CallLine& line = c->line;
  line.nr = static_cast<int32_t>(nr);
  for (int i = 0; i < 6; ++i) line.args[i] = args[i];
  line.kind = kind;
  line.out_ready = ready;
  fill_windows(c, nr, slot, brought);
  return finish(c, slot);
}

}  // namespace run9::sentry::trap::stub
