// Locks whose word names its owner (FUTEX_LOCK_PI): words that say what is not so, or something else each time that they are
// looked at, and waiters and owners that end in the midst of it.
#include <linux/futex.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <atomic>

#include "tests/hostile/attack.h"

namespace hostile {
namespace {

constexpr uint64_t kWords = 4, kPage = 4096;
std::atomic<uint32_t>* g_words;  // shared with all children; the page behind it comes and goes

uint32_t some_tid() {
  const uint32_t own = static_cast<uint32_t>(syscall(SYS_gettid));
  const uint32_t tids[] = {0, 1, own, own + 1, static_cast<uint32_t>(getppid()), FUTEX_TID_MASK, static_cast<uint32_t>(dice(64))};
  return tids[dice(7)] | (dice(2) != 0 ? FUTEX_WAITERS : 0) | (dice(4) == 0 ? FUTEX_OWNER_DIED : 0);
}

// Asks for locks and gives back what it may not have.
void* ask(void*) {
  while (time_left(kBriefMs)) {
    auto* word = dice(8) == 0 ? g_words + kPage / sizeof *g_words : g_words + dice(kWords);
    const uint32_t commands[] = {FUTEX_LOCK_PI, FUTEX_LOCK_PI2, FUTEX_TRYLOCK_PI, FUTEX_UNLOCK_PI, FUTEX_WAKE, FUTEX_WAKE_OP, FUTEX_CMP_REQUEUE_PI};
    timespec soon;
    clock_gettime(CLOCK_REALTIME, &soon);
    soon.tv_nsec = (soon.tv_nsec + static_cast<long>(dice(2'000'000))) % 1'000'000'000;
    const uint32_t command = commands[dice(7)] | (dice(3) == 0 ? FUTEX_PRIVATE_FLAG : 0);
    syscall(SYS_futex, word, command, 1, &soon, g_words + dice(kWords), dice());
  }
  return nullptr;
}

void* scribble(void*) {
  for (uint64_t n = 0; time_left(kBriefMs); ++n) {
    g_words[dice(kWords)] = some_tid();
    char* const behind = reinterpret_cast<char*>(g_words) + kPage;
    if (n % 64 == 0) mprotect(behind, kPage, dice(2) != 0 ? PROT_READ : PROT_READ | PROT_WRITE);
    if (n % 256 == 0) syscall(SYS_sched_yield);
  }
  return nullptr;
}

// Twelve processes of three threads each; most are killed while they wait or own.
void locks() {
  void* const shared = mmap(nullptr, 2 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) return broken("no memory");
  g_words = static_cast<std::atomic<uint32_t>*>(shared);
  pid_t children[12];
  for (pid_t& child : children) {
    child = fork();
    if (child != 0) continue;
    start_thread(ask);
    start_thread(ask);
    scribble(nullptr);
    ask(nullptr);
    _exit(0);
  }
  for (size_t i = 0; i < 12; ++i) {
    usleep(static_cast<useconds_t>(dice(60'000)));
    if (i % 4 != 0) kill(children[i], SIGKILL);
  }
  for (const pid_t child : children) {
    // Who waits for what nobody gives back waits until he is killed, as anywhere.
    kill(child, SIGKILL);
    int status;
    if (waitpid(child, &status, 0) != child) broken("a process with locks cannot be waited for");
  }
  // A lock that nobody spoilt works.
  std::atomic<uint32_t> word{0};
  if (syscall(SYS_futex, &word, FUTEX_LOCK_PI, 0, nullptr) != 0) broken("a lock cannot be taken");
  if (word != static_cast<uint32_t>(syscall(SYS_gettid))) broken("a lock says it is %u's", word.load());
  if (syscall(SYS_futex, &word, FUTEX_UNLOCK_PI, 0) != 0 || word != 0) broken("a lock cannot be given back");
  munmap(shared, 2 * kPage);
}

}  // namespace

const Attack lock_attacks[] = {{"locks", locks}, {}};

}  // namespace hostile
