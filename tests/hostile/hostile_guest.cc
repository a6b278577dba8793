// A guest that means harm: it knows the stub's layout and attacks it from inside. Whatever happens to this
// process is its own business; the test looks at what happened to others (tests/hostile/run).
//
// usage: hostile_guest CASE; each case may end in any way, but must not take the sandbox or the host with it.
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <initializer_list>

#include "sentry/platform/trap/stub_abi.h"

namespace {

volatile bool g_stop = false;

void* make_calls(void*) {
  while (!g_stop) {
    syscall(SYS_getppid);
    void* p = mmap(nullptr, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p != MAP_FAILED) munmap(p, 65536);
  }
  return nullptr;
}

void start_callers(int n) {
  for (int i = 0; i < n; ++i) {
    pthread_t t;
    pthread_create(&t, nullptr, make_calls, nullptr);
  }
}

// Raw system call from an address of our choice in the stub.
long at_gate(int gate, long nr, long a, long b, long c, long d, long e, long f) {
  long ret;
  register long r10 asm("r10") = d;
  register long r8 asm("r8") = e;
  register long r9 asm("r9") = f;
  const uint64_t address = STUB_TEXT + 64 * static_cast<uint64_t>(gate) + 40;
  asm volatile("call *%1" : "=a"(ret) : "r"(address), "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
               : "rcx", "r11", "memory");
  return ret;
}

void every_call_number() {
  for (long nr = 0; nr < 470; ++nr) {
    const pid_t child = fork();
    if (child == 0) {
      alarm(1);
      if (nr != SYS_exit && nr != SYS_exit_group) syscall(nr, 0L, 0L, 0L, 0L, 0L, 0L);
      _exit(0);
    }
    if (child > 0) waitpid(child, nullptr, 0);
  }
}

void jump_to_gates() {
  for (int gate : {GATE_FUTEX, GATE_WAKE, GATE_ORDER, GATE_SECCOMP, GATE_INIT}) {
    for (long nr : {SYS_fork, SYS_clone, SYS_execve, SYS_open, SYS_openat, SYS_socket, SYS_ptrace, SYS_kill,
                    SYS_mmap, SYS_process_vm_readv, SYS_recvmsg, SYS_write, SYS_prctl, SYS_seccomp, SYS_dup2}) {
      const pid_t child = fork();
      if (child == 0) {
        alarm(1);
        const long r = at_gate(gate, nr, 0, 0, 0, 0, 0, 0);
        if (nr == SYS_fork && r == 0) {
          // A process that the Sentry knows nothing of.
          for (;;) at_gate(GATE_FUTEX, SYS_futex, 0, 0, 0, 0, 0, 0);
        }
        _exit(0);
      }
      if (child > 0) waitpid(child, nullptr, 0);
    }
  }
}

void map_over_the_stub() {
  for (uint64_t at : {uint64_t{STUB_TEXT}, uint64_t{STUB_SHARED}, uint64_t{STUB_CMD_A}, uint64_t{STUB_CTL},
                      uint64_t{STUB_STACKS}}) {
    at_gate(GATE_ORDER, SYS_mmap, static_cast<long>(at), 4096, PROT_READ | PROT_WRITE,
            MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    mmap(reinterpret_cast<void*>(at), 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    munmap(reinterpret_cast<void*>(at), 4096);
    mprotect(reinterpret_cast<void*>(at), 4096, PROT_READ | PROT_WRITE | PROT_EXEC);
  }
  if (syscall(SYS_getppid) < 0) abort();
}

// Every byte of the control pages and alternate stacks, while other threads are in calls.
void scribble(unsigned seed) {
  start_callers(3);
  srand(seed);
  for (int round = 0; round < 20000; ++round) {
    const uint64_t page = STUB_CTL + 4096 * static_cast<uint64_t>(rand() % 8);
    const uint64_t stack = STUB_STACKS + STUB_SLOT_STACK * static_cast<uint64_t>(rand() % 4) +
                           static_cast<uint64_t>(rand() % STUB_SLOT_STACK);
    *reinterpret_cast<volatile uint32_t*>(page + static_cast<uint64_t>(rand() % 1024) * 4) = static_cast<uint32_t>(rand());
    if (round % 16 == 0) *reinterpret_cast<volatile uint8_t*>(stack) = static_cast<uint8_t>(rand());
  }
}

void forge_agent_results() {
  start_callers(2);
  auto* results = reinterpret_cast<volatile uint64_t*>(STUB_AGENT_PAGE + AGENT_RESULTS);
  for (int i = 0; i < 200; ++i) {
    const pid_t child = fork();
    if (child == 0) _exit(0);
    for (int k = 0; k < 2000; ++k) results[k % 16] = static_cast<uint64_t>(-1) * static_cast<uint64_t>(k % 3) + 1;
    if (child > 0) waitpid(child, nullptr, WNOHANG);
  }
}

void odd_entries() {
  for (int kind = 0; kind < 3; ++kind) {
    const pid_t child = fork();
    if (child == 0) {
      alarm(1);
      long r = 20;
      if (kind == 0) asm volatile("int $0x80" : "+a"(r) : : "memory");
      if (kind == 1) asm volatile("call *%1" : "+a"(r) : "r"(0xffffffffff600400ul) : "rcx", "r11", "memory", "rdi");
      if (kind == 2) asm volatile("mov %%rsp, %%rbp; sysenter" : "+a"(r) : : "memory", "rcx", "rdx");
      _exit(0);
    }
    if (child > 0) waitpid(child, nullptr, 0);
  }
}

void spin_forever() {
  for (;;) {
  }
}

}  // namespace

int main(int argc, char** argv) {
  const char* name = argc > 1 ? argv[1] : "";
  if (!strcmp(name, "calls")) every_call_number();
  else if (!strcmp(name, "gates")) jump_to_gates();
  else if (!strcmp(name, "map")) map_over_the_stub();
  else if (!strcmp(name, "scribble")) scribble(argc > 2 ? static_cast<unsigned>(atoi(argv[2])) : 1);
  else if (!strcmp(name, "agent")) forge_agent_results();
  else if (!strcmp(name, "entries")) odd_entries();
  else if (!strcmp(name, "spin")) spin_forever();
  else return 2;
  return 0;
}
