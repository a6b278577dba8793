// Process: a thread group, its place in the process tree, what its threads share. ProcessGroup and
// Session: job control. All owned by TaskSet's tables and by their members through shared_ptr.
#pragma once
#include <sys/resource.h>

#include <array>
#include <list>
#include <memory>
#include <string>
#include <vector>

#include "base/wait_queue.h"
#include "sentry/sched/event_loop.h"
#include "sentry/signal/signal.h"
#include "vfs/path_walk.h"

namespace run9::sentry {

class Kernel;
class Task;
class Tty;
class Process;
class IntervalTimer;
class PosixTimers;
class CpuLimit;
using ProcessRef = std::shared_ptr<Process>;

struct Session {
  int32_t sid = 0;
  std::shared_ptr<Tty> tty;  // controlling terminal; null: none
  int32_t foreground_pgid = 0;
};
using SessionRef = std::shared_ptr<Session>;

struct ProcessGroup {
  int32_t pgid = 0;
  SessionRef session;
};
using ProcessGroupRef = std::shared_ptr<ProcessGroup>;

struct Rusage {
  uint64_t user_ns = 0, system_ns = 0;
  uint64_t minor_faults = 0, major_faults = 0, voluntary = 0, involuntary = 0;
  uint64_t max_rss_kib = 0;
  // What an address space took.
  void add(uint64_t ns, uint64_t bytes) {
    user_ns += ns;
    max_rss_kib = std::max(max_rss_kib, bytes / 1024);
  }
  void add(const Rusage& other) { add(other.user_ns, other.max_rss_kib * 1024); }
};

class Process : public std::enable_shared_from_this<Process> {
 public:
  Process(Kernel& kernel, int32_t pid) : kernel(kernel), pid(pid) {}

  Kernel& kernel;
  const int32_t pid;  // tgid
  std::weak_ptr<Process> parent;  // empty for init
  std::list<ProcessRef> children;  // running and zombies
  ProcessGroupRef group;
  bool closes_at_once = false;  // it has locked something: somebody may wait for it to close a file
  bool asks_for_names = false;  // it has run out of descriptors once: open(2) says that before it says that a name is not there
  std::vector<Task*> tasks;  // live ones; the leader stays until it is the last
  Task* leader = nullptr;    // null once it is gone for good
  std::shared_ptr<SignalActions> actions;
  PendingSignals pending;
  std::array<rlimit, RLIM_NLIMITS> limits{};
  std::string cmdline_override;  // prctl; rarely used
  WaitQueue child_changed;       // parents sleep here in wait4
  WaitQueue pidfd_queue;         // notified on exit
  WaitQueue signal_queue;        // notified (POLLIN) when a signal becomes pending: signalfd
  Rusage usage_dead_threads, usage_children;
  int exit_signal = SIGCHLD;
  bool child_subreaper = false;
  bool did_exec = false;  // setpgid(2): EACCES after exec
  bool exiting = false;   // exit_group has begun
  int exit_status = 0;    // as wait4 gives it
  uint32_t exit_uid = 0;  // for SIGCHLD's siginfo
  bool zombie = false;
  bool vfork_done = true;
  // Job control.
  bool stopped = false;
  int stop_signal = 0;
  bool stop_reported = true, continue_reported = true;
  uint64_t start_time_ns = 0;  // CLOCK_MONOTONIC
  int32_t oom_score_adj = 0;
  int32_t nice = 0;
  std::shared_ptr<IntervalTimer> real_timer;  // ITIMER_REAL, alarm
  std::unique_ptr<Timer> exit_timer;  // for threads that do not come out of guest code to end
  std::shared_ptr<PosixTimers> timers;
  std::shared_ptr<CpuLimit> cpu_limit;  // null: RLIMIT_CPU was never set
  std::vector<Task*> tracees;  // tasks that threads of this one trace (task/ptrace.h)
  struct DeadTracee {
    int32_t tid;
    uint32_t uid;
    int wait_status;
  };
  std::vector<DeadTracee> dead_tracees;  // ended, no children of ours, and wait4 has not told so far
  uint64_t personality = 0;
  bool in_container_exec = false;  // started by `run9 exec`
  int container = 0;               // which container of the sandbox it belongs to

  int32_t pgid() const { return group ? group->pgid : 0; }
  int32_t sid() const { return group && group->session ? group->session->sid : 0; }
  uint64_t limit(int which) const { return limits[which].rlim_cur; }
};

}  // namespace run9::sentry
