// What the attacks share. They know the stub's layout and mean harm from inside; what becomes of this process is its
// own business. What they find that no guest may have is printed as a line "BROKEN: ...".
#pragma once
#include <stdint.h>

#include <functional>
#include <initializer_list>
#include <utility>

#include "sentry/platform/trap/stub_abi.h"

namespace hostile {

using run9::sentry::trap::ControlHeader;
using run9::sentry::trap::ControlPage;
using run9::sentry::trap::ThreadOrder;
using run9::sentry::trap::Window;

struct Attack {
  const char* name;
  void (*run)();
};
// Each file's, ended by a null name.
extern const Attack entry_attacks[], stub_code_attacks[], stub_memory_attacks[], control_page_attacks[],
    identity_attacks[], patch_attacks[], fault_attacks[], pipe_attacks[], file_attacks[], own_file_attacks[], own_memory_attacks[], lock_attacks[];

inline constexpr int kBriefMs = 300;

uint64_t dice();  // seeded by main
inline uint64_t dice(uint64_t below) { return dice() % below; }
int64_t now_ms();
bool time_left(int ms);  // since the first time that it was asked in this process
void broken(const char* format, ...) __attribute__((format(printf, 1, 2)));

// A process that may end in any way, and is ended after a time. True if it came to the end of `body`.
bool in_child(const std::function<void()>& body, int ms = kBriefMs);
// Threads that make calls of all kinds until the process ends.
void start_callers(int n);
void start_thread(void* (*body)(void*), void* argument = nullptr);

// Host threads of this process that the Sentry does not know, asleep.
void leave_threads();

// 1: memory of pipes is mapped (pipe_ring.h).
int rings_here();

// How many descriptors of the host's can be read.
int readable_here();

// A system call instruction of the stub.
long at_gate(int gate, long nr, long a = 0, long b = 0, long c = 0, long d = 0, long e = 0, long f = 0);
// Anywhere, with registers that mean something there.
void jump(uint64_t to);

// This thread's control page; null where there is none (the ptrace platform, or no FSGSBASE).
ControlPage* my_page();
inline ControlPage* page_of(uint64_t slot) {
  return reinterpret_cast<ControlPage*>(run9::sentry::trap::page_address(slot));
}
// A request written by hand into a page, and its answer; kNoAnswer if there is none.
inline constexpr long kNoAnswer = -100000;
struct Request {
  uint8_t kind;
  long nr;
  uint64_t args[6];
};
long forge(ControlPage* c, const Request& r);
void ring(ControlPage* c);

}  // namespace hostile
