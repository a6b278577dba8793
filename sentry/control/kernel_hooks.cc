#include "sentry/control/kernel_hooks.h"

#include "vfs/credentials.h"

namespace run9::sentry {
namespace {

// As kill(2) from outside the container: sent by nobody that the guest can see. As if from
// the kernel, whose signals init does not get rid of by having no handler.
Result<void> signal_process(Kernel& kernel, Process& process, int signo) {
  if (signo == 0) return ok();
  return kernel.send_signal(process, SigInfo::kernel(signo));
}

Result<void> send(Kernel& kernel, int32_t pid, int signo, bool all) {
  if (!all) {
    const ProcessRef process = kernel.find_process(pid == 0 ? 1 : pid);
    if (!process || process->zombie) return Errno{ESRCH};
    return signal_process(kernel, *process, signo);
  }
  // A copy: a signal may end a process, and the table changes.
  const std::map<int32_t, ProcessRef> processes = kernel.processes();
  for (const auto& [number, process] : processes) {
    // One that ended meanwhile is what the caller wanted.
    if (!process->zombie) (void)signal_process(kernel, *process, signo).has_value();
  }
  return ok();
}

void list(Kernel& kernel, control::Processes& out) {
  for (const auto& [pid, process] : kernel.processes()) {
    control::ProcessInfo& info = *out.add_processes();
    info.set_pid(pid);
    const ProcessRef parent = process->parent.lock();
    info.set_ppid(parent ? parent->pid : 0);
    info.set_threads(static_cast<uint32_t>(process->tasks.size()));
    info.set_state(process->zombie ? "Z" : process->stopped ? "T" : "S");
    if (const Task* leader = process->leader; leader != nullptr) {
      info.set_uid(leader->creds().euid);
      info.set_command(leader->comm);
      if (!process->zombie) info.set_state(std::string(1, static_cast<char>(leader->state())));
    }
  }
}

void report(const ProfileResult& profile, control::ProfileReport& out) {
  const auto ns = [&](const ProfileRow& row, Layer layer) {
    return static_cast<uint64_t>(profile.ns_per_tick * static_cast<double>(row.times.ticks[static_cast<size_t>(layer)]));
  };
  out.set_wall_ns(profile.wall_ns);
  out.set_sentry_ns(profile.sentry_ns);
  uint64_t guest_ns = 0;
  for (const ProfileRow& row : profile.rows) {
    guest_ns += ns(row, Layer::kGuest);
    control::ProfileRow& r = *out.add_rows();
    r.set_name(std::string(row.name));
    r.set_count(row.times.count);
    r.set_hand_over_ns(ns(row, Layer::kHandOver));
    r.set_kernel_ns(ns(row, Layer::kKernel));
    r.set_gofer_ns(ns(row, Layer::kGofer));
    r.set_host_ns(ns(row, Layer::kHost));
    r.set_wait_ns(ns(row, Layer::kWait));
  }
  out.set_guest_ns(guest_ns);
}

}  // namespace

ControlHooks kernel_hooks(Kernel& kernel, BootHooks boot) {
  ControlHooks hooks;
  hooks.spawn = [&kernel, spawn = std::move(boot.spawn_process)](ProcessSpec spec, OnExit on_exit,
                                                                    std::string& error) {
    return spawn(kernel, std::move(spec), std::move(on_exit), error);
  };
  hooks.signal = [&kernel](int32_t pid, int signo, bool all) { return send(kernel, pid, signo, all); };
  hooks.resize = [&kernel, resize = std::move(boot.resize)](int32_t pid, uint16_t rows, uint16_t columns) {
    return resize(kernel, pid == 0 ? 1 : pid, rows, columns);
  };
  hooks.processes = [&kernel](control::Processes& out) { list(kernel, out); };
  hooks.state = [&kernel](control::SandboxState& out) {
    out.set_processes(static_cast<uint32_t>(kernel.processes().size()));
    out.set_tasks(static_cast<uint32_t>(kernel.task_count()));
    out.set_memory(kernel.charged_memory());
    out.set_guest_events(kernel.guest_events());
    out.set_memory_limit(kernel.options().limits.memory);
    out.set_cpu_bound(kernel.cpu_bound());
    out.set_task_limit(kernel.options().limits.tasks);
  };
  hooks.update = [&kernel](const control::Update& to) {
    Limits limits = kernel.options().limits;
    if (to.memory() != 0) limits.memory = to.memory();
    if (to.tasks() != 0) limits.tasks = to.tasks();
    kernel.set_limits(limits);
    kernel.set_cpu_bound(to.cpu_bound());
  };
  hooks.start_profile = [&kernel] { kernel.profile().start(); };
  hooks.stop_profile = [&kernel](control::ProfileReport& out) { report(kernel.profile().stop(), out); };
  return hooks;
}

}  // namespace run9::sentry
