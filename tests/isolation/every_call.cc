// A guest that makes every system call there is, and those there are not, by each way into the kernel: the
// test beside it watches what the host hears of it. Each call is made in a child, as many of them end one.
//
// usage: every_call FILE, a path that calls are given as their argument
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fcntl.h>

namespace {

constexpr long kNumbers = 470;
constexpr long kX32 = 0x40000000;
constexpr int kPatienceUs = 250000;  // for calls that wait for ever

enum class Entry { kSyscall, kInt80 };

long call(Entry entry, long nr, long a, long b, long c) {
  long ret = nr;
  if (entry == Entry::kInt80) {
    asm volatile("int $0x80" : "+a"(ret) : "b"(a), "c"(b), "d"(c), "S"(0L), "D"(0L) : "memory", "r8", "r9", "r10", "r11");
    return ret;
  }
  register long r10 asm("r10") = 0;
  register long r8 asm("r8") = 0;
  register long r9 asm("r9") = 0;
  asm volatile("syscall" : "+a"(ret) : "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
  return ret;
}

// Nothing is asked of the call but that we, or our parent, live to see its end.
void in_a_child(Entry entry, long nr, long a, long b, long c) {
  const pid_t child = fork();
  if (child == 0) {
    const itimerval patience{{0, kPatienceUs}, {0, kPatienceUs}};
    setitimer(ITIMER_REAL, &patience, nullptr);
    call(entry, nr, a, b, c);
    _exit(0);
  }
  if (child > 0) waitpid(child, nullptr, 0);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  // Below 4 GiB, so that the 32-bit entry can name it.
  void* low = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
  if (low == MAP_FAILED) return 3;
  strncpy(static_cast<char*>(low), argv[1], 4095);
  const long path = static_cast<long>(reinterpret_cast<uintptr_t>(low));
  for (long nr = 0; nr < kNumbers; ++nr) {
    in_a_child(Entry::kSyscall, nr, 0, 0, 0);
    in_a_child(Entry::kSyscall, nr, path, 0, 0);
    in_a_child(Entry::kSyscall, nr, AT_FDCWD, path, path);
    in_a_child(Entry::kSyscall, nr | kX32, path, 0, 0);
    in_a_child(Entry::kInt80, nr, path, 0, 0);
  }
  printf("made %ld calls\n", kNumbers * 5);
  return 0;
}
