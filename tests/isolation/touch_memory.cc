// Maps 1 GiB, writes to the first N MiB of it, and waits to be ended: the same system calls whatever N is.
// usage: touch_memory N
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int main(int argc, char** argv) {
  constexpr size_t kSize = size_t{1} << 30;
  const size_t touched = argc > 1 ? strtoul(argv[1], nullptr, 10) << 20 : 0;
  auto* p = static_cast<volatile char*>(
      mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  if (p == MAP_FAILED || touched > kSize) return 1;
  for (size_t at = 0; at < touched; at += 4096) p[at] = 1;
  if (write(1, "done\n", 5) != 5) return 1;
  pause();
  return 0;
}
