// Makes many of one thing, says so, and keeps them until its input ends: bench/memory looks at what each costs.
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "bench/micro/rows.h"

namespace run9::bench {
namespace {

// For the others to sleep in, until the program ends.
void sleep_on(const Pipe& gate) {
  char c;
  [[maybe_unused]] const ssize_t n = read(gate.reader, &c, 1);
}

void processes(int count, const Pipe& gate) {
  for (int i = 0; i < count; ++i) {
    const pid_t child = fork();
    check(child >= 0, "fork");
    if (child == 0) {
      close(gate.writer);
      sleep_on(gate);
      _exit(0);
    }
  }
}

void threads(int count, const Pipe& gate) {
  for (int i = 0; i < count; ++i) {
    pthread_t thread;
    const auto body = [](void* g) -> void* {
      sleep_on(*static_cast<const Pipe*>(g));
      return nullptr;
    };
    errno = pthread_create(&thread, nullptr, body, const_cast<Pipe*>(&gate));
    check(errno == 0, "pthread_create");
  }
}

std::string name_of(const std::string& directory, int i) { return directory + "/" + std::to_string(i); }

void files(int count, const std::string& directory, int flags) {
  for (int i = 0; i < count; ++i) check(open(name_of(directory, i).c_str(), flags, 0644) >= 0, "open");
}

void names(int count, const std::string& directory, bool there) {
  struct stat st;
  for (int i = 0; i < count; ++i) check((stat(name_of(directory, i).c_str(), &st) == 0) == there, "stat");
}

void pipes(int count) {
  for (int i = 0; i < count; ++i) Pipe();
}

}  // namespace

int hold(const std::string& kind, int count, const std::string& directory) {
  static const Pipe gate;
  if (kind == "processes") processes(count, gate);
  if (kind == "threads") threads(count, gate);
  if (kind == "open") files(count, directory, O_RDONLY);
  if (kind == "create") files(count, directory, O_RDWR | O_CREAT);
  if (kind == "names") names(count, directory, true);
  if (kind == "missing") names(count, directory, false);
  if (kind == "pipes") pipes(count);
  std::puts("ready");
  std::fflush(stdout);
  char c;
  return read(STDIN_FILENO, &c, 1) == 0 ? 0 : 1;
}

}  // namespace run9::bench
