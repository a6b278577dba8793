// System calls of every kind from everywhere.
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/hostile/attack.h"

namespace hostile {
namespace {

constexpr long kX32 = 0x40000000;

// Every number with the stub's own pages as its arguments, in place of the caller's.
void stub_as_arguments() {
  for (long nr = 0; nr < 470; nr += 1) {
    if (nr == SYS_fork || nr == SYS_vfork || nr == SYS_clone || nr == SYS_clone3) continue;
    in_child(
        [&] {
          const uint64_t pages[] = {STUB_CTL + 0x1000, STUB_STACKS, STUB_CTL, STUB_BASES, STUB_TABLE, STUB_TEXT};
          for (uint64_t p : pages) syscall(nr, p, p, 4096L, p, p, p);
        },
        20);
  }
}

using Code = void (*)(long nr);

// Ways in, as bytes: rdi = the number.
struct Entry {
  const char* name;
  uint8_t bytes[24];
};
constexpr Entry kEntries[] = {
    {"syscall", {0x48, 0x89, 0xf8, 0x0f, 0x05, 0xc3}},
    {"int 0x80", {0x48, 0x89, 0xf8, 0x48, 0x31, 0xdb, 0xcd, 0x80, 0xc3}},
    {"sysenter", {0x48, 0x89, 0xf8, 0x48, 0x89, 0xe5, 0x0f, 0x34, 0xc3}},
    {"vsyscall", {0x48, 0xc7, 0xc0, 0x00, 0x04, 0x60, 0xff, 0x31, 0xff, 0xff, 0xd0, 0xc3}},
    {"into the vsyscall page", {0x48, 0xc7, 0xc0, 0x07, 0x04, 0x60, 0xff, 0xff, 0xe0}},
    {"far call", {0x48, 0x89, 0xf8, 0xff, 0x1c, 0x24, 0xc3}},
    {"a patched site's bytes", {0xff, 0x24, 0xe5, 0x00, 0x00, 0x06, 0x00, 0xc3}},
};

void from(void* memory, long nr) {
  for (const Entry& e : kEntries) {
    in_child([&] {
      if (mprotect(memory, 4096, PROT_READ | PROT_WRITE) != 0) return;
      memcpy(memory, e.bytes, sizeof e.bytes);
      mprotect(memory, 4096, PROT_READ | PROT_EXEC);
      reinterpret_cast<Code>(memory)(nr);
    }, 100);
  }
}

void odd_entries() {
  char name[] = "/tmp/hostile-XXXXXX";
  alignas(4096) static char data[4096];
  void* anonymous = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  void* shared = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  void* low = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
  alignas(4096) char stack[4096];
  for (void* memory : {static_cast<void*>(data), anonymous, shared, low, static_cast<void*>(stack)}) {
    for (long nr : {long{SYS_getppid}, SYS_getppid | kX32, long{SYS_fork}, -1L}) from(memory, nr);
  }
  // Writable and executable at once, from a file that is gone.
  const int fd = mkstemp(name);
  if (fd < 0 || ftruncate(fd, 4096) != 0) return;
  unlink(name);
  from(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), SYS_getppid);
}

void nothing() {}

}  // namespace

const Attack entry_attacks[] = {
    {"nothing", nothing}, {"stub_as_arguments", stub_as_arguments}, {"odd_entries", odd_entries}, {}};

}  // namespace hostile
