// A guest process beside the attackers, of another user. It makes calls all the time, with a secret in their buffers and
// in its memory, and compares what it gets. For each line on its standard input it says how it is.
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

namespace {

constexpr size_t kMemory = 1 << 18;
const char* g_harm = nullptr;

void check(bool good, const char* what) {
  if (!good && g_harm == nullptr) g_harm = what;
}

uint64_t pattern(const char* secret, size_t i) {
  uint64_t v;
  memcpy(&v, secret + 8, sizeof v);
  return v * (2 * i + 1);
}

void round(const char* secret, int* pipe_ends, pid_t pid, pid_t parent, int self, const char* start) {
  check(getpid() == pid && getppid() == parent && getuid() == 0 && geteuid() == 0, "who it is");
  char text[256] = {};
  check(write(pipe_ends[1], secret, 40) == 40 && read(pipe_ends[0], text, sizeof text) == 40 && memcmp(text, secret, 40) == 0,
        "a pipe");
  struct stat st;
  snprintf(text, sizeof text, "/%s", secret);
  check(stat(text, &st) == -1 && errno == ENOENT, "a name");
  check(pread(self, text, sizeof text, 0) == sizeof text && memcmp(text, start, sizeof text) == 0, "a file");
  check(getcwd(text, sizeof text) != nullptr && strcmp(text, "/") == 0, "its directory");
}

}  // namespace

int main() {
  uint8_t random[16];
  char secret[48] = "CANARY-";
  if (getrandom(random, sizeof random, 0) != sizeof random) return 1;
  for (int i = 0; i < 16; ++i) snprintf(secret + 7 + 2 * i, 3, "%02x", random[i]);
  auto* memory = static_cast<uint64_t*>(mmap(nullptr, kMemory, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  for (size_t i = 0; i < kMemory / 8; ++i) memory[i] = pattern(secret, i);
  int pipe_ends[2];
  const int self = open("/proc/self/exe", O_RDONLY);
  char start[256];
  if (pipe(pipe_ends) != 0 || pread(self, start, sizeof start, 0) != sizeof start) return 1;
  printf("%s\n", secret);
  fflush(stdout);
  const pid_t pid = getpid(), parent = getppid();
  for (long rounds = 0;; ++rounds) {
    round(secret, pipe_ends, pid, parent, self, start);
    pollfd in{0, POLLIN, 0};
    if (poll(&in, 1, 1) == 0) continue;
    char line[64];
    if (read(0, line, sizeof line) <= 0) return 0;
    for (size_t i = 0; i < kMemory / 8; ++i) check(memory[i] == pattern(secret, i), "its memory");
    printf("%s %ld\n", g_harm == nullptr ? "intact" : g_harm, rounds);
    fflush(stdout);
  }
}
