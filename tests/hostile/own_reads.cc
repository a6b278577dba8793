// Files that a thread reads at the host by itself: it has the host's descriptors, and a table that it may write. It gets no further by them than by the calls
// of the guest, and a program that comes after it in the same process of the host not even there.
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/hostile/attack.h"

namespace hostile {

using namespace run9::sentry::trap;

constexpr int kDescriptors = 200;

int readable_here() {
  int found = 0;
  char byte;
  for (int fd = 0; fd < kDescriptors; ++fd) {
    if (at_gate(GATE_ORDER, SYS_pread64, fd, reinterpret_cast<long>(&byte), 1, 0) == 1) ++found;
  }
  return found;
}

namespace {

constexpr char kSelf[] = "/hostile_guest";

OwnReads& my_reads(const ControlPage* c) {
  const uint64_t slot = (reinterpret_cast<uint64_t>(c) - STUB_CTL) / 0x1000 - 1;
  return *reinterpret_cast<OwnReads*>(reads_address(slot));
}

void read_often(int fd) {
  char byte;
  for (int i = 0; i < 50; ++i) {
    if (read(fd, &byte, 1) != 1 || pread(fd, &byte, 1, i) != 1) broken("a read failed: errno %d", errno);
  }
}

void expect_none(const char* when) {
  if (const int n = readable_here(); n != 0) broken("%d descriptors are readable %s", n, when);
}

void kept_files() {
  ControlPage* c = my_page();
  if (c == nullptr) return;
  expect_none("before any file was opened");
  const int fd = open(kSelf, O_RDONLY);
  read_often(fd);
  if (readable_here() != 1) broken("%d descriptors are readable, not one", readable_here());
  for (int host = 0; host < kDescriptors; ++host) {
    constexpr long kAt = 0x10000000;
    if (at_gate(GATE_ORDER, SYS_mmap, kAt, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, host, 0) == kAt) broken("a file that is only read was mapped for writing");
    for (const long nr : {SYS_pwrite64, SYS_ftruncate, SYS_fchmod, SYS_fcntl, SYS_lseek, SYS_read, SYS_dup, SYS_openat}) {
      in_child([&] {
        const long r = at_gate(GATE_ORDER, nr, host, 0, 0, 0);
        if (r >= 0 && host > 5 && nr != SYS_openat) broken("call %ld was made with descriptor %d", nr, host);
      }, 50);
      if (host > 8) break;
    }
  }
  close(fd);
  getppid();
  syscall(SYS_getpgid, 0);
  expect_none("after the file was closed");
  const int again = open(kSelf, O_RDONLY);
  read_often(again);
  dup2(0, again);
  syscall(SYS_getpgid, 0);
  expect_none("after another file took its place");
  const int filtered = open(kSelf, O_RDONLY);
  read_often(filtered);
  sock_filter allow = {BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW};
  const sock_fprog filter{1, &allow};
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0) broken("seccomp: errno %d", errno);
  syscall(SYS_getpgid, 0);
  expect_none("to a program with a filter");
}

void left_for_the_next_program() {
  if (my_page() == nullptr) return;
  const pid_t child = fork();
  if (child == 0) {
    const int fds[] = {open(kSelf, O_RDONLY | O_CLOEXEC), open(kSelf, O_RDONLY)};
    for (const int fd : fds) read_often(fd);
    const char* arguments[] = {"hostile_guest", "--files", nullptr};
    execv(kSelf, const_cast<char**>(arguments));
  }
  int status = -1;
  waitpid(child, &status, 0);
  if (status != 0) broken("a program after one that has read files ended with %x", status);
}

void* scribble_reads(void* page) {
  const auto* c = static_cast<ControlPage*>(page);
  auto& reads = const_cast<volatile OwnReads&>(my_reads(c));
  for (;;) {
    auto& e = reads.entries[dice(kOwnReads)];
    switch (dice(4)) {
      case 0: e.fd = static_cast<uint32_t>(dice(12)); break;
      case 1: e.host = static_cast<uint32_t>(dice(40)); break;
      case 2: e.position = dice(3) == 0 ? dice() : dice(1000); break;
      default: reads.stale = 1;
    }
  }
}

// What it says of its positions is what the Sentry goes on with.
void wrong_positions() {
  while (time_left(kBriefMs)) {
    in_child([] {
      ControlPage* c = my_page();
      if (c == nullptr) return;
      const int fd = open(kSelf, O_RDONLY), second = open(kSelf, O_RDONLY);
      read_often(fd);
      my_reads(c).entries[static_cast<uint32_t>(fd) % kOwnReads].position = dice();
      close(dup(fd));
      char byte;
      [[maybe_unused]] auto n = read(fd, &byte, 1);
      read_often(second);
      c->keeps = ~0u;
      start_thread(scribble_reads, c);
      while (time_left(kBriefMs)) {
        lseek(fd, static_cast<off_t>(dice(100)), SEEK_SET);
        n = read(fd, &byte, 1);
        n = pread(second, &byte, 1, 3);
        close(dup(second));
        if (dice(20) == 0) in_child([&] { n = read(second, &byte, 1); }, 20);
      }
    });
  }
}

}  // namespace

const Attack read_attacks[] = {
    {"kept_files", kept_files}, {"left_for_the_next_program", left_for_the_next_program}, {"wrong_positions", wrong_positions}, {}};

}  // namespace hostile
