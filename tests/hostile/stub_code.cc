// Jumps into the stub's code: its gates, the agent, the handler, the dispatcher, the trampolines.
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>

#include "tests/hostile/attack.h"

namespace hostile {
namespace {

constexpr int kGates[] = {GATE_SIGRETURN, GATE_FUTEX, GATE_WAKE, GATE_ORDER, GATE_INIT, GATE_AGENT,
                          GATE_GUEST_FUTEX};

void gates() {
  for (int gate : kGates) {
    for (long nr : {SYS_fork, SYS_clone, SYS_execve, SYS_open, SYS_openat, SYS_socket, SYS_ptrace, SYS_kill, SYS_mmap,
                    SYS_process_vm_readv, SYS_recvmsg, SYS_sendmsg, SYS_write, SYS_prctl, SYS_seccomp, SYS_dup2,
                    SYS_io_uring_setup, SYS_exit, SYS_exit_group, SYS_rt_sigreturn}) {
      in_child([&] {
        // Where a guest may not make this call it is answered by Run9's kernel, or ends the process.
        const long r = at_gate(gate, nr, 1, STUB_CTL, 4096, 3, -1, 0);
        if (nr == SYS_io_uring_setup && r >= 0) broken("io_uring by gate %d", gate);
      }, 50);
    }
  }
}

// Descriptors that a stub has on the host, and how the guest must not reach them.
void descriptors() {
  for (int gate : kGates) {
    for (int fd = 0; fd < 10; ++fd) {
      in_child([&] {
        uint64_t word = 1;
        const auto at = reinterpret_cast<long>(&word);
        at_gate(gate, SYS_write, fd, at, 8);
        at_gate(gate, SYS_read, fd, at, 8);
        const long p = at_gate(gate, SYS_mmap, 0x10000000, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);
        if (gate == GATE_ORDER && p == 0x10000000 && fd > 2) broken("descriptor %d was mapped", fd);
      }, 50);
    }
  }
  // The doorbell is everybody's: full, it must still ring for others.
  uint64_t most = ~uint64_t{1};
  for (int i = 0; i < 100; ++i) at_gate(GATE_WAKE, SYS_write, STUB_FD_WAKE, reinterpret_cast<long>(&most), 8);
}

// The next descriptor that the Sentry sends a thread to map; -1: none is there.
int steal_file() {
  char byte[8];
  alignas(cmsghdr) char control[64];
  iovec iov{byte, sizeof byte};
  msghdr m{};
  m.msg_iov = &iov, m.msg_iovlen = 1, m.msg_control = control, m.msg_controllen = sizeof control;
  if (at_gate(GATE_ORDER, SYS_recvmsg, STUB_FD_FILES, reinterpret_cast<long>(&m), MSG_DONTWAIT) < 0 || m.msg_controllen < CMSG_LEN(4)) return -1;
  return *reinterpret_cast<int*>(CMSG_DATA(CMSG_FIRSTHDR(&m)));
}

void* steal_files(void*) {
  for (;;) {
    const int fd = steal_file();
    if (fd < 0) continue;
    constexpr long kAt = 0x10000000;
    if (at_gate(GATE_ORDER, SYS_mmap, kAt, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) == kAt) broken("a file that was opened for reading was mapped for writing");
  }
}

// Has threads forget to take what was sent to them.
void* forget_orders(void*) {
  for (;;) __atomic_store_n(&page_of(dice(2))->order_count, 0, __ATOMIC_RELAXED);
}

void run_after(const char* how) {
  const char* arguments[] = {"hostile_guest", how, nullptr};
  pid_t child = 0;
  int status = -1;
  if (posix_spawn(&child, "/hostile_guest", nullptr, nullptr, const_cast<char**>(arguments), nullptr) != 0) return;
  waitpid(child, &status, 0);
  if (status != 0) broken("a program after one that did harm ended with %x", status);
}

// Files that a thread is to map itself: taken by another one, or left for the program that comes after this one.
void sent_files() {
  if (my_page() == nullptr) return;
  for (void* (*harm)(void*) : {steal_files, forget_orders}) {
    for (int i = 0; i < 4; ++i) {
      in_child([&] {
        start_thread(harm);
        const int fd = open("/hostile_guest", O_RDONLY);
        while (time_left(40)) munmap(mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE, fd, 0), 4096);
        if (i % 2 == 0) return;
        const char* arguments[] = {"hostile_guest", "--nothing", nullptr};
        execv("/hostile_guest", const_cast<char**>(arguments));
      });
      run_after("--nothing");
    }
  }
}

// Of files in the sandbox's memory there is one descriptor, which is open for writing: who may not write the file does not get it.
void memory_files() {
  if (my_page() == nullptr) return;
  const int made = memfd_create("mine", 0);
  if (made < 0 || write(made, "text", 4) != 4) broken("memfd_create: errno %d", errno);
  const std::string name = "/proc/self/fd/" + std::to_string(made);
  const auto map_beside_thief = [&](int flags) {
    start_thread(steal_files);
    const int fd = open(name.c_str(), O_RDONLY);
    if (fd < 0) broken("%s: errno %d", name.c_str(), errno);
    while (time_left(100)) munmap(mmap(nullptr, 4096, PROT_READ, flags, fd, 0), 4096);
  };
  // Whoever may, and gives that up, keeps no mapping that can be written.
  in_child([&] { map_beside_thief(MAP_SHARED); });
  in_child([&] {
    sock_filter allow = {BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW};
    const sock_fprog filter{1, &allow};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0) broken("seccomp: errno %d", errno);
    map_beside_thief(MAP_PRIVATE);
  });
  if (fchmod(made, 0444) != 0) broken("fchmod: errno %d", errno);
  in_child([&] { map_beside_thief(MAP_PRIVATE); });
  close(made);
}

// Threads of other processes sleep on the sleep words: nobody may take them away to a word of his own.
void sleep_words() {
  const bool through = in_child([] {
    static uint32_t own;
    const auto mine = reinterpret_cast<long>(&own), theirs = static_cast<long>(STUB_SLEEP_WORDS);
    for (int gate : {GATE_FUTEX, GATE_GUEST_FUTEX}) {
      for (int op : {FUTEX_REQUEUE, FUTEX_CMP_REQUEUE, FUTEX_WAKE_OP, FUTEX_WAKE_BITSET}) {
        for (int flags : {0, FUTEX_PRIVATE_FLAG, FUTEX_CLOCK_REALTIME}) {
          const long from = at_gate(gate, SYS_futex, theirs, op | flags, 0, 1000, mine, 0);
          const long to = at_gate(gate, SYS_futex, mine, op | flags, 0, 1000, theirs, 0);
          if (from >= 0 || (to >= 0 && op != FUTEX_WAKE_BITSET)) broken("futex operation %d at gate %d", op, gate);
        }
      }
    }
  }, 5000);
  if (!through) broken("not all futex operations were tried");
}

// Most tries end at once; some sleep for ever, or go in circles.
void anywhere_in(uint64_t start, uint64_t size, int times) {
  constexpr int kMeanMs = 20;
  const int64_t end = now_ms() + times * kMeanMs;
  for (int i = 0; i < times && now_ms() < end; ++i) {
    dice();
    in_child([&] { jump(start + dice(size)); }, 30);
  }
}

void stub_text() { anywhere_in(STUB_TEXT, 0x2000, 250); }
void dispatcher() {
  for (uint64_t mode = 0; mode <= MODE_TAIL; ++mode) {
    anywhere_in(STUB_DISPATCH(mode), 1, 10);
    anywhere_in(STUB_FOREIGN(mode), 1, 10);
  }
  // fast_call and what is around it, with a page that is really one.
  anywhere_in(STUB_TEXT + 0x240, 0x300, 150);
}
void trampolines() {
  anywhere_in(STUB_PATCHES, 64 * STUB_PATCH_SIZE, 150);
  anywhere_in(STUB_WIDE, 32 * STUB_WIDE_SIZE, 100);
  for (uint64_t i = 0; i < 8; ++i) anywhere_in(STUB_WIDE + i * STUB_WIDE_SIZE + STUB_WIDE_TAIL, STUB_WIDE_SIZE - STUB_WIDE_TAIL, 8);
  anywhere_in(STUB_PATCHES + STUB_PATCHES_SIZE - 256, 512, 10);
}

// A host thread that the Sentry knows nothing of, which begins at `entry`.
void make_host_thread(uint64_t entry) {
  constexpr long kStack = 1 << 16;
  constexpr long kFlags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID;
  static int tid;
  auto* stack = static_cast<char*>(mmap(nullptr, kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  auto* top = reinterpret_cast<uint64_t*>(stack + kStack - 64);
  top[0] = entry;
  at_gate(GATE_ORDER, SYS_clone, kFlags, reinterpret_cast<long>(top), reinterpret_cast<long>(&tid), reinterpret_cast<long>(&tid));
}

// They end with their process.
void unknown_threads() {
  in_child([] {
    for (int i = 0; i < 16; ++i) make_host_thread(STUB_TEXT + 64 * GATE_FUTEX + 40);  // it makes calls for ever
    usleep(50'000);
  });
}

// One that sleeps in the stub, with its stack there: it needs nothing of its program's memory.
[[noreturn]] void sleep_in_the_stub() {
  auto* stack = reinterpret_cast<uint64_t*>(STUB_STACKS + STUB_STACKS_SIZE - 4096);
  stack[0] = GATE_IP(GATE_FUTEX) - 2;
  const uint64_t word = STUB_SLEEP_WORDS + 4 * (STUB_SLEEP_WORD_COUNT - 1);
  asm volatile(
      "mov (%1), %%edx; xor %%esi, %%esi; xor %%r10d, %%r10d; mov $202, %%eax; mov %1, %%rdi; mov %0, %%rsp; jmp *(%%rsp)"
      :
      : "b"(stack), "r"(word)
      : "rax", "rdi", "rsi", "rdx", "r10", "memory");
  __builtin_unreachable();
}

// Programs that come where one was that left host threads behind: in its stead, or after it.
void successors() {
  for (int i = 0; i < 8; ++i) {
    run_after("--leave");
    for (int n = 0; n < 3; ++n) run_after("--nothing");
  }
  in_child([] {
    leave_threads();
    const char* arguments[] = {"hostile_guest", "--nothing", nullptr};
    execv("/hostile_guest", const_cast<char**>(arguments));
  });
}

}  // namespace

void leave_threads() {
  if (my_page() == nullptr) return;
  for (int i = 0; i < 3; ++i) make_host_thread(reinterpret_cast<uint64_t>(&sleep_in_the_stub));
  usleep(1000);  // they are there
}

const Attack stub_code_attacks[] = {{"gates", gates},           {"descriptors", descriptors}, {"sent_files", sent_files}, {"memory_files", memory_files}, {"stub_text", stub_text},
                                    {"dispatcher", dispatcher}, {"trampolines", trampolines}, {"unknown_threads", unknown_threads},
                                    {"sleep_words", sleep_words},  {"successors", successors},
                                    {}};

}  // namespace hostile
