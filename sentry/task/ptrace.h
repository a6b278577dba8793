// Tracee: what a task that is traced (ptrace(2)) keeps about it. Owned by the task; the tracer's process lists its
// tracees. A tracee stops on its own fiber, in trap(), and goes on when a request of its tracer says so.
#pragma once
#include <sys/ptrace.h>

#include <memory>

#include "sentry/signal/signal.h"

namespace run9::sentry {

class Task;

struct Tracee {
  enum class Mode { kRun, kSyscalls, kStep, kEmulate, kEmulateStep };
  enum class Call { kNone, kEntry, kExit, kSeccomp };  // for PTRACE_GET_SYSCALL_INFO

  std::weak_ptr<Task> tracer;
  bool seized = false;
  uint32_t options = 0;  // PTRACE_O_*
  Mode mode = Mode::kRun;

  // The stop it is in.
  bool stopped = false;
  bool told = false;       // wait4(2) gave it to the tracer
  int code = 0;            // status >> 8, as wait4 gives it
  bool has_info = false;   // PTRACE_GETSIGINFO has something to say
  bool group_stop = false;
  bool listening = false;  // PTRACE_LISTEN
  SigInfo info;
  uint64_t message = 0;    // PTRACE_GETEVENTMSG
  Call call = Call::kNone;
  uint32_t seccomp_data = 0;
  // What the tracer wants.
  int signal = 0;             // to be delivered when it goes on
  bool stop_wanted = false;   // PTRACE_INTERRUPT, or the first stop of a seized task's child

  bool wants(uint32_t option) const { return (options & option) != 0; }
  bool sees_calls() const { return mode != Mode::kRun && mode != Mode::kStep; }
  bool steps() const { return mode == Mode::kStep || mode == Mode::kEmulateStep; }
};

// Makes `task` a tracee of `tracer`.
void attach_tracee(Task& task, Task& tracer, bool seized, uint32_t options);
// Ends it: the task goes on, with `signal` if that is not 0.
void detach_tracee(Task& task, int signal = 0);
// Everything that `tracer` traces is let go, or killed (PTRACE_O_EXITKILL).
void tracer_exits(Task& tracer);
// The tracer hears of the end of a thread, or of a process that is not its child.
void tracee_exits(Task& task, int wait_status);
// Lets a stopped tracee go on.
void resume_tracee(Task& task, Tracee::Mode mode, int signal);

// Called by the tracee's own fiber. Stops until the tracer says go; a stop with `info` can be asked for it.
void trap(Task& task, int code, const SigInfo* info);
// PTRACE_EVENT_*, if the tracer asked for it (`option`; 0: always).
void trap_event(Task& task, int event, uint32_t option, uint64_t message);
// A signal-delivery-stop: what is to be delivered in the end, signo 0 for nothing.
SigInfo trap_signal(Task& task, const SigInfo& info);
// The stop of the whole group, as a tracer sees it.
void trap_group_stop(Task& task);
// After execve(2).
void trap_exec(Task& task, int32_t former_tid);
// Before `child` runs and after it was let go: a tracer that asked for it traces it too. 0: it did not.
int follow_clone(Task& parent, Task& child, uint64_t flags, int exit_signal);
// Syscall stops; false: the call is not to be made (SYSEMU, or the task has to exit).
bool trap_call_entry(Task& task);
void trap_call_exit(Task& task);

}  // namespace run9::sentry
