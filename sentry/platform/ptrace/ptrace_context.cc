// PtraceContext: one traced guest thread.
#include <linux/audit.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <utility>

#include "sentry/platform/ptrace/ptrace_platform.h"
#include "sentry/platform/ptrace/xstate.h"
#include "sentry/platform/top_bit.h"

namespace run9::sentry::ptrace {
namespace {

constexpr int kCallStop = SIGTRAP | 0x80;
constexpr int kKick = SIGURG;

// Tracers are not told these two; see README.md.
uint64_t guess_trapno(int signo, int code) {
  switch (signo) {
    case SIGSEGV: return code == SEGV_MAPERR || code == SEGV_ACCERR ? 14 : 13;
    case SIGBUS: return code == BUS_ADRALN ? 17 : 14;
    case SIGFPE: return code == FPE_INTDIV ? 0 : 16;
    case SIGILL: return 6;
    default: return code == TRAP_TRACE || code == TRAP_HWBKPT ? 1 : 3;
  }
}

uint64_t guess_error_code(int signo, int code) {
  if (signo == SIGBUS && code != BUS_ADRALN) return 4;
  if (signo != SIGSEGV) return 0;
  return code == SEGV_MAPERR ? 4 : code == SEGV_ACCERR ? 5 : 0;
}

bool is_64bit_call(int tid, const Regs& r) {
  // `syscall` leaves the return address in rcx, the 32-bit ways in do not; only when in doubt, ask.
  if (r.rcx == r.rip) return true;
  __ptrace_syscall_info info{};
  if (::ptrace(PTRACE_GET_SYSCALL_INFO, tid, sizeof info, &info) <= 0) return true;
  return info.arch == AUDIT_ARCH_X86_64;
}

}  // namespace

PtraceContext::PtraceContext(std::shared_ptr<PtraceSpace> space, int tid, const Regs& regs)
    : space_(std::move(space)), tid_(tid), regs_(regs) {
  space_->platform_.contexts_[tid_] = this;
}

PtraceContext::~PtraceContext() {
  space_->platform_.contexts_.erase(tid_);
  const bool was_running = running_;
  if (running_) set_running(false);
  if (gone_ || space_->dead_) return;
  space_->platform_.ending_.insert(tid_);
  // One that runs cannot be stopped from here; its space is about to be killed with it.
  if (!was_running) space_->platform_.tracer_.inject_exit(tid_);
}

void PtraceContext::set_running(bool on) {
  running_ = on;
  space_->platform_.running_ += on ? 1 : -1;
}

Result<void> PtraceContext::set_top_bit(uint64_t addr) {
  TRY(space_->call(__NR_futex, top_bit_call(addr)));
  return ok();
}

void PtraceContext::report(EventKind kind) { space_->platform_.sink_.on_event(*this, kind); }

void PtraceContext::on_change(int status) {
  const bool was_running = running_;
  if (running_) set_running(false);
  if (!WIFSTOPPED(status)) {
    gone_ = true;
    if (was_running) report(EventKind::kGone);
    return;
  }
  if (!was_running) return;
  report(read_stop(WSTOPSIG(status)));
}

EventKind PtraceContext::read_stop(int signo) {
  const auto now = get_regs(tid_);
  if (!now.has_value()) {  // killed meanwhile
    gone_ = true;
    return EventKind::kGone;
  }
  regs_ = now.value();
  compat_ = false;
  if (signo == kCallStop) {
    compat_ = !is_64bit_call(tid_, regs_);
    regs_.orig_rax = static_cast<uint32_t>(regs_.orig_rax);
    regs_.rax = regs_.orig_rax;
    return EventKind::kSyscall;
  }
  regs_.orig_rax = ~uint64_t{0};
  if (signo != SIGSEGV && signo != SIGBUS && signo != SIGFPE && signo != SIGILL && signo != SIGTRAP) {
    return EventKind::kInterrupted;
  }
  read_fault(signo);
  return EventKind::kFault;
}

void PtraceContext::read_fault(int signo) {
  siginfo_t info{};
  (void)!::ptrace(PTRACE_GETSIGINFO, tid_, nullptr, &info);
  fault_ = {signo, info.si_code, reinterpret_cast<uint64_t>(info.si_addr),
            guess_trapno(signo, info.si_code), guess_error_code(signo, info.si_code)};
}

bool PtraceContext::go() {
  if (gone_ || space_->dead_) return false;
  if (std::exchange(reset_xstate_, false) && !write_initial_xstate(tid_).has_value()) return false;
  Regs r = regs_;
  r.orig_rax = ~uint64_t{0};  // no restart of a call by the host
  r.cs = kUserCs;
  r.ss = kUserSs;
  if (!set_regs(tid_, r).has_value()) return false;
  return ::ptrace(PTRACE_SYSEMU, tid_, nullptr, nullptr) == 0;
}

void PtraceContext::resume() {
  if (!go()) {
    gone_ = true;
    return report(EventKind::kGone);
  }
  set_running(true);
}

void PtraceContext::kick() {
  if (running_) syscall(SYS_tgkill, space_->pid_, tid_, kKick);
}

Result<std::vector<std::byte>> PtraceContext::xstate() {
  if (reset_xstate_) {
    TRY(write_initial_xstate(tid_));
    reset_xstate_ = false;
  }
  return read_xstate(tid_);
}

Result<void> PtraceContext::set_xstate(ByteSpan state) {
  TRY(write_xstate(tid_, state));
  reset_xstate_ = false;
  return ok();
}

}  // namespace run9::sentry::ptrace
