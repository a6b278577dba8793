// Page faults, mappings, and the signal of a bad access.
#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include "bench/micro/rows.h"

namespace run9::bench {
namespace {

char* map(size_t size, int protection) {
  void* p = mmap(nullptr, size, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  check(p != MAP_FAILED, "mmap");
  return static_cast<char*>(p);
}

// A fault alone: the pages go by one call for thousands of them.
Body page_fault() {
  constexpr int kPages = 4096;
  char* p = map(size_t{kPages} * 4096, PROT_READ | PROT_WRITE);
  madvise(p, size_t{kPages} * 4096, MADV_NOHUGEPAGE);
  return [p, next = 0](int count) mutable {
    for (int i = 0; i < count; ++i) {
      if (next == kPages) {
        check(madvise(p, size_t{kPages} * 4096, MADV_DONTNEED) == 0, "madvise");
        next = 0;
      }
      p[size_t{4096} * static_cast<size_t>(next++)] = 1;
    }
  };
}

void map_touch_unmap(int count) {
  for (int i = 0; i < count; ++i) {
    char* p = map(4096, PROT_READ | PROT_WRITE);
    *p = 1;
    munmap(p, 4096);
  }
}

// As many pages as are asked for, mapped, touched and unmapped at once.
void fresh_memory(int count) {
  const size_t size = static_cast<size_t>(count) * 4096;
  char* p = map(size, PROT_READ | PROT_WRITE);
  madvise(p, size, MADV_NOHUGEPAGE);
  for (size_t i = 0; i < size; i += 4096) p[i] = 1;
  munmap(p, size);
}

constexpr int kStoreLength = 3;  // movb $1, (%rdi)

void skip_store(int, siginfo_t*, void* context) {
  static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_RIP] += kStoreLength;
}

Body sigsegv() {
  struct sigaction action = {};
  action.sa_sigaction = skip_store;
  action.sa_flags = SA_SIGINFO;
  check(sigaction(SIGSEGV, &action, nullptr) == 0, "sigaction");
  return [p = map(4096, PROT_NONE)](int count) {
    for (int i = 0; i < count; ++i) asm volatile("movb $1, (%%rdi)" ::"D"(p) : "memory");
  };
}

}  // namespace

void add_memory(Rows& rows) {
  rows.push_back({"page_fault", page_fault});
  rows.push_back({"map_touch_unmap", [] { return map_touch_unmap; }});
  rows.push_back({"fresh_memory", [] { return fresh_memory; }});
  rows.push_back({"sigsegv", sigsegv});
}

}  // namespace run9::bench
