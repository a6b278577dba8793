// Micro-benchmarks of single operations, one static program for the host and for the sandbox. Prints a line
// each: name and the best round's nanoseconds for one operation. bench/run makes the ratios.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>

namespace {

constexpr int kRounds = 7;

double now_ns() {
  timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return static_cast<double>(ts.tv_sec) * 1e9 + static_cast<double>(ts.tv_nsec);
}

void measure(const char* name, int count, const std::function<void(int)>& body) {
  double best = 1e18;
  for (int round = 0; round < kRounds; ++round) {
    const double start = now_ns();
    body(count);
    const double each = (now_ns() - start) / count;
    if (each < best) best = each;
  }
  std::printf("%s %.0f\n", name, best);
  std::fflush(stdout);
}

void check(bool ok, const char* what) {
  if (ok) return;
  std::perror(what);
  std::exit(1);
}

void ping_pong(int count) {
  int a[2], b[2];
  check(pipe(a) == 0 && pipe(b) == 0, "pipe");
  const pid_t child = fork();
  char c = 0;
  if (child == 0) {
    for (int i = 0; i < count; ++i) {
      if (read(a[0], &c, 1) != 1 || write(b[1], &c, 1) != 1) _exit(1);
    }
    _exit(0);
  }
  for (int i = 0; i < count; ++i) {
    check(write(a[1], &c, 1) == 1 && read(b[0], &c, 1) == 1, "ping-pong");
  }
  waitpid(child, nullptr, 0);
  for (int fd : {a[0], a[1], b[0], b[1]}) close(fd);
}

// A process that has written to 1 GiB makes a child that ends at once: what a fork costs for each page.
void fork_big(int count) {
  for (int i = 0; i < count; ++i) {
    const pid_t child = fork();
    if (child == 0) _exit(0);
    check(child > 0 && waitpid(child, nullptr, 0) == child, "fork");
  }
}

void touch_fresh(int pages) {
  const size_t size = static_cast<size_t>(pages) * 4096;
  auto* p = static_cast<char*>(mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  check(p != MAP_FAILED, "mmap");
  madvise(p, size, MADV_NOHUGEPAGE);
  for (size_t i = 0; i < size; i += 4096) p[i] = 1;
  munmap(p, size);
}

}  // namespace

int main(int argc, char** argv) {
  const char* only = argc > 1 ? argv[1] : "";
  const auto wanted = [&](const char* name) { return *only == 0 || std::strcmp(only, name) == 0; };
  const char* file = "/etc/hostname";
  if (wanted("getppid")) {
    measure("getppid", 20000, [](int n) {
      for (int i = 0; i < n; ++i) syscall(SYS_getppid);
    });
  }
  if (wanted("stat")) {
    measure("stat", 5000, [&](int n) {
      struct stat st;
      for (int i = 0; i < n; ++i) check(stat(file, &st) == 0, "stat");
    });
  }
  if (wanted("open_read_close")) {
    measure("open_read_close", 3000, [&](int n) {
      char buffer[64];
      for (int i = 0; i < n; ++i) {
        const int fd = open(file, O_RDONLY);
        check(fd >= 0 && read(fd, buffer, sizeof buffer) >= 0, "open");
        close(fd);
      }
    });
  }
  if (wanted("pipe_1_byte")) {
    int p[2];
    check(pipe(p) == 0, "pipe");
    measure("pipe_1_byte", 5000, [&](int n) {
      char c = 0;
      for (int i = 0; i < n; ++i) check(write(p[1], &c, 1) == 1 && read(p[0], &c, 1) == 1, "pipe");
    });
  }
  if (wanted("pipe_ping_pong")) measure("pipe_ping_pong", 1000, ping_pong);
  if (wanted("fork_exec_wait")) {
    measure("fork_exec_wait", 50, [](int n) {
      for (int i = 0; i < n; ++i) {
        const pid_t child = fork();
        if (child == 0) {
          execl("/bin/true", "true", nullptr);
          _exit(127);
        }
        int status = 0;
        check(waitpid(child, &status, 0) == child && status == 0, "true");
      }
    });
  }
  if (wanted("fork_1_gib")) {
    constexpr size_t kSize = size_t{1} << 30;
    void* p = mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    check(p != MAP_FAILED, "mmap");
    std::memset(p, 1, kSize);
    measure("fork_1_gib", 3, fork_big);
    munmap(p, kSize);
  }
  if (wanted("fresh_memory")) measure("fresh_memory", 8192, touch_fresh);
}
