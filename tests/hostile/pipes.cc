// Pipes whose memory two processes share: what one of them can do to the other.
#include <limits.h>
#include <linux/futex.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/hostile/attack.h"

namespace hostile {
namespace {

using run9::sentry::PipeRing;
using run9::sentry::RingWord;

constexpr int kWarm = 400;

PipeRing* ring_at(uint64_t n) { return reinterpret_cast<PipeRing*>(run9::sentry::trap::ring_address(n)); }

sigjmp_buf g_fault;

bool is_mapped(const PipeRing* ring) {
  struct sigaction action = {}, old;
  action.sa_handler = [](int) { siglongjmp(g_fault, 1); };
  sigaction(SIGSEGV, &action, &old);
  const bool mapped = sigsetjmp(g_fault, 1) == 0 && (*reinterpret_cast<const volatile uint64_t*>(&ring->word), true);
  sigaction(SIGSEGV, &old, nullptr);
  return mapped;
}

// An honest process, which answers each byte, and two pipes that are warm.
struct Peer {
  int to = -1, from = -1;
  pid_t pid = -1;
  Peer() {
    int there[2], back[2];
    if (pipe(there) != 0 || pipe(back) != 0) return;
    pid = fork();
    if (pid == 0) {
      close(there[1]);
      close(back[0]);
      char c;
      while (read(there[0], &c, 1) == 1 && write(back[1], &c, 1) == 1) {
      }
      _exit(0);
    }
    close(there[0]);
    close(back[1]);
    to = there[1], from = back[0];
    char c = 'w';
    for (int i = 0; i < kWarm; ++i) {
      if (write(to, &c, 1) != 1 || read(from, &c, 1) != 1) broken("a pipe does not work");
    }
  }
  // Closes what it has; the other must end.
  void finish() const {
    close(to);
    close(from);
    for (int ms = 0; ms < 5000; ++ms) {
      if (waitpid(pid, nullptr, WNOHANG) == pid) return;
      usleep(1000);
    }
    broken("a process does not hear that its pipe's other end is closed");
    kill(pid, SIGKILL);
    waitpid(pid, nullptr, 0);
  }
};

// Every word that may make sense, and none, without pause; also what was there a moment ago.
void* scribble_on(void*) {
  for (;;) {
    for (uint64_t n = 0; n < 2; ++n) {
      uint64_t& word = ring_at(n)->word;
      const uint64_t was = __atomic_load_n(&word, __ATOMIC_RELAXED);
      const uint64_t said[] = {dice(), was & ~RingWord::kClosed, RingWord(was).written(dice(70'000)).bits(), RingWord(was).read(dice(70'000)).bits(),
                               was ^ uint64_t{1} << dice(64), was};
      __atomic_store_n(&word, said[dice(6)], __ATOMIC_RELAXED);
      ring_at(n)->bytes[dice(RingWord::kSize)] = static_cast<uint8_t>(dice());
    }
    if (dice(64) == 0) usleep(50);
  }
}

void shared_pipes() {
  for (int i = 0; i < 12; ++i) {
    in_child([] {
      const Peer peer;
      if (my_page() == nullptr) return peer.finish();
      if (!is_mapped(ring_at(0)) || !is_mapped(ring_at(1))) return broken("warm pipes are not shared: this attacks nothing");
      start_thread(scribble_on);
      usleep(static_cast<useconds_t>(dice(3000)));
      peer.finish();
    }, 8000);
  }
}

// The word before it was taken back, put there again each time: a sleeper must not believe it.
void* restore(void*) {
  const uint64_t was[] = {__atomic_load_n(&ring_at(0)->word, __ATOMIC_RELAXED), __atomic_load_n(&ring_at(1)->word, __ATOMIC_RELAXED)};
  for (;;) {
    for (uint64_t n = 0; n < 2; ++n) __atomic_store_n(&ring_at(n)->word, was[n], __ATOMIC_RELAXED);
  }
}

void restored_pipes() {
  for (int i = 0; i < 12; ++i) {
    in_child([] {
      const Peer peer;
      usleep(2000);  // it sleeps
      if (my_page() != nullptr) start_thread(restore);
      usleep(static_cast<useconds_t>(dice(500)));
      peer.finish();
    }, 8000);
  }
}

void moved_sleepers() {
  if (my_page() == nullptr) return;
  in_child([] {
    const Peer peer;
    static uint32_t mine[2];
    const auto ring = reinterpret_cast<long>(&ring_at(0)->word), own = reinterpret_cast<long>(mine);
    for (const auto& [from, to] : {std::pair{ring, own}, {own, ring}}) {
      for (long op : {FUTEX_REQUEUE, FUTEX_CMP_REQUEUE, FUTEX_WAKE_OP}) {
        if (at_gate(GATE_GUEST_FUTEX, SYS_futex, from, op, 0, INT_MAX, to, 0) >= 0) broken("futex %ld from %lx to %lx", op, from, to);
      }
    }
    peer.finish();
  }, 8000);
}

bool any_ring() {
  for (uint64_t n = 0; n < STUB_RINGS_COUNT; ++n) {
    if (is_mapped(ring_at(n))) return true;
  }
  return false;
}

// Who was not given a ring has none: a forked child, another program in the same place, and one after it.
void inherited_rings() {
  in_child([] {
    const Peer peer;
    in_child([] {
      if (any_ring()) broken("a forked child has its parent's rings");
    });
    peer.finish();
  }, 8000);
  for (int i = 0; i < 4; ++i) {
    const pid_t child = fork();
    if (child == 0) {
      const Peer peer;
      close(peer.to);
      const char* arguments[] = {"hostile_guest", "--rings", nullptr};
      execv("/hostile_guest", const_cast<char**>(arguments));
      _exit(3);
    }
    int status = -1;
    waitpid(child, &status, 0);
    if (status != 0) broken("a program began with rings of another's (%x)", status);
  }
}

}  // namespace

int rings_here() { return my_page() != nullptr && any_ring() ? 1 : 0; }

const Attack pipe_attacks[] = {{"shared_pipes", shared_pipes}, {"restored_pipes", restored_pipes}, {"moved_sleepers", moved_sleepers},
                               {"inherited_rings", inherited_rings}, {}};

}  // namespace hostile
