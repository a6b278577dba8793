// Every byte of the stub's that can be written, while other threads make calls; and those that cannot.
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/hostile/attack.h"

namespace hostile {
namespace {

constexpr uint64_t kParts[] = {STUB_TEXT,       STUB_SHARED, STUB_MESSAGES, STUB_CMD,
                               STUB_PATCHES,    STUB_BASES,  STUB_CTL,      STUB_STACKS, STUB_TABLE, STUB_RINGS};

template <typename T>
void poke(uint64_t at, T value) {
  *reinterpret_cast<volatile T*>(at) = value;
}

void map_over_the_stub() {
  constexpr int kPrivate = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
  for (uint64_t part : kParts) {
    void* at = reinterpret_cast<void*>(part);
    const auto l = static_cast<long>(part);
    if (mmap(at, 4096, PROT_READ | PROT_WRITE, kPrivate, -1, 0) == at) broken("mmap took %lx", part);
    if (munmap(at, 4096) == 0 && part != STUB_TABLE) broken("munmap took %lx", part);
    if (mprotect(at, 4096, PROT_READ | PROT_WRITE | PROT_EXEC) == 0) broken("mprotect took %lx", part);
    if (mremap(at, 4096, 4096, MREMAP_MAYMOVE) != MAP_FAILED) broken("mremap took %lx", part);
    if (part == STUB_TABLE) continue;  // its own loss: see table()
    const long order[] = {at_gate(GATE_ORDER, SYS_mmap, l, 4096, PROT_READ | PROT_WRITE, kPrivate, -1, 0),
                          at_gate(GATE_ORDER, SYS_munmap, l, 4096), at_gate(GATE_ORDER, SYS_mprotect, l, 4096, 7),
                          at_gate(GATE_ORDER, SYS_madvise, l, 4096, MADV_DONTNEED),
                          at_gate(GATE_ORDER, SYS_mremap, l, 4096, 4096, MREMAP_MAYMOVE | MREMAP_FIXED, 0x10000000),
                          at_gate(GATE_ORDER, SYS_mremap, l, 4096, 8192, 0),
                          at_gate(GATE_ORDER, SYS_mremap, 0x10000000, 4096, l - 0x10000000 + 4096, 0)};
    for (long r : order) {
      if (r >= 0) broken("an order changed %lx", part);
    }
  }
}

// What only the Sentry writes. A write that succeeds would be seen by other processes.
void read_only_parts() {
  for (uint64_t part : {uint64_t{STUB_TEXT}, uint64_t{STUB_SHARED}, uint64_t{STUB_MESSAGES}, uint64_t{STUB_CMD},
                        uint64_t{STUB_PATCHES}, uint64_t{STUB_TABLE}, uint64_t{getauxval(AT_SYSINFO_EHDR)}}) {
    if (part == 0) continue;  // there is no vDSO
    in_child([&] {
      mprotect(reinterpret_cast<void*>(part), 4096, PROT_READ | PROT_WRITE);
      at_gate(GATE_ORDER, SYS_mprotect, static_cast<long>(part), 4096, PROT_READ | PROT_WRITE);
      poke<uint8_t>(part, *reinterpret_cast<volatile uint8_t*>(part));
      broken("%lx can be written", part);
    });
  }
}

// Control pages and alternate stacks, a word here and there.
void scribble() {
  for (int round = 0; round < 3; ++round) {
    dice();
    in_child([] {
      start_callers(3);
      for (;;) {
        for (int i = 0; i < 16; ++i) poke(STUB_CTL + dice(8 * 1024) * 4, static_cast<uint32_t>(dice()));
        poke(STUB_STACKS + dice(4 * STUB_SLOT_STACK), static_cast<uint8_t>(dice()));
      }
    });
  }
}

// All of them at once.
void flood() {
  in_child([] {
    start_callers(3);
    usleep(20'000);
    for (int fill : {0, 0xff, 0x41}) {
      memset(reinterpret_cast<void*>(STUB_STACKS), fill, 4 * STUB_SLOT_STACK);
      memset(reinterpret_cast<void*>(STUB_CTL), fill, 8 * 4096);
      memset(reinterpret_cast<void*>(STUB_BASES), fill, STUB_BASES_SIZE);
    }
    for (;;) memset(reinterpret_cast<void*>(STUB_CTL), static_cast<int>(dice()), 8 * 4096);
  });
}

void handle(int) {}

// Frames of signals, the guest's and the stub's own, while both arrive.
void alternate_stacks() {
  for (int round = 0; round < 40 && time_left(2000); ++round) {
    dice();
    in_child([] {
      static char alternate[65536];
      const stack_t mine{alternate, 0, sizeof alternate};
      sigaltstack(&mine, nullptr);
      struct sigaction action {};
      action.sa_handler = handle;
      action.sa_flags = SA_ONSTACK | SA_RESTART;
      sigaction(SIGUSR1, &action, nullptr);
      start_thread([](void*) -> void* {
        for (;;) {
          poke(STUB_STACKS + STUB_SLOT_STACK - dice(0x2000) - 8, dice());
          poke(reinterpret_cast<uint64_t>(alternate) + dice(sizeof alternate - 8), dice());
        }
      });
      for (;;) kill(getpid(), SIGUSR1);
    }, 100);
  }
}

// The agent's results, while it maps files and forks: no file may come in the place of another.
void agent_results() {
  for (int round = 0; round < 2; ++round) {
    in_child([] {
      int fds[2];
      for (int i = 0; i < 2; ++i) {
        char name[] = "/tmp/hostile-XXXXXX";
        fds[i] = mkstemp(name);
        unlink(name);
        char text[4096];
        memset(text, 'a' + i, sizeof text);
        if (write(fds[i], text, sizeof text) != sizeof text) return;
      }
      start_thread([](void*) -> void* {
        for (;;) {
          poke(STUB_AGENT_PAGE + AGENT_RESULTS + dice(CMD_MAX) * 8, dice(3) - 1);
          poke(STUB_AGENT_PAGE + AGENT_BUFFERS + dice(16) * 8, dice(8));
        }
      });
      for (int i = 0;; ++i) {
        auto* p = static_cast<char*>(mmap(nullptr, 4096, PROT_READ, i % 3 ? MAP_PRIVATE : MAP_SHARED, fds[i % 2], 0));
        if (p != MAP_FAILED && *p != 'a' + i % 2 && *p != 0) broken("file %d was mapped for %d", *p - 'a', i % 2);
        if (p != MAP_FAILED) munmap(p, 4096);
        if (i % 16 == 0) in_child([] {}, 20);
      }
    });
  }
}

// What other guests have said: their control pages must not be seen from here.
void search() {
  const char half[] = "CANA", rest[] = "RY-";
  for (const auto& [start, size] : {std::pair<uint64_t, uint64_t>{STUB_SHARED, STUB_SHARED_SIZE}, {STUB_CMD, 0x1000},
                                    {STUB_PATCHES, STUB_PATCHES_SIZE}, {STUB_BASES, STUB_BASES_SIZE},
                                    {STUB_TABLE, STUB_TABLE_SIZE}, {STUB_CTL, 16 * 0x1000}, {STUB_STACKS, 8 * STUB_SLOT_STACK}}) {
    in_child([&, start = start, size = size] {
      const auto* p = reinterpret_cast<const char*>(start);
      for (uint64_t i = 0; i + 32 < size; ++i) {
        if (memcmp(p + i, half, 4) == 0 && memcmp(p + i + 4, rest, 3) == 0) broken("%.32s at %lx", p + i, start + i);
      }
    });
  }
}

}  // namespace

const Attack stub_memory_attacks[] = {
    {"map_over_the_stub", map_over_the_stub}, {"read_only_parts", read_only_parts}, {"scribble", scribble}, {"flood", flood},
    {"alternate_stacks", alternate_stacks},   {"agent_results", agent_results},     {"search", search},     {}};

}  // namespace hostile
