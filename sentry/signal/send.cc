// Sending: who gets a signal, what is dropped at once, job control's side effects (kernel/signal.c's
// prepare_signal and complete_signal are the models of the rules).
#include <poll.h>

#include "base/check.h"
#include "sentry/task/kernel.h"
#include "sentry/task/task.h"

namespace run9::sentry {
namespace {

constexpr SignalSet kStopSignals{SignalSet::of(SIGSTOP).bits | SignalSet::of(SIGTSTP).bits |
                                 SignalSet::of(SIGTTIN).bits | SignalSet::of(SIGTTOU).bits};

bool is_ignored(const Process& p, int sig) {
  const SigAction& a = p.actions->at[static_cast<size_t>(sig)];
  if (a.handler == 1) return true;
  if (a.handler != 0) return false;
  const DefaultAction d = default_action(sig);
  return d == DefaultAction::kIgnore || d == DefaultAction::kContinue;
}

// init gets only what it has a handler for (from inside the sandbox); `run9 kill` forces.
bool dropped_for_init(const Process& p, const SigInfo& info) {
  if (p.pid != 1 || info.code == 0x80) return false;
  return p.actions->at[static_cast<size_t>(info.signo)].handler == 0;
}

void job_control(Process& p, int sig) {
  if (sig == SIGCONT || sig == SIGKILL) {
    p.pending.discard(kStopSignals);
    for (Task* t : p.tasks) t->pending().discard(kStopSignals);
    if (p.stopped) {
      p.stopped = false;
      if (sig == SIGCONT) {
        p.continue_reported = false;
        p.kernel.notify_parent(p, CLD_CONTINUED, SIGCONT);
      }
      for (Task* t : p.tasks) t->wake();
    }
  } else if (kStopSignals.has(sig)) {
    p.pending.discard(SignalSet::of(SIGCONT));
    for (Task* t : p.tasks) t->pending().discard(SignalSet::of(SIGCONT));
  }
}

}  // namespace

Result<void> Kernel::send_signal(Process& p, const SigInfo& info) {
  if (info.signo == 0 || p.zombie || p.tasks.empty()) return ok();
  job_control(p, info.signo);
  const bool waited_for = [&] {
    for (Task* t : p.tasks) {
      if (t->tracee || t->sigwait_set.has(info.signo) || t->mask().has(info.signo)) return true;
    }
    return false;
  }();
  // A blocked signal is kept whatever becomes of it: the action may change before it is unblocked.
  if (!waited_for && (is_ignored(p, info.signo) || dropped_for_init(p, info))) return ok();
  if (!p.pending.add(info, p.limit(RLIMIT_SIGPENDING))) {
    if (info.signo >= 32 && info.code != 0 /*SI_USER*/) return Errno{EAGAIN};
    return ok();
  }
  p.signal_queue.notify(POLLIN);
  // One thread that does not block it is enough; SIGKILL reaches all by exit_group.
  for (Task* t : p.tasks) {
    if (t->sigwait_set.has(info.signo) || !t->mask().has(info.signo)) {
      t->interrupt();
      if (info.signo == SIGKILL) t->expect_exit();
      return ok();
    }
  }
  for (Task* t : p.tasks) {
    if (t->masks_itself()) t->interrupt();
  }
  return ok();
}

Result<void> Kernel::send_task_signal(Task& task, const SigInfo& info) {
  if (info.signo == 0) return ok();
  Process& p = task.process();
  job_control(p, info.signo);
  // A tracer sees every signal.
  const bool waited_for = task.tracee || task.sigwait_set.has(info.signo) || task.mask().has(info.signo);
  if (!waited_for && (is_ignored(p, info.signo) || dropped_for_init(p, info))) return ok();
  if (!task.pending().add(info, p.limit(RLIMIT_SIGPENDING)) && info.signo >= 32) return Errno{EAGAIN};
  p.signal_queue.notify(POLLIN);
  if (!task.mask().has(info.signo) || task.sigwait_set.has(info.signo) || task.masks_itself()) task.interrupt();
  return ok();
}

Result<void> Kernel::send_group_signal(int32_t pgid, const SigInfo& info) {
  bool any = false;
  std::vector<ProcessRef> members;
  for (auto& [pid, p] : processes_) {
    if (p->pgid() == pgid && !p->zombie) members.push_back(p);
  }
  for (auto& p : members) {
    any = true;
    TRY(send_signal(*p, info));
  }
  if (!any) return Errno{ESRCH};
  return ok();
}

bool Kernel::may_signal(Task& sender, Process& target, int sig) {
  const auto& c = sender.creds();
  if (c.has_cap(CAP_KILL) || &sender.process() == &target) return true;
  if (sig == SIGCONT && target.sid() == sender.process().sid()) return true;
  if (target.tasks.empty()) return c.euid == 0;
  const auto& t = target.tasks.front()->creds();
  return c.euid == t.suid || c.euid == t.ruid || c.ruid == t.suid || c.ruid == t.ruid;
}

// Faults: delivered even if blocked or ignored, in which case they kill.
void Task::force_signal(const SigInfo& info) {
  SigAction& a = process_->actions->at[static_cast<size_t>(info.signo)];
  if (a.handler == 1 || mask_.has(info.signo)) {
    a.handler = 0;
    SignalSet m = mask_;
    m.remove(info.signo);
    mask_ = m;
  }
  pending_.discard(SignalSet::of(info.signo));
  pending_.add(info);
  interrupt();
}

}  // namespace run9::sentry
