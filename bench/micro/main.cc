// run9-bench [--ms N] [--dir DIRECTORY] ROW...    times rows (no ROW: lists them)
// run9-bench time COUNT COMMAND ARG...            times a whole program
// run9-bench hold KIND COUNT DIRECTORY            makes so many processes, threads, ..., and keeps them
//
// Prints a line for each: name and the best batch's nanoseconds for one operation. bench/run starts it natively
// and in sandboxes and makes the ratios: so it measures by one clock, inside, what a program there sees.
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "bench/micro/rows.h"

extern char** environ;

namespace run9::bench {

void check(bool ok, const char* what) {
  if (ok) return;
  std::fprintf(stderr, "run9-bench: %s: %s\n", what, std::strerror(errno));
  std::exit(1);
}

Pipe::Pipe() {
  int ends[2];
  check(pipe2(ends, O_CLOEXEC) == 0, "pipe2");
  reader = ends[0];
  writer = ends[1];
}

namespace {

double now_ns() {
  timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return static_cast<double>(ts.tv_sec) * 1e9 + static_cast<double>(ts.tv_nsec);
}

double time_of(const Body& body, int count) {
  const double start = now_ns();
  body(count);
  return now_ns() - start;
}

// A batch is long enough for the clock and short enough to fall between two disturbances.
double best_of_batches(const Body& body, double budget_ns) {
  constexpr double kBatch = 4e6;
  const double end = now_ns() + budget_ns;
  // The better of two: one disturbance must not pass a short batch for a long one.
  const auto try_count = [&](int n) { return std::min(time_of(body, n), time_of(body, n)); };
  int count = 1;
  double took = try_count(count);
  while (took < kBatch && count < (1 << 24)) {
    count = took < kBatch / 8 ? count * 4 : static_cast<int>(count * kBatch / took) + 1;
    took = try_count(count);
  }
  double best = took / count;
  while (now_ns() < end) best = std::min(best, time_of(body, count) / count);
  return best;
}

double run_command(char** argv) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
  const double start = now_ns();
  pid_t child = -1;
  check(posix_spawnp(&child, argv[0], &actions, nullptr, argv, environ) == 0, argv[0]);
  int status = 0;
  check(waitpid(child, &status, 0) == child, "waitpid");
  const double took = now_ns() - start;
  posix_spawn_file_actions_destroy(&actions);
  if (status != 0) {
    std::fprintf(stderr, "run9-bench: %s failed: wait status %#x\n", argv[0], status);
    std::exit(1);
  }
  return took;
}

int time_command(int count, char** argv) {
  double best = run_command(argv);
  for (int i = 1; i < count; ++i) best = std::min(best, run_command(argv));
  std::printf("time %.0f\n", best);
  return 0;
}

int main_of_rows(int argc, char** argv) {
  double budget = 100e6;
  std::string directory = "/tmp";
  int next = 1;
  for (; next + 1 < argc && argv[next][0] == '-'; next += 2) {
    const std::string option = argv[next];
    if (option == "--ms") {
      budget = std::atof(argv[next + 1]) * 1e6;
    } else if (option == "--dir") {
      directory = argv[next + 1];
    } else {
      std::fprintf(stderr, "run9-bench: there is no option %s (--ms, --dir)\n", argv[next]);
      return 2;
    }
  }
  Rows rows;
  add_calls(rows);
  add_files(rows, directory);
  add_memory(rows);
  add_processes(rows);
  add_threads(rows);
  add_sockets(rows);
  if (next == argc) {
    for (const Row& row : rows) std::puts(row.name.c_str());
    return 0;
  }
  for (; next < argc; ++next) {
    const auto row = std::find_if(rows.begin(), rows.end(), [&](const Row& r) { return r.name == argv[next]; });
    if (row == rows.end()) {
      std::fprintf(stderr, "run9-bench: there is no row %s; without arguments it lists them\n", argv[next]);
      return 2;
    }
    std::printf("%s %.1f\n", row->name.c_str(), best_of_batches(row->prepare(), budget) / row->operations);
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace
}  // namespace run9::bench

int main(int argc, char** argv) {
  if (argc > 3 && std::strcmp(argv[1], "time") == 0) return run9::bench::time_command(std::atoi(argv[2]), argv + 3);
  if (argc == 5 && std::strcmp(argv[1], "hold") == 0) return run9::bench::hold(argv[2], std::atoi(argv[3]), argv[4]);
  return run9::bench::main_of_rows(argc, argv);
}
