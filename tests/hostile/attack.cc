#include "tests/hostile/attack.h"

#include <elf.h>
#include <linux/audit.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

namespace hostile {
namespace {

void* make_calls(void*) {
  char text[512];
  struct stat st;
  for (;;) {
    syscall(SYS_getppid);
    stat("/etc/passwd", &st);
    getcwd(text, sizeof text);
    void* p = mmap(nullptr, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p != MAP_FAILED) munmap(p, 65536);
  }
}

void return_from_gate(int, siginfo_t*, void* context) {
  auto& g = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
  g[REG_RIP] = *reinterpret_cast<greg_t*>(g[REG_RSP]);
  g[REG_RSP] += 8;
}

// The ptrace platform has a single gate, at the start: `syscall; int3`.
void survive_the_ptrace_gate() {
  struct sigaction action {};
  action.sa_sigaction = return_from_gate;
  action.sa_flags = SA_SIGINFO | SA_NODEFER;
  sigaction(SIGTRAP, &action, nullptr);
}

}  // namespace

uint64_t g_dice = 1;

uint64_t dice() {
  g_dice ^= g_dice << 13;
  g_dice ^= g_dice >> 7;
  g_dice ^= g_dice << 17;
  return g_dice;
}

int64_t now_ms() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);  // the vDSO's: no call
  return t.tv_sec * 1000 + t.tv_nsec / 1'000'000;
}

bool time_left(int ms) {
  static const int64_t start = now_ms();
  return now_ms() - start < ms;
}

void broken(const char* format, ...) {
  char line[256] = "BROKEN: ";
  va_list args;
  va_start(args, format);
  int n = 8 + vsnprintf(line + 8, sizeof line - 9, format, args);
  va_end(args);
  line[n++] = '\n';
  (void)!write(1, line, static_cast<size_t>(n));
}

bool in_child(const std::function<void()>& body, int ms) {
  const pid_t child = fork();
  if (child == 0) {
    setpgid(0, 0);  // it may come upon kill(0, ...)
    body();
    _exit(0);
  }
  if (child < 0) return false;
  const int64_t end = now_ms() + ms;
  int status = 0;
  while (waitpid(child, &status, WNOHANG) == 0) {
    if (now_ms() > end) {
      kill(child, SIGKILL);
      waitpid(child, nullptr, 0);
      return false;
    }
    usleep(200);
  }
  return status == 0;
}

void start_thread(void* (*body)(void*), void* argument) {
  pthread_t t;
  pthread_create(&t, nullptr, body, argument);
}

void start_callers(int n) {
  for (int i = 0; i < n; ++i) start_thread(make_calls);
}

long at_gate(int gate, long nr, long a, long b, long c, long d, long e, long f) {
  const bool trap = my_page() != nullptr;
  if (!trap) survive_the_ptrace_gate();
  const uint64_t address = trap ? GATE_IP(static_cast<uint64_t>(gate)) - 2 : STUB_TEXT;
  long ret;
  register long r10 asm("r10") = d;
  register long r8 asm("r8") = e;
  register long r9 asm("r9") = f;
  asm volatile("call *%1"
               : "=a"(ret)
               : "r"(address), "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
               : "rcx", "r11", "memory");
  return ret;
}

void jump(uint64_t to) {
  // Pointers to what is there, small numbers, and nonsense.
  uint64_t r[8];
  for (uint64_t& v : r) {
    const uint64_t pages[] = {STUB_CTL + 0x1000, STUB_STACKS + STUB_SLOT_STACK - 256, STUB_CTL, STUB_CMD,
                              STUB_BASES,        dice(512),                           dice(),          STUB_TEXT};
    v = pages[dice(8)];
  }
  asm volatile(
      "mov 0(%1), %%rax; mov 8(%1), %%rdi; mov 16(%1), %%rsi; mov 24(%1), %%rdx; mov 32(%1), %%r10;"
      "mov 40(%1), %%r11; mov 48(%1), %%r12; mov 56(%1), %%rbx; call *%0"
      :
      : "r"(to), "r"(r)
      : "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "r10", "r11", "r12", "memory");
}

ControlPage* my_page() {
  if ((getauxval(AT_HWCAP2) & 2) == 0) return nullptr;
  uint64_t gs;
  asm volatile("rdgsbase %0" : "=r"(gs));
  const bool inside = gs > STUB_CTL && gs < STUB_CTL + STUB_CTL_SIZE;
  return inside ? reinterpret_cast<ControlPage*>(gs) : nullptr;
}

void ring(ControlPage* c) {
  const uint64_t slot = (reinterpret_cast<uint64_t>(c) - STUB_CTL) / 0x1000 - 1;
  auto* header = reinterpret_cast<ControlHeader*>(STUB_CTL);
  __atomic_fetch_or(&header->bell[slot / 64], uint64_t{1} << (slot % 64), __ATOMIC_SEQ_CST);
  uint64_t one = 1;
  at_gate(GATE_WAKE, SYS_write, STUB_FD_WAKE, reinterpret_cast<long>(&one), 8);
}

long forge(ControlPage* c, const Request& r) {
  using namespace run9::sentry::trap;
  constexpr Greg kOrder[] = {kRdi, kRsi, kRdx, kR10, kR8, kR9};
  for (int i = 0; i < 6; ++i) c->gregs[kOrder[i]] = r.args[i];
  c->gregs[kRax] = static_cast<uint64_t>(r.nr);
  for (int i = 0; i < 6; ++i) c->line.args[i] = r.args[i];
  c->frame = 0;
  c->line.kind = r.kind;
  c->line.nr = static_cast<int32_t>(r.nr);
  c->arch = AUDIT_ARCH_X86_64;
  __atomic_store_n(&c->line.state, kRequest, __ATOMIC_SEQ_CST);
  ring(c);
  for (const int64_t end = now_ms() + 500; now_ms() < end;) {
    if (__atomic_load_n(&c->line.state, __ATOMIC_ACQUIRE) != kReply) continue;
    __atomic_store_n(&c->line.state, kIdle, __ATOMIC_RELEASE);
    return static_cast<long>(c->line.reply.rax);
  }
  return kNoAnswer;
}

}  // namespace hostile
