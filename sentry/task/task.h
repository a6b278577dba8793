// Task: one guest thread (task_struct). It is the OpContext of everything it does. Created by
// Kernel::clone and the loader, owned by TaskSet; dies in Task::finish_exit.
//
// Life of a call: the platform reports an event, a fiber enters Task::handle, the call's handler runs
// as plain code, deliver_signals prepares what comes next, Context::resume lets the guest go on.
#pragma once
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/layer_clock.h"
#include "sentry/mm/memory_manager.h"
#include "sentry/platform/platform.h"
#include "sentry/sched/event_loop.h"
#include "sentry/signal/signal.h"
#include "sentry/task/fd_table.h"
#include "sentry/task/file_answers.h"
#include "sentry/task/own_files.h"
#include "sentry/task/process.h"
#include "vfs/context.h"
#include "vfs/path_walk.h"

namespace run9::sentry {

class Kernel;
struct SeccompFilter;
struct Tracee;

enum class TaskState : char { kRunning = 'R', kSleeping = 'S', kStopped = 'T', kTraced = 't', kZombie = 'Z' };

// CLONE_FS shares it.
using FsContextRef = std::shared_ptr<vfs::FsContext>;

class Task final : public vfs::OpContext, public std::enable_shared_from_this<Task> {
 public:
  Task(Kernel& kernel, int32_t tid, ProcessRef process);
  ~Task() override;

  // OpContext.
  const vfs::Credentials& creds() const override { return *creds_; }
  vfs::Timespec now() const override;
  int32_t tgid() const override { return process_->pid; }
  uint64_t file_size_limit() const override { return process_->limit(RLIMIT_FSIZE); }
  uint64_t moment() const override { return moment_; }
  Result<void> wait(WaitQueue& q, uint32_t events,
                    std::optional<uint64_t> deadline_ns = {}) override;
  void host_call(const std::function<void()>& call) override;
  bool step_aside() override;
  void step_back() override;
  void copied_up() override;

  Kernel& kernel() const { return kernel_; }
  Process& process() const { return *process_; }
  const ProcessRef& process_ref() const { return process_; }
  int32_t tid() const { return tid_; }
  MemoryManager& memory() const { return *memory_; }
  const MemoryManagerRef& memory_ref() const { return memory_; }
  FdTable& fds() const { return *fds_; }
  const FdTableRef& fds_ref() const { return fds_; }
  vfs::FsContext& fs() const { return *fs_; }
  const FsContextRef& fs_ref() const { return fs_; }
  vfs::MountNamespace& mounts() const;
  const vfs::CredentialsRef& creds_ref() const { return creds_; }
  void set_creds(vfs::Credentials c);
  Context& context() const { return *context_; }
  bool has_context() const { return context_ != nullptr; }
  Context* via() const { return context_.get(); }  // for MemoryManager
  Regs& regs() const { return context_->regs(); }

  // --- helpers for handlers
  // Sleeps until `ready()` is called by on-notify code, a signal, or the deadline. The one place
  // where a task sleeps; wait() is built on it. `wake` is set by Waker below.
  Result<void> sleep(std::optional<uint64_t> deadline_ns);
  void wake();  // makes a sleeping task go on (its sleep() returns ok)
  // nanosleep and the like: ok at the deadline, kErestartsys on a signal.
  Result<void> sleep_until(uint64_t deadline_ns);
  // For AT_FDCWD or a directory descriptor.
  Result<vfs::Path> start_of(GuestFd dirfd, std::string_view path) const;
  // A restart through restart_syscall(2): kErestartRestartblock with this to be called.
  Result<uint64_t> restart_with(std::function<Result<uint64_t>(Task&)> fn);
  Result<uint64_t> run_restart();  // restart_syscall(2)

  // --- signals (signal/delivery.cc, signal/send.cc)
  SignalSet mask() const;
  void set_mask(SignalSet m);
  // It runs, and may change its mask without our hearing of it: whoever sends it a signal interrupts it, blocked or not.
  bool masks_itself() const { return signals_ && signals_->may_change && context_ && context_->running(); }
  // A signal is pending that is not blocked, or the task has to exit or stop.
  bool interrupted() const;
  SignalSet pending_unblocked() const;
  PendingSignals& pending() { return pending_; }
  AltStack& alt_stack() { return alt_stack_; }
  // rt_sigtimedwait: signals in this set wake the task although they are blocked.
  SignalSet sigwait_set;
  // sigsuspend, ppoll, epoll_pwait: the mask to put back when the call is over (after the handler's
  // frame was made with it, if a handler runs).
  std::optional<SignalSet> saved_mask;
  void force_signal(const SigInfo& info);  // a fault: even if blocked or ignored (then it kills)

  // --- life
  // The platform had an event for us; runs on a fiber.
  void handle(EventKind kind);
  // The first entry into guest code.
  void start();
  // exit(2) of this thread: status as wait4 encodes it. The task is gone when its fiber ends.
  void exit_thread(int wait_status);
  void exit_group(int wait_status);
  bool exiting() const { return exit_requested_; }
  bool gone() const { return gone_; }  // it runs no more code of its program

  std::string comm;
  int pdeathsig = 0;
  uint64_t start_time_ns = 0;
  int last_syscall = -1;
  bool tracing = false;
  uint64_t timer_slack_ns = 50'000, default_timer_slack_ns = 50'000;
  std::array<uint64_t, 4> cpu_affinity{~uint64_t{0}, 0, 0, 0};
  int sched_policy = 0, sched_priority = 0;
  bool sched_reset_on_fork = false;
  int io_priority = 0;  // ioprio_set(2)'s
  int seccomp_mode = 0;  // SECCOMP_MODE_*
  std::shared_ptr<const SeccompFilter> seccomp_filter;
  std::shared_ptr<Tracee> tracee;  // null: nobody traces it (task/ptrace.h)
  TaskState state() const;
  bool in_call() const { return in_call_; }
  FileAnswers::Told told;
  std::unique_ptr<OwnFiles::Held> own_files;  // null: none
  LayerSpan& layer_span() { return layer_span_; }
  // Which descriptor a call used last etc. is nobody's business; calls keep state on their stack.

  // Used by the kernel alone (task/*.cc, loader/, signal/).
  struct Parts {
    MemoryManagerRef memory;
    FdTableRef fds;
    FsContextRef fs;
    vfs::CredentialsRef creds;
  };
  void set_parts(Parts p);
  void attach(std::unique_ptr<Context> context);
  void replace_memory(MemoryManagerRef memory, std::unique_ptr<Context> context);  // exec
  void start_over(MemoryManagerRef memory);  // the same, in the same space and by the same thread of the host
  void request_exit();  // another thread's exit_group or exec ends this one
  void expect_exit();   // and if its guest does not heed, its host process is killed
  void become_leader(int32_t tid) {
    tid_ = tid;
    identity_changed();
  }
  void identity_changed() { published_to_ = nullptr; }  // its thread hears of it with the answer to its next call
  void publish_identity();  // after each change of what ContextIdentity holds
  void keep_faults();  // after each change of what happens at a page fault: the next one is ours
  void keep_mask();    // from now on we are asked
  void interrupt();     // wakes it or kicks it so that it looks at its signals
  bool deliver_signals(std::optional<int64_t> call_result);  // false: the task exits
  Result<void> sigreturn();
  Fiber* fiber() const { return fiber_; }
  WaitQueue* waiting_on = nullptr;  // for /proc/PID/wchan
  // vfork: who waits until we exec or exit; woken through Process::vfork_done.
  std::weak_ptr<Task> vfork_parent;
  void end_vfork();
  bool sleep_for_vfork();  // false: this task has to exit
  void set_fds(FdTableRef fds);
  // After each change of its root or working directory, for all that share it.
  void publish_place();
  // Somebody wants to see each call.
  bool watched() const;
  // For ptrace.cc: parks while `tracee` is stopped; SIGKILL ends the stop.
  void stop_for_tracer();
  bool stopped_for_tracer() const { return traced_stop_; }
  bool must_die() const;
  // The first entry of a task that stops for its tracer before it runs.
  void start_traced();

 private:
  friend class Kernel;
  void run_syscall();
  Result<uint64_t> call(uint64_t number);
  bool pass_seccomp(uint64_t number, Result<uint64_t>& result);
  void finish_call(const Result<uint64_t>& result);
  void dispatch_fault();
  void publish_faults();
  void publish_signals();
  const Context* published_to_ = nullptr;  // whose identity is up to date; null: none
  void stop_here();
  bool setup_frame(const SigInfo& info, const SigAction& action);
  bool write_frame(uint64_t sp, std::span<const std::byte> frame, uint64_t fpstate, size_t size);
  void finish_exit();
  void restart_call(uint64_t number);
  bool act_on(const SigInfo& info, std::optional<int64_t>& call_result, bool& handled);

  Kernel& kernel_;
  int32_t tid_;
  ProcessRef process_;
  MemoryManagerRef memory_;
  FdTableRef fds_;
  FsContextRef fs_;
  vfs::CredentialsRef creds_;
  std::unique_ptr<Context> context_;
  SignalSet mask_;
  PendingSignals pending_;
  AltStack alt_stack_;
  // What the platform knows (Context::set_own_faults): from the first fault that went to a handler on.
  std::optional<OwnFaults> own_faults_;
  std::optional<Signals> signals_;  // likewise (Context::set_signals)
  std::function<Result<uint64_t>(Task&)> restart_;
  Fiber* fiber_ = nullptr;
  Timer sleep_timer_;
  bool sleeping_ = false;
  bool timed_out_ = false;
  bool stopped_ = false;
  bool traced_stop_ = false;
  bool exit_stop_ = false;  // in PTRACE_EVENT_EXIT: only SIGKILL ends it
  bool woken_ = false;
  bool in_call_ = false;
  uint64_t moment_ = 0;
  bool exit_requested_ = false;
  bool started_ = false;
  bool gone_ = false;
  bool regs_replaced_ = false;  // sigreturn and exec: the result must not overwrite rax
  int exit_status_ = 0;
  LayerSpan layer_span_;  // of its last call, and of what it does now; while a profile is made

 public:
  void mark_regs_replaced() { regs_replaced_ = true; }
};

// The Task behind an OpContext; null for the kernel's own (boot, helpers).
Task* task_of(vfs::OpContext& ctx);

}  // namespace run9::sentry
