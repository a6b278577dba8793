// What the exec tests execute: prints one fact about itself. Built twice, as a static program at a
// fixed address and as a static position-independent one.
#include <elf.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
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
