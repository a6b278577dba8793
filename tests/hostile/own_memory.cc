// Mappings that a process's only thread changes by itself: what it says of them is made up, or changes while the Sentry reads it.
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/hostile/attack.h"

namespace hostile {

using namespace run9::sentry;
using namespace run9::sentry::trap;

namespace {

constexpr uint64_t kHuge = uint64_t{1} << 40;

OwnMemory& words() { return *reinterpret_cast<OwnMemory*>(STUB_CTL + STUB_OWN_MEMORY); }
void said(OwnMemory& w) { __atomic_fetch_add(&w.changes, 1, __ATOMIC_SEQ_CST); }

// The end of the last mapping below `below`, as the kernel lists them; and the sum of all their sizes.
struct Listed {
  uint64_t last = 0, sum = 0;
};
Listed listed(uint64_t below) {
  Listed out;
  FILE* const maps = fopen("/proc/self/maps", "r");
  char line[512];
  while (maps != nullptr && fgets(line, sizeof line, maps) != nullptr) {
    uint64_t start = 0, end = 0;
    if (sscanf(line, "%lx-%lx", &start, &end) != 2 || start >= below) continue;
    out.last = end;
    out.sum += end - start;
  }
  if (maps != nullptr) fclose(maps);
  return out;
}

void make_offers() {
  void* const p = mmap(nullptr, 4096, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  munmap(p, 4096);
}

void fill_at_random(OwnMemory& w) {
  auto* const bytes = reinterpret_cast<uint64_t*>(&w);
  for (size_t i = 0; i < sizeof w / 8; ++i) {
    const uint64_t kinds[] = {dice(), dice(kHuge), dice(64), STUB_CTL + dice(1 << 20), w.top - dice(64) * 4096, w.heap_limit - dice(64) * 4096};
    if (dice(3) != 0) bytes[i] = kinds[dice(6)];
  }
}

void own_memory() {
  if (my_page() == nullptr) return;
  // No more is believed than was offered.
  in_child([] {
    make_offers();
    OwnMemory& w = words();
    const Listed before = listed(STUB_TEXT);
    const uint64_t room = w.top - w.floor, heap = w.heap_limit - w.heap_end;
    w.heap_end = w.heap_limit + kHuge;
    for (uint32_t i = 0; i < kOwnPieces; ++i) w.piece[i] = {w.top - kHuge + i * 4096, kHuge / 2};
    w.piece[1] = {STUB_TEXT - 4096, 4096 * 4};
    w.piece[2] = {w.floor - 4096, 8192};
    w.piece[3] = {w.floor + 1, 8192};
    w.piece[4] = {w.floor, ~uint64_t{0}};
    w.pieces = ~0u;
    w.maps_done = w.protects_done = w.maps = w.protects = ~0u;
    said(w);
    const Listed after = listed(STUB_TEXT);
    if (after.sum > before.sum + room + heap + (1 << 20)) broken("%lx bytes of mappings became %lx", before.sum, after.sum);
    if (after.last > before.last) broken("a mapping ends at %lx", after.last);
  });
  // Twice the same piece, and one within the other: each byte counts once.
  in_child([] {
    make_offers();
    OwnMemory& w = words();
    const Listed before = listed(STUB_TEXT);
    if (w.floor >= w.top) return;
    w.piece[0] = w.piece[1] = {w.floor, (1 << 20) | 3};
    w.piece[2] = {w.floor + 4096, 8192 | 3};
    w.pieces = 3;
    said(w);
    if (listed(STUB_TEXT).sum > before.sum + (1 << 20) + (1 << 20)) broken("a piece counts twice");
    w.piece[0].length = w.piece[1].length = w.piece[2].length = 0;
    said(w);
    if (listed(STUB_TEXT).sum > before.sum + (1 << 19)) broken("a piece that is gone still counts");
  });
  // Where the end of a thread is told: not there.
  for (const uint64_t to : {uint64_t{1}, uint64_t{STUB_CTL}, uint64_t{STUB_CTL} + 0x1000, uint64_t{STUB_TEXT}, ~uint64_t{0}, uint64_t{1} << 63}) {
    in_child([to] {
      auto& h = *reinterpret_cast<ControlHeader*>(STUB_CTL);
      start_thread([](void*) -> void* {
        for (int i = 0; i < 20; ++i) getsid(0);
        syscall(SYS_exit, 0);
        return nullptr;
      });
      for (int i = 0; i < 200; ++i) {
        h.clear_tid = to;
        h.clear_slot = static_cast<uint32_t>(dice(4) == 0 ? dice() : dice(4));
        getsid(0);
      }
      syscall(SYS_exit, 0);
    });
  }
  // Anything, while calls of all kinds change and read the list.
  while (time_left(2000)) {
    in_child([] {
      make_offers();
      for (int i = 0; i < 200; ++i) {
        OwnMemory& w = words();
        fill_at_random(w);
        said(w);
        switch (dice(8)) {
          case 0: make_offers(); break;
          case 1: (void)listed(STUB_TEXT); break;
          case 2: syscall(SYS_brk, syscall(SYS_brk, 0) + dice(1 << 16)); break;
          case 3: mmap(nullptr, dice(1 << 16), PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); break;
          case 4: munmap(reinterpret_cast<void*>(w.floor + dice(64) * 4096), 4096); break;
          case 5: mprotect(reinterpret_cast<void*>(w.top - dice(64) * 4096), 4096, PROT_READ); break;
          case 6:
            if (const pid_t child = fork(); child == 0) _exit(0);
            else waitpid(child, nullptr, 0);
            break;
          default: getsid(0);
        }
      }
    });
    // From a thread of which the list knows, beside the one that asks.
    in_child([] {
      start_thread([](void*) -> void* {
        for (;;) {
          fill_at_random(words());
          said(words());
        }
      });
      for (int i = 0; i < 100; ++i) {
        make_offers();
        (void)listed(STUB_TEXT);
      }
    });
  }
}

}  // namespace

const Attack own_memory_attacks[] = {{"own_memory", own_memory}, {}};

}  // namespace hostile
