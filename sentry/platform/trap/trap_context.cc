// TrapContext: one guest thread's control page, seen from the Sentry. Everything in the page is the
// guest's to change at any time: take_request copies it out once.
#include <asm/unistd.h>
#include <linux/audit.h>
#include <linux/futex.h>
#include <signal.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include <utility>

#include "base/check.h"
#include "sentry/platform/trap/trap_platform.h"

namespace run9::sentry::trap {
namespace {

void to_regs(const uint64_t* g, Regs& r) {
  r.r8 = g[kR8], r.r9 = g[kR9], r.r10 = g[kR10], r.r11 = g[kR11];
  r.r12 = g[kR12], r.r13 = g[kR13], r.r14 = g[kR14], r.r15 = g[kR15];
  r.rdi = g[kRdi], r.rsi = g[kRsi], r.rbp = g[kRbp], r.rbx = g[kRbx];
  r.rdx = g[kRdx], r.rax = g[kRax], r.rcx = g[kRcx], r.rsp = g[kRsp];
  r.rip = g[kRip], r.eflags = g[kEfl];
  r.cs = kUserCs, r.ss = kUserSs;
}

void from_regs(const Regs& r, uint64_t* g) {
  g[kR8] = r.r8, g[kR9] = r.r9, g[kR10] = r.r10, g[kR11] = r.r11;
  g[kR12] = r.r12, g[kR13] = r.r13, g[kR14] = r.r14, g[kR15] = r.r15;
  g[kRdi] = r.rdi, g[kRsi] = r.rsi, g[kRbp] = r.rbp, g[kRbx] = r.rbx;
  g[kRdx] = r.rdx, g[kRax] = r.rax, g[kRcx] = r.rcx, g[kRsp] = r.rsp;
  g[kRip] = r.rip, g[kEfl] = r.eflags;
  g[kCsgsfs] = kUserCs | (kUserSs << 48);
  g[kErr] = g[kTrapno] = g[kOldmask] = g[kCr2] = 0;
}

}  // namespace

TrapContext::TrapContext(std::shared_ptr<TrapSpace> space, uint32_t slot)
    : space_(std::move(space)), slot_(slot) {
  space_->contexts_[slot_] = this;
}

TrapContext::~TrapContext() {
  space_->contexts_.erase(slot_);
  if (gone_ || space_->dead_) return;
  if (running_) {
    // Its code cannot be stopped from here; the space is about to be killed with it.
    running_ = false;
    space_->platform_.count_running(-1);
    if (--space_->running_ == 0) space_->platform_.remove(*space_);
    return;
  }
  reply_flags_ = kExit;
  orders_.clear();
  page().reply_flags = kExit;
  const uint32_t old = __atomic_exchange_n(&page().state, kReply, __ATOMIC_SEQ_CST);
  if (old == kRequestAsleep) syscall(SYS_futex, &page().state, FUTEX_WAKE, 1, nullptr, nullptr, 0);
  space_->free_slots_.push_back(slot_);
}

void TrapContext::prepare(const Regs& regs, uint64_t frame, uint64_t fs, uint64_t gs) {
  frame_ = frame;
  regs_ = regs;
  known_fs_ = fs;
  known_gs_ = gs;
  regs_changed_ = true;
}

ControlPage& TrapContext::page() const { return space_->page(slot_); }
int TrapContext::host_tid() const { return static_cast<int>(page().host_tid); }

std::optional<EventKind> TrapContext::take_request() {
  if (!running_) return {};
  const uint32_t state = __atomic_load_n(&page().state, __ATOMIC_ACQUIRE);
  if (state != kRequest && state != kRequestAsleep) return {};
  running_ = false;
  const ControlPage& p = page();
  uint64_t gregs[kGregs];
  for (int i = 0; i < kGregs; ++i) gregs[i] = __atomic_load_n(&p.gregs[i], __ATOMIC_RELAXED);
  const uint32_t kind = __atomic_load_n(&p.kind, __ATOMIC_RELAXED);
  if (report_waiter_ != nullptr) {
    // The orders of carry_out_now: the registers are still those of the call.
    order_error_ = kind == kReqOrdersDone ? 0 : ENOMEM;
    return EventKind::kOrderFailed;
  }
  if (kind != kReqOrderFailed) to_regs(gregs, regs_);
  frame_ = __atomic_load_n(&p.frame, __ATOMIC_RELAXED);
  if (space_->platform_.shared().xstate_size & 0x80000000u) {
    regs_.fs_base = __atomic_load_n(&p.fs_base, __ATOMIC_RELAXED);
    regs_.gs_base = __atomic_load_n(&p.gs_base, __ATOMIC_RELAXED);
  }
  known_fs_ = regs_.fs_base;
  known_gs_ = regs_.gs_base;
  compat_ = false;
  regs_.orig_rax = ~uint64_t{0};
  switch (kind) {
    case kReqSyscall:
      regs_.orig_rax = static_cast<uint32_t>(p.syscall);
      compat_ = p.arch != AUDIT_ARCH_X86_64;
      return EventKind::kSyscall;
    case kReqFault: {
      const int signo = p.signo;
      const bool known = signo == SIGSEGV || signo == SIGBUS || signo == SIGFPE || signo == SIGILL ||
                         signo == SIGTRAP;
      fault_ = {known ? signo : SIGSEGV, p.code, p.fault_addr, gregs[kTrapno], gregs[kErr]};
      return EventKind::kFault;
    }
    case kReqOrderFailed: {
      const int64_t e = -p.order_error;
      order_error_ = e > 0 && e < 4096 ? static_cast<int>(e) : ENOMEM;
      return EventKind::kOrderFailed;
    }
    default:
      return EventKind::kInterrupted;
  }
}

void TrapContext::queue(const ThreadOrder& order) { orders_.push_back(order); }

bool TrapContext::orders_outstanding() const {
  return running_ && __atomic_load_n(&page().orders_done, __ATOMIC_ACQUIRE) < orders_expected_ &&
         __atomic_load_n(&page().state, __ATOMIC_ACQUIRE) == kReply;
}

void TrapContext::write_regs() {
  ControlPage& p = page();
  if (regs_.fs_base != known_fs_) {
    p.fs_base = regs_.fs_base;
    reply_flags_ |= kSetFs;
  }
  if (regs_.gs_base != known_gs_) {
    p.gs_base = regs_.gs_base;
    reply_flags_ |= kSetGs;
  }
  known_fs_ = regs_.fs_base;
  known_gs_ = regs_.gs_base;
  if (regs_changed_) {
    reply_flags_ |= kRegs;
    from_regs(regs_, p.gregs);
  } else {
    p.gregs[kRax] = regs_.rax;
  }
  p.order_count = static_cast<uint32_t>(orders_.size());
  for (size_t i = 0; i < orders_.size(); ++i) p.orders[i] = orders_[i];
  if (!orders_.empty()) {
    reply_flags_ |= kOrders;
    orders_expected_ = p.orders_done + 1;
    orders_.clear();
  }
  p.reply_flags = reply_flags_;
  reply_flags_ = 0;
  regs_changed_ = false;
}

void TrapContext::start_running() {
  running_ = true;
  space_->platform_.count_running(1);
  if (space_->running_++ == 0) space_->platform_.add(*space_);
}

void TrapContext::resume() {
  if (gone_ || space_->dead_) {
    // The kernel hears of it again, and must let go this time.
    gone_ = true;
    space_->platform_.sink_.on_event(*this, EventKind::kGone);
    return;
  }
  write_regs();
  start_running();
  const uint32_t old = __atomic_exchange_n(&page().state, kReply, __ATOMIC_SEQ_CST);
  if (old == kRequestAsleep) syscall(SYS_futex, &page().state, FUTEX_WAKE, 1, nullptr, nullptr, 0);
}

Result<void> TrapContext::carry_out_now() {
  const bool changed = std::exchange(regs_changed_, false);
  const uint32_t flags = std::exchange(reply_flags_, kReport);
  const uint64_t fs = known_fs_, gs = known_gs_;
  known_fs_ = regs_.fs_base, known_gs_ = regs_.gs_base;  // not yet
  write_regs();
  known_fs_ = fs, known_gs_ = gs;
  regs_changed_ = changed;
  reply_flags_ = flags;
  report_waiter_ = space_->platform_.loop_.current();
  start_running();
  const uint32_t old = __atomic_exchange_n(&page().state, kReply, __ATOMIC_SEQ_CST);
  if (old == kRequestAsleep) syscall(SYS_futex, &page().state, FUTEX_WAKE, 1, nullptr, nullptr, 0);
  space_->platform_.loop_.park();
  report_waiter_ = nullptr;
  if (gone_ || space_->dead_) return Errno{EAGAIN};
  if (order_error_ != 0) return Errno{EAGAIN};
  return ok();
}

void TrapContext::kick() {
  if (!running_ || space_->pid_ == 0 || report_waiter_ != nullptr) return;
  const int tid = host_tid();
  if (tid == 0) {  // its creator has not carried out the order yet
    if (!kick_retry_) kick_retry_ = std::make_unique<Timer>(space_->platform_.loop_, [this] { kick(); });
    kick_retry_->arm(EventLoop::now_ns() + 200'000);
    return;
  }
  // A forged thread id reaches threads of the guest's own process alone: tgkill checks.
  syscall(SYS_tgkill, space_->pid_, tid, SIGURG);
}

Result<uint64_t> TrapContext::fpstate_address() const {
  const uint64_t base = STUB_STACKS + uint64_t{slot_} * STUB_SLOT_STACK;
  if (frame_ < base || frame_ + sizeof(ucontext_t) > base + STUB_SLOT_STACK) return Errno{EFAULT};
  uint64_t fp = 0;
  const uint64_t at = frame_ + offsetof(ucontext_t, uc_mcontext) + offsetof(mcontext_t, fpregs);
  const size_t n = TRY(space_->read(at, std::as_writable_bytes(std::span(&fp, 1))));
  const uint64_t size = space_->platform_.shared().xstate_size & 0x7fffffff;
  if (n != sizeof fp || fp < base || fp + size > base + STUB_SLOT_STACK) return Errno{EFAULT};
  return fp;
}

Result<std::vector<std::byte>> TrapContext::xstate() {
  std::vector<std::byte> state(space_->platform_.shared().xstate_size & 0x7fffffff);
  const size_t n = TRY(space_->read(TRY(fpstate_address()), state));
  if (n != state.size()) return Errno{EFAULT};
  return state;
}

Result<void> TrapContext::set_xstate(ByteSpan state) {
  const size_t size = space_->platform_.shared().xstate_size & 0x7fffffff;
  if (state.size() != size) return Errno{EINVAL};
  const size_t n = TRY(space_->write(TRY(fpstate_address()), state));
  if (n != size) return Errno{EFAULT};
  return ok();
}

}  // namespace run9::sentry::trap
