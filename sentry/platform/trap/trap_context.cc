// TrapContext: one guest thread's control page, seen from the Sentry. Everything in the page is the
// guest's to change at any time: take_request copies it out once.
#include <asm/unistd.h>
#include <linux/audit.h>
#include <linux/futex.h>
#include <signal.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "sentry/platform/trap/trap_platform.h"
#include "sentry/sched/fiber.h"

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

// The arithmetic flags after cmp b, a (AT&T order: a - b).
uint64_t compare_flags(uint64_t a, uint64_t b) {
  const uint64_t d = a - b;
  const auto bit = [](bool on, int n) { return static_cast<uint64_t>(on) << n; };
  return bit(a < b, 0) | bit(__builtin_parityll(d & 0xff) == 0, 2) | bit(((a ^ b ^ d) & 0x10) != 0, 4) |
         bit(d == 0, 6) | bit((d >> 63) != 0, 7) | bit((((a ^ b) & (a ^ d)) >> 63) != 0, 11);
}

// One read of a field that the guest may be changing: what is checked is what is used.
template <typename T>
T take(const T& field) {
  return __atomic_load_n(&field, __ATOMIC_RELAXED);
}

Window take_window(const Window& w) { return {take(w.addr), take(w.size), take(w.offset)}; }

}  // namespace

TrapContext::TrapContext(std::shared_ptr<TrapSpace> space, uint32_t slot)
    : space_(std::move(space)), slot_(slot) {
  space_->contexts_[slot_] = this;
}

TrapContext::~TrapContext() {
  space_->contexts_.erase(slot_);
  space_->platform_.wakes().forget(&page().state);
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
  if (old == kRequestAsleep) space_->platform_.wakes().now(space_->sleep_word(slot_));
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
int TrapContext::host_tid() const { return static_cast<int>(take(page().host_tid)); }

std::optional<EventKind> TrapContext::take_request() {
  if (!running_) return {};
  const uint32_t state = __atomic_load_n(&page().state, __ATOMIC_ACQUIRE);
  if (state != kRequest && state != kRequestAsleep) return {};
  running_ = false;
  const ControlPage& p = page();
  uint64_t gregs[kGregs];
  for (int i = 0; i < kGregs; ++i) gregs[i] = take(p.gregs[i]);
  const uint32_t kind = take(p.kind);
  frame_ = take(p.frame);
  if (const uint32_t woken_on = take(p.woken_on); woken_on != 0) {
    space_->platform_.wakes().ran_on(woken_on - 1);
    page().woken_on = 0;
  }
  // The way back through a signal's frame copies no results (apply() in stub.cc).
  if (report_waiter_ == nullptr || frame_ != 0) drop_windows();
  if (report_waiter_ != nullptr) {
    // The orders of carry_out_now: the registers are still those of the call.
    order_error_ = kind == kReqOrdersDone ? 0 : ENOMEM;
    return EventKind::kOrderFailed;
  }
  if (kind != kReqOrderFailed) to_regs(gregs, regs_);
  if (space_->platform_.shared().xstate_size & 0x80000000u) {
    regs_.fs_base = take(p.fs_base);
    regs_.gs_base = take(p.gs_base);
  }
  known_fs_ = regs_.fs_base;
  known_gs_ = regs_.gs_base;
  compat_ = false;
  regs_.orig_rax = ~uint64_t{0};
  switch (kind) {
    case kReqSyscall:
      regs_.orig_rax = static_cast<uint32_t>(take(p.syscall));
      compat_ = take(p.arch) != AUDIT_ARCH_X86_64;
      take_windows();
      return EventKind::kSyscall;
    case kReqFault: {
      switch (at_patched_site()) {
        case OnSite::kNone:
          break;
        case OnSite::kSyscall:
          return EventKind::kSyscall;
        case OnSite::kGoOn:
          write_regs();
          running_ = true;  // it was not taken off the count
          hand_back();
          return {};
      }
      const int signo = take(p.signo);
      const bool known = signo == SIGSEGV || signo == SIGBUS || signo == SIGFPE || signo == SIGILL ||
                         signo == SIGTRAP;
      fault_ = {known ? signo : SIGSEGV, take(p.code), take(p.fault_addr), gregs[kTrapno], gregs[kErr]};
      return EventKind::kFault;
    }
    case kReqOrderFailed: {
      const int64_t e = take(p.order_error);
      order_error_ = e < 0 && e > -4096 ? static_cast<int>(-e) : ENOMEM;
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
    orders_expected_ = take(p.orders_done) + 1;
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

void TrapContext::hand_back() {
  const uint32_t old = __atomic_exchange_n(&page().state, kReply, __ATOMIC_SEQ_CST);
  if (old == kRequestAsleep) space_->platform_.wakes().soon(space_->sleep_word(slot_), &page().state);
}

void TrapContext::will_wait() {
  if (__atomic_load_n(&page().state, __ATOMIC_RELAXED) != kRequest) return;
  Wakes& wakes = space_->platform_.wakes();
  const uint32_t next = wakes.next();
  page().hand_to = next;
  uint32_t expected = kRequest;
  if (__atomic_compare_exchange_n(&page().state, &expected, kRequestAsleep, false, __ATOMIC_ACQ_REL,
                                  __ATOMIC_ACQUIRE)) {
    if (next != 0) wakes.handed();
  } else {
    page().hand_to = 0;  // it sleeps already
  }
}

void TrapContext::resume() {
  if (gone_ || space_->dead_) {
    // The kernel hears of it again, and must let go this time.
    gone_ = true;
    space_->platform_.sink_.on_event(*this, EventKind::kGone);
    return;
  }
  for (int i = 0; i < kWindows; ++i) {
    const bool used = static_cast<size_t>(i) < kept_.size();
    page().results[i] = used ? Window{kept_[i].addr, kept_[i].size, kept_[i].offset} : Window{};
  }
  kept_.clear();
  write_regs();
  start_running();
  hand_back();
}

Result<void> TrapContext::report(uint32_t flags) {
  const bool changed = std::exchange(regs_changed_, false);
  const uint32_t later = std::exchange(reply_flags_, flags);
  const uint64_t fs = known_fs_, gs = known_gs_;
  known_fs_ = regs_.fs_base, known_gs_ = regs_.gs_base;  // not yet
  write_regs();
  known_fs_ = fs, known_gs_ = gs;
  regs_changed_ = changed;
  reply_flags_ = later;
  report_waiter_ = space_->platform_.loop_.current();
  start_running();
  hand_back();
  space_->platform_.loop_.park();
  report_waiter_ = nullptr;
  if (gone_ || space_->dead_) return Errno{EAGAIN};
  if (order_error_ != 0) return Errno{EAGAIN};
  return ok();
}

Result<void> TrapContext::carry_out_now() { return report(kReport); }

Result<void> TrapContext::need_frame() {
  if (frame_ != 0) return ok();
  flush_windows(0, ~uint64_t{0});
  auto orders = std::exchange(orders_, {});
  const auto done = report(kReport | kFrame);
  orders_ = std::move(orders);
  return done;
}

// ---------------------------------------------------------------- windows

// They end with the call, and where a signal's frame is made for it.
void TrapContext::drop_windows() {
  kept_.clear();
  out_used_ = 0;
  for (int i = 0; i < kWindows; ++i) in_[i] = out_[i] = {};
}

void TrapContext::take_windows() {
  if (frame_ != 0) return;
  for (int i = 0; i < kWindows; ++i) {
    const Window in = take_window(page().in[i]), out = take_window(page().out[i]);
    if (in.size <= kInBuffer && in.offset <= kInBuffer - in.size) in_[i] = in;
    if (out.size <= kOutBuffer) out_[i] = out;
  }
}

bool TrapContext::read_window(uint64_t addr, std::span<std::byte> dst) const {
  for (const Window& w : in_) {
    if (addr < w.addr || addr - w.addr > w.size || dst.size() > w.size - (addr - w.addr)) continue;
    memcpy(dst.data(), page().in_buffer + w.offset + (addr - w.addr), dst.size());
    return true;
  }
  return false;
}

size_t TrapContext::read_window_part(uint64_t addr, std::span<std::byte> dst) const {
  for (const Window& w : in_) {
    if (addr < w.addr || addr - w.addr >= w.size) continue;
    const size_t n = std::min<size_t>(dst.size(), w.size - (addr - w.addr));
    memcpy(dst.data(), page().in_buffer + w.offset + (addr - w.addr), n);
    return n;
  }
  return 0;
}

bool TrapContext::write_window(uint64_t addr, ByteSpan src) {
  if (kept_.size() >= kWindows || src.size() > kOutBuffer - out_used_) return false;
  for (const Window& w : out_) {
    if (addr < w.addr || addr - w.addr > w.size || src.size() > w.size - (addr - w.addr)) continue;
    memcpy(page().out_buffer + out_used_, src.data(), src.size());
    kept_.push_back({addr, static_cast<uint32_t>(src.size()), out_used_});
    out_used_ += static_cast<uint32_t>(src.size());
    return true;
  }
  return false;
}

void TrapContext::flush_windows(uint64_t addr, uint64_t size) {
  const bool touched = std::any_of(kept_.begin(), kept_.end(), [&](const Kept& k) {
    return k.addr < addr + size && addr < k.addr + k.size;
  });
  if (!touched && !(addr == 0 && size == ~uint64_t{0})) return;
  for (const Kept& k : std::exchange(kept_, {})) {
    const auto* data = reinterpret_cast<const std::byte*>(page().out_buffer + k.offset);
    [[maybe_unused]] const auto done = space_->write_host(k.addr, ByteSpan(data, k.size));
  }
}

void TrapContext::set_fiber(Fiber* fiber) {
  Fiber* const current = space_->platform_.loop_.current();
  if (current != nullptr) current->context = fiber != nullptr ? this : nullptr;
}

void TrapContext::set_identity(const ContextIdentity* id) {
  Identity& to = page().identity;
  if (id == nullptr) {
    to.valid = 0;
    return;
  }
  to = {1, id->pid, id->tid, id->ppid, id->uid, id->euid, id->gid, id->egid};
}

// ---------------------------------------------------------------- patched call sites

TrapContext::OnSite TrapContext::at_patched_site() {
  auto it = space_->patched_.upper_bound(regs_.rip);
  if (it == space_->patched_.begin()) return OnSite::kNone;
  --it;
  if (regs_.rip >= it->second.end) return OnSite::kNone;
  const uint64_t offset = regs_.rip - it->first + it->second.image_offset;
  const PatchedSite* site = it->second.image->site_at(offset);
  if (site == nullptr || offset - site->offset != site->trap) return OnSite::kNone;
  if (site->mode == MODE_PLAIN) {
    regs_.orig_rax = static_cast<uint32_t>(regs_.rax);
    regs_.rip += 2;
    regs_.rcx = regs_.rip;
    regs_.r11 = regs_.eflags;
    regs_changed_ = true;
    return OnSite::kSyscall;
  }
  const uint64_t with = site->mode == MODE_CMP_4095 ? -4095ull : -4096ull;
  regs_.eflags = (regs_.eflags & ~uint64_t{0x8d5}) | compare_flags(regs_.rax, with);
  regs_.rip += CMP_LENGTH;
  regs_changed_ = true;
  return OnSite::kGoOn;
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
  if (frame_ < base || frame_ > base + STUB_SLOT_STACK - sizeof(ucontext_t)) return Errno{EFAULT};
  uint64_t fp = 0;
  const uint64_t at = frame_ + offsetof(ucontext_t, uc_mcontext) + offsetof(mcontext_t, fpregs);
  const size_t n = TRY(space_->read(at, std::as_writable_bytes(std::span(&fp, 1))));
  const uint64_t size = space_->platform_.shared().xstate_size & 0x7fffffff;
  if (n != sizeof fp || size > STUB_SLOT_STACK) return Errno{EFAULT};
  if (fp < base || fp > base + STUB_SLOT_STACK - size) return Errno{EFAULT};
  return fp;
}

Result<std::vector<std::byte>> TrapContext::xstate() {
  TRY(need_frame());
  std::vector<std::byte> state(space_->platform_.shared().xstate_size & 0x7fffffff);
  const size_t n = TRY(space_->read(TRY(fpstate_address()), state));
  if (n != state.size()) return Errno{EFAULT};
  return state;
}

Result<void> TrapContext::set_xstate(ByteSpan state) {
  const size_t size = space_->platform_.shared().xstate_size & 0x7fffffff;
  if (state.size() != size) return Errno{EINVAL};
  TRY(need_frame());
  const size_t n = TRY(space_->write(TRY(fpstate_address()), state));
  if (n != size) return Errno{EFAULT};
  return ok();
}

}  // namespace run9::sentry::trap
