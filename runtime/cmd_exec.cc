// exec: a further program in a running container.
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <charconv>

#include "runtime/commands.h"
#include "runtime/control_client.h"
#include "runtime/launch.h"
#include "runtime/names.h"
#include "runtime/supervise.h"
#include "runtime/window_watcher.h"

namespace run9::runtime {
namespace {

std::optional<uint32_t> parse_id(std::string_view text) {
  uint32_t v = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), v);
  if (error != std::errc{} || end != text.data() + text.size() || v == UINT32_MAX) return {};
  return v;
}

// UID[:GID] changes these alone, as with runc. Names are the Sentry's to look up.
Expected<void> set_user(const std::string& user, ConfigProcess& process) {
  const size_t colon = user.find(':');
  if (colon == 0 || colon + 1 == user.size()) {
    return fail("--user {}: give USER[:GROUP], names or numbers", quoted(user));
  }
  const auto uid = parse_id(std::string_view(user).substr(0, colon));
  const auto gid = colon == std::string::npos ? process.gid : parse_id(std::string_view(user).substr(colon + 1));
  if (!uid || !gid) {
    process.user = user;
    std::erase_if(process.env, [](const std::string& e) { return e.starts_with("HOME="); });
    return ok();
  }
  // The home directory that goes with the ids is looked up anew.
  if (*uid != process.uid) std::erase_if(process.env, [](const std::string& e) { return e.starts_with("HOME="); });
  process.uid = *uid;
  process.gid = *gid;
  return ok();
}

// The container's own process object with what the command line changes, as runc does it.
Expected<ConfigProcess> process_for(const ContainerState& state, const ExecArgs& args) {
  ConfigProcess p;
  if (!args.process.empty()) {
    p = TRY(load_process(args.process));
  } else {
    const std::string file = state.bundle + "/config.json";
    const std::string text = TRY(read_text_file(file));
    p = TRY(parse_config(file, text)).process;
    p.args = args.command;
    p.terminal = args.tty;
    if (p.args.empty()) return fail("exec: no program was given; say: run9 exec {} COMMAND", args.id);
  }
  if (args.tty) p.terminal = true;
  if (!args.cwd.empty()) p.cwd = args.cwd;
  if (!p.cwd.starts_with('/')) return fail("--cwd {}: not absolute; begin it with \"/\"", p.cwd);
  if (!args.user.empty()) TRY(set_user(args.user, p));
  p.groups.insert(p.groups.end(), args.groups.begin(), args.groups.end());
  if (args.no_new_privs) p.no_new_privs = true;
  for (const auto& e : args.env) {
    const std::string name = e.substr(0, e.find('=') + 1);
    if (name.size() < 2) return fail("--env {}: write NAME=value", quoted(e));
    std::erase_if(p.env, [&](const std::string& old) { return old.starts_with(name); });
    p.env.push_back(e);
  }
  for (const auto& name : args.caps) {
    const auto n = capability_number(name);
    if (!n) return fail("--cap {}: no such capability; see capabilities(7)", quoted(name));
    for (uint64_t* set : {&p.caps.bounding, &p.caps.effective, &p.caps.permitted}) *set |= uint64_t{1} << *n;
  }
  return p;
}

struct Started {
  Stdio stdio;
  RunningExec exec;
};

Expected<Started> start(const StateDir& dir, const ConfigProcess& process, const ExecArgs& args) {
  Started out;
  out.stdio = TRY(make_stdio({.terminal = process.terminal,
                              .console_socket = args.console_socket,
                              .foreground = !args.detach,
                              .size = {process.rows, process.columns}}));
  sentry::ProcessSpec spec = to_process_spec(process);
  spec.rows = out.stdio.size.rows;
  spec.columns = out.stdio.size.columns;
  spec.stdio = std::move(out.stdio.guest);
  spec.extra = TRY(preserved_descriptors(args.preserve_fds));
  out.exec = TRY(start_exec(dir, spec));
  watch_window(dir, out.exec.pid, std::move(out.stdio.console), out.stdio.size);
  return out;
}

Expected<void> write_pid(const std::string& path, pid_t pid) {
  if (path.empty()) return ok();
  const UniqueFd fd = TRY(explain(
      take_fd(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644)), "--pid-file {}", path));
  const std::string text = std::to_string(pid);
  TRY(check(static_cast<int>(write(fd.get(), text.data(), text.size())), "--pid-file {}", path));
  return ok();
}

Expected<int> run_foreground(const StateDir& dir, const ConfigProcess& process, const ExecArgs& args) {
  const SignalGuard signals;
  TRY(write_pid(args.pid_file, getpid()));
  Started s = TRY(start(dir, process, args));
  std::optional<int> status;
  SuperviseHooks hooks;
  hooks.forward = [&](int signo) {
    if (auto r = signal_guest(dir, s.exec.pid, signo, false); !r) log_debug("{}", r.error().text);
  };
  hooks.resize = [&](WindowSize w) { resize_guest(dir, s.exec.pid, w.rows, w.columns); };
  hooks.ended = [&]() -> std::optional<int> {
    status = exec_status(s.exec.connection.borrow());
    return status.value_or(SIGKILL);
  };
  const int wait_status = supervise(signals, s.exec.connection.borrow(), s.stdio, hooks);
  s.stdio.raw.leave();
  if (!status) return fail("the sandbox ended while {} ran", quoted(process.args[0]));
  return exit_code(wait_status);
}

// A supervisor (containerd's shim) waits for the process that --pid-file names; the guest's has no number
// on the host, so one of ours stands in for it.
Expected<int> run_detached(const StateDir& dir, const ConfigProcess& process, const ExecArgs& args) {
  int ends[2];
  TRY(check(pipe2(ends, O_CLOEXEC), "pipe"));
  const UniqueFd reading(ends[0]);
  UniqueFd writing(ends[1]);
  const pid_t pid = TRY(check(fork(), "fork"));
  if (pid == 0) {
    setsid();
    auto s = start(dir, process, args);
    const std::string answer = s ? "S" : "E" + s.error().text;
    (void)!write(writing.get(), answer.data(), answer.size());
    if (!s) _exit(1);
    writing.reset();
    for (int fd = 0; fd < 3; ++fd) close(fd);
    s.assume_value().stdio.guest.clear();
    _exit(exit_code(exec_status(s.assume_value().exec.connection.borrow()).value_or(SIGKILL)));
  }
  writing.reset();
  std::string answer(4096, '\0');
  const ssize_t n = read(reading.get(), answer.data(), answer.size());
  answer.resize(n > 0 ? static_cast<size_t>(n) : 0);
  if (answer != "S") {
    waitpid(pid, nullptr, 0);
    return Failure{answer.empty() ? "exec failed" : answer.substr(1)};
  }
  TRY(write_pid(args.pid_file, pid));
  return 0;
}

}  // namespace

Expected<int> cmd_exec(const GlobalOptions& options, const ExecArgs& args) {
  const StateDir dir = TRY(StateDir::open(options.root, args.id));
  const ContainerState state = TRY(dir.load());
  if (const Status s = current_status(state); s != Status::kRunning) {
    return fail("container {} is {}; exec needs a running one", quoted(args.id), status_name(s));
  }
  const ConfigProcess process = TRY(process_for(state, args));
  return args.detach ? run_detached(dir, process, args) : run_foreground(dir, process, args);
}

}  // namespace run9::runtime
