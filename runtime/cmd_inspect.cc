// state, list, ps, events, features: what there is.
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <cstdio>

#include "runtime/commands.h"
#include "runtime/control_client.h"
#include "runtime/launch.h"
#include "runtime/names.h"

namespace run9::runtime {
namespace {

namespace json = boost::json;

Expected<void> check_format(const std::string& format) {
  if (format == "table" || format == "json") return ok();
  return fail("--format {}: not known; use table or json", quoted(format));
}

void print_line(const std::string& text) { std::printf("%s\n", text.c_str()); }

// Guests choose their names: no control characters reach the terminal.
std::string printable(std::string_view text) {
  std::string out;
  for (const char c : text) out += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? '?' : c;
  return out;
}

}  // namespace

Expected<int> cmd_state(const GlobalOptions& options, const std::string& id) {
  const StateDir dir = TRY(StateDir::open(options.root, id));
  const ContainerState state = TRY(dir.load());
  print_line(oci_state(state));
  return 0;
}

Expected<int> cmd_list(const GlobalOptions& options, const ListArgs& args) {
  TRY(check_format(args.format));
  json::array all;
  std::vector<ContainerState> states;
  for (const auto& id : list_containers(options.root)) {
    const auto dir = StateDir::open(options.root, id);
    if (!dir) continue;
    auto state = dir.assume_value().load();
    if (!state) {
      // Being made, or broken: it shows, so that somebody deletes it.
      states.push_back(ContainerState{.id = id});
      continue;
    }
    states.push_back(std::move(state).assume_value());
  }
  if (args.quiet) {
    for (const auto& s : states) print_line(s.id);
    return 0;
  }
  if (args.format == "json") {
    for (const auto& s : states) all.push_back(json::parse(oci_state(s)));
    print_line(json::serialize(all));
    return 0;
  }
  print_line(fmt::format("{:<20} {:<8} {:<9} {:<30} {:<31} {}", "ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"));
  for (const auto& s : states) {
    const Status status = current_status(s);
    print_line(fmt::format("{:<20} {:<8} {:<9} {:<30} {:<31} {}", s.id,
                           status == Status::kStopped ? 0 : s.sentry.pid, status_name(status), s.bundle,
                           s.created, s.owner));
  }
  return 0;
}

Expected<int> cmd_ps(const GlobalOptions& options, const PsArgs& args) {
  TRY(check_format(args.format));
  const StateDir dir = TRY(StateDir::open(options.root, args.id));
  control::Request request;
  request.mutable_ps();
  const control::Reply reply = TRY(ask(dir, request));
  if (!reply.has_processes()) return fail("ps: the sandbox answered something else");
  if (args.format == "json") {
    json::array pids;
    for (const auto& p : reply.processes().processes()) pids.emplace_back(p.pid());
    print_line(json::serialize(pids));
    return 0;
  }
  print_line(fmt::format("{:>6} {:>6} {:>6} {:>4} {:1} {}", "PID", "PPID", "UID", "THR", "S", "CMD"));
  for (const auto& p : reply.processes().processes()) {
    print_line(fmt::format("{:>6} {:>6} {:>6} {:>4} {:1} {}", p.pid(), p.ppid(), p.uid(), p.threads(),
                           printable(p.state()), printable(p.command())));
  }
  return 0;
}

Expected<int> cmd_events(const GlobalOptions& options, const std::string& id) {
  const StateDir dir = TRY(StateDir::open(options.root, id));
  control::Request request;
  request.mutable_state();
  const control::Reply reply = TRY(ask(dir, request));
  if (!reply.has_state()) return fail("events: the sandbox answered something else");
  const control::SandboxState& s = reply.state();
  const json::object out{{"type", "stats"},
                         {"id", id},
                         {"data",
                          {{"processes", s.processes()},
                           {"tasks", s.tasks()},
                           {"memory", s.memory()},
                           {"guestEvents", s.guest_events()}}}};
  print_line(json::serialize(out));
  return 0;
}

Expected<int> cmd_features() {
  json::array caps;
  for (int n = 0; n <= 40; ++n) caps.emplace_back(capability_name(n));
  const json::object out{
      {"ociVersionMin", "1.0.0"},
      {"ociVersionMax", "1.1.0"},
      {"hooks", {"prestart", "createRuntime", "poststart", "poststop"}},
      {"mountOptions", {"ro", "rw", "nosuid", "nodev", "noexec", "noatime", "relatime", "bind", "rbind"}},
      {"linux",
       {{"namespaces", {"cgroup", "ipc", "mount", "network", "pid", "user", "uts"}},
        {"capabilities", caps},
        {"cgroup", {{"v1", true}, {"v2", true}, {"systemd", false}, {"rootless", false}}},
        {"seccomp", {{"enabled", false}}},
        {"apparmor", {{"enabled", false}}},
        {"selinux", {{"enabled", false}}}}}};
  print_line(json::serialize(out));
  return 0;
}

}  // namespace run9::runtime
