#include "sentry/platform/ptrace/tracer.h"

#include <asm/unistd.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include <algorithm>

#include "sentry/platform/ptrace/layout.h"

namespace run9::sentry::ptrace {
namespace {

constexpr long kOptions =
    PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK;

}  // namespace

Result<Regs> get_regs(int tid) {
  Regs r;
  if (::ptrace(PTRACE_GETREGS, tid, nullptr, &r) != 0) return last_errno();
  return r;
}

Result<void> set_regs(int tid, const Regs& regs) {
  if (::ptrace(PTRACE_SETREGS, tid, nullptr, &regs) != 0) return last_errno();
  return ok();
}

Result<void> Tracer::adopt(int tid) {
  if (!WIFSTOPPED(TRY(await(tid)))) return Errno{ENOEXEC};
  if (::ptrace(PTRACE_SETOPTIONS, tid, nullptr, kOptions) != 0) return last_errno();
  regs_ = TRY(get_regs(tid));
  return ok();
}

std::optional<Tracer::Change> Tracer::next() {
  if (!kept_.empty()) {
    const Change c = kept_.front();
    kept_.pop_front();
    return c;
  }
  Change c{};
  c.tid = waitpid(-1, &c.status, WNOHANG | __WALL);
  if (c.tid <= 0) return {};
  return c;
}

Result<int> Tracer::await(int tid) {
  const auto it = std::find_if(kept_.begin(), kept_.end(), [&](const Change& c) { return c.tid == tid; });
  if (it != kept_.end()) {
    const int status = it->status;
    kept_.erase(it);
    return status;
  }
  for (;;) {
    int status = 0;
    const pid_t who = waitpid(-1, &status, __WALL);
    if (who < 0 && errno == EINTR) continue;
    if (who < 0) return Errno{EIO};
    if (who == tid) return status;
    kept_.push_back({who, status});
  }
}

Result<void> Tracer::point_at_gate(int tid, uint64_t nr, const CallArgs& a) {
  Regs r = regs_;
  r.rip = kGate;
  r.rax = nr;
  r.orig_rax = ~uint64_t{0};
  r.rdi = a[0], r.rsi = a[1], r.rdx = a[2], r.r10 = a[3], r.r8 = a[4], r.r9 = a[5];
  return set_regs(tid, r);
}

Result<uint64_t> Tracer::inject(int tid, uint64_t nr, const CallArgs& args) {
  if (!point_at_gate(tid, nr, args).has_value()) return Errno{EIO};
  for (;;) {
    if (::ptrace(PTRACE_CONT, tid, nullptr, nullptr) != 0) return Errno{EIO};
    const int status = TRY(await(tid));
    if (!WIFSTOPPED(status)) {
      kept_.push_back({tid, status});  // next() tells of the death
      return Errno{EIO};
    }
    if (status >> 16 != 0) {  // a clone's event; the call itself goes on
      unsigned long message = 0;
      if (::ptrace(PTRACE_GETEVENTMSG, tid, nullptr, &message) != 0) return Errno{EIO};
      new_tid_ = static_cast<int>(message);
      continue;
    }
    const int sig = WSTOPSIG(status);
    if (sig == SIGTRAP) break;
    if (sig == SIGSEGV || sig == SIGBUS || sig == SIGILL || sig == SIGSYS) return Errno{EIO};
  }
  const Regs r = TRY(get_regs(tid));
  const auto result = static_cast<int64_t>(r.rax);
  if (result < 0 && result > -4096) return Errno{static_cast<int>(-result)};
  return r.rax;
}

Result<int> Tracer::inject_clone(int tid, uint32_t flags) {
  new_tid_ = 0;
  TRY(inject(tid, __NR_clone, {flags}));
  if (new_tid_ == 0) return Errno{EAGAIN};
  const int child = new_tid_;
  if (!WIFSTOPPED(TRY(await(child)))) return Errno{EAGAIN};
  return child;
}

void Tracer::inject_exit(int tid) {
  if (point_at_gate(tid, __NR_exit, {}).has_value()) ::ptrace(PTRACE_CONT, tid, nullptr, nullptr);
}

}  // namespace run9::sentry::ptrace
