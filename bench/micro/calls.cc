// System calls that need no other process: ids, clocks, pipes and readiness.
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "bench/micro/rows.h"

namespace run9::bench {
namespace {

// `mov $nr, %eax; syscall`, as glibc's wrappers have it.
template <int kNumber>
long inlined() {
  long result;
  asm volatile("mov %1, %%eax\n\tsyscall" : "=&a"(result) : "i"(kNumber) : "rcx", "r11", "memory");
  return result;
}

void ids_inlined(int count) {
  for (int i = 0; i < count; ++i) {
    inlined<SYS_getpid>();
    inlined<SYS_gettid>();
    inlined<SYS_getppid>();
  }
}

void ids_libc(int count) {
  for (int i = 0; i < count; ++i) {
    syscall(SYS_getpid);
    syscall(SYS_gettid);
    syscall(SYS_getppid);
  }
}

// Code that the program makes while it runs: nobody has seen its `syscall` before.
Body ids_sigsys() {
  const unsigned char code[] = {0x89, 0xf8, 0x0f, 0x05, 0xc3};  // mov %edi, %eax; syscall; ret
  void* p = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  check(p != MAP_FAILED, "mmap");
  std::memcpy(p, code, sizeof code);
  check(mprotect(p, 4096, PROT_READ | PROT_EXEC) == 0, "mprotect");
  const auto call = reinterpret_cast<long (*)(int)>(p);
  check(call(SYS_getpid) == getpid(), "generated code");
  return [call](int count) {
    for (int i = 0; i < count; ++i) {
      call(SYS_getpid);
      call(SYS_gettid);
      call(SYS_getppid);
    }
  };
}

void clock_gettime_loop(int count) {
  timespec ts;
  for (int i = 0; i < count; ++i) clock_gettime(CLOCK_MONOTONIC, &ts);
}

void dup_close(int count) {
  for (int i = 0; i < count; ++i) {
    const int fd = dup(0);
    check(fd >= 0, "dup");
    close(fd);
  }
}

Body pipe_1_byte() {
  return [p = Pipe()](int count) {
    char c = 0;
    for (int i = 0; i < count; ++i) check(write(p.writer, &c, 1) == 1 && read(p.reader, &c, 1) == 1, "pipe");
  };
}

Body poll_2() {
  return [full = Pipe(), empty = Pipe(), written = false](int count) mutable {
    if (!written) check(write(full.writer, "x", 1) == 1, "write");
    written = true;
    pollfd set[] = {{empty.reader, POLLIN, 0}, {full.reader, POLLIN, 0}};
    for (int i = 0; i < count; ++i) check(poll(set, 2, -1) == 1, "poll");
  };
}

Body epoll_2() {
  const int epoll = epoll_create1(0);
  const Pipe full, empty;
  epoll_event event{};
  event.events = EPOLLIN;
  check(epoll_ctl(epoll, EPOLL_CTL_ADD, full.reader, &event) == 0, "epoll_ctl");
  check(epoll_ctl(epoll, EPOLL_CTL_ADD, empty.reader, &event) == 0, "epoll_ctl");
  check(write(full.writer, "x", 1) == 1, "write");
  return [epoll](int count) {
    epoll_event ready[2];
    for (int i = 0; i < count; ++i) check(epoll_wait(epoll, ready, 2, -1) == 1, "epoll_wait");
  };
}

Body select_2() {
  return [full = Pipe(), empty = Pipe(), written = false](int count) mutable {
    if (!written) check(write(full.writer, "x", 1) == 1, "write");
    written = true;
    for (int i = 0; i < count; ++i) {
      fd_set set;
      FD_ZERO(&set);
      FD_SET(empty.reader, &set);
      FD_SET(full.reader, &set);
      timeval none{};
      check(select(std::max(empty.reader, full.reader) + 1, &set, nullptr, nullptr, &none) == 1, "select");
    }
  };
}

// A byte; with a descriptor, which is closed, if there is one.
Body message(int passed) {
  int fds[2];
  check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0, "socketpair");
  return [from = fds[0], to = fds[1], passed](int count) {
    for (int i = 0; i < count; ++i) {
      char byte = 0;
      iovec part = {&byte, 1};
      alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
      msghdr m{};
      m.msg_iov = &part;
      m.msg_iovlen = 1;
      if (passed >= 0) {
        m.msg_control = control;
        m.msg_controllen = sizeof control;
        cmsghdr* const c = CMSG_FIRSTHDR(&m);
        c->cmsg_len = CMSG_LEN(sizeof(int));
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        memcpy(CMSG_DATA(c), &passed, sizeof passed);
      }
      check(sendmsg(from, &m, 0) == 1 && recvmsg(to, &m, MSG_CMSG_CLOEXEC) == 1, "message");
      if (passed < 0) continue;
      int got;
      memcpy(&got, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof got);
      close(got);
    }
  };
}

Body own_signal() {
  struct sigaction action {};
  action.sa_handler = [](int) {};
  check(sigaction(SIGUSR1, &action, nullptr) == 0, "sigaction");
  return [](int count) {
    for (int i = 0; i < count; ++i) check(raise(SIGUSR1) == 0, "raise");
  };
}

}  // namespace

void add_calls(Rows& rows) {
  rows.push_back({"ids_inlined", [] { return ids_inlined; }, 3});
  rows.push_back({"ids_libc", [] { return ids_libc; }, 3});
  rows.push_back({"ids_sigsys", ids_sigsys, 3});
  rows.push_back({"clock_gettime", [] { return clock_gettime_loop; }});
  rows.push_back({"dup_close", [] { return dup_close; }});
  rows.push_back({"pipe_1_byte", pipe_1_byte});
  rows.push_back({"poll_2", poll_2});
  rows.push_back({"epoll_2", epoll_2});
  rows.push_back({"select_2", select_2});
  rows.push_back({"message", [] { return message(-1); }});
  rows.push_back({"descriptor", [] { return message(0); }});
  rows.push_back({"own_signal", own_signal});
}

}  // namespace run9::bench
