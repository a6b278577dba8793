// Page faults that a thread delivers by itself, and masks that it changes, by what its own page says: it may lie to itself, and to
// nobody else.
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "tests/hostile/attack.h"

namespace hostile {
namespace {

using namespace run9::sentry::trap;

constexpr uint64_t kUnblockable = uint64_t{1} << (SIGKILL - 1) | uint64_t{1} << (SIGSTOP - 1);
char* forbidden;

void store() { asm volatile("movb %%al, (%%rdi)" : : "D"(forbidden), "a"(0) : "memory"); }
void step_over(int, siginfo_t*, void* context) { static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_RIP] += 2; }

// After the first one the page says what to do about the others.
void learn_to_fault() {
  forbidden = static_cast<char*>(mmap(nullptr, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  struct sigaction action = {};
  action.sa_flags = SA_SIGINFO | SA_NODEFER;
  action.sa_sigaction = step_over;
  sigaction(SIGSEGV, &action, nullptr);
  for (int i = 0; i < 3; ++i) store();
}

void* scribble_faults(void* page) {
  auto* c = static_cast<ControlPage*>(page);
  const uint64_t somewhere[] = {0, 1, STUB_TEXT, STUB_STACKS, STUB_CTL, STUB_SHARED, ~uint64_t{0}, uint64_t{1} << 63,
                                reinterpret_cast<uint64_t>(forbidden)};
  for (;;) {
    auto* const words = reinterpret_cast<volatile uint64_t*>(&c->fault);  // and the mask behind it
    const uint64_t at = dice((sizeof c->fault + sizeof c->signals) / sizeof *words), before = words[at];
    words[at] = dice(2) == 0 ? dice() : somewhere[dice(sizeof somewhere / sizeof *somewhere)];
    for (int i = 0; i < 20; ++i) __builtin_ia32_pause();
    words[at] = before;
  }
}

void forged_faults() {
  for (int i = 0; i < 20; ++i) {
    in_child([] {
      ControlPage* c = my_page();
      if (c == nullptr) return;
      learn_to_fault();
      start_thread(scribble_faults, c);
      while (time_left(kBriefMs)) {
        store();
        getppid();
        sigset_t mask;
        sigemptyset(&mask);
        sigprocmask(SIG_SETMASK, &mask, nullptr);
        usleep(1);
      }
    });
  }
}

// A mask that the Sentry takes from the page blocks no more than rt_sigprocmask(2) could, and is taken only where it has
// said that the thread may change it.
void forged_masks() {
  in_child([] {
    ControlPage* c = my_page();
    if (c == nullptr) return;
    const auto mask_after = [&](uint64_t claimed) {
      c->signals.own = claimed;
      c->signals.differs = 0;
      forge(c, {kReqSyscall | kReqOwnMask, SYS_getppid, {}});
      uint64_t mask = 0;
      syscall(SYS_rt_sigprocmask, SIG_BLOCK, nullptr, &mask, 8);
      return mask;
    };
    if ((mask_after(~uint64_t{0}) & kUnblockable) != 0) broken("SIGKILL or SIGSTOP is blocked");
    const uint64_t before = mask_after(0);
    sock_filter all[] = {BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
    const sock_fprog program = {1, all};
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
    if (mask_after(~uint64_t{0}) != before) broken("a mask came from a page, past a filter that sees each change of it");
  }, 3000);
}

}  // namespace

const Attack fault_attacks[] = {{"forged_faults", forged_faults}, {"forged_masks", forged_masks}, {}};

}  // namespace hostile
