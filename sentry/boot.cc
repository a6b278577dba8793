// sentry_main: the order in which a Sentry comes to life and gives up what it will not need. Nothing that a
// guest or a peer wrote is read before the filter is on.
#include "sentry/boot.h"

#include <malloc.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "sentry/boot_devices.h"
#include "sentry/boot_hooks.h"
#include "sentry/boot_mounts.h"
#include "sentry/boot_seccomp.h"
#include "sentry/boot_spawn.h"
#include "sentry/control/control_server.h"
#include "sentry/control/kernel_hooks.h"
#include "sentry/fs/dev/devices.h"
#include "sentry/fs/devpts/console.h"
#include "sentry/platform/platforms.h"
#include "sentry/sched/workers.h"
#include "sentry/task/kernel.h"

namespace run9::sentry {
namespace {

// The runtime's end of `sync`: "R" or "E<text>" from us, "S" from it.
class Sync final : public FdHandler {
 public:
  Sync(EventLoop& loop, UniqueFd fd) : loop_(loop), fd_(std::move(fd)) {}
  void say(std::string_view text) {
    (void)!send(fd_.get(), text.data(), text.size(), MSG_NOSIGNAL);
  }
  // False: the runtime is gone.
  bool await_start() {
    if (!fd_.valid()) return true;
    if (!loop_.watch(fd_.borrow(), EPOLLIN, *this).has_value()) return false;
    while (!done_) {
      waiter_ = loop_.current();
      loop_.park();
    }
    loop_.unwatch(fd_.borrow());
    return start_;
  }
  void on_ready(uint32_t) override {
    if (done_) return;  // the end of the connection, right behind the word
    char c = 0;
    const ssize_t n = recv(fd_.get(), &c, 1, MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN) return;
    done_ = true;
    start_ = n == 1 && c == 'S';
    loop_.ready(waiter_);
  }

 private:
  EventLoop& loop_;
  UniqueFd fd_;
  Fiber* waiter_ = nullptr;
  bool done_ = false, start_ = false;
};

[[noreturn]] void fail(Sync& sync, const std::string& text) {
  // The runtime says it; where both write to one place, once is enough.
  log_info("{}", text);
  sync.say("E" + text);
  _exit(128);
}

int exit_code(int wait_status) {
  const int sig = wait_status & 0x7f;
  return sig != 0 ? 128 + sig : (wait_status >> 8) & 0xff;
}

uint64_t machine_memory() {
  return static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

}  // namespace

void sentry_main(BootSpec spec) {
  if (spec.log.valid()) {
    set_log(spec.log.get(), spec.log_level, "run9-sentry");
  }
  signal(SIGPIPE, SIG_IGN);
  signal(SIGXFSZ, SIG_IGN);  // EFBIG says it; guest threads that write by themselves have it from us
  auto made = EventLoop::create();
  if (!made.has_value()) _exit(128);
  EventLoop& loop = *made.value();
  Sync sync(loop, std::move(spec.sync));

  Kernel::Options options;
  options.hostname = spec.hostname.empty() ? "run9" : spec.hostname;
  options.limits.memory = spec.memory_limit != 0 ? spec.memory_limit : machine_memory() / 2;
  options.limits.tasks = spec.task_limit;
  options.strace = spec.strace;
  options.strict = spec.strict;
  options.host_threads = spec.host_threads;
  if (spec.workers > 1) mallopt(M_ARENA_MAX, 1);  // they run kernel code one at a time: a heap for each gains nothing
  loop.set_workers(spec.workers);
  Workers* const workers = loop.workers();
  if (workers != nullptr) workers->eager = spec.eager_workers;
  options.cpus = static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN));
  // Never destroyed: the process ends with _exit, and the host takes everything back at once.
  auto& kernel = *new Kernel(std::move(made).value(), options);
  if (!spec.domainname.empty()) kernel.domainname = spec.domainname;
  kernel.boot_log("Starting Run9 6.12.0-run9");

  auto platform = make_platform(spec.platform, loop, kernel);
  if (!platform.has_value()) {
    const char* const hint = platform.error() == Errno{EFBIG} ? ": its memory is larger than RLIMIT_FSIZE lets a file be; raise it (ulimit -f)" : "";
    fail(sync, fmt::format("platform {}: {}{}", spec.platform, describe(platform.error()), hint));
  }
  kernel.set_platform(std::move(platform).value());
  kernel.set_cpu_bound(spec.cpu_bound);
  kernel.boot_log(fmt::format("platform {}: {} CPUs, {}", spec.platform, options.cpus,
                              spec.workers == 1 ? "1 worker" : fmt::format("up to {} workers", spec.workers)));
  kernel.boot_log(fmt::format("memory limit {} MiB", options.limits.memory >> 20));

  const long host_files = sysconf(_SC_OPEN_MAX);  // no longer to be asked for under the filter
  const auto filtered = install_sentry_filter(spec.platform == "ptrace");
  if (!filtered.has_value()) fail(sync, fmt::format("seccomp: {}", describe(filtered.error())));
  kernel.boot_log("seccomp filter installed");

  std::unique_ptr<ControlServer> control;
  if (spec.control.valid()) {
    BootHooks hooks;
    hooks.spawn_process = [](Kernel& k, ProcessSpec p, OnExit on_exit, std::string& error) -> Result<int32_t> {
      auto pid = spawn_process(k, std::move(p), false, std::move(on_exit), error);
      if (!pid.has_value()) {
        log_error("exec: {}", error);
        return pid;
      }
      k.find_task(pid.value())->start();
      return pid;
    };
    hooks.resize = resize_console;
    control = std::make_unique<ControlServer>(loop, std::move(spec.control), kernel_hooks(kernel, hooks));
  }

  loop.spawn([&] {
    std::string error;
    if (!make_mounts(kernel, spec.mounts, static_cast<size_t>(host_files), error).has_value()) fail(sync, error);
    register_devices(kernel);
    const auto console = spec.init.terminal ? HasConsole::kYes : HasConsole::kNo;
    if (const auto d = make_devices(kernel, console); !d.has_value()) fail(sync, "devices: " + describe(d.error()));
    if (!add_devices(kernel, spec.devices, error).has_value()) fail(sync, error);
    if (!set_sysctls(kernel, spec.sysctl, error).has_value()) fail(sync, error);
    if (spec.root_readonly) kernel.mounts().root().mount->flags |= vfs::kMntReadOnly;
    if (!hide_paths(kernel, spec.masked_paths, spec.readonly_paths, error).has_value()) fail(sync, error);
    const auto pid = spawn_process(
        kernel, std::move(spec.init), true,
        [&](int status) {
          if (control) control->container_exited(status);
        },
        error);
    if (!pid.has_value()) fail(sync, error);
    if (control) {
      if (const auto c = control->start(); !c.has_value()) fail(sync, "control: " + describe(c.error()));
    }
    kernel.boot_log("Ready!");
    sync.say("R");
    if (!sync.await_start()) {
      log_error("the runtime went away before it said start; the sandbox ends");
      _exit(128);
    }
    if (!run_start_hooks(kernel, std::move(spec.start_hooks), error).has_value()) fail(sync, error);
    sync.say("D");
    kernel.find_task(pid.value())->start();
  });
  loop.run();
  if (workers != nullptr) log_debug("further workers: {} rounds", workers->rounds());
  _exit(exit_code(kernel.exit_status()));
}

}  // namespace run9::sentry
