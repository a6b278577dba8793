// What the exec tests execute: prints one fact about itself. Built twice, as a static program at a
// fixed address and as a static position-independent one.
#include <elf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <time.h>
#include <unistd.h>

extern char** environ;

int main(int argc, char** argv) {
  if (argc >= 2 && strcmp(argv[1], "code") == 0) return 42;
  if (argc >= 2 && strcmp(argv[1], "address") == 0) {
    printf("%d\n", reinterpret_cast<unsigned long>(&main) < 0x10000000 ? 1 : 0);
    return 0;
  }
  if (argc >= 2 && strcmp(argv[1], "env") == 0) {
    for (char** e = environ; *e != nullptr; ++e) printf("%s\n", *e);
    return 0;
  }
  if (argc >= 2 && strcmp(argv[1], "size") == 0) {
    size_t total = 0;
    for (int i = 0; i < argc; ++i) total += strlen(argv[i]) + 1;
    printf("%d %zu\n", argc, total);
    return 0;
  }
  if (argc >= 3 && strcmp(argv[1], "mapped") == 0) {
    const auto* at = reinterpret_cast<const char*>(strtoul(argv[2], nullptr, 16));
    puts(access(at, F_OK) == -1 && errno == EFAULT ? "no" : "yes");
    return 0;
  }
  if (argc >= 2 && strcmp(argv[1], "ids") == 0) {
    printf("%lu %lu %lu\n", getauxval(AT_UID), getauxval(AT_EUID), getauxval(AT_SECURE));
    return 0;
  }
  const auto used_ms = [] {
    timespec used;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return used.tv_sec * 1000 + used.tv_nsec / 1'000'000;
  };
  if (argc >= 2 && strcmp(argv[1], "time") == 0) {
    puts(used_ms() >= 20 ? "long" : "short");
    return 0;
  }
  if (argc >= 2 && strcmp(argv[1], "burn") == 0) {
    while (used_ms() < 30) {
    }
    return 0;
  }
  if (argc >= 2 && strcmp(argv[1], "cat") == 0) {
    char c;
    while (read(0, &c, 1) == 1) {
      if (write(1, &c, 1) != 1) return 1;
    }
    return 0;
  }
  for (int i = 0; i < argc; ++i) printf("[%s]", argv[i]);
  printf("\n");
  return 0;
}
