// Files that a thread reads and writes at the host by itself: it has the host's descriptors, and a table that it may write. It gets no further by them than by the calls
// of the guest, and a program that comes after it in the same process of the host not even there.
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>

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
constexpr char kEmpty[] = "";

// As pwrite(2) of nothing finds it.
int writable_here() {
  int found = 0;
  for (int fd = 0; fd < kDescriptors; ++fd) {
    if (at_gate(GATE_ORDER, SYS_pwrite64, fd, reinterpret_cast<long>(kEmpty), 0, 0) == 0) ++found;
  }
  return found;
}

OwnFiles& my_files(const ControlPage* c) {
  const uint64_t slot = (reinterpret_cast<uint64_t>(c) - STUB_CTL) / 0x1000 - 1;
  return *reinterpret_cast<OwnFiles*>(own_files_address(slot));
}

void read_often(int fd) {
  char byte;
  for (int i = 0; i < 50; ++i) {
    if (read(fd, &byte, 1) != 1 || pread(fd, &byte, 1, i) != 1) broken("a read failed: errno %d", errno);
  }
}

// What a gate refuses the Sentry answers, of the guest's descriptor of that number: the host's have low ones.
int out_of_the_way(int fd) {
  const int far = fcntl(fd, F_DUPFD, kDescriptors);
  close(fd);
  return far;
}

// No such call is made at the gate with what a process has that has got its files by `what`.
void expect_refused(std::initializer_list<long> calls, void (*what)()) {
  for (const long nr : calls) {
    in_child([&] {
      what();
      const int out = out_of_the_way(1);
      close(0);
      close(2);
      int made = -1;
      for (int host = 0; host < kDescriptors; ++host) {
        if (at_gate(GATE_ORDER, nr, host) != -EBADF) made = host;
      }
      dup2(out, 1);
      if (made >= 0) broken("call %ld was made with descriptor %d", nr, made);
    }, 100);
  }
}

void expect_none(const char* when) {
  if (const int n = readable_here(); n != 0) broken("%d descriptors are readable %s", n, when);
  if (const int n = writable_here(); n != 0) broken("%d descriptors are writable %s", n, when);
}

void kept_files() {
  ControlPage* c = my_page();
  if (c == nullptr) return;
  expect_none("before any file was opened");
  const int fd = out_of_the_way(open(kSelf, O_RDONLY));
  read_often(fd);
  if (readable_here() != 1) broken("%d descriptors are readable, not one", readable_here());
  if (writable_here() != 0) broken("%d descriptors of what is only read are writable", writable_here());
  for (int host = 0; host < kDescriptors; ++host) {
    constexpr long kAt = 0x10000000;
    if (at_gate(GATE_ORDER, SYS_mmap, kAt, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, host, 0) == kAt) broken("a file that is only read was mapped for writing");
  }
  expect_refused({SYS_ftruncate, SYS_fchmod, SYS_fcntl, SYS_lseek, SYS_read, SYS_dup}, [] { read_often(out_of_the_way(open(kSelf, O_RDONLY))); });
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

// A file of its own that has no name any more.
int own_file(int flags, mode_t mode = 0600, const char* where = "/own") {
  char name[64];
  snprintf(name, sizeof name, "%s/%d.%lx", where, getpid(), static_cast<long>(dice()));
  const int fd = open(name, flags | O_CREAT | O_EXCL, mode);
  if (fd < 0) broken("%s: errno %d", name, errno);
  unlink(name);
  return fd;
}

void write_often(int fd) {
  for (int i = 0; i < 50; ++i) {
    if (write(fd, "w", 1) != 1 || pwrite(fd, "p", 1, i) != 1) broken("a write failed: errno %d", errno);
  }
}

// What it has for writing is its own file, as long as the guest has that; and no file that it may write but not read.
void kept_for_writing() {
  if (my_page() == nullptr) return;
  const int fd = out_of_the_way(own_file(O_WRONLY));
  expect_none("before it was written");
  write_often(fd);
  if (writable_here() != 1) broken("%d descriptors are writable, not one", writable_here());
  expect_refused({SYS_pwritev2, SYS_write, SYS_ftruncate, SYS_fchmod, SYS_fsync, SYS_fallocate, SYS_copy_file_range},
                 [] { write_often(out_of_the_way(own_file(O_RDWR))); });
  struct stat before, after;
  fstat(fd, &before);
  close(fd);
  syscall(SYS_getpgid, 0);
  expect_none("after the file was closed");
  const int blind = own_file(O_WRONLY, 0200);
  write_often(blind);
  expect_none("of a file that it may not read");
  const int limited = own_file(O_RDWR);
  write_often(limited);
  if (fstat(limited, &after) != 0 || after.st_size != before.st_size) broken("%ld bytes, not %ld", after.st_size, before.st_size);
  const rlimit limit = {1000, 1000};
  setrlimit(RLIMIT_FSIZE, &limit);
  syscall(SYS_getpgid, 0);
  expect_none("with a limit");
  close(blind);
  close(limited);
  sync();  // lets a gofer forget files without a name
}

// In the tree that only the sandbox writes to.
int own_log() { return own_file(O_WRONLY | O_APPEND, 0600, ""); }

void append_often(int fd) {
  for (int i = 0; i < 50; ++i) {
    if (write(fd, "w", 1) != 1) broken("an append failed: errno %d", errno);
  }
}

// At its end, and no other way by this call: with an offset of -1 it would be write(2) to anything.
void kept_to_append() {
  if (my_page() == nullptr) return;
  const int fd = out_of_the_way(own_log());
  append_often(fd);
  if (writable_here() != 1) broken("%d descriptors are writable, not one", writable_here());
  in_child([] {
    append_often(out_of_the_way(own_log()));
    constexpr long kOther = RWF_APPEND | RWF_DSYNC;
    constexpr struct {
      long offset, flags;
    } kRefused[] = {{-1, RWF_APPEND}, {-1, 0}, {0xffffffff, RWF_APPEND}, {1L << 32, RWF_APPEND}, {5, RWF_APPEND}, {0, 0}, {0, RWF_NOWAIT}, {0, kOther}};
    const int out = out_of_the_way(1);
    close(0);
    close(2);
    bool made = false;
    for (int host = 0; host < kDescriptors; ++host) {
      for (const auto& r : kRefused) made |= at_gate(GATE_ORDER, SYS_pwritev2, host, reinterpret_cast<long>(kEmpty), 0, r.offset, 0, r.flags) != -EBADF;
    }
    for (const int no_file : {STUB_FD_AGENT, STUB_FD_WAKE, STUB_FD_FILES}) {
      made |= at_gate(GATE_ORDER, SYS_pwritev2, no_file, reinterpret_cast<long>(kEmpty), 0, 0, 0, RWF_APPEND) >= 0;
    }
    dup2(out, 1);
    if (made) broken("pwritev2 was made other than to append to a file");
  });
  close(fd);
  syscall(SYS_getpgid, 0);
  expect_none("after the file was closed");
  sync();
}

int memory_file(size_t size) {
  const int fd = out_of_the_way(static_cast<int>(syscall(SYS_memfd_create, "memory", 0)));
  const std::string text(size, 't');
  if (write(fd, text.data(), size) != static_cast<ssize_t>(size) || lseek(fd, 0, SEEK_SET) != 0) broken("no memory file: errno %d", errno);
  read_often(fd);
  return fd;
}

// A file in the sandbox's memory is no larger for others than the Sentry made it, whatever lies behind its end.
void grown_memory() {
  if (my_page() == nullptr) return;
  constexpr size_t kSize = 200'000;
  const int fd = memory_file(kSize);
  for (int host = 0; host < kDescriptors; ++host) {
    at_gate(GATE_ORDER, SYS_pwrite64, host, reinterpret_cast<long>("behind"), 6, 50'000'000);
    at_gate(GATE_ORDER, SYS_pwrite64, host, reinterpret_cast<long>("far"), 3, INT64_MAX - 10);
  }
  struct stat st;
  if (fstat(fd, &st) != 0 || st.st_size != static_cast<off_t>(kSize)) broken("it has %ld bytes", st.st_size);
  in_child([&] {
    char byte;
    if (lseek(fd, 0, SEEK_END) != static_cast<off_t>(kSize) || read(fd, &byte, 1) != 0) broken("its end has moved");
    if (ftruncate(fd, 300'000) != 0 || ftruncate(fd, 10) != 0 || pwrite(fd, "x", 1, 100'000) != 1) broken("errno %d", errno);
    void* const map = mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map != MAP_FAILED) munmap(map, kSize);
  });
}

// A small one lies in the Sentry's memory too, which copies from and to there whatever is done to the file.
void holes_below_the_sentry() {
  if (my_page() == nullptr) return;
  static constexpr size_t kSize = 20'000;
  constexpr long kAt = 0x10000000, kLength = 0x5000;
  expect_refused({SYS_ftruncate, SYS_fallocate}, [] { memory_file(kSize); });
  const int fd = memory_file(kSize);
  int mapped = 0;
  for (int host = 0; host < kDescriptors; ++host) {
    if (at_gate(GATE_ORDER, SYS_mmap, kAt, kLength, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, host, 0) != kAt) continue;
    ++mapped;
    at_gate(GATE_ORDER, SYS_madvise, kAt, kLength, MADV_REMOVE, 0);
    madvise(reinterpret_cast<void*>(kAt), kLength, MADV_REMOVE);
  }
  if (mapped != 1) broken("%d files could be mapped, not one", mapped);
  in_child([&] {
    const std::string text(kSize, 't');
    std::string back(kSize, 0);
    if (pread(fd, back.data(), kSize, 0) != static_cast<ssize_t>(kSize)) broken("a read failed: errno %d", errno);
    for (const char c : back) {
      if (c != 't' && c != 0) broken("it has a byte %d", c);
    }
    if (pwrite(fd, text.data(), kSize, 0) != static_cast<ssize_t>(kSize) || ftruncate(fd, 10) != 0 || ftruncate(fd, 60'000) != 0) broken("errno %d", errno);
    if (pread(fd, back.data(), kSize, 0) != static_cast<ssize_t>(kSize) || back[9] != 't' || back[10] != 0) broken("what was cut off is there");
  });
}

void left_for_the_next_program() {
  if (my_page() == nullptr) return;
  const pid_t child = fork();
  if (child == 0) {
    const int fds[] = {open(kSelf, O_RDONLY | O_CLOEXEC), open(kSelf, O_RDONLY)};
    for (const int fd : fds) read_often(fd);
    write_often(own_file(O_RDWR));
    const char* arguments[] = {"hostile_guest", "--files", nullptr};
    execv(kSelf, const_cast<char**>(arguments));
  }
  int status = -1;
  waitpid(child, &status, 0);
  if (status != 0) broken("a program after one that has read files ended with %x", status);
  sync();
}

void* scribble_files(void* page) {
  const auto* c = static_cast<ControlPage*>(page);
  auto& files = const_cast<volatile OwnFiles&>(my_files(c));
  for (;;) {
    auto& e = files.entries[dice(kOwnFiles)];
    switch (dice(5)) {
      case 0: e.fd = static_cast<uint32_t>(dice(12)); break;
      case 1: e.host = static_cast<uint16_t>(dice(40)); break;
      case 2: e.position = dice(3) == 0 ? dice() : dice(1000); break;
      case 3: e.how = static_cast<uint16_t>(dice(8)); break;
      default: files.stale = 1;
    }
  }
}

// What it says of its positions is what the Sentry goes on with.
void wrong_positions() {
  while (time_left(kBriefMs)) {
    in_child([] {
      ControlPage* c = my_page();
      if (c == nullptr) return;
      const int fd = open(kSelf, O_RDONLY), second = open(kSelf, O_RDONLY), third = own_file(O_RDWR);
      read_often(fd);
      write_often(third);
      my_files(c).entries[static_cast<uint32_t>(fd) % kOwnFiles].position = dice();
      close(dup(fd));
      char byte;
      [[maybe_unused]] auto n = read(fd, &byte, 1);
      read_often(second);
      c->keeps = ~0u;
      start_thread(scribble_files, c);
      while (time_left(kBriefMs)) {
        lseek(fd, static_cast<off_t>(dice(100)), SEEK_SET);
        n = read(fd, &byte, 1);
        n = pread(second, &byte, 1, 3);
        n = write(third, &byte, 1);
        n = pwrite(third, &byte, 1, 3);
        close(dup(second));
        if (dice(20) == 0) in_child([&] { n = read(second, &byte, 1); }, 20);
      }
    });
  }
  sync();
}

}  // namespace

const Attack own_file_attacks[] = {
    {"kept_files", kept_files}, {"kept_for_writing", kept_for_writing}, {"kept_to_append", kept_to_append}, {"grown_memory", grown_memory}, {"holes_below_the_sentry", holes_below_the_sentry}, {"left_for_the_next_program", left_for_the_next_program}, {"wrong_positions", wrong_positions}, {}};

}  // namespace hostile
