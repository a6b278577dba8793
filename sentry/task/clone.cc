// clone(2) in all its forms, and the first process of a container.
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <sys/mman.h>

#include <algorithm>
#include <span>

#include "base/check.h"
#include "base/log.h"
#include "sentry/ipc/pidfd.h"
#include "sentry/loader/loader.h"
#include "sentry/syscalls/file_util.h"
#include "sentry/task/kernel.h"
#include "sentry/task/ptrace.h"
#include "sentry/time/cpu_limit.h"

namespace run9::sentry {
namespace {

constexpr uint64_t kNamespaceFlags = CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER |
                                     CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWCGROUP;

Result<void> check(const CloneArgs& a) {
  if ((a.flags & CLONE_SIGHAND) && !(a.flags & CLONE_VM)) return Errno{EINVAL};
  if ((a.flags & CLONE_THREAD) && !(a.flags & CLONE_SIGHAND)) return Errno{EINVAL};
  if ((a.flags & CLONE_THREAD) && (a.flags & CLONE_PIDFD)) return Errno{EINVAL};
  if ((a.flags & CLONE_FS) && (a.flags & CLONE_NEWNS)) return Errno{EINVAL};
  if (a.flags & kNamespaceFlags) return Errno{EPERM};  // namespaces inside are missing
  return ok();
}

// Memory of its own, which is there.
bool is_plain(const MemoryManager& memory, uint64_t addr, size_t size) {
  const auto vma = memory.find(addr);
  return vma != memory.vmas().end() && (vma->second.prot & PROT_WRITE) != 0 && vma->second.backing == nullptr &&
         vma->second.end - addr >= size;
}

// The child writes its number itself, where it can. The parent's word is there before either goes on: a thread that has ended clears it.
void tell_tid(Task& parent, Task& child, const CloneArgs& a) {
  const int32_t tid = child.tid();
  if ((a.flags & CLONE_PARENT_SETTID) != 0 && !parent.context().tell_of_thread(a.parent_tid, tid)) {
    (void)parent.memory().copy_out(a.parent_tid, &tid, sizeof tid);
  }
  if ((a.flags & CLONE_CHILD_SETTID) == 0) return;
  // A process that begins cannot take a fault yet.
  const bool can = (a.flags & CLONE_VM) != 0 || is_plain(child.memory(), a.child_tid, sizeof tid);
  if (can && child.context().tell(a.child_tid, std::as_bytes(std::span(&tid, 1)))) return;
  (void)child.memory().copy_out(a.child_tid, &tid, sizeof tid);
}

}  // namespace

Result<int32_t> Kernel::clone(Task& parent, const CloneArgs& a) {
  TRY(check(a));
  // Before there is a child: what comes later cannot fail.
  if (a.flags & CLONE_PIDFD) {
    if (!descriptor_available(parent)) return Errno{EMFILE};
    TRY(parent.memory().write(UserPtr<int32_t>{a.pidfd}, -1));
  }
  const bool thread = (a.flags & CLONE_THREAD) != 0;
  const bool share_memory = (a.flags & CLONE_VM) != 0;
  Process& from = parent.process();
  if (!thread) {
    const uint64_t limit = from.limit(RLIMIT_NPROC);
    if (limit != RLIM_INFINITY && tasks_.size() >= limit && !parent.creds().has_cap(CAP_SYS_RESOURCE) &&
        !parent.creds().has_cap(CAP_SYS_ADMIN)) {
      return Errno{EAGAIN};
    }
  }
  const int32_t tid = TRY(allocate_tid(a.set_tid));

  ProcessRef process = parent.process_ref();
  if (!thread) {
    process = std::make_shared<Process>(*this, tid);
    process->group = from.group;
    process->limits = from.limits;
    process->actions = (a.flags & CLONE_SIGHAND) ? from.actions : std::make_shared<SignalActions>(*from.actions);
    if ((a.flags & CLONE_SIGHAND) != 0) std::ranges::for_each(from.tasks, &Task::keep_faults);
    process->exit_signal = a.exit_signal;
    process->start_time_ns = EventLoop::now_ns();
    process->oom_score_adj = from.oom_score_adj;
    process->nice = from.nice;
    process->personality = from.personality;
    process->container = from.container;
    process->in_container_exec = from.in_container_exec;
  }
  auto child = std::make_shared<Task>(*this, tid, process);

  Regs regs = parent.regs();
  regs.rax = 0;
  regs.orig_rax = ~uint64_t{0};
  if (a.stack != 0) regs.rsp = a.stack;
  if (a.flags & CLONE_SETTLS) regs.fs_base = a.tls;

  Task::Parts parts;
  if (share_memory) {
    parts.memory = parent.memory_ref();
    parts.memory->end_offers();
    child->attach(TRY(parts.memory->space().clone_thread(parent.context(), regs, (a.flags & CLONE_VFORK) != 0)));
  } else {
    auto copy = TRY(parent.memory().fork(parent, regs));
    parts.memory = std::move(copy.memory);
    child->attach(std::move(copy.context));
  }
  parts.fds = (a.flags & CLONE_FILES) ? parent.fds_ref() : parent.fds().clone();
  parts.fs = (a.flags & CLONE_FS) ? parent.fs_ref() : std::make_shared<vfs::FsContext>(parent.fs());
  parts.creds = parent.creds_ref();
  child->set_parts(std::move(parts));
  if ((a.flags & (CLONE_THREAD | CLONE_FILES)) != 0) parent.published_to_ = nullptr;  // not alone any more
  child->comm = parent.comm;
  child->mask_ = parent.mask_;
  child->cpu_affinity = parent.cpu_affinity;
  const bool reset = parent.sched_reset_on_fork;  // sched_fork(): of what is above the ordinary
  if (reset && !thread) process->nice = std::max(process->nice, 0);
  if (!reset || parent.sched_priority == 0) child->sched_policy = parent.sched_policy;
  child->sched_priority = reset ? 0 : parent.sched_priority;
  child->timer_slack_ns = child->default_timer_slack_ns = parent.timer_slack_ns;
  child->io_priority = parent.io_priority;
  child->seccomp_filter = parent.seccomp_filter;
  child->seccomp_mode = parent.seccomp_mode;
  // An alternate stack is the thread's own, unless memory is shared by nobody or by a waiting parent.
  if (!share_memory || (a.flags & CLONE_VFORK)) child->alt_stack_ = parent.alt_stack_;
  if (a.flags & CLONE_CLEAR_SIGHAND) {
    for (auto& action : process->actions->at) {
      if (action.handler > 1) action = SigAction{};
    }
  }
  return finish_clone(parent, *child, a);
}

// The child exists but has not run: publish it, tell everybody its number, and let it go.
Result<int32_t> Kernel::finish_clone(Task& parent, Task& task, const CloneArgs& a) {
  const auto child = task.shared_from_this();
  const ProcessRef process = child->process_ref();
  const bool thread = (a.flags & CLONE_THREAD) != 0;
  add_task(child);
  if (!thread) {
    process->leader = child.get();
    ProcessRef up = parent.process_ref();
    if (a.flags & CLONE_PARENT) {
      up = parent.process().parent.lock();
      process->exit_signal = parent.process().exit_signal;
    }
    if (up) {
      process->parent = up;
      up->children.push_back(process);
    }
    CpuLimit::update(*process);
  }
  const int32_t tid = child->tid();
  tell_tid(parent, *child, a);
  if (a.flags & CLONE_CHILD_CLEARTID) child->context().set_clear_tid(a.child_tid);
  if (a.flags & CLONE_PIDFD) {
    const auto fd = parent.fds().install(make_pidfd(*this, process, 0), true,
                                         parent.process().limit(RLIMIT_NOFILE));
    if (fd.has_value()) {
      const int32_t number = to_int(fd.value());
      (void)parent.memory().copy_out(a.pidfd, &number, sizeof number);
    }
  }
  if (a.flags & CLONE_VFORK) {
    child->vfork_parent = parent.shared_from_this();
    process->vfork_done = false;
  }
  const int event = follow_clone(parent, *child, a.flags, a.exit_signal);
  if (child->tracee) {
    child->start_traced();
  } else {
    child->start();
  }
  if (event != 0) trap_event(parent, event, 0, static_cast<uint64_t>(tid));
  if (a.flags & CLONE_VFORK) {
    // Only death interrupts this wait.
    while (!process->vfork_done && !parent.exiting()) {
      if (!parent.sleep_for_vfork()) break;
    }
    trap_event(parent, PTRACE_EVENT_VFORK_DONE, PTRACE_O_TRACEVFORKDONE, static_cast<uint64_t>(tid));
  }
  return tid;
}

Result<int32_t> Kernel::spawn(SpawnArgs args) {
  const int32_t pid = TRY(allocate_tid(args.init ? 1 : 0));
  if (args.init) last_tid_ = 1;
  auto process = std::make_shared<Process>(*this, pid);
  auto task = std::make_shared<Task>(*this, pid, process);
  process->leader = task.get();
  process->limits = args.limits;
  process->actions = std::make_shared<SignalActions>();
  process->start_time_ns = EventLoop::now_ns();
  process->in_container_exec = !args.init;
  auto session = std::make_shared<Session>();
  session->sid = pid;
  session->tty = args.tty;
  session->foreground_pgid = args.tty ? pid : 0;
  process->group = make_group(pid, session);

  auto fs = std::make_shared<vfs::FsContext>();
  fs->root = fs->cwd = mounts().root();
  fs->umask = args.umask;
  auto fds = std::make_shared<FdTable>();
  for (size_t i = 0; i < args.stdio.size(); ++i) {
    if (args.stdio[i]) (void)fds->install_at(GuestFd{static_cast<int>(i)}, args.stdio[i], false, 1024);
  }
  Task::Parts parts;
  parts.fds = std::move(fds);
  parts.fs = fs;
  parts.creds = args.creds;
  task->set_parts(std::move(parts));
  task->fiber_ = loop_->current();
  const auto cwd = mounts().walk(*task, *fs, fs->root, args.cwd, vfs::kFollow | vfs::kDirectory);
  if (!cwd.has_value()) {
    log_error("process.cwd {}: {}", quoted(args.cwd), describe(cwd.error()));
    return cwd.error();
  }
  fs->cwd = cwd.value();
  add_task(task);
  const auto loaded = exec(*task, std::move(args.exec));
  if (!loaded.has_value()) {
    std::erase(process->tasks, task.get());
    remove_task(*task);
    processes_.erase(pid);
    return loaded.error();
  }
  process->did_exec = false;
  if (args.on_exit) on_exit_[pid] = std::move(args.on_exit);
  task->fiber_ = nullptr;
  return pid;
}

}  // namespace run9::sentry
