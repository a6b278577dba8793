#include "sentry/syscalls/signal.h"

#include <time.h>

#include <algorithm>

#include "sentry/task/kernel.h"

namespace run9::sentry {
namespace {

Result<void> check_signal(int sig) {
  if (sig < 0 || sig > kMaxSignal) return Errno{EINVAL};
  return ok();
}

Result<uint64_t> signal_task(Task& task, int32_t tgid, int32_t tid, const SigInfo& info) {
  Task* target = task.kernel().find_task(tid);
  if (target == nullptr || (tgid > 0 && target->tgid() != tgid)) return Errno{ESRCH};
  TRY(check_signal(info.signo));
  if (!Kernel::may_signal(task, target->process(), info.signo)) return Errno{EPERM};
  TRY(task.kernel().send_task_signal(*target, info));
  return 0;
}

}  // namespace

Result<uint64_t> sys_rt_sigaction(Task& task, int sig, UserPtr<SigAction> act, UserPtr<SigAction> old,
                                  uint64_t size) {
  if (size != sizeof(SignalSet)) return Errno{EINVAL};
  SigAction a{};
  if (!act.is_null()) a = TRY(task.memory().read(act));
  if (sig < 1 || sig > kMaxSignal) return Errno{EINVAL};
  SigAction& slot = task.process().actions->at[static_cast<size_t>(sig)];
  const SigAction before = slot;
  if (!act.is_null()) {
    if (sig == SIGKILL || sig == SIGSTOP) return Errno{EINVAL};
    a.mask = a.mask & ~kUnblockable;
    slot = a;
    if (sig == SIGSEGV) std::ranges::for_each(task.process().tasks, &Task::keep_faults);
    // Setting to ignore discards what is pending (POSIX 3.3.1.3).
    const bool ignored = a.handler == 1 ||
                         (a.handler == 0 && (default_action(sig) == DefaultAction::kIgnore ||
                                             default_action(sig) == DefaultAction::kContinue));
    if (ignored) {
      task.process().pending.discard(SignalSet::of(sig));
      for (Task* t : task.process().tasks) t->pending().discard(SignalSet::of(sig));
    }
  }
  if (!old.is_null()) TRY(task.memory().write(old, before));
  return 0;
}

Result<uint64_t> sys_rt_sigprocmask(Task& task, int how, UserPtr<SignalSet> set, UserPtr<SignalSet> old,
                                    uint64_t size) {
  if (size != sizeof(SignalSet)) return Errno{EINVAL};
  const SignalSet before = task.mask();
  if (!set.is_null()) {
    const SignalSet s = TRY(task.memory().read(set));
    switch (how) {
      case SIG_BLOCK: task.set_mask(before | s); break;
      case SIG_UNBLOCK: task.set_mask(before & ~s); break;
      case SIG_SETMASK: task.set_mask(s); break;
      default: return Errno{EINVAL};
    }
  }
  if (!old.is_null()) TRY(task.memory().write(old, before));
  return 0;
}

Result<uint64_t> sys_rt_sigreturn(Task& task) {
  if (!task.sigreturn().has_value()) {
    task.force_signal(SigInfo::kernel(SIGSEGV));
    task.mark_regs_replaced();
  }
  return 0;
}

Result<uint64_t> sys_rt_sigpending(Task& task, UserPtr<SignalSet> set, uint64_t size) {
  if (size > sizeof(SignalSet)) return Errno{EINVAL};
  const SignalSet s = (task.pending().set() | task.process().pending.set()) & task.mask();
  TRY(task.memory().copy_out(set.addr, &s, size));
  return 0;
}

Result<uint64_t> sys_rt_sigsuspend(Task& task, UserPtr<SignalSet> set, uint64_t size) {
  if (size != sizeof(SignalSet)) return Errno{EINVAL};
  const SignalSet s = TRY(task.memory().read(set));
  task.saved_mask = task.mask();
  task.set_mask(s);
  while (!task.interrupted()) {
    const auto r = task.sleep({});
    if (!r.has_value()) break;
  }
  return kErestartnohand;
}

Result<uint64_t> sys_pause(Task& task) {
  while (!task.interrupted()) {
    const auto r = task.sleep({});
    if (!r.has_value()) break;
  }
  return kErestartnohand;
}

Result<uint64_t> sys_rt_sigtimedwait(Task& task, UserPtr<SignalSet> set, UserPtr<SigInfo> info,
                                     UserPtr<timespec> timeout, uint64_t size) {
  if (size != sizeof(SignalSet)) return Errno{EINVAL};
  const SignalSet wanted = TRY(task.memory().read(set)) & ~kUnblockable;
  std::optional<uint64_t> deadline;
  if (!timeout.is_null()) {
    const timespec ts = TRY(task.memory().read(timeout));
    if (ts.tv_sec < 0 || ts.tv_nsec < 0 || ts.tv_nsec >= 1'000'000'000) return Errno{EINVAL};
    deadline = EventLoop::now_ns() + static_cast<uint64_t>(ts.tv_sec) * 1'000'000'000 +
               static_cast<uint64_t>(ts.tv_nsec);
  }
  for (;;) {
    auto got = task.pending().take(wanted);
    if (!got) got = task.process().pending.take(wanted);
    if (got) {
      task.sigwait_set = {};
      if (!info.is_null()) TRY(task.memory().write(info, *got));
      return static_cast<uint64_t>(got->signo);
    }
    if (!task.pending_unblocked().empty() || task.exiting()) {
      task.sigwait_set = {};
      return Errno{EINTR};
    }
    task.sigwait_set = wanted;
    const auto r = task.sleep(deadline);
    task.sigwait_set = {};
    if (!r.has_value() && r.error() == Errno{ETIMEDOUT}) {
      if ((( task.pending().set() | task.process().pending.set()) & wanted).empty()) return Errno{EAGAIN};
    }
  }
}

// The process of a number, which may be that of any of its threads.
static Result<uint64_t> signal_process(Task& task, int32_t pid, const SigInfo& info) {
  Kernel& kernel = task.kernel();
  ProcessRef target = kernel.find_process(pid);
  if (!target) {
    Task* thread = kernel.find_task(pid);
    if (thread == nullptr) return Errno{ESRCH};
    target = thread->process_ref();
  }
  TRY(check_signal(info.signo));
  if (!Kernel::may_signal(task, *target, info.signo)) return Errno{EPERM};
  TRY(kernel.send_signal(*target, info));
  return 0;
}

Result<uint64_t> sys_rt_sigqueueinfo(Task& task, int32_t pid, int sig, UserPtr<SigInfo> info) {
  SigInfo i = TRY(task.memory().read(info));
  i.signo = sig;
  if ((i.code >= 0 || i.code == -6 /*SI_TKILL*/) && pid != task.tgid()) return Errno{EPERM};
  return signal_process(task, pid, i);
}

Result<uint64_t> sys_rt_tgsigqueueinfo(Task& task, int32_t tgid, int32_t tid, int sig,
                                       UserPtr<SigInfo> info) {
  SigInfo i = TRY(task.memory().read(info));
  if (tgid <= 0 || tid <= 0) return Errno{EINVAL};
  i.signo = sig;
  if ((i.code >= 0 || i.code == -6) && tgid != task.tgid()) return Errno{EPERM};
  return signal_task(task, tgid, tid, i);
}

Result<uint64_t> sys_sigaltstack(Task& task, UserPtr<AltStack> ss, UserPtr<AltStack> old) {
  AltStack before = task.alt_stack();
  const bool on = !(before.flags & kSsDisable) && before.holds(task.regs().rsp);
  if (on) before.flags |= kSsOnstack;
  if (!ss.is_null()) {
    const AltStack s = TRY(task.memory().read(ss));
    if (on) return Errno{EPERM};
    const int32_t mode = s.flags & ~kSsAutodisarm;
    if (mode != 0 && mode != kSsOnstack && mode != kSsDisable) return Errno{EINVAL};
    const AltStack& now = task.alt_stack();
    if (s.sp == now.sp && s.size == now.size && s.flags == now.flags) {
      // Nothing changes, so nothing is checked.
    } else if (mode == kSsDisable) {
      task.alt_stack() = AltStack{};
    } else {
      if (s.size < 2048) return Errno{ENOMEM};
      task.alt_stack() = s;
      task.alt_stack().flags &= ~kSsOnstack;
    }
  }
  if (!old.is_null()) TRY(task.memory().write(old, before));
  return 0;
}

Result<uint64_t> sys_kill(Task& task, int32_t pid, int sig) {
  const SigInfo info = SigInfo::user(sig, 0 /*SI_USER*/, task.tgid(), task.creds().ruid);
  Kernel& kernel = task.kernel();
  if (pid > 0) return signal_process(task, pid, info);
  if (pid == INT32_MIN) return Errno{ESRCH};
  std::vector<ProcessRef> targets;
  const int32_t group = pid == 0 ? task.process().pgid() : -pid;
  for (const auto& [id, p] : kernel.processes()) {
    if (pid == -1 ? (id > 1 && p.get() != &task.process()) : p->pgid() == group) targets.push_back(p);
  }
  if (targets.empty()) return Errno{ESRCH};
  TRY(check_signal(sig));
  bool any = false;
  for (const auto& p : targets) {
    if (!Kernel::may_signal(task, *p, sig)) continue;
    any = true;
    TRY(kernel.send_signal(*p, info));
  }
  if (!any) return Errno{EPERM};
  return 0;
}

Result<uint64_t> sys_tkill(Task& task, int32_t tid, int sig) {
  if (tid <= 0) return Errno{EINVAL};
  return signal_task(task, 0, tid, SigInfo::user(sig, -6 /*SI_TKILL*/, task.tgid(), task.creds().ruid));
}

Result<uint64_t> sys_tgkill(Task& task, int32_t tgid, int32_t tid, int sig) {
  if (tgid <= 0 || tid <= 0) return Errno{EINVAL};
  return signal_task(task, tgid, tid, SigInfo::user(sig, -6, task.tgid(), task.creds().ruid));
}

}  // namespace run9::sentry
