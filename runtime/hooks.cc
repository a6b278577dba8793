#include "runtime/hooks.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "base/unique_fd.h"
#include "runtime/supervise.h"

namespace run9::runtime {
namespace {

std::vector<char*> pointers(std::vector<std::string>& strings) {
  std::vector<char*> out;
  for (auto& s : strings) out.push_back(s.data());
  out.push_back(nullptr);
  return out;
}

[[noreturn]] void exec_hook(const ConfigHook& hook, const std::string& bundle, int input) {
  reset_signals();
  dup2(input, STDIN_FILENO);
  // What the hook prints is for people, not for who reads our standard output.
  dup2(STDERR_FILENO, STDOUT_FILENO);
  if (chdir(bundle.c_str()) != 0) _exit(127);
  std::vector<std::string> args = hook.args.empty() ? std::vector{hook.path} : hook.args;
  std::vector<std::string> env = hook.env;
  execve(hook.path.c_str(), pointers(args).data(), pointers(env).data());
  _exit(127);
}

Expected<void> run_hook(const std::string& name, const ConfigHook& hook, const std::string& bundle,
                        const std::string& state_json) {
  int ends[2];
  TRY(check(pipe2(ends, O_CLOEXEC), "pipe"));
  const UniqueFd reading(ends[0]);
  UniqueFd writing(ends[1]);
  const pid_t pid = TRY(check(fork(), "fork"));
  if (pid == 0) exec_hook(hook, bundle, reading.get());
  // Shorter than a pipe takes, so this does not block on a hook that does not read.
  (void)!write(writing.get(), state_json.data(), std::min<size_t>(state_json.size(), 60000));
  writing.reset();
  const UniqueFd pidfd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  pollfd p{.fd = pidfd.get(), .events = POLLIN, .revents = 0};
  const bool late = hook.timeout_s > 0 && poll(&p, 1, hook.timeout_s * 1000) == 0;
  if (late) kill(pid, SIGKILL);
  int status = 0;
  waitpid(pid, &status, 0);
  if (late) return fail("{}: {}: not done after {} s; raise its timeout", name, hook.path, hook.timeout_s);
  if (status == 0) return ok();
  return fail("{}: {}: exit status {}{}", name, hook.path, exit_code(status),
              exit_code(status) == 127 ? " (does it exist, and may it be executed?)" : "");
}

}  // namespace

Expected<void> run_hooks(const std::string& kind, const std::vector<ConfigHook>& hooks,
                         const std::string& bundle, const std::string& state_json) {
  // The writer of a closed pipe gets EPIPE, not a signal.
  struct sigaction ignore {}, old {};
  ignore.sa_handler = SIG_IGN;
  sigaction(SIGPIPE, &ignore, &old);
  Expected<void> result = ok();
  for (size_t i = 0; i < hooks.size() && result; ++i) {
    result = run_hook(fmt::format("/hooks/{}/{}", kind, i), hooks[i], bundle, state_json);
  }
  sigaction(SIGPIPE, &old, nullptr);
  return result;
}

}  // namespace run9::runtime
