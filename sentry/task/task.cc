#include "sentry/task/task.h"

#include <asm/unistd.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <time.h>

#include <algorithm>

#include "base/check.h"
#include "base/log.h"
#include "sentry/ipc/futex.h"
#include "sentry/platform/kill.h"
#include "sentry/sched/host_threads.h"
#include "sentry/syscalls/file_util.h"
#include "sentry/syscalls/syscall.h"
#include "sentry/task/kernel.h"
#include "sentry/task/ptrace.h"
#include "sentry/task/seccomp.h"
#include "sentry/trace/tracer.h"

namespace run9::sentry {
namespace {

constexpr uint64_t kExitPatienceNs = 1'000'000'000;

}  // namespace

Task::Task(Kernel& kernel, int32_t tid, ProcessRef process)
    : kernel_(kernel),
      tid_(tid),
      process_(std::move(process)),
      sleep_timer_(kernel.loop(), [this] {
        timed_out_ = true;
        if (sleeping_) kernel_.loop().ready(fiber_);
      }) {
  start_time_ns = EventLoop::now_ns();
}

Task::~Task() { kernel_.files().gone(*this); }

Task* task_of(vfs::OpContext& ctx) { return dynamic_cast<Task*>(&ctx); }

vfs::Timespec Task::now() const {
  timespec ts;
  clock_gettime(CLOCK_REALTIME, &ts);
  return {ts.tv_sec, static_cast<uint32_t>(ts.tv_nsec)};
}

vfs::MountNamespace& Task::mounts() const { return kernel_.mounts(); }

void Task::set_parts(Parts p) {
  memory_ = std::move(p.memory);
  fds_ = std::move(p.fds);
  fs_ = std::move(p.fs);
  creds_ = std::move(p.creds);
  published_to_ = nullptr;
}

void Task::attach(std::unique_ptr<Context> context) {
  context_ = std::move(context);
  context_->owner = this;
  published_to_ = nullptr;
  own_files.reset();
  own_faults_.reset();
  signals_.reset();
}

void Task::replace_memory(MemoryManagerRef memory, std::unique_ptr<Context> context) {
  context_.reset();  // ends the old guest thread, or leaves it to the end of its space
  memory_ = std::move(memory);
  attach(std::move(context));
}

void Task::start_over(MemoryManagerRef memory) {
  memory_->retire();
  memory_ = std::move(memory);
  attach(std::move(context_));
}

TaskState Task::state() const {
  if (traced_stop_) return TaskState::kTraced;
  if (stopped_) return TaskState::kStopped;
  if (sleeping_ || (context_ && context_->resting())) return TaskState::kSleeping;
  return TaskState::kRunning;
}

// ---------------------------------------------------------------- sleeping

void Task::wake() {
  woken_ = true;
  if (sleeping_) kernel_.loop().ready(fiber_);
}

Result<void> Task::sleep(std::optional<uint64_t> deadline_ns) {
  CHECK(kernel_.loop().current() == fiber_);
  timed_out_ = false;
  if (deadline_ns) sleep_timer_.arm(*deadline_ns);
  while (!woken_ && !timed_out_ && !interrupted()) {
    sleeping_ = true;
    kernel_.loop().park();
    sleeping_ = false;
  }
  sleep_timer_.disarm();
  moment_ = kernel_.next_moment();
  if (woken_) {
    woken_ = false;
    return ok();
  }
  if (interrupted()) return kErestartsys;
  return Errno{ETIMEDOUT};
}

Result<void> Task::wait(WaitQueue& q, uint32_t events, std::optional<uint64_t> deadline_ns) {
  struct WakeTask : Waiter {
    Task& task;
    explicit WakeTask(Task& t) : task(t) {}
    void on_notify(uint32_t) override { task.wake(); }
  } waiter(*this);
  woken_ = false;
  q.add(waiter, events);
  waiting_on = &q;
  auto result = sleep(deadline_ns);
  waiting_on = nullptr;
  return result;
}

void Task::host_call(const std::function<void()>& call) {
  kernel_.host_threads().run(call);
  moment_ = kernel_.next_moment();
}

bool Task::step_aside() { return kernel_.loop().current() == fiber_ && kernel_.loop().step_aside(); }

void Task::step_back() {
  kernel_.loop().step_back(fiber_);
  moment_ = kernel_.next_moment();
}

Result<void> Task::sleep_until(uint64_t deadline_ns) {
  woken_ = false;
  for (;;) {
    const auto r = sleep(deadline_ns);
    if (!r.has_value()) {
      if (r.error() == Errno{ETIMEDOUT}) return ok();
      return r.error();
    }
  }
}

void Task::interrupt() {
  if (sleeping_) {
    kernel_.loop().ready(fiber_);
  } else if (context_ != nullptr && context_->running()) {
    context_->kick();
  }
}

Result<uint64_t> Task::restart_with(std::function<Result<uint64_t>(Task&)> fn) {
  restart_ = std::move(fn);
  return kErestartRestartblock;
}

Result<uint64_t> Task::run_restart() {
  if (!restart_) return Errno{EINTR};
  const auto fn = std::move(restart_);
  restart_ = nullptr;
  return fn(*this);
}

Result<vfs::Path> Task::start_of(GuestFd dirfd, std::string_view path) const {
  if (!path.empty() && path.front() == '/') return fs_->root;
  if (to_int(dirfd) == AT_FDCWD) return fs_->cwd;
  const auto file = TRY(fds_->get(dirfd));
  if (!path.empty() && file->path().inode() != nullptr && !file->path().inode()->is_dir()) {
    return Errno{ENOTDIR};
  }
  return file->path();
}

// ---------------------------------------------------------------- calls

void Task::set_creds(vfs::Credentials c) {
  if (fds_) fds_->take_back();  // memory is shared with processes of the same user
  kernel_.own_files().stop(*this);
  const auto before = std::exchange(creds_, std::make_shared<const vfs::Credentials>(std::move(c)));
  published_to_ = nullptr;
  if (before != nullptr && !NameAnswers::same_rights(*before, *creds_)) kernel_.names().renew();
}

void Task::set_fds(FdTableRef fds) {
  kernel_.own_files().stop(*this);
  fds_ = std::move(fds);
  published_to_ = nullptr;
}

void Task::copied_up() { kernel_.own_files().begin_anew(); }

// Then getpid(2) and its kin may not be answered without us.
bool Task::watched() const {
  return kernel_.tracer() != nullptr || seccomp_mode != SECCOMP_MODE_DISABLED || (tracee && tracee->sees_calls());
}

void Task::publish_identity() {
  if (!context_) return;
  if (watched()) {
    keep_faults();
    keep_mask();
    if (fds_) kernel_.files().settle(*this, kernel_.context());
    kernel_.own_files().stop(*this);
    published_to_ = nullptr;
    return context_->set_identity(nullptr);
  }
  const auto parent = process_->parent.lock();
  if (memory_->descriptors.expired()) memory_->descriptors = fds_;
  const bool own_descriptors = memory_->descriptors.lock() == fds_;
  const ContextIdentity id{process_->pid, tid_, parent ? parent->pid : 0, creds_->ruid, creds_->euid,
                           creds_->rgid, creds_->egid, own_descriptors, kernel_.names().secrets_of(*this),
                           own_descriptors && FileAnswers::is_alone(*this)};
  published_to_ = context_.get();
  context_->set_identity(&id);
}

void Task::publish_place() {
  kernel_.each_task([this](Task& t) {
    if (t.fs_ == fs_) t.publish_identity();
  });
}

void Task::publish_faults() {
  const SigAction& a = process_->actions->at[SIGSEGV];
  // Who shares our handlers without being of our process would not be heard of when he changes them.
  const bool alone = process_->actions.use_count() == 1 && !tracee && !watched();
  if (!alone || a.handler <= 1 || (a.flags & kSaResethand) != 0 || (alt_stack_.flags & kSsAutodisarm) != 0) {
    return keep_faults();
  }
  OwnFaults now{.handler = a.handler, .restorer = a.restorer, .mask = a.mask.bits,
                .on_stack = (a.flags & kSaOnstack) != 0};
  if ((a.flags & kSaNodefer) == 0) now.mask |= SignalSet::of(SIGSEGV).bits;
  if (own_faults_ == now) return;
  own_faults_ = now;
  context_->set_own_faults(&now);
}

void Task::keep_faults() {
  if (own_faults_ && context_) context_->set_own_faults(nullptr);
  own_faults_.reset();
}

// While a signal waits, each change may let it in.
void Task::publish_signals() {
  const bool none = (alt_stack_.flags & kSsDisable) != 0;
  const bool quiet = pending_.set().empty() && process_->pending.set().empty();
  const Signals now{.mask = mask_.bits,
                    .may_change = quiet && !tracee && !watched() && (alt_stack_.flags & kSsAutodisarm) == 0,
                    .stack = none ? 0 : alt_stack_.sp,
                    .stack_size = none ? 0 : alt_stack_.size};
  if (signals_ == now) return;
  signals_ = now;
  context_->set_signals(now);
}

void Task::keep_mask() {
  const bool heard_of = !masks_itself();
  if (signals_ && context_) context_->keep_mask();
  signals_.reset();
  if (!heard_of) interrupt();  // then its mask is what we know
}

void Task::start() {
  started_ = true;
  publish_identity();
  publish_signals();
  kernel_.profile().born(layer_span_);
  context_->resume();
}

void Task::start_traced() {
  started_ = true;
  kernel_.loop().spawn([self = shared_from_this()] { self->handle(EventKind::kInterrupted); });
}

bool Task::must_die() const {
  const bool going = exit_requested_ && !exit_stop_;
  return going || (pending_.set() | process_->pending.set()).has(SIGKILL);
}

void Task::stop_for_tracer() {
  traced_stop_ = true;
  const auto t = tracee;
  // PTRACE_LISTEN: until the group goes on.
  while (t->stopped && !must_die() && !(t->listening && !process_->stopped)) {
    sleeping_ = true;
    kernel_.loop().park();
    sleeping_ = false;
  }
  traced_stop_ = false;
}

Result<uint64_t> Task::call(uint64_t number) {
  const Regs& r = context_->call_regs();
  const auto& table = syscall_table();
  const SyscallArgs args = {r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9};
  Tracer* const tracer = kernel_.tracer();
  const SyscallEntry* entry = number < table.size() ? &table[number] : nullptr;
  if (context_->compat_syscall()) {
    kernel_.note_missing(*this, "32-bit system calls");
    return Errno{ENOSYS};
  }
  if (tracer != nullptr) tracer->enter(*this, number, args);
  Result<uint64_t> result = Errno{ENOSYS};
  if (entry == nullptr || entry->fn == nullptr) {
    kernel_.note_missing(*this, entry != nullptr && !entry->name.empty()
                                    ? std::string(entry->name)
                                    : "system call " + std::to_string(number));
  } else {
    result = entry->fn(*this, args);
  }
  if (tracer != nullptr) tracer->leave(*this, number, args, result);
  if (!result.has_value()) kernel_.names().failed(*this, number, args, result.error());
  kernel_.files().answered(*this, number, args);
  return result;
}

// __seccomp_filter(): false if the call is not to be made; `result` is what it gives then.
bool Task::pass_seccomp(uint64_t number, Result<uint64_t>& result) {
  if (seccomp_mode == SECCOMP_MODE_STRICT) {
    constexpr uint64_t kStrict[] = {__NR_read, __NR_write, __NR_exit, __NR_rt_sigreturn};
    if (std::find(std::begin(kStrict), std::end(kStrict), number) != std::end(kStrict)) return true;
    exit_thread(SIGKILL);
    return false;
  }
  const Regs& r = regs();
  seccomp_data data{static_cast<int>(number), context_->compat_syscall() ? AUDIT_ARCH_I386 : AUDIT_ARCH_X86_64, r.rip,
                    {r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9}};
  const uint32_t verdict = run_seccomp(*seccomp_filter, data);
  const uint32_t value = verdict & SECCOMP_RET_DATA;
  switch (verdict & SECCOMP_RET_ACTION_FULL) {
    case SECCOMP_RET_ALLOW:
    case SECCOMP_RET_LOG: return true;
    case SECCOMP_RET_ERRNO:
      if (value != 0) {
        result = Errno{static_cast<int>(std::min(value, 4095u))};
      } else {
        result = uint64_t{0};
      }
      return false;
    case SECCOMP_RET_TRAP: {
      SigInfo info;
      info.signo = SIGSYS;
      info.code = 1;  // SYS_SECCOMP
      info.err = static_cast<int32_t>(value);
      info.sys = {r.rip, static_cast<int32_t>(number), data.arch};
      result = number;  // the handler finds rax as it was
      force_signal(info);
      return false;
    }
    case SECCOMP_RET_TRACE:
      if (!tracee || !tracee->wants(PTRACE_O_TRACESECCOMP)) return false;  // ENOSYS
      tracee->call = Tracee::Call::kSeccomp;
      tracee->seccomp_data = value;
      trap_event(*this, PTRACE_EVENT_SECCOMP, PTRACE_O_TRACESECCOMP, value);
      return !must_die();
    case SECCOMP_RET_KILL_THREAD: exit_thread(SIGSYS); return false;
    default: exit_group(SIGSYS); return false;
  }
}

// What a call gave goes to the guest, after its tracer and its signals had their say.
void Task::finish_call(const Result<uint64_t>& result) {
  if (!regs_replaced_) {
    context_->set_result(result.has_value() ? result.value()
                                            : static_cast<uint64_t>(-int64_t{to_int(result.error())}));
  }
  if (tracee && !exit_requested_ && (tracee->sees_calls() || tracee->steps())) trap_call_exit(*this);
  const auto value = static_cast<int64_t>(context_->call_regs().rax);
  // Only an interrupted call may be restarted; anything else keeps its value.
  const bool restartable = !regs_replaced_ && value <= -512 && value >= -516;
  if (!restartable && !saved_mask && !interrupted()) return;
  if (!deliver_signals(restartable ? std::optional<int64_t>(value) : std::nullopt)) exit_requested_ = true;
}

void Task::run_syscall() {
  const uint64_t number = context_->call_regs().orig_rax;
  last_syscall = static_cast<int>(number);
  regs_replaced_ = false;
  Result<uint64_t> result = Errno{ENOSYS};
  bool go = true;
  if (tracee && tracee->sees_calls()) {
    regs().rax = static_cast<uint64_t>(-ENOSYS);
    go = trap_call_entry(*this);
    if (!go) result = regs().rax;  // the tracer may have made one up
  }
  if (go && seccomp_mode != SECCOMP_MODE_DISABLED) go = pass_seccomp(regs().orig_rax, result);
  if (go) result = call(context_->call_regs().orig_rax);
  finish_call(result);
}

void Task::dispatch_fault() {
  const Fault& f = context_->fault();
  SigInfo info;
  info.signo = f.signo;
  info.code = f.code;
  info.fault.addr = f.addr;
  force_signal(info);
}

void Task::handle(EventKind kind) {
  fiber_ = kernel_.loop().current();
  in_call_ = true;
  moment_ = kernel_.next_moment();
  kernel_.profile().handled(layer_span_);
  context_->set_fiber(fiber_);
  memory_->catch_up_at_event();
  if (const auto mask = std::exchange(context_->own_mask, std::nullopt)) set_mask({*mask});
  if (told.any || context_->closed.packed != 0) kernel_.files().asked(*this);
  if (kind == EventKind::kSyscall && own_files != nullptr && own_files->positions != 0) {
    kernel_.own_files().called(*this, context_->call_regs().orig_rax, context_->call_regs().rdi);
  }
  constexpr uint64_t kTrapFlag = 0x100;
  if (tracee && (regs().eflags & kTrapFlag) != 0) {  // ours, of the last step
    regs().eflags &= ~kTrapFlag;
    context_->set_regs_changed();
  }
  switch (kind) {
    case EventKind::kSyscall:
      run_syscall();
      break;
    case EventKind::kFault:
      dispatch_fault();
      if (!deliver_signals({})) exit_requested_ = true;
      break;
    case EventKind::kOrderFailed:
      context_->set_result(static_cast<uint64_t>(-static_cast<int64_t>(context_->order_error())));
      if (!deliver_signals({})) exit_requested_ = true;
      break;
    case EventKind::kInterrupted:
      if (!deliver_signals({})) exit_requested_ = true;
      break;
    case EventKind::kGone:
      log_debug("task {}: its stub is gone", tid_);
      if (!exit_requested_) exit_group(SIGKILL);
      exit_requested_ = true;
      break;
  }
  if (exit_requested_) {
    context_->set_fiber(nullptr);
    const auto self = shared_from_this();  // the kernel lets go of it
    finish_exit();
    kernel_.profile().handed_back(layer_span_);
    return;
  }
  in_call_ = false;
  context_->set_fiber(nullptr);
  fiber_ = nullptr;
  if (published_to_ != context_.get() || watched()) publish_identity();
  if (own_faults_ || kind == EventKind::kFault) publish_faults();
  publish_signals();
  if (tracee && tracee->steps()) {
    regs().eflags |= kTrapFlag;
    context_->set_regs_changed();
  }
  kernel_.profile().handed_back(layer_span_);
  context_->resume();
}

// ---------------------------------------------------------------- the end

void Task::request_exit() {
  exit_requested_ = true;
  interrupt();
  expect_exit();
}

void Task::expect_exit() {
  // A guest that has broken its own control page never reports again: its host process is ended then,
  // and its contexts come back as gone.
  if (process_->exit_timer || !memory_) return;
  process_->exit_timer = std::make_unique<Timer>(kernel_.loop(), [space = memory_->space_ref()] {
    if (space->host_pid() > 0) kill_stub(space->host_pid(), space->host_tid());
  });
  process_->exit_timer->arm(EventLoop::now_ns() + kExitPatienceNs);
}

void Task::exit_thread(int wait_status) {
  if (process_->tasks.size() == 1 && !process_->exiting) {
    process_->exiting = true;
    process_->exit_status = wait_status;
  }
  exit_status_ = wait_status;
  exit_requested_ = true;
}

void Task::exit_group(int wait_status) {
  if (!process_->exiting) {
    process_->exiting = true;
    process_->exit_status = wait_status;
  }
  process_->stopped = false;
  exit_requested_ = true;
  for (Task* t : process_->tasks) {
    if (t != this) t->request_exit();
  }
}

void Task::end_vfork() {
  const auto parent = vfork_parent.lock();
  vfork_parent.reset();
  if (!parent) return;
  process_->vfork_done = true;
  parent->wake();
}

// vfork: signals wait until the child has gone its way; only death does not.
bool Task::sleep_for_vfork() {
  woken_ = false;
  sleeping_ = true;
  kernel_.loop().park();
  sleeping_ = false;
  return !exit_requested_;
}

void Task::finish_exit() {
  if (tracee && process_->exit_status != SIGKILL) {
    exit_stop_ = true;
    trap_event(*this, PTRACE_EVENT_EXIT, PTRACE_O_TRACEEXIT, static_cast<uint64_t>(process_->exit_status));
    exit_stop_ = false;
  }
  tracee_exits(*this, process_->exiting ? process_->exit_status : exit_status_);
  gone_ = true;
  tracer_exits(*this);
  sleep_timer_.disarm();
  kernel_.own_files().ended(*this);
  kernel_.futexes().owner_ended(*this);
  // Who shares the memory may wait for that; where all who do are about to end, nobody does.
  const bool alone = process_->exiting && memory_.use_count() <= static_cast<long>(process_->tasks.size());
  const uint64_t clear_tid = context_->clear_tid();
  if (clear_tid != 0 && memory_.use_count() > 1 && !alone && !context_->clear_tid_at_exit(clear_tid)) {
    kernel_.futexes().clear_and_wake(*this, clear_tid);
  }
  // The space of a vfork child that did not exec is its parent's, and so is the time.
  if (process_->tasks.size() == 1 && memory_.use_count() == 1) {
    process_->usage_dead_threads.add(memory_->space().cpu_time_ns(), memory_->peak_bytes());
  }
  end_vfork();
  if (fds_.use_count() == 1) {
    for (auto& f : fds_->remove_all()) close_file(*this, std::move(f));
  }
  fds_.reset();
  fs_.reset();
  if (memory_.use_count() == 1) memory_->space().kill();
  context_.reset();
  memory_.reset();
  std::erase(process_->tasks, this);
  if (process_->tasks.size() == 1) process_->tasks.front()->published_to_ = nullptr;  // it is alone now
  if (process_->leader == this) process_->leader = nullptr;
  const ProcessRef process = process_;
  kernel_.remove_task(*this);
  if (process->tasks.size() <= (process->exiting ? 0u : 1u)) process->exit_timer.reset();
  if (process->tasks.empty()) {
    kernel_.process_exited(*process);
  } else {
    process->child_changed.notify_all();  // exec waits here for its siblings
  }
}

}  // namespace run9::sentry
