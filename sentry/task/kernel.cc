#include "sentry/task/kernel.h"

#include <fcntl.h>
#include <time.h>

#include <algorithm>
#include <climits>

#include "base/check.h"
#include "base/log.h"
#include "sentry/fs/devpts/tty.h"
#include "sentry/fs/special.h"
#include "sentry/ipc/futex.h"
#include "sentry/ipc/ipc_objects.h"
#include "sentry/ipc/sysv.h"
#include "sentry/sched/fiber_waiter.h"
#include "sentry/sched/host_threads.h"
#include "sentry/trace/tracer.h"
#include "vfs/told_names.h"

namespace run9::sentry {

// The kernel's own work: root, all capabilities, cannot be interrupted.
class Kernel::KernelContext : public vfs::OpContext {
 public:
  explicit KernelContext(Kernel& kernel, EventLoop& loop) : kernel_(kernel), loop_(loop) {
    creds_.cap_permitted = creds_.cap_effective = creds_.cap_bounding = vfs::kAllCaps;
  }
  const vfs::Credentials& creds() const override { return creds_; }
  vfs::Timespec now() const override {
    timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return {ts.tv_sec, static_cast<uint32_t>(ts.tv_nsec)};
  }
  int32_t tgid() const override { return 0; }
  void copied_up() override { kernel_.own_files().begin_anew(); }
  Result<void> wait(WaitQueue& q, uint32_t events, std::optional<uint64_t> deadline_ns) override {
    FiberWaiter wake(loop_);
    q.add(wake, events);
    bool late = false;
    Timer timer(loop_, [&] {
      late = true;
      loop_.ready(wake.fiber());
    });
    if (deadline_ns) timer.arm(*deadline_ns);
    while (!wake.told() && !late) loop_.park();
    if (!wake.told()) return Errno{ETIMEDOUT};
    return ok();
  }

 private:
  Kernel& kernel_;
  EventLoop& loop_;
  vfs::Credentials creds_;
};

Kernel::Kernel(std::unique_ptr<EventLoop> loop, Options options)
    : options_(std::move(options)),
      loop_(std::move(loop)),
      host_threads_(std::make_unique<HostThreads>(*loop_, options_.host_threads)) {
  hostname = options_.hostname;
  boot_time_ns = EventLoop::now_ns();
  kernel_context_ = std::make_unique<KernelContext>(*this, *loop_);
  boot_realtime = kernel_context_->now();
  futexes_ = std::make_unique<FutexTable>();
  special_ = std::make_unique<SpecialFiles>(*this);
  if (options_.strace) tracer_ = std::make_unique<Tracer>();
}

Kernel::~Kernel() = default;

vfs::OpContext& Kernel::context() { return *kernel_context_; }

void Kernel::set_mounts(std::unique_ptr<vfs::MountNamespace> m) {
  mounts_ = std::move(m);
  mounts_->told().on_change({.changed = [this] { platform_->forget_names(); },
                             .came = [this] { platform_->forget_missing_names(); },
                             .moved = [this](uint32_t record) { platform_->forget_stat(record); }});
}

void Kernel::set_platform(std::unique_ptr<Platform> platform) {
  platform_ = std::move(platform);
  loop_->set_platform(platform_.get());
}

void Kernel::set_cpu_bound(uint32_t thousandths) {
  constexpr uint32_t kOne = 1000, kTwo = 2000;
  const bool bound = thousandths != 0;
  // Between one and two CPUs' worth there is enough to wait for the next call of a row of them, but not through a guest's sleep.
  loop_->spin_limit_ns = bound && thousandths < kTwo ? EventLoop::kBriefSpinNs : EventLoop::kSpinNs;
  const int cores = !bound ? INT_MAX : thousandths < kOne ? 1 : static_cast<int>(std::max(thousandths, kTwo) / kOne);
  loop_->set_cores(cores);
  platform_->set_cores(cores);
  cpu_bound_ = thousandths;
}

void Kernel::on_event(Context& context, EventKind kind) {
  auto* task = static_cast<Task*>(context.owner);
  if (task == nullptr) return;
  ++guest_events_;
  profile_.taken(task->layer_span(), context, kind);
  if (loop_->current() != nullptr) {
    loop_->spawn([self = task->shared_from_this(), kind] { self->handle(kind); });
  } else {
    const auto handle = [](void* t, int k) { static_cast<Task*>(t)->handle(static_cast<EventKind>(k)); };
    loop_->enter(handle, task, static_cast<int>(kind));
  }
}

void Kernel::boot_log(std::string text) {
  const uint64_t ns = EventLoop::now_ns() - boot_time_ns;
  boot_log_.push_back(fmt::format("[{:5}.{:06}] {}", ns / 1'000'000'000, ns / 1000 % 1'000'000, text));
}

void Kernel::note_missing(Task& task, std::string_view what) {
  if (missing_[std::string(what)]++ == 0) {
    log_info("missing: {} (first asked for by {} [{}])", what, quoted(task.comm), task.tid());
    boot_log(fmt::format("missing: {}", what));
  }
  if (options_.strict) {
    log_error("--strict: {} is missing, asked for by {} [{}]; the sandbox ends", what, quoted(task.comm),
              task.tid());
    shut_down(SIGSYS);
  }
}

// ---------------------------------------------------------------- task set

Result<int32_t> Kernel::allocate_tid(int32_t wanted) {
  const auto taken = [&](int32_t t) {
    return tasks_.contains(t) || processes_.contains(t) || find_group(t) != nullptr;
  };
  if (tasks_.size() >= options_.limits.tasks) return Errno{EAGAIN};
  if (wanted != 0) {
    if (taken(wanted)) return Errno{EEXIST};
    return wanted;
  }
  constexpr int32_t kMax = 4194304;
  for (int32_t n = 0; n < kMax; ++n) {
    if (++last_tid_ >= kMax) last_tid_ = 300;
    if (!taken(last_tid_)) return last_tid_;
  }
  return Errno{EAGAIN};
}

void Kernel::add_task(const std::shared_ptr<Task>& task) {
  tasks_[task->tid()] = task;
  task->process().tasks.push_back(task.get());
  processes_.try_emplace(task->process().pid, task->process_ref());
}

void Kernel::remove_task(Task& task) {
  const auto it = tasks_.find(task.tid());
  if (it != tasks_.end() && it->second.get() == &task) tasks_.erase(it);
}

void Kernel::rename_task(Task& task, int32_t tid) {
  auto self = task.shared_from_this();
  remove_task(task);
  task.become_leader(tid);
  tasks_[tid] = std::move(self);
}

Task* Kernel::find_task(int32_t tid) {
  const auto it = tasks_.find(tid);
  return it == tasks_.end() ? nullptr : it->second.get();
}

ProcessRef Kernel::find_process(int32_t pid) {
  const auto it = processes_.find(pid);
  return it == processes_.end() ? nullptr : it->second;
}

ProcessGroupRef Kernel::find_group(int32_t pgid) {
  const auto it = groups_.find(pgid);
  if (it == groups_.end()) return nullptr;
  auto group = it->second.lock();
  if (group == nullptr) groups_.erase(it);
  return group;
}

ProcessGroupRef Kernel::make_group(int32_t pgid, SessionRef session) {
  auto g = std::make_shared<ProcessGroup>();
  g->pgid = pgid;
  g->session = std::move(session);
  groups_[pgid] = g;
  return g;
}

bool Kernel::group_is_orphaned(const ProcessGroup& group) {
  for (auto& [pid, p] : processes_) {
    if (p->group.get() != &group || p->zombie) continue;
    const auto parent = p->parent.lock();
    if (parent && parent->group && parent->group != p->group && parent->group->session == group.session) {
      return false;
    }
  }
  return true;
}

bool Kernel::memory_available(uint64_t more) const {
  return options_.limits.memory == 0 || charged_ + more <= options_.limits.memory;
}

// ---------------------------------------------------------------- exit

void Kernel::notify_parent(Process& child, int code, int status) {
  const auto parent = child.parent.lock();
  if (!parent) return;
  const SigAction& a = parent->actions->at[SIGCHLD];
  const bool stop = code == CLD_STOPPED || code == CLD_CONTINUED;
  constexpr uint64_t kSaNocldstop = 1;
  if (child.exit_signal != 0 && !(stop && (a.flags & kSaNocldstop))) {
    SigInfo info;
    info.signo = stop ? SIGCHLD : child.exit_signal;
    info.code = code;
    info.chld.pid = child.pid;
    info.chld.status = status;
    info.chld.uid = child.exit_uid;
    info.chld.utime = static_cast<int64_t>(child.usage_dead_threads.user_ns / 10'000'000);
    (void)send_signal(*parent, info);
  }
  parent->child_changed.notify_all();
}

void Kernel::hang_up_session(Process& leader) {
  const SessionRef session = leader.group ? leader.group->session : nullptr;
  if (!session || session->sid != leader.pid || !session->tty) return;
  const auto tty = session->tty;
  tty->hang_up();
}

void Kernel::process_exited(Process& p) {
  const ProcessRef self = p.shared_from_this();
  p.zombie = true;
  p.actions = std::make_shared<SignalActions>();
  p.real_timer.reset();
  p.cpu_limit.reset();
  p.timers.reset();
  ipc_objects(*this).sysv().process_exited(p.pid);
  hang_up_session(p);

  // Orphans go to the nearest subreaper, or to init.
  ProcessRef reaper;
  for (auto up = p.parent.lock(); up; up = up->parent.lock()) {
    if (up->child_subreaper && !up->zombie) {
      reaper = up;
      break;
    }
  }
  if (!reaper) reaper = init();
  auto children = std::move(p.children);
  p.children.clear();
  for (auto& c : children) {
    const ProcessGroupRef group = c->group;
    c->parent.reset();
    if (reaper && reaper.get() != &p && !reaper->zombie) {
      c->parent = reaper;
      for (Task* t : c->tasks) t->publish_identity();
      reaper->children.push_back(c);
      c->exit_signal = SIGCHLD;
    }
    for (Task* t : c->tasks) {
      if (t->pdeathsig != 0) (void)send_task_signal(*t, SigInfo::user(t->pdeathsig, 0, p.pid, p.exit_uid));
    }
    if (c->zombie) {
      if (c->parent.expired()) {
        reap(c);
      } else {
        notify_parent(*c, CLD_EXITED, c->exit_status);
      }
    } else if (group && c->stopped && group_is_orphaned(*group)) {
      (void)send_group_signal(group->pgid, SigInfo::kernel(SIGHUP));
      (void)send_group_signal(group->pgid, SigInfo::kernel(SIGCONT));
    }
  }

  const int status = p.exit_status;
  p.pidfd_queue.notify_all();
  const auto hook = on_exit_.find(p.pid);
  if (hook != on_exit_.end()) {
    const auto fn = std::move(hook->second);
    on_exit_.erase(hook);
    fn(status);
  }
  if (p.pid == 1) {
    shut_down(status);
    return;
  }
  const auto parent = p.parent.lock();
  constexpr uint64_t kSaNocldwait = 2;
  const bool ignored = !parent || parent->actions->at[SIGCHLD].handler == 1 ||
                       (parent->actions->at[SIGCHLD].flags & kSaNocldwait) != 0;
  const bool killed = (status & 0x7f) != 0;
  if (parent) notify_parent(p, killed ? CLD_KILLED : CLD_EXITED, killed ? status & 0x7f : status >> 8);
  if (ignored && p.exit_signal == SIGCHLD) reap(self);
  if (!parent) reap(self);
}

void Kernel::reap(const ProcessRef& child) {
  if (const auto parent = child->parent.lock()) {
    parent->children.remove(child);
  }
  processes_.erase(child->pid);
  child->group.reset();
}

void Kernel::shut_down(int wait_status) {
  if (shutting_down_) return;
  shutting_down_ = true;
  exit_status_ = wait_status;
  for (const auto& [what, times] : missing_) log_info("missing: {} was asked for {} times", what, times);
  // As when a pid namespace loses its init: everything dies with it.
  std::vector<std::shared_ptr<Task>> all;
  for (auto& [tid, t] : tasks_) all.push_back(t);
  for (auto& t : all) {
    t->process().exiting = true;
    t->process().exit_status = SIGKILL;
    t->process().stopped = false;
    t->request_exit();
  }
  for (auto& [pid, hook] : std::exchange(on_exit_, {})) hook(SIGKILL);
  loop_->stop();
}

}  // namespace run9::sentry
