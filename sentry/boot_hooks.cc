#include "sentry/boot_hooks.h"

#include <sys/wait.h>

#include <csignal>
#include <memory>

#include "base/log.h"
#include "sentry/boot_spawn.h"

namespace run9::sentry {
namespace {

// The wait status, or ETIME.
Result<int> run_hook(Kernel& kernel, StartHook hook, std::string& error) {
  EventLoop& loop = kernel.loop();
  struct Progress {
    std::optional<int> status;
    Fiber* waiter = nullptr;
  };
  auto progress = std::make_shared<Progress>();
  const auto ended = [&loop, progress](int status) {
    progress->status = status;
    if (progress->waiter != nullptr) loop.ready(progress->waiter);
  };
  const int32_t pid = TRY(spawn_process(kernel, std::move(hook.process), false, ended, error));
  bool late = false;
  Timer timer(loop, [&] {
    late = true;
    if (const auto p = kernel.find_process(pid)) (void)kernel.send_signal(*p, SigInfo::kernel(SIGKILL)).has_value();
  });
  if (hook.timeout_s > 0) timer.arm(EventLoop::now_ns() + static_cast<uint64_t>(hook.timeout_s) * 1'000'000'000);
  kernel.find_task(pid)->start();
  while (!progress->status) {
    progress->waiter = loop.current();
    loop.park();
  }
  progress->waiter = nullptr;
  if (late) return Errno{ETIME};
  return *progress->status;
}

}  // namespace

Result<void> run_start_hooks(Kernel& kernel, std::vector<StartHook> hooks, std::string& error) {
  for (size_t i = 0; i < hooks.size(); ++i) {
    const std::string name = fmt::format("hooks.startContainer[{}] {}", i, quoted(hooks[i].process.args.front()));
    const int timeout_s = hooks[i].timeout_s;
    std::string why;
    const auto status = run_hook(kernel, std::move(hooks[i]), why);
    if (status.has_value() && status.value() == 0) continue;
    if (status.has_value()) {
      const int s = status.value();
      error = WIFSIGNALED(s) ? fmt::format("{}: ended by signal {}", name, WTERMSIG(s))
                             : fmt::format("{}: exit status {}", name, WEXITSTATUS(s));
      return Errno{ECANCELED};
    }
    error = status.error() == Errno{ETIME} ? fmt::format("{}: not done after {} s; raise its timeout", name, timeout_s)
                                           : fmt::format("{}: {}", name, why);
    return status.error();
  }
  return ok();
}

}  // namespace run9::sentry
