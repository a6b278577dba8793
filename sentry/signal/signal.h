// Signals: sets, actions, pending queues, siginfo (signal(7)). Delivery is in signal/delivery.cc.
#pragma once
#include <array>
#include <cstdint>
#include <csignal>
#include <cstring>
#include <deque>
#include <memory>
#include <optional>

#include "base/result.h"

namespace run9::sentry {

inline constexpr int kMaxSignal = 64;

struct SignalSet {
  uint64_t bits = 0;
  static constexpr SignalSet of(int sig) { return {uint64_t{1} << (sig - 1)}; }
  constexpr bool has(int sig) const { return (bits >> (sig - 1)) & 1; }
  constexpr void add(int sig) { bits |= uint64_t{1} << (sig - 1); }
  constexpr void remove(int sig) { bits &= ~(uint64_t{1} << (sig - 1)); }
  constexpr bool empty() const { return bits == 0; }
  constexpr SignalSet operator&(SignalSet o) const { return {bits & o.bits}; }
  constexpr SignalSet operator|(SignalSet o) const { return {bits | o.bits}; }
  constexpr SignalSet operator~() const { return {~bits}; }
};
// SIGKILL and SIGSTOP cannot be blocked.
inline constexpr SignalSet kUnblockable{(uint64_t{1} << (SIGKILL - 1)) | (uint64_t{1} << (SIGSTOP - 1))};

// siginfo_t as the guest sees it: 128 bytes, x86-64 layout.
struct SigInfo {
  int32_t signo = 0, err = 0, code = 0, pad0 = 0;
  union {
    struct { int32_t pid; uint32_t uid; uint64_t value; } rt;            // kill, sigqueue
    struct { int32_t timerid; int32_t overrun; uint64_t value; } timer;  // SI_TIMER
    struct { int32_t pid; uint32_t uid; int32_t status; int32_t pad; int64_t utime, stime; } chld;
    struct { uint64_t addr; } fault;
    struct { int64_t band; int32_t fd; } poll;
    struct { uint64_t call_addr; int32_t syscall; uint32_t arch; } sys;
    uint8_t bytes[112];
  };
  SigInfo() { std::memset(bytes, 0, sizeof bytes); }
  static SigInfo user(int signo, int code, int32_t pid, uint32_t uid) {
    SigInfo i;
    i.signo = signo;
    i.code = code;
    i.rt.pid = pid;
    i.rt.uid = uid;
    return i;
  }
  static SigInfo kernel(int signo) { return user(signo, 0x80 /*SI_KERNEL*/, 0, 0); }
};
static_assert(sizeof(SigInfo) == 128);

// struct kernel_sigaction of x86-64.
struct SigAction {
  uint64_t handler = 0;  // SIG_DFL 0, SIG_IGN 1
  uint64_t flags = 0;
  uint64_t restorer = 0;
  SignalSet mask;
};
static_assert(sizeof(SigAction) == 32);

enum class DefaultAction { kTerminate, kCore, kIgnore, kStop, kContinue };
DefaultAction default_action(int sig);

// Pending signals of a task or of a process. Standard ones are held once, real-time ones queue.
class PendingSignals {
 public:
  SignalSet set() const { return set_; }
  // False: a standard signal that was already pending (dropped), or the queue limit.
  bool add(const SigInfo& info, size_t limit = 4096);
  // The lowest-numbered of `wanted` (synchronous faults first), removed.
  std::optional<SigInfo> take(SignalSet wanted);
  void discard(SignalSet which);
  // The queued signal of a POSIX timer, whose overrun counts on until it is taken; null: none is queued.
  SigInfo* find_timer(int signo, int32_t timerid);

 private:
  SignalSet set_;
  std::deque<SigInfo> queue_;
};

// Shared by the threads of a process (or CLONE_SIGHAND).
struct SignalActions {
  std::array<SigAction, kMaxSignal + 1> at{};  // by signal number
};

// SigAction::flags
inline constexpr uint64_t kSaOnstack = 0x08000000, kSaRestart = 0x10000000, kSaNodefer = 0x40000000,
                          kSaResethand = 0x80000000;

// AltStack::flags
inline constexpr int32_t kSsOnstack = 1, kSsDisable = 2, kSsAutodisarm = 1 << 31;

// sigaltstack(2) stack_t.
struct AltStack {
  uint64_t sp = 0;
  int32_t flags = kSsDisable;
  int32_t pad = 0;
  uint64_t size = 0;
  bool holds(uint64_t stack_pointer) const { return stack_pointer > sp && stack_pointer - sp <= size; }
};

}  // namespace run9::sentry
