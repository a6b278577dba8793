// Processes: made, replaced, and talking to each other.
#include <fcntl.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/micro/rows.h"

namespace run9::bench {
namespace {

void wait_for(pid_t child) {
  int status = 0;
  check(child > 0 && waitpid(child, &status, 0) == child && status == 0, "child");
}

void fork_exit_wait(int count) {
  for (int i = 0; i < count; ++i) {
    const pid_t child = fork();
    if (child == 0) _exit(0);
    wait_for(child);
  }
}

// 64 children that live at the same time; they leave when the pipe's writer closes.
void fork_64(int count) {
  for (int i = 0; i < count; ++i) {
    pid_t children[64];
    int gate[2];
    check(pipe(gate) == 0, "pipe");
    for (pid_t& child : children) {
      child = fork();
      if (child == 0) {
        char c;
        close(gate[1]);
        _exit(read(gate[0], &c, 1) == 0 ? 0 : 1);
      }
    }
    close(gate[0]);
    close(gate[1]);
    for (pid_t child : children) wait_for(child);
  }
}

void fork_exec_wait(int count) {
  for (int i = 0; i < count; ++i) {
    const pid_t child = fork();
    if (child == 0) {
      execl("/bin/true", "true", nullptr);
      _exit(127);
    }
    wait_for(child);
  }
}

void spawn_wait(int count) {
  char name[] = "true";
  char* argv[] = {name, nullptr};
  char* envp[] = {nullptr};
  for (int i = 0; i < count; ++i) {
    pid_t child = -1;
    check(posix_spawn(&child, "/bin/true", nullptr, nullptr, argv, envp) == 0, "posix_spawn");
    wait_for(child);
  }
}

// fork of a process that has touched much memory: the host copies the page tables, whatever else we do.
Body fork_after_1g() {
  constexpr size_t kSize = size_t{1} << 30;
  void* p = mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  check(p != MAP_FAILED, "mmap");
  madvise(p, kSize, MADV_NOHUGEPAGE);
  for (size_t i = 0; i < kSize; i += 4096) static_cast<char*>(p)[i] = 1;
  return fork_exit_wait;
}

// The other process answers until this one, and with it the pipe's last writer, has ended.
Body pipe_ping_pong() {
  const Pipe there, back;
  const pid_t child = fork();
  check(child >= 0, "fork");
  if (child == 0) {
    close(there.writer);
    char c = 0;
    while (read(there.reader, &c, 1) == 1 && write(back.writer, &c, 1) == 1) {
    }
    _exit(0);
  }
  return [=](int count) {
    char c = 0;
    for (int i = 0; i < count; ++i) {
      check(write(there.writer, &c, 1) == 1 && read(back.reader, &c, 1) == 1, "ping-pong");
    }
  };
}

// Four that call without pause, as the jobs of a build do. A turn is a thousand calls of each: to make them is little of it.
Body callers_4() {
  return [](int count) {
    pid_t callers[4];
    for (pid_t& child : callers) {
      child = fork();
      if (child != 0) continue;
      const int own = open("/etc/passwd", O_RDONLY);
      char c;
      for (int i = 0; i < count * 1000; ++i) check(pread(own, &c, 1, 0) == 1, "pread");
      _exit(0);
    }
    for (pid_t child : callers) wait_for(child);
  };
}

}  // namespace

void add_processes(Rows& rows) {
  rows.push_back({"fork_exit_wait", [] { return fork_exit_wait; }});
  rows.push_back({"fork_64", [] { return fork_64; }, 64});
  rows.push_back({"fork_exec_wait", [] { return fork_exec_wait; }});
  rows.push_back({"spawn_wait", [] { return spawn_wait; }});
  rows.push_back({"fork_after_1g", fork_after_1g});
  rows.push_back({"pipe_ping_pong", pipe_ping_pong});
  rows.push_back({"callers_4", callers_4, 4000});
}

}  // namespace run9::bench
