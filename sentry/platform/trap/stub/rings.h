// read(2) and write(2) of pipes whose memory this process shares with the other side (platform/pipe_ring.h).
#pragma once
#include <asm/unistd.h>
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>

#include "sentry/platform/trap/stub/futexes.h"

namespace run9::sentry::trap::stub {

struct RingCall {
  ControlPage* c;
  uint32_t fd;
  PipeRing* ring;
  uint64_t at;    // the caller's buffer
  uint64_t size;  // and its bytes
  bool reads;
};

inline PipeRing* ring_of(uint32_t fd, bool reads) {
  if (fd >= STUB_RING_FDS) return nullptr;
  const uint8_t entry = __atomic_load_n(&header().rings[fd], __ATOMIC_ACQUIRE);
  if ((entry & (reads ? kRingReads : kRingWrites)) == 0) return nullptr;
  return reinterpret_cast<PipeRing*>(ring_address(entry % STUB_RINGS_COUNT));
}

// Until the Sentry has taken the pipe back, whatever the word says: the other side may say anything there.
inline bool is_offered(const RingCall& call) { return ring_of(call.fd, call.reads) == call.ring; }

inline uint32_t* futex_of(PipeRing* ring) { return reinterpret_cast<uint32_t*>(&ring->word); }

inline void wake_side(ControlPage* c, PipeRing* ring) {
  const uint64_t args[7] = {reinterpret_cast<uint64_t>(futex_of(ring)), FUTEX_WAKE, INT_MAX, 0, 0, 0, __NR_futex};
  bool kicked = false;
  while (gate_guest_futex(c, args) == -EINTR) {  // the kick's turn comes when the call is over
    c->kicked = 0;
    kicked = true;
  }
  if (kicked) c->kicked = 1;
}

// Until the word is another one than `seen`, or the Sentry takes a pipe back, or for no reason. False: a kick came.
inline bool await_change(const RingCall& call, RingWord seen) {
  const auto word = reinterpret_cast<uint64_t>(futex_of(call.ring));
  if (changes_soon(call.c, word, seen.low())) return true;
  const uint32_t withdrawn = __atomic_load_n(&command_page().withdrawn, __ATOMIC_ACQUIRE);
  if (!is_offered(call)) return true;
  if (!call.ring->change(seen, seen.with(call.reads ? RingWord::kReaderSleeps : RingWord::kWriterSleeps))) return true;
  const futex_waitv words[2] = {{.val = seen.low(), .uaddr = word, .flags = FUTEX_32, .__reserved = 0},
                                {.val = withdrawn, .uaddr = reinterpret_cast<uint64_t>(&command_page().withdrawn), .flags = FUTEX_32, .__reserved = 0}};
  const uint64_t args[7] = {reinterpret_cast<uint64_t>(words), 2, 0, 0, 0, 0, __NR_futex_waitv};
  return at_host(call.c, [&] { return rest(call.c, args); }) != -EINTR;
}

// Bytes of the ring from a position on, to or from the caller's. False: his cannot be reached from here.
inline bool copy_part(const RingCall& call, uint64_t done, uint32_t position, uint32_t n) {
  const uint32_t at = position % RingWord::kSize;
  const uint32_t first = n < RingWord::kSize - at ? n : RingWord::kSize - at;
  auto* theirs = reinterpret_cast<uint8_t*>(call.at + done);
  uint8_t* const ours = call.ring->bytes;
  const auto copy = [&](uint8_t* their, uint8_t* our, uint32_t size) {
    return size == 0 || (call.reads ? try_copy(their, our, size) : try_copy(our, their, size)) == 0;
  };
  return copy(theirs, ours + at, first) && copy(theirs + first, ours, n - first);
}

// How many bytes this side can move now, at least one; 0: it has to wait.
inline uint32_t movable(const RingCall& call, RingWord w, uint64_t done) {
  const uint64_t left = call.size - done;
  const uint32_t there = call.reads ? w.used() : w.free();
  // Up to PIPE_BUF bytes go in at once or not at all.
  if (!call.reads && done == 0 && left <= PIPE_BUF && there < left) return 0;
  return left < there ? static_cast<uint32_t>(left) : there;
}

// One move. kDone: `moved` bytes, or none: look again.
inline Served move_some(const RingCall& call, uint64_t done, uint32_t& moved) {
  constexpr int kPatience = 4000;  // pauses: as long as a copy takes
  constexpr int kTries = 1000;     // somebody may keep changing the word
  const uint64_t lock = call.reads ? RingWord::kReaderLock : RingWord::kWriterLock;
  PipeRing& ring = *call.ring;
  moved = 0;
  RingWord w = ring.load();
  // Whoever has the lock may have been stopped, or have died: the kernel takes the pipe back then.
  for (int i = 0; w.has(lock) && !w.has(RingWord::kClosed); ++i, w = ring.load()) {
    if (i == kPatience) return Served::kAsk;
    __builtin_ia32_pause();
  }
  if (w.has(RingWord::kClosed) || !is_offered(call)) return Served::kAsk;
  const uint32_t n = movable(call, w, done);
  if (n == 0) return await_change(call, w) ? Served::kDone : Served::kBrokenOff;
  const uint32_t position = call.reads ? w.head() : w.tail();
  if (!ring.change(w, w.with(lock))) return Served::kDone;
  const bool copied = copy_part(call, done, position, n);
  w = ring.load();
  for (int i = 0;; ++i) {
    if (i == kTries || w.has(RingWord::kClosed)) return Served::kAsk;  // it has not happened
    RingWord next = w.without(lock);
    if (copied) next = call.reads ? next.read(n) : next.written(n);
    // A writer that waits is woken when there is room for what goes in at once.
    const bool wakes = copied && (call.reads ? w.has(RingWord::kWriterSleeps) && next.free() >= PIPE_BUF : w.has(RingWord::kReaderSleeps));
    if (wakes) next = next.without(call.reads ? RingWord::kWriterSleeps : RingWord::kReaderSleeps);
    if (!ring.change(w, next)) continue;
    if (wakes) wake_side(call.c, &ring);
    break;
  }
  if (!copied) return Served::kAsk;  // EFAULT, or memory that the kernel provides
  moved = n;
  return Served::kDone;
}

// kBrokenOff: ControlPage::already says how much of a write(2) has been done.
inline Served serve_ring(ControlPage* c, bool reads) {
  constexpr uint64_t kMaxTransfer = 0x7ffff000;
  const uint64_t at = c->gregs[kRsi];
  const auto fd = static_cast<uint32_t>(c->gregs[kRdi]);
  RingCall call{c, fd, ring_of(fd, reads), at, c->gregs[kRdx], reads};
  if (call.ring == nullptr || at >= kGuestEnd || call.size > kGuestEnd - at) return Served::kAsk;
  if (call.size > kMaxTransfer) call.size = kMaxTransfer;
  constexpr int kRounds = 64;  // in which nothing moves, before the kernel looks after it
  uint64_t done = 0;
  for (int in_vain = 0; done < call.size;) {
    uint32_t moved = 0;
    Served how = move_some(call, done, moved);
    in_vain = moved != 0 ? 0 : in_vain + 1;
    if (in_vain == kRounds) how = Served::kAsk;
    if (how != Served::kDone) {
      c->already = done;
      return how == Served::kAsk && done != 0 ? Served::kBrokenOff : how;
    }
    done += moved;
    if (reads && moved != 0) break;
  }
  c->gregs[kRax] = done;
  return Served::kDone;
}

}  // namespace run9::sentry::trap::stub
