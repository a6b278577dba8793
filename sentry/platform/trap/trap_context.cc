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
#include "base/layer_clock.h"
#include "sentry/platform/top_bit.h"
#include "sentry/platform/trap/agent_commands.h"
#include "sentry/platform/trap/call_windows.h"
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

}  // namespace

TrapContext::TrapContext(std::shared_ptr<TrapSpace> space, uint32_t slot)
    : space_(std::move(space)), slot_(slot), page_(space_->page(slot)) {
  space_->contexts_[slot_] = this;
  forget_own();
}

TrapContext::~TrapContext() {
  space_->contexts_.erase(slot_);
  if (Fiber* const fiber = space_->platform_.loop_.current(); fiber != nullptr && fiber->context == this) {
    fiber->context = nullptr;
  }
  space_->platform_.forget(*this);
  if (gone_ || (space_->dead_ && !space_->leaves_)) return;
  if (running_) {
    // Its code cannot be stopped from here; the space is about to be killed with it.
    stop_running();
    return;
  }
  orders_.clear();
  Reply& reply = page().line.reply;
  reply.flags = kExit | (clear_at_exit_ != 0 ? kClearTid : 0u);
  if (space_->leaves_) {
    // It does that where the program ran, while others wait for its end as they would for a process's.
    page().orders[0] = as_order(unmap_all());
    page().order_count = 1;
    reply.flags |= kOrders;
  }
  reply.results[0].addr = clear_at_exit_;
  const uint32_t old = __atomic_exchange_n(&page().line.state, kReply, __ATOMIC_SEQ_CST);
  Wakes& wakes = space_->platform_.wakes();
  if (old == kRequest && space_->leaves_) wakes.ends(page());
  if (old == kRequestAsleep) clear_at_exit_ != 0 ? wakes.now(space_->sleep_word(slot_)) : wakes.leave(space_->sleep_word(slot_));
  space_->free_slots_.push_back(slot_);
}

void TrapContext::prepare(const Regs& regs, uint64_t frame, uint64_t fs, uint64_t gs) {
  frame_ = frame;
  regs_ = regs;
  known_fs_ = fs;
  known_gs_ = gs;
  regs_changed_ = true;
}

void TrapContext::start_over(const Regs& regs) {
  if (only_call_) load_regs();  // the bases that it has
  drop_windows();
  regs_ = regs;
  regs_changed_ = true;
  reset_xstate();
  set_robust_list(0);
  set_clear_tid(0);
  forget_own();
  faults_ = mask_ = Whose::kSentrys;
  in_call_ = false;
}

// What the thread may do by itself, and has noted down of it.
void TrapContext::forget_own() {
  ControlPage& p = page();
  p.fault = {};
  p.signals = {};
  p.may_close = 0;
  p.closed = p.told_fd = p.told_facts = 0;
  p.start_read = kNoStart;
  take_all_files();
}

int TrapContext::host_tid() const { return static_cast<int>(take(page().host_tid)); }

std::optional<EventKind> TrapContext::take_request() {
  bool own = false;
  const auto kind = take_event(own);
  if (!kind) return {};
  if (own && (faults_ != Whose::kSentrys || mask_ != Whose::kSentrys)) {
    own_mask = take(page().signals.own);
    page().signals.differs = 0;
  }
  for (Whose* w : {&faults_, &mask_}) {
    if (*w == Whose::kTakenBack) *w = Whose::kSentrys;
  }
  return kind;
}

std::optional<EventKind> TrapContext::take_event(bool& own) {
  if (!running_) return {};
  const ControlPage& p = page();
  const uint32_t state = __atomic_load_n(&p.line.state, __ATOMIC_ACQUIRE);
  if (state != kRequest && state != kRequestAsleep) return {};
  const uint8_t said = take(p.line.kind);
  const auto kind = static_cast<RequestKind>(said & kReqKind);
  own = (said & kReqOwnMask) != 0;
  used_stat = (said & kReqUsedStat) != 0;
  used_start = (said & kReqUsedStart) != 0;
  read_of_start = (said & kReqReadStart) != 0 ? take_start() : 0;
  auto number = static_cast<uint32_t>(take(p.line.nr));
  closed = {};
  if ((said & kReqClosed) != 0 && has_number(said)) {
    closed.packed = static_cast<uint16_t>(number >> kClosedShift);
    number &= (1u << kClosedShift) - 1;
  }
  if (const uint8_t woken_on = take(p.line.woken_on); woken_on != 0) {
    space_->platform_.wakes().ran_on(woken_on - 1u);
    page().line.woken_on = 0;
  }
  stop_running();
  broken_off_ = kind == kReqBrokenOff;
  already = broken_off_ ? take(p.already) : 0;
  frame_ = kind == kReqCall || broken_off_ ? 0 : take(p.frame);
  // The way back through a signal's frame copies no results (apply() in stub/orders.h).
  if (report_waiter_ == nullptr || frame_ != 0) drop_windows();
  if (report_waiter_ != nullptr) {
    // The orders of carry_out_now: the registers are still those of the call.
    order_error_ = kind == kReqOrdersDone ? 0 : ENOMEM;
    if (in_futex_) futex_result_ = take(p.order_error);
    return EventKind::kOrderFailed;
  }
  compat_ = in_call_ = false;
  if (kind == kReqCall || broken_off_) {
    take_call(number);
    return EventKind::kSyscall;
  }
  if (kind == kReqOrderFailed) {
    const int64_t e = take(p.order_error);
    order_error_ = e < 0 && e > -4096 ? static_cast<int>(-e) : ENOMEM;
    return EventKind::kOrderFailed;
  }
  regs_.orig_rax = ~uint64_t{0};
  only_call_ = false;
  load_regs();
  switch (kind) {
    case kReqSyscall:
      regs_.orig_rax = number;
      compat_ = take(p.arch) != AUDIT_ARCH_X86_64;
      return EventKind::kSyscall;
    case kReqFault: {
      switch (at_patched_site()) {
        case OnSite::kNone:
          break;
        case OnSite::kSyscall:
          return EventKind::kSyscall;
        case OnSite::kGoOn:
          write_regs();
          start_running();
          hand_back();
          return {};
      }
      const int signo = take(p.signo);
      const bool known = signo == SIGSEGV || signo == SIGBUS || signo == SIGFPE || signo == SIGILL ||
                         signo == SIGTRAP;
      fault_ = {known ? signo : SIGSEGV, take(p.code), take(p.fault_addr), take(p.gregs[kTrapno]), take(p.gregs[kErr])};
      return EventKind::kFault;
    }
    default:
      return EventKind::kInterrupted;
  }
}

// The call line alone: what most calls need. The other registers come when somebody asks for them.
void TrapContext::take_call(uint32_t number) {
  const CallLine& line = page().line;
  regs_.orig_rax = regs_.rax = number;
  uint64_t args[6];
  for (int i = 0; i < 6; ++i) args[i] = take(line.args[i]);
  regs_.rdi = args[0], regs_.rsi = args[1], regs_.rdx = args[2];
  regs_.r10 = args[3], regs_.r8 = args[4], regs_.r9 = args[5];
  only_call_ = in_call_ = true;
  take_windows(args);
}

// All that the guest's code left in its registers. Those of the call that was taken already stay as they are.
void TrapContext::load_regs() {
  const ControlPage& p = page();
  uint64_t gregs[kGregs];
  for (int i = 0; i < kGregs; ++i) gregs[i] = take(p.gregs[i]);
  const Regs call = regs_;
  to_regs(gregs, regs_);
  if (only_call_) {
    regs_.rax = call.rax;
    regs_.rdi = call.rdi, regs_.rsi = call.rsi, regs_.rdx = call.rdx;
    regs_.r10 = call.r10, regs_.r8 = call.r8, regs_.r9 = call.r9;
  }
  only_call_ = false;
  if (space_->platform_.shared().xstate_size & 0x80000000u) {
    regs_.fs_base = take(p.fs_base);
    regs_.gs_base = take(p.gs_base);
  }
  known_fs_ = regs_.fs_base;
  known_gs_ = regs_.gs_base;
}

void TrapContext::queue(const ThreadOrder& order) { orders_.push_back(order); }

bool TrapContext::orders_outstanding(uint64_t addr, uint64_t length) const {
  const auto overlaps = [&](const auto& range) { return range.first < addr + length && addr < range.first + range.second; };
  return running_ && std::ranges::any_of(ordered_, overlaps) && __atomic_load_n(&page().orders_done, __ATOMIC_ACQUIRE) < orders_expected_ &&
         __atomic_load_n(&page().line.state, __ATOMIC_ACQUIRE) == kReply;
}

// Of the guest's memory, what the orders change.
void TrapContext::note_ranges() {
  ordered_.clear();
  for (const ThreadOrder& o : orders_) {
    if ((o.kind != kOrderPlain && o.kind != kOrderMapFile) || o.nr == __NR_arch_prctl) continue;
    ordered_.emplace_back(o.args[0], o.args[1]);
    if (o.nr == __NR_mremap) ordered_.emplace_back(o.args[4], o.args[2]);
  }
}

void TrapContext::write_regs() {
  ControlPage& p = page();
  Reply& reply = p.line.reply;
  if (!only_call_) {
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
  }
  if (regs_changed_ || state_to_ != 0) {
    if (only_call_) load_regs();
    from_regs(regs_, p.gregs);
    if (state_to_ == 0) {
      reply_flags_ |= kRegs;
    } else {
      p.state_to = std::exchange(state_to_, 0);
      reply_flags_ = (reply_flags_ & ~uint32_t{kResetFpu}) | kHandler;
    }
  }
  reply.rax = regs_.rax;
  if (!orders_.empty()) {
    p.order_count = static_cast<uint32_t>(orders_.size());
    for (size_t i = 0; i < orders_.size(); ++i) p.orders[i] = orders_[i];
    reply_flags_ |= kOrders;
    orders_expected_ = take(p.orders_done) + 1;
    note_ranges();
    orders_.clear();
  }
  reply.flags = reply_flags_;
  reply_flags_ = 0;
  regs_changed_ = false;
}

void TrapContext::start_running() {
  running_ = true;
  if (!polled_) space_->platform_.want_polled(*this);
  resting_ = fresh_;
  if (!fresh_) space_->platform_.count_running(1);
  if (space_->running_++ == 0) space_->platform_.add(*space_);
}

void TrapContext::stop_running() {
  running_ = fresh_ = false;
  if (std::exchange(asleep_, false)) space_->platform_.count_asleep(-1);
  if (!std::exchange(resting_, false)) space_->platform_.count_running(-1);
  if (--space_->running_ == 0) space_->platform_.remove(*space_);
}

void TrapContext::note_rest(uint32_t state) {
  if (state != kReply) fresh_ = false;
  const bool asleep = state == kResting;
  if (std::exchange(asleep_, asleep) != asleep) space_->platform_.count_asleep(asleep ? 1 : -1);
  const bool rests = asleep || fresh_;
  if (std::exchange(resting_, rests) != rests) space_->platform_.count_running(rests ? -1 : 1);
}

bool TrapContext::resting() const {
  return running_ && __atomic_load_n(&page().line.state, __ATOMIC_RELAXED) == kResting;
}

void TrapContext::hand_back() {
  ++space_->platform_.replies_;
  const uint32_t old = __atomic_exchange_n(&page().line.state, kReply, __ATOMIC_SEQ_CST);
  const bool starts = std::exchange(starts_, false);
  const bool forked = std::exchange(forked_, false);
  if (old != kRequestAsleep) return;
  Wakes& wakes = space_->platform_.wakes();
  if (forked) return wakes.after_child(space_->sleep_word(slot_), &page().line.state);
  if (!starts) return wakes.soon(space_->sleep_word(slot_), &page().line.state);
  // It was made on the worker's core, and would run there.
  space_->move_first_thread([&] { wakes.now(space_->sleep_word(slot_)); });
}

bool TrapContext::waits_awake() const { return Wakes::waits_awake(page()); }

void TrapContext::will_wait() {
  Wakes& wakes = space_->platform_.wakes();
  const std::optional<AgentToWake> agent = std::exchange(agent_to_wake_, std::nullopt);
  if (waits_awake()) {
    const uint32_t next = agent ? wakes.announce(agent->word) | (agent->comes_back ? kComesBack : 0u) : wakes.next();
    if (Wakes::send_to_sleep(page(), next)) {
      if (next != 0 && !agent) wakes.handed();
      return;
    }
  }
  if (agent) wakes.now(agent->word);
}

void TrapContext::has_time() {
  if (!waits_awake()) return;
  Wakes& wakes = space_->platform_.wakes();
  wakes.waiting() > 0 ? will_wait() : wakes.offer(page());
}

void TrapContext::resume() {
  if (gone_ || space_->dead_) {
    // The kernel hears of it again, and must let go this time.
    gone_ = true;
    space_->platform_.sink_.on_event(*this, EventKind::kGone);
    return;
  }
  const uint32_t flags = reply_flags_;
  write_regs();
  hand_results_back();
  if ((flags & (kToldFile | kToldEnd)) != 0) {
    page().line.reply.file_flags = file_flags_;
    if ((flags & kToldStart) != 0) page().line.reply.results[1].size = start_size_;
    page().line.nr = static_cast<int32_t>(space_->platform_.shared().files_round);
  }
  start_running();
  hand_back();
}

Result<void> TrapContext::report(uint32_t flags) {
  const bool changed = std::exchange(regs_changed_, false);
  const uint32_t later = std::exchange(reply_flags_, flags);
  if (only_call_) load_regs();
  const uint64_t fs = known_fs_, gs = known_gs_;
  known_fs_ = regs_.fs_base, known_gs_ = regs_.gs_base;  // not yet
  write_regs();
  known_fs_ = fs, known_gs_ = gs;
  regs_changed_ = changed;
  reply_flags_ = later;
  const LayerScope time(in_futex_ ? Layer::kWait : Layer::kHost);  // the guest thread's, at work for us
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

Result<uint64_t> TrapContext::futex(uint64_t nr, const std::array<uint64_t, 6>& args, const timespec* deadline) {
  const bool two_words = nr == __NR_futex && args[4] >= kGuestEnd;
  if (nr == __NR_futex && (args[0] >= kGuestEnd || two_words)) return Errno{EFAULT};
  ThreadOrder order{};
  order.nr = nr;
  order.kind = kOrderFutex;
  std::ranges::copy(args, order.args);
  if (deadline != nullptr) {
    // In the page, behind the order.
    memcpy(page().orders[1].args, deadline, sizeof *deadline);
    order.args[3] = page_address(slot_) + offsetof(ControlPage, orders[1]);
  }
  queue(order);
  in_futex_ = true;
  const auto done = report(kReport);
  in_futex_ = false;
  TRY(done);
  if (futex_result_ < 0 && futex_result_ > -4096) return Errno{static_cast<int>(-futex_result_)};
  return static_cast<uint64_t>(futex_result_);
}

Result<void> TrapContext::set_top_bit(uint64_t addr) {
  TRY(futex(__NR_futex, top_bit_call(addr), nullptr));
  return ok();
}

bool TrapContext::clear_tid_at_exit(uint64_t addr) {
  if (addr >= kGuestEnd) return true;
  clear_at_exit_ = addr;
  const uint32_t zero = 0;
  if (frame_ != 0) [[maybe_unused]] const auto done = space_->write_host(addr, std::as_bytes(std::span(&zero, 1)));
  return true;
}

Result<void> TrapContext::need_frame() {
  if (frame_ != 0) return ok();
  flush_windows(0, ~uint64_t{0});
  auto orders = std::exchange(orders_, {});
  const auto done = report(kReport | kFrame);
  orders_ = std::move(orders);
  return done;
}

uint64_t TrapContext::robust_list() const { return take(page().robust_list); }
void TrapContext::set_robust_list(uint64_t head) { page().robust_list = head; }

uint64_t TrapContext::clear_tid() const {
  const ControlHeader& said = space_->header();
  return take(said.clear_slot) == slot_ + 1 ? take(said.clear_tid) : Context::clear_tid();
}

void TrapContext::set_clear_tid(uint64_t addr) {
  if (take(space_->header().clear_slot) == slot_ + 1) space_->header().clear_slot = 0;
  Context::set_clear_tid(addr);
}

void TrapContext::set_fiber(Fiber* fiber) {
  Fiber* const current = space_->platform_.loop_.current();
  if (current != nullptr) current->context = fiber != nullptr ? this : nullptr;
}

void TrapContext::set_identity(const ContextIdentity* id) {
  Identity& to = page().identity;
  watched_ = id == nullptr;
  told_files_ = id != nullptr && id->own_descriptors;
  if (watched_) {
    to.valid = 0;
    return;
  }
  if (!id->alone) keep_closes();
  to = {kMayAnswer | (id->own_descriptors ? kOwnDescriptors : 0), id->pid, id->tid, id->ppid, id->uid, id->euid, id->gid, id->egid,
        id->names.of_root, id->names.here};
}

// The rest is for the thread to read only if `entry` says so, but it may run.
void TrapContext::set_own_faults(const OwnFaults* faults) {
  FaultHandler& to = page().fault;
  if (faults == nullptr) {
    if (faults_ == Whose::kThreads) faults_ = Whose::kTakenBack;
    return __atomic_store_n(&to.entry, 0, __ATOMIC_RELAXED);
  }
  faults_ = Whose::kThreads;
  const OwnFaults& f = *faults;
  to.restorer = f.restorer, to.mask = f.mask;
  to.on_stack = f.on_stack ? 1 : 0;
  __atomic_store_n(&to.entry, f.handler, __ATOMIC_RELEASE);
}

void TrapContext::set_signals(const Signals& s) {
  OwnSignals& to = page().signals;
  to.known = s.mask;
  to.may_change = s.may_change ? 1 : 0;
  to.stack = s.stack, to.stack_size = s.stack_size;
  mask_ = s.may_change ? Whose::kThreads : Whose::kSentrys;
}

void TrapContext::keep_mask() {
  if (mask_ != Whose::kThreads) return;
  mask_ = Whose::kTakenBack;
  __atomic_store_n(&page().signals.may_change, 0, __ATOMIC_RELAXED);
}

// out_buffer and the bulk area are free, as a call that gives a descriptor has no other results.
std::span<std::byte> TrapContext::room_for_start(uint64_t size) {
  start_in_bulk_ = size > kOutBuffer - kStartAt;
  if (!start_in_bulk_) return std::as_writable_bytes(std::span(page().out_buffer)).subspan(kStartAt, size);
  if (size > kMostStart || slot_ >= STUB_BULK_SLOTS) return {};
  note_bulk(size);
  return {bulk(), size};
}

void TrapContext::tell_file(const ToldFile& file) {
  if (!kept_.empty()) return;
  reply_flags_ |= kToldFile | (file.closes_later ? kToldClose : 0u) | (file.is_new ? kToldNew : 0u) | (file.briefly ? kToldBriefly : 0u);
  file_flags_ = file.flags;  // not yet into the line, which the guest looks at meanwhile
  if (file.start) {
    reply_flags_ |= kToldStart;
    start_size_ = file.start->size | (start_in_bulk_ ? kStartInBulk : 0) | (file.start->all ? kStartIsAll : 0);
  }
  if (file.stat.empty()) return;
  CHECK(file.stat.size() <= kStartAt);
  reply_flags_ |= kToldStat;
  memcpy(page().out_buffer, file.stat.data(), file.stat.size());
}

void TrapContext::keep_closes() {
  if (take(page().may_close) != 0) __atomic_store_n(&page().may_close, 0, __ATOMIC_SEQ_CST);
}

ClosedFds TrapContext::take_closed() {
  uint32_t& closed = page().closed;
  if (__atomic_load_n(&closed, __ATOMIC_RELAXED) == 0) return {};
  return {static_cast<uint16_t>(__atomic_exchange_n(&closed, 0, __ATOMIC_SEQ_CST))};
}

uint32_t TrapContext::take_start() {
  const uint32_t read = __atomic_exchange_n(&page().start_read, kNoStart, __ATOMIC_SEQ_CST);
  return read <= kMostStart ? read : 0;
}

std::optional<uint64_t> TrapContext::own_mask_now() const {
  const OwnSignals& m = page().signals;
  if (mask_ == Whose::kSentrys || take(m.differs) == 0) return {};
  return take(m.own);
}

ThreadTimes TrapContext::take_times() {
  const ThreadNotes& n = page().times;
  const uint64_t before = std::exchange(rested_, take(n.rested));
  ThreadTimes times{take(n.asked), take(n.answered), take(n.resumed), rested_ - before, {}};
  if (space_->has_own_files(slot_)) note_own_calls(times);
  return times;
}

// ---------------------------------------------------------------- patched call sites

TrapContext::OnSite TrapContext::at_patched_site() {
  auto it = space_->patched_.upper_bound(regs_.rip);
  if (it == space_->patched_.begin()) return OnSite::kNone;
  --it;
  if (regs_.rip >= it->second.end) return OnSite::kNone;
  const uint64_t offset = regs_.rip - it->first + it->second.image_offset;
  const PatchedSite* site = it->second.image->site_at(offset);
  if (site == nullptr) return OnSite::kNone;
  if (const uint64_t moved = site->moved_to(offset - site->offset); moved != 0) {
    regs_.rip = moved;
    regs_changed_ = true;
    return OnSite::kGoOn;
  }
  if (offset - site->offset != site->trap) return OnSite::kNone;
  if (site->mode == MODE_PLAIN) {
    regs_.rip += 2;
    regs_changed_ = true;
    if (to_dispatcher()) return OnSite::kGoOn;
    regs_.orig_rax = static_cast<uint32_t>(regs_.rax);
    regs_.rcx = regs_.rip;
    regs_.r11 = regs_.eflags;
    return OnSite::kSyscall;
  }
  const uint64_t with = site->mode == MODE_CMP_4095 ? -4095ull : -4096ull;
  regs_.eflags = (regs_.eflags & ~uint64_t{0x8d5}) | compare_flags(regs_.rax, with);
  regs_.rip += CMP_LENGTH;
  regs_changed_ = true;
  return OnSite::kGoOn;
}

// A call whose instruction was reached by a jump or a restart is made as from the site itself (leave_to_dispatcher in
// stub/signals.h does the same after a SIGSYS): a futex that waits can be broken off there, and copies ride along.
bool TrapContext::to_dispatcher() {
  if (!fit_for_dispatcher(regs_.eflags) || (space_->platform_.shared().xstate_size & 0x80000000u) == 0) return false;
  page().flags = lahf_and_seto(regs_.eflags);
  regs_.rcx = regs_.rip;
  regs_.r11 = page_address(slot_);
  regs_.rip = STUB_DISPATCH(MODE_PLAIN);
  return true;
}

void TrapContext::kick() {
  if (!running_ || space_->pid_ == 0 || (report_waiter_ != nullptr && !in_futex_)) return;
  const int tid = host_tid();
  if (tid == 0) {  // its creator has not carried out the order yet
    if (!kick_retry_) kick_retry_ = std::make_unique<Timer>(space_->platform_.loop_, [this] { kick(); });
    kick_retry_->arm(EventLoop::now_ns() + 200'000);
    return;
  }
  // A forged thread id reaches threads of the guest's own process alone: tgkill checks.
  syscall(SYS_tgkill, space_->pid_, tid, SIGURG);
}

// As the guest thread says; it must lie in its own alternate stack.
Result<uint64_t> TrapContext::fpstate_address() const {
  const uint64_t base = STUB_STACKS + uint64_t{slot_} * STUB_SLOT_STACK;
  const uint64_t size = space_->platform_.shared().xstate_size & 0x7fffffff;
  const uint64_t fp = take(page().fpstate);
  if (size > STUB_SLOT_STACK || fp < base || fp > base + STUB_SLOT_STACK - size) return Errno{EFAULT};
  return fp;
}

Result<size_t> TrapContext::xstate_size() { return space_->platform_.shared().xstate_size & 0x7fffffff; }

Result<std::vector<std::byte>> TrapContext::xstate() {
  TRY(need_frame());
  std::vector<std::byte> state(TRY(xstate_size()));
  const size_t n = TRY(space_->read(TRY(fpstate_address()), state));
  if (n != state.size()) return Errno{EFAULT};
  return state;
}

Result<void> TrapContext::set_xstate(ByteSpan state) {
  if (state.size() != TRY(xstate_size())) return Errno{EINVAL};
  TRY(need_frame());
  const size_t n = TRY(space_->write(TRY(fpstate_address()), state));
  if (n != state.size()) return Errno{EFAULT};
  return ok();
}

}  // namespace run9::sentry::trap
