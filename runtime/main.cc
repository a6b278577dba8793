// run9: the OCI runtime's command line. Reads it, and hands over to the commands (commands.h).
#include <fcntl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <algorithm>
#include <cstdio>

#include "runtime/commands.h"
#include "runtime/confine.h"
#include "runtime/launch.h"
#include "runtime/lifecycle.h"
#include "runtime/names.h"
#include "runtime/profile.h"
#include "runtime/version.h"

namespace run9::runtime {
namespace {

constexpr std::string_view kPlatforms[] = {"trap", "ptrace"};

// What CLI11 fills in.
struct CommandLine {
  GlobalOptions global;
  std::string memory, rootless, bundle = ".", id;
  bool systemd_cgroup = false;
  CreateArgs create;
  ExecArgs exec;
  KillArgs kill;
  DeleteArgs del;
  ListArgs list;
  PsArgs ps;
  UpdateArgs update;
  EventsArgs events;
  ProfileArgs profile;
  DoArgs do_args;
  bool ignored = false;
};

void add_global(CLI::App& app, CommandLine& c) {
  app.set_version_flag("-v,--version", std::string(kVersionText));
  app.add_option("--root", c.global.root, "directory of the containers' state");
  app.add_option("--log", c.global.log, "file for messages; standard error if not given");
  app.add_option("--log-format", c.global.log_format, "text or json");
  app.add_flag("--debug", c.global.debug, "say more in the log");
  app.add_option("--platform", c.global.platform, "how guest code runs: trap or ptrace");
  app.add_flag("--strace", c.global.strace, "log each system call of the guest");
  app.add_flag("--strict", c.global.strict, "end the sandbox at the first system call that is missing");
  app.add_flag("--log-9p", c.global.log_9p, "log each file request of the sandbox");
  app.add_option("--overlay", c.global.overlay, "where writes to the root go: none (the bundle), or tmpfs");
  app.add_option("--memory", c.memory, "limit of the guest's private memory, for example 512m");
  app.add_option("--host-threads", c.global.host_threads,
                 "threads, at most, in which a sandbox waits for a disk; 0: everything in it waits along (8)")
      ->check(CLI::Range(0, 256));
  app.add_option("--workers", c.global.workers,
                 "threads, at most, in which a sandbox's kernel answers calls; for machines with cores to spare (1)")
      ->check(CLI::Range(1, 64));
  app.add_flag("--eager-workers", c.global.eager_workers, "further ones come at once, whether there are cores for them or not (for tests)")->group("");
  app.add_option("--rootless", c.rootless, "true, false or auto; found out by itself");
  app.add_flag("--systemd-cgroup", c.systemd_cgroup, "accepted for runc's sake");
}

void add_profile(CLI::App& app, std::string& where) {
  app.add_flag(fmt::format("--profile{{{}}}", kProfileTable), where,
               "print at the end where time went, by system call; =FILE: also a flame graph, as SVG");
}

void add_create_options(CLI::App& app, CommandLine& c) {
  app.add_option("id", c.create.id, "the container's name")->required();
  app.add_option("-b,--bundle", c.create.bundle, "directory with config.json");
  app.add_option("--pid-file", c.create.pid_file, "file for the sandbox's process number");
  app.add_option("--console-socket", c.create.console_socket, "unix socket that gets the terminal");
  app.add_option("--preserve-fds", c.create.preserve_fds, "pass so many descriptors from 3 on");
  app.add_flag("--no-pivot,--no-new-keyring", c.ignored, "accepted; neither is used");
}

void add_life_cycle(CLI::App& app, CommandLine& c) {
  auto* spec = app.add_subcommand("spec", "write an example config.json");
  spec->add_option("-b,--bundle", c.bundle, "directory for it");
  spec->add_flag("--rootless", c.ignored, "accepted; the example suits every user");
  add_create_options(*app.add_subcommand("create", "make a container that waits for start"), c);
  app.add_subcommand("start", "run a created container's program")->add_option("id", c.id)->required();
  auto* run = app.add_subcommand("run", "create, start, wait and delete");
  add_create_options(*run, c);
  run->add_flag("-d,--detach", c.create.detach, "do not wait");
  run->add_flag("--keep", c.create.keep, "do not delete it when it has ended");
  run->add_flag("--no-subreaper", c.ignored, "accepted; orphans are the sandbox's in any case");
  add_profile(*run, c.create.profile);
  app.add_subcommand("state", "print a container's state")->add_option("id", c.id)->required();
  auto* kill = app.add_subcommand("kill", "send a signal to a container's program");
  kill->add_option("id", c.kill.id)->required();
  kill->add_option("signal", c.kill.signal, "name or number; TERM if not given");
  kill->add_flag("-a,--all", c.kill.all, "to all its processes");
  auto* del = app.add_subcommand("delete", "remove what is left of a container");
  del->add_option("id", c.del.id)->required();
  del->add_flag("-f,--force", c.del.force, "end it first if it runs");
}

void add_management(CLI::App& app, CommandLine& c) {
  app.add_subcommand("pause", "freeze a container's processes")->add_option("id", c.id)->required();
  app.add_subcommand("resume", "let a paused container go on")->add_option("id", c.id)->required();
  auto* update = app.add_subcommand("update", "change a container's limits");
  update->add_option("id", c.update.id)->required();
  update->add_option("-r,--resources", c.update.resources, "file with an OCI linux.resources object; - is standard input");
  update->add_option("--memory", c.update.memory, "bytes, or for example 512m");
  update->add_option("--memory-reservation", c.update.memory_reservation, "soft limit");
  update->add_option("--memory-swap", c.update.memory_swap, "memory and swap");
  update->add_option("--cpu-share", c.update.cpu_shares, "relative weight, 2 to 262144");
  update->add_option("--cpu-quota", c.update.cpu_quota, "microseconds in each period; -1: no limit");
  update->add_option("--cpu-period", c.update.cpu_period, "microseconds");
  update->add_option("--cpuset-cpus", c.update.cpus, "for example 0-3,7");
  update->add_option("--cpuset-mems", c.update.mems, "for example 0");
  update->add_option("--pids-limit", c.update.pids, "processes and threads");
  auto* events = app.add_subcommand("events", "print what a container uses, as lines of JSON");
  events->add_option("id", c.events.id)->required();
  events->add_flag("--stats", c.events.stats, "once");
  events->add_option("--interval", c.events.interval, "time between two lines, for example 5s");
  auto* profile = app.add_subcommand("profile", "show where a running container's time goes, by system call");
  profile->add_option("id", c.profile.id)->required();
  profile->add_option("--seconds", c.profile.seconds, "for so long; 5 if not given");
  profile->add_option("--svg", c.profile.svg, "file for a flame graph");
}

void add_others(CLI::App& app, CommandLine& c) {
  auto* exec = app.add_subcommand("exec", "run a further program in a container");
  exec->add_option("id", c.exec.id)->required();
  exec->add_option("-p,--process", c.exec.process, "file with an OCI process object");
  exec->add_flag("-t,--tty", c.exec.tty, "with a terminal");
  exec->add_option("-u,--user", c.exec.user, "USER[:GROUP], names of the container or numbers");
  exec->add_option("-g,--additional-gids", c.exec.groups, "a group more")->allow_extra_args(false)->take_all();
  exec->add_flag("--no-new-privs", c.exec.no_new_privs, "no program that it runs gains rights");
  exec->add_option("--cwd", c.exec.cwd, "working directory");
  exec->add_option("-e,--env", c.exec.env, "NAME=value")->allow_extra_args(false)->take_all();
  exec->add_option("-c,--cap", c.exec.caps, "add a capability")->allow_extra_args(false)->take_all();
  exec->add_option("--pid-file", c.exec.pid_file, "file for the number of the process that stands for it");
  exec->add_option("--console-socket", c.exec.console_socket, "unix socket that gets the terminal");
  exec->add_option("--preserve-fds", c.exec.preserve_fds, "pass so many descriptors from 3 on");
  exec->add_flag("-d,--detach", c.exec.detach, "do not wait");
  exec->prefix_command();
  auto* list = app.add_subcommand("list", "list containers");
  list->add_option("-f,--format", c.list.format, "table or json");
  list->add_flag("-q,--quiet", c.list.quiet, "names alone");
  auto* ps = app.add_subcommand("ps", "list a container's processes");
  ps->add_option("id", c.ps.id)->required();
  ps->add_option("-f,--format", c.ps.format, "table or json");
  ps->allow_extras();
  app.add_subcommand("features", "print what this runtime can do");
  auto* d = app.add_subcommand("do", "run a command of the host in a sandbox: run9 do [--] CMD...");
  d->add_option("--expose", c.do_args.expose, "show this path although it is private")->allow_extra_args(false)->take_all();
  d->add_option("--cwd", c.do_args.cwd, "working directory");
  add_profile(*d, c.do_args.profile);
  d->prefix_command();
}

// CLI11 reads "--" in its own way, so what follows the first one of `do` and `exec` is kept from it.
struct SplitArguments {
  std::vector<std::string> before;  // reversed, as CLI11 wants it
  std::vector<std::string> after;
  bool split = false;
};

SplitArguments split_arguments(int argc, char** argv) {
  SplitArguments out;
  bool takes_command = false;
  for (int i = 1; i < argc; ++i) {
    const std::string_view a = argv[i];
    takes_command = takes_command || a == "do" || a == "exec";
    if (!out.split && takes_command && a == "--") {
      out.split = true;
    } else {
      (out.split ? out.after : out.before).emplace_back(a);
    }
  }
  std::reverse(out.before.begin(), out.before.end());
  return out;
}

// The command that `do` or `exec` runs. A "--" behind its first word is its own.
std::vector<std::string> command_of(const CLI::App& app, const SplitArguments& arguments) {
  std::vector<std::string> out = app.remaining();
  if (arguments.split && !out.empty()) out.emplace_back("--");
  out.insert(out.end(), arguments.after.begin(), arguments.after.end());
  return out;
}

Expected<void> check_global(CommandLine& c) {
  GlobalOptions& g = c.global;
  if (std::find(std::begin(kPlatforms), std::end(kPlatforms), g.platform) == std::end(kPlatforms)) {
    return fail("--platform {}: not known; use {}", run9::quoted(g.platform), fmt::join(kPlatforms, " or "));
  }
  if (g.workers > 1 && g.platform != "trap") {
    return fail("--workers {}: with --platform {} there is one; leave it out, or use --platform trap", g.workers, g.platform);
  }
  if (g.overlay != "none" && g.overlay != "tmpfs") {
    return fail("--overlay {}: not known; use none or tmpfs", run9::quoted(g.overlay));
  }
  if (g.log_format != "text" && g.log_format != "json") {
    return fail("--log-format {}: not known; use text or json", run9::quoted(g.log_format));
  }
  if (!c.memory.empty()) {
    const auto n = parse_size(c.memory);
    if (!n || *n == 0) return fail("--memory {}: not a size; write for example 512m or 2g", run9::quoted(c.memory));
    g.memory = *n;
  }
  c.do_args.root_is_default = g.root.empty();
  if (g.root.empty()) g.root = default_root();
  if (!g.root.starts_with('/')) {
    char buffer[4096];
    if (getcwd(buffer, sizeof buffer) != nullptr) g.root = std::string(buffer) + "/" + g.root;
  }
  while (g.root.size() > 1 && g.root.ends_with('/')) g.root.pop_back();
  return ok();
}

Expected<int> dispatch(CLI::App& app, CommandLine& c, const SplitArguments& arguments) {
  TRY(check_global(c));
  const CLI::App* sub = app.get_subcommands().at(0);
  const std::string& name = sub->get_name();
  if (name == "spec") return cmd_spec(c.bundle);
  if (name == "features") return cmd_features();
  if (name == "create") return cmd_create(c.global, c.create);
  if (name == "start") return cmd_start(c.global, c.id);
  if (name == "run") return cmd_run(c.global, c.create);
  if (name == "state") return cmd_state(c.global, c.id);
  if (name == "kill") return cmd_kill(c.global, c.kill);
  if (name == "delete") return cmd_delete(c.global, c.del);
  if (name == "list") return cmd_list(c.global, c.list);
  if (name == "ps") return cmd_ps(c.global, c.ps);
  if (name == "pause") return cmd_pause(c.global, c.id);
  if (name == "resume") return cmd_resume(c.global, c.id);
  if (name == "update") return cmd_update(c.global, c.update);
  if (name == "events") return cmd_events(c.global, c.events);
  if (name == "profile") return cmd_profile(c.global, c.profile);
  if (name == "exec") {
    c.exec.command = command_of(*sub, arguments);
    return cmd_exec(c.global, c.exec);
  }
  const auto words = sub->remaining();
  if (!words.empty() && words.front().starts_with('-')) {
    return fail("do: {}: not an option of do; run9's own come before it, and a command that begins with - behind --",
                run9::quoted(words.front()));
  }
  c.do_args.command = command_of(*sub, arguments);
  return cmd_do(c.global, c.do_args);
}

// Errors go to standard error, and to --log for whoever started us (containerd reads its JSON).
void report(const GlobalOptions& g, const std::string& text) {
  std::fprintf(stderr, "run9: %s\n", text.c_str());
  if (g.log.empty()) return;
  const UniqueFd fd(open(g.log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640));
  if (!fd.valid()) return;
  const std::string line =
      g.log_format == "json"
          ? boost::json::serialize(boost::json::object{{"level", "error"}, {"msg", text}, {"time", timestamp()}}) + "\n"
          : fmt::format("run9[{}] E: {}\n", getpid(), text);
  (void)!write(fd.get(), line.data(), line.size());
}

// A shell's statuses where a command could not be run; 1 for the life-cycle commands, as runc.
int failure_status(const CLI::App& app, const std::string& text) {
  if (app.get_subcommands().at(0)->get_name() != "do") return 1;
  if (text.find("ENOENT") != std::string::npos || text.find("not found") != std::string::npos) return 127;
  if (text.find("EACCES") != std::string::npos || text.find("ENOEXEC") != std::string::npos) return 126;
  return 125;
}

// Descriptors 0 to 2 exist from here on, so that no other ever gets one of these numbers.
void fill_standard_streams() {
  for (int fd = open("/dev/null", O_RDWR); fd >= 0; fd = open("/dev/null", O_RDWR)) {
    if (fd <= 2) continue;
    close(fd);
    return;
  }
}

int run(int argc, char** argv) {
  fill_standard_streams();
  remember_arguments(argc, argv);
  CommandLine c;
  SplitArguments arguments = split_arguments(argc, argv);
  CLI::App app("run9 runs containers behind a kernel of their own.", "run9");
  app.require_subcommand(1);
  add_global(app, c);
  add_life_cycle(app, c);
  add_management(app, c);
  add_others(app, c);
  try {
    app.parse(arguments.before);
  } catch (const CLI::Success& e) {
    return app.exit(e);
  } catch (const CLI::RequiredError& e) {
    // CLI11 says that a command is missing, also where there is one that it does not know.
    const auto rest = app.remaining();
    const auto word = std::find_if(rest.begin(), rest.end(), [](const auto& w) { return !w.starts_with('-'); });
    if (app.get_subcommands().empty() && word != rest.end()) {
      std::fprintf(stderr, "run9: %s: no such command; see run9 --help\n", word->c_str());
    } else {
      std::fprintf(stderr, "run9: %s; see run9 --help\n", e.what());
    }
    return 2;
  } catch (const CLI::ParseError& e) {
    std::fprintf(stderr, "run9: %s; see run9 --help\n", e.what());
    return 2;
  }
  set_log(STDERR_FILENO, c.global.debug ? LogLevel::kDebug : LogLevel::kWarn, "run9");
  const auto status = dispatch(app, c, arguments);
  if (status) return status.assume_value();
  report(c.global, status.error().text);
  return failure_status(app, status.error().text);
}

}  // namespace
}  // namespace run9::runtime

int main(int argc, char** argv) { return run9::runtime::run(argc, argv); }
