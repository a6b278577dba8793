// Kernel: one sandbox's kernel. Owns the event loop, the platform, the task set, mounts and limits.
// Made by boot (sentry/boot.h) and passed down; there is no global one.
#pragma once
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "sentry/sched/event_loop.h"
#include "sentry/task/file_answers.h"
#include "sentry/task/own_files.h"
#include "sentry/task/name_answers.h"
#include "sentry/task/process.h"
#include "sentry/task/task.h"
#include "sentry/trace/profile.h"

namespace run9::sentry {

class Program;
class SpecialFiles;
class FutexTable;
class Tracer;
class HostThreads;

// clone(2), clone3(2), fork, vfork in one form.
struct CloneArgs {
  uint64_t flags = 0;  // CLONE_*, without the signal
  int exit_signal = 0;
  uint64_t stack = 0;  // top; 0: the caller's
  uint64_t tls = 0;
  uint64_t parent_tid = 0, child_tid = 0, pidfd = 0;  // guest addresses
  int32_t set_tid = 0;
};

// One program to start: the container's process, `run9 exec`, or execve.
struct ExecArgs {
  vfs::FileRef file;     // null: look `path` up
  std::string path;      // as given (argv[0] of interpreters, AT_EXECFN)
  std::vector<std::string> argv, envp;
};

struct Limits {
  uint64_t memory = 0;       // bytes of private writable mappings; 0: none
  uint32_t tasks = 32768;
};

class Kernel : public EventSink {
 public:
  struct Options {
    std::string hostname = "run9";
    Limits limits;
    bool strace = false;
    bool strict = false;
    int cpus = 1;
    unsigned host_threads = 0;  // at most, for host calls that wait for a disk
  };
  Kernel(std::unique_ptr<EventLoop> loop, Options options);
  ~Kernel() override;
  void set_platform(std::unique_ptr<Platform> platform);
  // The platform's word of a guest; starts or goes on with the task's fiber.
  void on_event(Context& context, EventKind kind) override;

  EventLoop& loop() { return *loop_; }
  HostThreads& host_threads() { return *host_threads_; }
  Platform& platform() { return *platform_; }
  const Options& options() const { return options_; }
  // `run9 update`: what is in use already stays, only more is refused.
  void set_limits(const Limits& limits) { options_.limits = limits; }
  // Of the host's CPU time, in thousandths of a CPU; 0: none. Whoever waits awake uses up what others need to work.
  void set_cpu_bound(uint32_t thousandths);
  uint32_t cpu_bound() const { return cpu_bound_; }
  vfs::MountNamespace& mounts() { return *mounts_; }
  bool has_mounts() const { return mounts_ != nullptr; }
  void set_mounts(std::unique_ptr<vfs::MountNamespace> m);
  NameAnswers& names() { return names_; }
  FileAnswers& files() { return files_; }
  OwnFiles& own_files() { return own_files_; }
  FutexTable& futexes() { return *futexes_; }
  SpecialFiles& special() { return *special_; }
  Profile& profile() { return profile_; }
  Tracer* tracer() { return tracer_.get(); }  // null: no --strace
  // An OpContext for the kernel's own work (root, never interrupted).
  vfs::OpContext& context();

  std::string hostname, domainname = "(none)";
  uint64_t boot_time_ns = 0;      // CLOCK_MONOTONIC
  vfs::Timespec boot_realtime;
  // dmesg: "[    0.000000] text".
  void boot_log(std::string text);
  const std::vector<std::string>& boot_log_lines() const { return boot_log_; }
  // Counts a call that is not there; ends the sandbox under --strict. `why` for the log, once each.
  void note_missing(Task& task, std::string_view what);
  // st_dev numbers for new file systems: 0:N.
  uint64_t next_dev() { return next_dev_++; }
  uint64_t next_anon_inode() { return next_anon_ino_++; }
  uint64_t next_moment() { return ++moments_; }  // for vfs::OpContext::moment

  // --- tasks
  // pid of the new task, in the caller's view.
  Result<int32_t> clone(Task& parent, const CloneArgs& args);
  Result<void> exec(Task& task, ExecArgs args);
  // A first process of a container (or `run9 exec`): returns its pid, its task runs already.
  struct SpawnArgs {
    ExecArgs exec;
    vfs::CredentialsRef creds;
    std::string cwd = "/";
    std::vector<vfs::FileRef> stdio;  // descriptors 0..n
    std::array<rlimit, RLIM_NLIMITS> limits;
    std::shared_ptr<Tty> tty;  // controlling terminal
    std::function<void(int wait_status)> on_exit;
    bool init = false;  // pid 1
    uint32_t umask = 022;
  };
  Result<int32_t> spawn(SpawnArgs args);
  Task* find_task(int32_t tid);
  ProcessRef find_process(int32_t pid);
  ProcessGroupRef find_group(int32_t pgid);
  const std::map<int32_t, ProcessRef>& processes() const { return processes_; }
  size_t task_count() const { return tasks_.size(); }
  void each_task(const std::function<void(Task&)>& visit) {
    for (auto& [tid, task] : tasks_) visit(*task);
  }
  ProcessRef init() { return find_process(1); }

  // Sends to a process, one task, a group. ESRCH, EPERM by kill(2)'s rules are the caller's to check
  // (may_signal). Signal 0 sends nothing.
  Result<void> send_signal(Process& process, const SigInfo& info);
  Result<void> send_task_signal(Task& task, const SigInfo& info);
  Result<void> send_group_signal(int32_t pgid, const SigInfo& info);
  static bool may_signal(Task& sender, Process& target, int sig);

  // --- the end
  void process_exited(Process& process);  // all threads gone
  void reap(const ProcessRef& child);     // wait4 took it
  void shut_down(int wait_status);        // the container is over
  int exit_status() const { return exit_status_; }

  // Called by task code.
  Result<int32_t> allocate_tid(int32_t wanted = 0);
  void add_task(const std::shared_ptr<Task>& task);
  void remove_task(Task& task);
  void rename_task(Task& task, int32_t tid);  // exec from a thread: it takes the leader's id
  ProcessGroupRef make_group(int32_t pgid, SessionRef session);
  bool group_is_orphaned(const ProcessGroup& group);
  void notify_parent(Process& child, int code, int status);
  bool memory_available(uint64_t more) const;
  void charge_memory(int64_t delta) { charged_ += delta; }
  uint64_t charged_memory() const { return charged_; }
  // How often guest threads came to the Sentry so far: calls, faults, interruptions.
  uint64_t guest_events() const { return guest_events_; }

 private:
  friend class Task;
  class KernelContext;
  void hang_up_session(Process& leader);
  Result<std::unique_ptr<Context>> load_elsewhere(Program& program, const vfs::Credentials& creds);
  Result<int32_t> finish_clone(Task& parent, Task& child, const CloneArgs& args);

  Options options_;
  std::unique_ptr<EventLoop> loop_;
  uint32_t cpu_bound_ = 0;
  std::unique_ptr<HostThreads> host_threads_;
  std::unique_ptr<Platform> platform_;
  std::unique_ptr<vfs::MountNamespace> mounts_;
  std::unique_ptr<FutexTable> futexes_;
  std::unique_ptr<SpecialFiles> special_;
  std::unique_ptr<Tracer> tracer_;
  Profile profile_{*this};
  NameAnswers names_{*this};
  FileAnswers files_{*this};
  OwnFiles own_files_{*this};
  std::unique_ptr<KernelContext> kernel_context_;
  std::unordered_map<int32_t, std::shared_ptr<Task>> tasks_;
  std::map<int32_t, ProcessRef> processes_;
  std::map<int32_t, std::weak_ptr<ProcessGroup>> groups_;
  std::map<int32_t, std::function<void(int)>> on_exit_;
  std::vector<std::string> boot_log_;
  std::map<std::string, uint64_t> missing_;
  int32_t last_tid_ = 0;
  uint64_t charged_ = 0;
  uint64_t guest_events_ = 0;
  uint64_t next_dev_ = 20;
  uint64_t next_anon_ino_ = 1;
  uint64_t moments_ = 0;
  int exit_status_ = 0;
  bool shutting_down_ = false;
};

}  // namespace run9::sentry
