// Patched text, and the table at a low address that it jumps through.
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/hostile/attack.h"

// Call sites of each shape, alone in their page.
extern "C" long own_getpid(), own_getpid_long(), own_getpid_cmp(), own_getpid_between(), own_getpid_behind();
extern "C" char own_text[];
asm(".section .own_text, \"ax\", @progbits\n.balign 4096\n.globl own_text\nown_text:\n.fill 16, 1, 0x90\n"
    "own_getpid: mov $39, %eax\nsyscall\nret\n.fill 16, 1, 0x90\n"
    "own_getpid_long: mov $39, %rax\nsyscall\nret\n.fill 16, 1, 0x90\n"
    "own_getpid_cmp: mov $39, %eax\nnop\nsyscall\ncmp $-4095, %rax\nret\n.fill 16, 1, 0x90\n"
    "own_getpid_between: mov $39, %eax\nmov %rdi, %rsi\nsyscall\nret\n.fill 16, 1, 0x90\n"
    "own_getpid_behind: push $39\npop %rax\nmov %rdi, %rsi\nsyscall\nmov %rax, %rdi\ncall 1f\nret\n"
    "1: mov %rdi, %rax\nret\n"
    ".balign 4096\n.text\n");

namespace hostile {
namespace {

pid_t g_pid;

void* call_own_sites(void* must_be_right) {
  for (;;) {
    for (auto site : {own_getpid, own_getpid_long, own_getpid_cmp, own_getpid_between, own_getpid_behind}) {
      if (site() != g_pid && must_be_right != nullptr) broken("a call site answered wrongly while it changed");
    }
  }
}

// Text that is made writable and back while others run it: none of them may stumble. Only the first time is a change of
// patched text, so each round is a new process.
void changed_text() {
  for (int round = 0; round < 20; ++round) {
    dice();
    const pid_t child = fork();
    if (child == 0) {
      g_pid = getpid();
      start_thread(call_own_sites, &g_pid);
      start_thread(call_own_sites, &g_pid);
      usleep(static_cast<useconds_t>(dice(3000)));
      mprotect(own_text, 4096, PROT_READ | PROT_WRITE | PROT_EXEC);
      *const_cast<volatile char*>(own_text) = '\x90';
      mprotect(own_text, 4096, PROT_READ | PROT_EXEC);
      const pid_t copy = fork();
      if (copy == 0) {
        g_pid = getpid();
        _exit(own_getpid() == g_pid && own_getpid_long() == g_pid && own_getpid_behind() == g_pid ? 0 : 1);
      }
      int status = 0;
      waitpid(copy, &status, 0);
      _exit(status != 0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    if (status != 0) broken("running text that changed ended with %x", status);
  }
}

// Text that goes, or moves, under those who run it: they may fall, nobody else.
void vanishing_text() {
  for (int way = 0; way < 4; ++way) {
    in_child([way] {
      g_pid = getpid();
      start_thread(call_own_sites);
      start_thread(call_own_sites);
      void* other = mmap(nullptr, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      usleep(dice(2000) + 500);
      for (;;) {
        if (way == 0) munmap(own_text, 4096);
        if (way == 1) mremap(own_text, 4096, 4096, MREMAP_MAYMOVE | MREMAP_FIXED, other);
        if (way == 2) mmap(own_text, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
        if (way == 3) at_gate(GATE_ORDER, SYS_mprotect, reinterpret_cast<long>(own_text), 4096, 7);
        memset(own_text, static_cast<int>(dice()), 4096);
      }
    });
  }
}

// The page of load addresses, through which a trampoline finds its way back.
void bases() {
  in_child([] {
    g_pid = getpid();
    start_thread(call_own_sites);
    for (;;) *reinterpret_cast<volatile uint64_t*>(STUB_BASES + 8 * dice(16)) = dice(2) ? dice() : 0x400000;
  });
}

// The table itself: read-only for all, at an address where the guest may map nothing.
void table() {
  for (long nr : {SYS_mmap, SYS_mprotect, SYS_madvise, SYS_munmap, SYS_mremap}) {
    in_child([nr] {
      for (long advice : {4, 8, 9, 14, 21}) {
        const long arg = nr == SYS_madvise ? advice : 3;
        const long r = at_gate(GATE_ORDER, nr, STUB_TABLE, STUB_TABLE_SIZE, arg, 0x32, -1, 0);
        if (nr == SYS_mmap && r == STUB_TABLE) broken("something was mapped over the table");
        syscall(nr, STUB_TABLE, STUB_TABLE_SIZE, arg, 0x32, -1, 0);
      }
      for (uint64_t i = 0; i < STUB_TABLE_SIZE / 8; ++i) {
        reinterpret_cast<volatile uint64_t*>(STUB_TABLE)[i] = reinterpret_cast<uint64_t>(&_exit);
      }
      getpid();
    });
  }
}

}  // namespace

const Attack patch_attacks[] = {
    {"changed_text", changed_text}, {"vanishing_text", vanishing_text}, {"bases", bases}, {"table", table}, {}};

}  // namespace hostile
