// What a thread notes down about its descriptors, and says that it has closed: it may lie to itself, and close what is its own, but not past a
// filter that has its say about each call.
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "tests/hostile/attack.h"

namespace hostile {

using namespace run9::sentry::trap;

namespace {

constexpr long closing(uint32_t packed) { return static_cast<long>(SYS_getppid | packed << kClosedShift); }
constexpr const char* kSmallFile = "/tmp/small-file-of-told-files";

// Read not long ago and not written since, so that it is told.
int own_small_file() {
  const int fd = open(kSmallFile, O_RDWR | O_CREAT, 0644);
  [[maybe_unused]] const ssize_t n = write(fd, "text", 4);
  const timespec times[] = {{time(nullptr) + 5, 0}, {1000, 0}};
  futimens(fd, times);
  return fd;
}

constexpr uint32_t one(int fd) { return static_cast<uint32_t>(fd) + 1; }

// Descriptors of all kinds, and numbers that are none.
void forged_closes() {
  while (time_left(kBriefMs)) {
    in_child([] {
      ControlPage* c = my_page();
      if (c == nullptr) return;
      int fds[2];
      for (int i = 0; i < 8; ++i) [[maybe_unused]] const int made = pipe(fds);
      for (int i = 0; i < 20; ++i) {
        forge(c, {static_cast<uint8_t>(kReqSyscall | kReqClosed | (dice(2) != 0 ? kReqUsedStat : 0)), closing(static_cast<uint32_t>(dice()) & 0x7fff), {}});
        [[maybe_unused]] const int fd = open("/", O_RDONLY);
        dup(fd);
      }
    });
  }
  int fds[2];
  if (pipe(fds) != 0) return;
  in_child([&] {
    if (ControlPage* c = my_page(); c != nullptr) forge(c, {kReqSyscall | kReqClosed, closing(one(fds[1])), {}});
  });
  if (fcntl(fds[1], F_GETFD) < 0) broken("another process's descriptor was closed");
  close(fds[0]);
  close(fds[1]);
}

// close(2) is refused by a filter, and by its number alone.
void closes_past_a_filter() {
  in_child([] {
    ControlPage* c = my_page();
    if (c == nullptr) return;
    const int fd = open("/", O_RDONLY);
    sock_filter rules[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_close, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const sock_fprog program = {4, rules};
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) return;
    c->closed = one(fd);
    c->may_close = ~uint64_t{0};
    close(fd);
    forge(c, {kReqSyscall | kReqClosed, closing(one(fd)), {}});
    // In the page alone: for who looks at it because it is filtered.
    c->closed = one(fd);
    forge(c, {kReqSyscall, SYS_getppid, {}});
    c->closed = 0;
    if (fcntl(fd, F_GETFD) < 0) broken("a descriptor was closed past a filter");
  }, 3000);
}

// That a file was read which it was never told, or that somebody else has the position of.
void forged_reads() {
  const int shared = open("/proc/self/exe", O_RDONLY);
  if (shared < 0 || lseek(shared, 5, SEEK_SET) != 5) return;
  in_child([&] {
    ControlPage* c = my_page();
    if (c == nullptr) return;
    const int fd = own_small_file();
    char text[64];
    while (time_left(kBriefMs)) {
      const int again = open(kSmallFile, O_RDONLY);
      if (dice(2) != 0) [[maybe_unused]] const ssize_t n = read(again, text, sizeof text);
      if (dice(4) == 0) dup2(shared, again);
      c->start_read = static_cast<uint32_t>(dice(4) == 0 ? dice() : dice(70));
      c->start_size = static_cast<uint16_t>(dice());
      forge(c, {static_cast<uint8_t>(kReqSyscall | kReqReadStart | (dice(2) != 0 ? kReqUsedStart : 0)), SYS_getppid, {}});
      close(again);
    }
    close(fd);
  });
  if (lseek(shared, 0, SEEK_CUR) != 5) broken("another process's file was moved");
  unlink(kSmallFile);
  close(shared);
}

void* scribble_notes(void* page) {
  auto* c = static_cast<volatile ControlPage*>(page);
  for (;;) {
    c->closed = static_cast<uint32_t>(dice());
    c->may_close = dice();
    c->told_fd = static_cast<uint32_t>(dice(8));
    c->told_facts = static_cast<uint32_t>(dice()) & 0x7ffff;
    c->start_read = static_cast<uint32_t>(dice(4) == 0 ? dice() : dice(70));
    c->start_size = static_cast<uint16_t>(dice());
    c->told_flags = static_cast<uint32_t>(dice());
  }
}

void wrong_notes() {
  while (time_left(kBriefMs)) {
    in_child([] {
      ControlPage* c = my_page();
      if (c == nullptr) return;
      c->identity.valid = kMayAnswer | kOwnDescriptors;
      close(own_small_file());
      start_thread(scribble_notes, c);
      char text[64];
      struct stat st;
      while (time_left(kBriefMs)) {
        const int fd = open("/", O_RDONLY | O_DIRECTORY);
        fstat(fd, &st);
        fcntl(fd, F_GETFL);
        syscall(SYS_getdents64, fd, text, sizeof text);
        close(fd);
        const int file = open(kSmallFile, O_RDONLY);
        [[maybe_unused]] const ssize_t n = read(file, text, sizeof text);
        close(file);
      }
    });
  }
  unlink(kSmallFile);
}

}  // namespace

const Attack file_attacks[] = {{"forged_closes", forged_closes}, {"closes_past_a_filter", closes_past_a_filter}, {"forged_reads", forged_reads}, {"wrong_notes", wrong_notes}, {}};

}  // namespace hostile
