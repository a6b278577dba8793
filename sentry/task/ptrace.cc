#include "sentry/task/ptrace.h"

#include <linux/sched.h>

#include <algorithm>
#include <utility>

#include "sentry/task/kernel.h"
#include "sentry/task/task.h"

namespace run9::sentry {
namespace {

constexpr uint64_t kSaNocldstop = 1;

// do_notify_parent_cldstop() for the tracer.
void tell_tracer(Task& task, Task& tracer, int code, int status) {
  Process& p = tracer.process();
  if ((p.actions->at[SIGCHLD].flags & kSaNocldstop) == 0) {
    SigInfo info;
    info.signo = SIGCHLD;
    info.code = code;
    info.chld.pid = task.tid();
    info.chld.uid = task.creds().ruid;
    info.chld.status = status;
    (void)task.kernel().send_signal(p, info);
  }
  p.child_changed.notify_all();
}

SigInfo trap_info(Task& task, int code) { return SigInfo::user(SIGTRAP, code, task.tid(), task.creds().ruid); }

}  // namespace

void attach_tracee(Task& task, Task& tracer, bool seized, uint32_t options) {
  auto t = std::make_shared<Tracee>();
  t->tracer = tracer.weak_from_this();
  t->seized = seized;
  t->options = options;
  task.tracee = std::move(t);
  task.keep_faults();
  task.keep_mask();
  tracer.process().tracees.push_back(&task);
}

void detach_tracee(Task& task, int signal) {
  if (!task.tracee) return;
  if (const auto tracer = task.tracee->tracer.lock()) std::erase(tracer->process().tracees, &task);
  resume_tracee(task, Tracee::Mode::kRun, signal);
  task.tracee->tracer.reset();
  // Its fiber may stand in trap(): the state goes when the stop is over.
  if (!task.stopped_for_tracer()) task.tracee.reset();
}

void tracer_exits(Task& tracer) {
  const auto all = tracer.process().tracees;
  for (Task* t : all) {
    if (t->tracee->tracer.lock().get() != &tracer) continue;
    if (t->tracee->wants(PTRACE_O_EXITKILL)) {
      (void)t->kernel().send_signal(t->process(), SigInfo::kernel(SIGKILL));
    }
    detach_tracee(*t);
  }
}

void tracee_exits(Task& task, int wait_status) {
  if (!task.tracee) return;
  const auto tracer = task.tracee->tracer.lock();
  task.tracee.reset();
  if (!tracer) return;
  Process& p = tracer->process();
  std::erase(p.tracees, &task);
  const bool leader = task.tid() == task.process().pid;
  if (leader && task.process().parent.lock().get() == &p) return;  // it hears as the parent
  p.dead_tracees.push_back({task.tid(), task.creds().ruid, wait_status});
  if (leader) {
    tell_tracer(task, *tracer, CLD_EXITED, wait_status >> 8);
  } else {
    p.child_changed.notify_all();
  }
}

void resume_tracee(Task& task, Tracee::Mode mode, int signal) {
  Tracee& t = *task.tracee;
  t.mode = mode;
  t.signal = signal;
  if (!t.stopped) return;
  t.stopped = t.listening = false;
  // Linux lets a task of a stopped group go on alone; here the group does.
  if (t.group_stop) task.process().stopped = false;
  task.wake();
}

void trap(Task& task, int code, const SigInfo* info) {
  Tracee& t = *task.tracee;
  const auto tracer = t.tracer.lock();
  if (!tracer) return;
  t.stopped = true;
  t.told = false;
  t.code = code;
  t.signal = 0;
  t.has_info = info != nullptr;
  if (info != nullptr) t.info = *info;
  tell_tracer(task, *tracer, t.group_stop ? CLD_STOPPED : CLD_TRAPPED, code & 0x7f);
  task.stop_for_tracer();
  t.stopped = false;
  if (t.tracer.expired()) task.tracee.reset();  // detached meanwhile
}

void trap_event(Task& task, int event, uint32_t option, uint64_t message) {
  if (!task.tracee || (option != 0 && !task.tracee->wants(option))) return;
  task.tracee->message = message;
  const int code = event << 8 | SIGTRAP;
  const SigInfo info = trap_info(task, code);
  trap(task, code, &info);
}

SigInfo trap_signal(Task& task, const SigInfo& info) {
  task.tracee->call = Tracee::Call::kNone;
  // A detach with a signal leaves it here although the state is gone.
  const auto tracer = task.tracee->tracer.lock();
  if (!tracer) return info;
  int wanted = 0;
  SigInfo now = info;
  {
    const std::shared_ptr<Tracee> keep = task.tracee;
    trap(task, info.signo, &info);
    wanted = keep->signal;
    now = keep->info;
  }
  if (wanted == 0) return SigInfo{};
  if (wanted == now.signo) return now;
  return SigInfo::user(wanted, 0 /*SI_USER*/, tracer->process().pid, tracer->creds().ruid);
}

void trap_group_stop(Task& task) {
  const std::shared_ptr<Tracee> t = task.tracee;
  const int event = t->seized ? PTRACE_EVENT_STOP << 8 : 0;
  const SigInfo info = trap_info(task, event | SIGTRAP);
  t->group_stop = true;
  trap(task, event | task.process().stop_signal, t->seized ? &info : nullptr);
  t->group_stop = false;
  if (!std::exchange(t->listening, false) || task.tracee != t || task.must_die()) return;
  trap(task, event | SIGTRAP, &info);  // the group goes on
}

void trap_exec(Task& task, int32_t former_tid) {
  if (!task.tracee) return;
  if (task.tracee->wants(PTRACE_O_TRACEEXEC)) {
    trap_event(task, PTRACE_EVENT_EXEC, PTRACE_O_TRACEEXEC, static_cast<uint64_t>(former_tid));
  } else if (!task.tracee->seized) {
    (void)task.kernel().send_task_signal(task, SigInfo::user(SIGTRAP, 0, task.tid(), task.creds().ruid));
  }
}

int follow_clone(Task& parent, Task& child, uint64_t flags, int exit_signal) {
  if (!parent.tracee || (flags & CLONE_UNTRACED) != 0) return 0;
  int event = PTRACE_EVENT_CLONE;
  if ((flags & CLONE_VFORK) != 0) {
    event = PTRACE_EVENT_VFORK;
  } else if (exit_signal == SIGCHLD) {
    event = PTRACE_EVENT_FORK;
  }
  const auto tracer = parent.tracee->tracer.lock();
  const bool wanted = parent.tracee->wants(1u << event);
  if (!tracer || (!wanted && (flags & CLONE_PTRACE) == 0)) return 0;
  attach_tracee(child, *tracer, parent.tracee->seized, parent.tracee->options);
  if (child.tracee->seized) {
    child.tracee->stop_wanted = true;
  } else {
    child.pending().add(SigInfo::kernel(SIGSTOP));
  }
  return wanted ? event : 0;
}

bool trap_call_entry(Task& task) {
  Tracee& t = *task.tracee;
  t.call = Tracee::Call::kEntry;
  const bool emulate = t.mode == Tracee::Mode::kEmulate || t.mode == Tracee::Mode::kEmulateStep;
  const int code = SIGTRAP | (t.wants(PTRACE_O_TRACESYSGOOD) ? 0x80 : 0);
  const SigInfo info = trap_info(task, code);
  t.message = 1;  // PTRACE_EVENTMSG_SYSCALL_ENTRY
  const std::shared_ptr<Tracee> keep = task.tracee;
  trap(task, code, &info);
  if (keep->signal != 0) (void)task.kernel().send_task_signal(task, SigInfo::user(keep->signal, 0, 0, 0));
  return !emulate && !task.must_die();
}

void trap_call_exit(Task& task) {
  Tracee& t = *task.tracee;
  t.call = Tracee::Call::kExit;
  const bool step = t.steps();
  const int code = SIGTRAP | (!step && t.wants(PTRACE_O_TRACESYSGOOD) ? 0x80 : 0);
  const SigInfo info = trap_info(task, step ? SI_USER : code);
  t.message = 2;  // PTRACE_EVENTMSG_SYSCALL_EXIT
  const std::shared_ptr<Tracee> keep = task.tracee;
  trap(task, code, &info);
  keep->call = Tracee::Call::kNone;
  if (keep->signal != 0) (void)task.kernel().send_task_signal(task, SigInfo::user(keep->signal, 0, 0, 0));
}

}  // namespace run9::sentry
