// Delivery: what a task does about its pending signals before it returns to guest code, and the signal
// frame (arch/x86/kernel/signal_64.c's layout, which unwinders and debuggers know).
#include <algorithm>
#include <cstddef>
#include <cstring>
#include <span>
#include <utility>

#include "base/log.h"
#include "sentry/task/kernel.h"
#include "sentry/task/ptrace.h"
#include "sentry/task/task.h"

namespace run9::sentry {
namespace {

struct SigContext {
  uint64_t r8, r9, r10, r11, r12, r13, r14, r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, eflags;
  uint16_t cs, gs, fs, ss;
  uint64_t err, trapno, oldmask, cr2, fpstate, reserved[8];
};
static_assert(sizeof(SigContext) == 256);

struct UContext {
  uint64_t flags = 0, link = 0;
  AltStack stack;
  SigContext mc{};
  SignalSet mask;
};
static_assert(sizeof(UContext) == 304);

struct RtSigFrame {
  uint64_t pretcode = 0;
  UContext uc;
  SigInfo info;
};
static_assert(sizeof(RtSigFrame) == 440);

constexpr uint64_t kUcFpXstate = 1, kUcSigcontextSs = 2, kUcStrictRestoreSs = 4;

void save_regs(const Regs& r, SigContext& c) {
  c.r8 = r.r8, c.r9 = r.r9, c.r10 = r.r10, c.r11 = r.r11, c.r12 = r.r12, c.r13 = r.r13;
  c.r14 = r.r14, c.r15 = r.r15, c.rdi = r.rdi, c.rsi = r.rsi, c.rbp = r.rbp, c.rbx = r.rbx;
  c.rdx = r.rdx, c.rax = r.rax, c.rcx = r.rcx, c.rsp = r.rsp, c.rip = r.rip, c.eflags = r.eflags;
  c.cs = kUserCs, c.ss = kUserSs;
}

void load_regs(const SigContext& c, Regs& r) {
  r.r8 = c.r8, r.r9 = c.r9, r.r10 = c.r10, r.r11 = c.r11, r.r12 = c.r12, r.r13 = c.r13;
  r.r14 = c.r14, r.r15 = c.r15, r.rdi = c.rdi, r.rsi = c.rsi, r.rbp = c.rbp, r.rbx = c.rbx;
  r.rdx = c.rdx, r.rax = c.rax, r.rcx = c.rcx, r.rsp = c.rsp, r.rip = c.rip;
  // The flags that user code may set; the host sanitizes once more.
  constexpr uint64_t kFlags = 0x240dd5;
  r.eflags = (r.eflags & ~kFlags) | (c.eflags & kFlags);
}

}  // namespace

SignalSet Task::pending_unblocked() const {
  return (pending_.set() | process_->pending.set()) & ~mask_;
}

bool Task::interrupted() const {
  if (exit_requested_ || process_->stopped || (tracee && tracee->stop_wanted)) return true;
  const SignalSet all = pending_.set() | process_->pending.set();
  return !(all & (~mask_ | sigwait_set)).empty();
}

SignalSet Task::mask() const {
  if (!masks_itself()) return mask_;
  const auto own = context_->own_mask_now();
  return own ? SignalSet{*own} & ~kUnblockable : mask_;
}

void Task::set_mask(SignalSet m) {
  mask_ = m & ~kUnblockable;
  // Shared signals that this task no longer takes may be another's.
  for (Task* t : process_->tasks) {
    if (t == this || process_->pending.set().empty()) continue;
    if (t->masks_itself() || !(process_->pending.set() & ~t->mask()).empty()) t->interrupt();
  }
}

void Task::restart_call(uint64_t number) {
  Regs& r = regs();
  r.rax = number;
  r.rip -= 2;
  context_->set_regs_changed();
}

// With the extended state, in one piece: a copy costs more by its start than by its length.
bool Task::write_frame(uint64_t sp, std::span<const std::byte> frame, uint64_t fpstate, size_t size) {
  std::vector<std::byte> all(size);
  std::ranges::copy(frame, all.begin());
  if (fpstate != 0) {
    const auto state = context_->xstate();
    if (!state.has_value()) return false;
    std::ranges::copy(state.value(), all.begin() + static_cast<ptrdiff_t>(fpstate - sp));
  }
  return memory_->copy_out(sp, all.data(), size).has_value();
}

bool Task::setup_frame(const SigInfo& info, const SigAction& action) {
  Regs& r = regs();
  const auto known = context_->xstate_size();
  const size_t state_size = known.has_value() ? known.value() : 0;
  uint64_t sp = r.rsp;
  const bool nested = alt_stack_.holds(sp);
  if ((action.flags & kSaOnstack) && !(alt_stack_.flags & kSsDisable) && !nested) {
    sp = alt_stack_.sp + alt_stack_.size;
  } else {
    sp -= 128;  // red zone
  }
  uint64_t fpstate = 0;
  if (state_size != 0) fpstate = sp = (sp - state_size) & ~uint64_t{63};
  sp = ((sp - sizeof(RtSigFrame)) & ~uint64_t{15}) - 8;
  if (nested && !alt_stack_.holds(sp)) return false;  // overflow

  RtSigFrame f;
  f.pretcode = action.restorer;
  f.uc.flags = kUcSigcontextSs | kUcStrictRestoreSs | (fpstate != 0 ? kUcFpXstate : 0);
  f.uc.stack = alt_stack_;
  if (!(alt_stack_.flags & kSsDisable)) f.uc.stack.flags = (alt_stack_.flags & ~kSsOnstack) | (nested ? kSsOnstack : 0);
  save_regs(r, f.uc.mc);
  if (info.signo == SIGSEGV || info.signo == SIGBUS || info.signo == SIGFPE || info.signo == SIGILL ||
      info.signo == SIGTRAP) {
    f.uc.mc.err = context_->fault().error_code;
    f.uc.mc.trapno = context_->fault().trapno;
    if (info.signo == SIGSEGV) f.uc.mc.cr2 = context_->fault().addr;
  }
  f.uc.mc.fpstate = fpstate;
  f.uc.mask = saved_mask ? *saved_mask : mask_;
  f.uc.mc.oldmask = f.uc.mask.bits;
  f.info = info;
  SignalSet blocked = mask_ | action.mask;
  if (!(action.flags & kSaNodefer)) blocked.add(info.signo);
  // Nothing else is to be done before it goes on.
  const bool last = !exit_requested_ && !process_->stopped && !tracee && ((pending_.set() | process_->pending.set()) & ~blocked).empty();
  const size_t size = fpstate != 0 ? fpstate - sp + state_size : sizeof f;
  const auto bytes = std::as_bytes(std::span(&f, 1));
  const bool by_guest = last && fpstate != 0 && memory_->is_writable(sp, size) && context_->store_frame(sp, bytes, fpstate);
  if (!by_guest && !write_frame(sp, bytes, fpstate, size)) return false;

  r.rdi = static_cast<uint64_t>(info.signo);
  r.rsi = sp + offsetof(RtSigFrame, info);
  r.rdx = sp + offsetof(RtSigFrame, uc);
  r.rax = 0;
  r.rip = action.handler;
  r.rsp = sp;
  r.eflags &= ~uint64_t{0x10500};  // RF, DF, TF
  context_->set_regs_changed();
  context_->reset_xstate();
  if (alt_stack_.flags & kSsAutodisarm) alt_stack_ = AltStack{};
  saved_mask.reset();
  mask_ = blocked & ~kUnblockable;
  return true;
}

Result<void> Task::sigreturn() {
  Regs& r = regs();
  // The extended state mostly lies right behind the rest, as setup_frame has put it: one copy brings both.
  const size_t size = TRY(context_->xstate_size());
  std::vector<std::byte> frame(sizeof(RtSigFrame) + 64 + size);
  frame.resize(TRY(memory_->copy_in_some(frame, r.rsp)));
  UContext u;
  if (frame.size() < sizeof u) return Errno{EFAULT};
  std::memcpy(&u, frame.data(), sizeof u);
  if (const uint64_t at = u.mc.fpstate - r.rsp; u.mc.fpstate != 0) {
    // As large as the context's own state, whatever the guest says; the host checks what is in it.
    if (at < frame.size() && frame.size() - at >= size) {
      TRY(context_->set_xstate(std::span(frame).subspan(at, size)));
    } else {
      std::vector<std::byte> state(size);
      TRY(memory_->copy_in(state.data(), u.mc.fpstate, size));
      TRY(context_->set_xstate(state));
    }
  } else {
    context_->reset_xstate();
  }
  load_regs(u.mc, r);
  r.orig_rax = ~uint64_t{0};
  context_->set_regs_changed();
  mark_regs_replaced();
  if (u.stack.flags & kSsDisable) {
    alt_stack_ = AltStack{};
  } else if (!alt_stack_.holds(r.rsp)) {
    alt_stack_ = u.stack;
    alt_stack_.flags &= ~kSsOnstack;
  }
  set_mask(u.mask);
  return ok();
}

// True: go on looking for signals. False: the task exits.
bool Task::act_on(const SigInfo& info, std::optional<int64_t>& call_result, bool& handled) {
  SigAction& slot = process_->actions->at[static_cast<size_t>(info.signo)];
  const SigAction action = slot;
  // init was sent it while it was blocked and has no handler: dropped now (get_signal() of Linux).
  // Faults (positive codes) do end it.
  if (process_->pid == 1 && info.code <= 0 && action.handler == 0) return true;
  if (info.signo == SIGKILL || (action.handler == 0 && info.signo != SIGSTOP)) {
    switch (default_action(info.signo)) {
      case DefaultAction::kIgnore:
      case DefaultAction::kContinue:
        if (info.signo != SIGKILL) return true;
        break;
      case DefaultAction::kStop:
        if (info.signo != SIGSTOP && process_->group && kernel_.group_is_orphaned(*process_->group)) return true;
        break;
      default:
        exit_group(info.signo);
        return false;
    }
    if (info.signo == SIGKILL) {
      exit_group(SIGKILL);
      return false;
    }
  }
  if (info.signo == SIGSTOP || (action.handler == 0 && default_action(info.signo) == DefaultAction::kStop)) {
    process_->stopped = true;
    process_->stop_signal = info.signo;
    const auto tracer = tracee ? tracee->tracer.lock() : nullptr;
    // A parent that traces hears of the stop as the tracer.
    const bool parent_traces = tracer && process_->parent.lock().get() == &tracer->process();
    process_->stop_reported = parent_traces;
    process_->continue_reported = true;
    for (Task* t : process_->tasks) {
      if (t != this) t->interrupt();
    }
    if (!parent_traces) kernel_.notify_parent(*process_, CLD_STOPPED, info.signo);
    stop_here();
    return !exit_requested_;
  }
  if (action.handler == 1) return true;

  if (call_result) {
    const int64_t e = -*call_result;
    const bool restart = e == to_int(kErestartnointr) ||
                         (e == to_int(kErestartsys) && (action.flags & kSaRestart));
    if (restart) {
      restart_call(regs().orig_rax);
    } else if (e >= 512 && e <= 516) {
      regs().rax = static_cast<uint64_t>(-EINTR);
    }
    call_result.reset();
  }
  if (action.flags & kSaResethand) slot.handler = 0;
  if (!setup_frame(info, action)) {
    log_debug("task {}: no room for the frame of signal {}", tid_, info.signo);
    if (info.signo != SIGSEGV) {  // force_sigsegv(): its handler may have a stack
      force_signal(SigInfo::kernel(SIGSEGV));
      return true;
    }
    exit_group(SIGSEGV);
    return false;
  }
  handled = true;
  return true;
}

bool Task::deliver_signals(std::optional<int64_t> call_result) {
  bool handled = false;
  for (;;) {
    if (exit_requested_) return false;
    if (process_->stopped) {
      stop_here();
      continue;
    }
    if (tracee && std::exchange(tracee->stop_wanted, false)) {
      trap_event(*this, PTRACE_EVENT_STOP, 0, 0);
      continue;
    }
    auto info = pending_.take(~mask_);
    if (!info) info = process_->pending.take(~mask_);
    if (!info) break;
    if (tracee && info->signo != SIGKILL) {
      info = trap_signal(*this, *info);
      if (info->signo == 0) continue;
      if (mask_.has(info->signo)) {  // the tracer's choice has to wait
        pending_.add(*info);
        continue;
      }
    }
    if (!act_on(*info, call_result, handled)) return false;
  }
  if (call_result) {
    const int64_t e = -*call_result;
    if (e == to_int(kErestartRestartblock)) {
      restart_call(219);  // restart_syscall
    } else if (e >= 512 && e <= 514) {
      restart_call(regs().orig_rax);
    }
  }
  if (saved_mask) {
    const SignalSet m = *saved_mask;
    saved_mask.reset();
    set_mask(m);
    if (!pending_unblocked().empty()) return deliver_signals({});
  }
  return true;
}

void Task::stop_here() {
  if (tracee) {
    trap_group_stop(*this);
    return;
  }
  stopped_ = true;
  while (process_->stopped && !exit_requested_ && !tracee) {
    sleeping_ = true;
    kernel_.loop().park();
    sleeping_ = false;
  }
  stopped_ = false;
  if (tracee && process_->stopped && !exit_requested_) trap_group_stop(*this);
}

}  // namespace run9::sentry
