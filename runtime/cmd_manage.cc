// pause, resume, update, events: a running container's cgroup.
#include <poll.h>

#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <charconv>
#include <cstdio>

#include "runtime/cgroup.h"
#include "runtime/commands.h"
#include "runtime/control_client.h"
#include "runtime/launch.h"
#include "runtime/names.h"

namespace run9::runtime {
namespace {

namespace json = boost::json;

struct Found {
  StateDir dir;
  ContainerState state;
  Status status;
};

Expected<Found> find(const GlobalOptions& options, const std::string& id) {
  StateDir dir = TRY(StateDir::open(options.root, id));
  ContainerState state = TRY(dir.load());
  const Status status = current_status(state);
  return Found{std::move(dir), std::move(state), status};
}

Expected<void> read_size(const char* flag, const std::string& text, std::optional<uint64_t>& out) {
  if (text.empty()) return ok();
  out = parse_size(text);
  if (out && *out > 0) return ok();
  return fail("{} {}: not a size; write for example 512m", flag, quoted(text));
}

Expected<void> read_count(const char* flag, const std::optional<int64_t>& value, std::optional<uint64_t>& out) {
  if (!value) return ok();
  if (*value <= 0) return fail("{} {}: not above 0", flag, *value);
  out = static_cast<uint64_t>(*value);
  return ok();
}

Expected<ConfigResources> wanted_resources(const UpdateArgs& args) {
  ConfigResources r;
  if (!args.resources.empty()) {
    const std::string file = args.resources == "-" ? "/proc/self/fd/0" : args.resources;
    r = TRY(parse_resources(args.resources, TRY(read_text_file(file))));
  }
  TRY(read_size("--memory", args.memory, r.memory));
  TRY(read_size("--memory-reservation", args.memory_reservation, r.memory_reservation));
  TRY(read_size("--memory-swap", args.memory_swap, r.memory_swap));
  TRY(read_count("--cpu-share", args.cpu_shares, r.cpu_shares));
  TRY(read_count("--cpu-period", args.cpu_period, r.cpu_period));
  TRY(read_count("--pids-limit", args.pids, r.pids));
  if (args.cpu_quota) r.cpu_quota = args.cpu_quota;
  if (!args.cpus.empty()) r.cpus = args.cpus;
  if (!args.mems.empty()) r.mems = args.mems;
  return r;
}

void put(json::object& object, const char* name, const std::optional<uint64_t>& value) {
  if (value) object[name] = *value;
}

// The shape of runc's events, which supervisors parse.
std::string stats_line(const Found& c) {
  const CgroupStats s = read_cgroup_stats(c.state.cgroups);
  json::object usage, throttling, memory, pids;
  put(usage, "total", s.cpu_total);
  put(usage, "user", s.cpu_user);
  put(usage, "kernel", s.cpu_kernel);
  put(throttling, "periods", s.periods);
  put(throttling, "throttledPeriods", s.throttled_periods);
  put(throttling, "throttledTime", s.throttled_time);
  put(memory, "usage", s.memory);
  put(memory, "max", s.memory_max);
  put(memory, "limit", s.memory_limit);
  put(memory, "failcnt", s.memory_failures);
  // Tasks and memory as the guest sees them; a paused Sentry cannot answer.
  json::object guest;
  control::Request request;
  request.mutable_state();
  if (c.status == Status::kRunning) {
    if (const auto reply = ask(c.dir, request); reply && reply.assume_value().has_state()) {
      const auto& state = reply.assume_value().state();
      pids["current"] = state.tasks();
      pids["limit"] = state.task_limit();
      guest["privateMemory"] = state.memory();
      guest["memoryLimit"] = state.memory_limit();
      guest["processes"] = state.processes();
      guest["events"] = state.guest_events();
      if (state.cpu_bound() != 0) guest["cpuBound"] = state.cpu_bound() / 1000.0;
      if (!s.memory) memory["usage"] = state.memory();
    }
  }
  return json::serialize(json::object{
      {"type", "stats"},
      {"id", c.state.id},
      {"data",
       {{"cpu", {{"usage", usage}, {"throttling", throttling}}},
        {"memory", {{"usage", memory}}},
        {"pids", pids},
        {"run9", guest}}}});
}

// "5s", "500ms", "2" (seconds).
Expected<int> parse_interval(const std::string& text) {
  int n = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
  const std::string_view unit(end, static_cast<size_t>(text.data() + text.size() - end));
  const int factor = unit == "ms" ? 1 : unit == "s" || unit.empty() ? 1000 : unit == "m" ? 60000 : 0;
  if (error == std::errc{} && n > 0 && n < 100000 && factor != 0) return n * factor;
  return fail("--interval {}: not a time; write for example 5s or 500ms", quoted(text));
}

}  // namespace

Expected<int> cmd_pause(const GlobalOptions& options, const std::string& id) {
  const Found c = TRY(find(options, id));
  if (c.status != Status::kRunning) {
    return fail("container {} is {}; only a running one can be paused", quoted(id), status_name(c.status));
  }
  TRY(set_frozen(c.state.cgroups, Freeze::kYes));
  return 0;
}

Expected<int> cmd_resume(const GlobalOptions& options, const std::string& id) {
  const Found c = TRY(find(options, id));
  if (c.status != Status::kPaused) {
    return fail("container {} is {}, not paused", quoted(id), status_name(c.status));
  }
  TRY(set_frozen(c.state.cgroups, Freeze::kNo));
  return 0;
}

Expected<int> cmd_update(const GlobalOptions& options, const UpdateArgs& args) {
  const ConfigResources wanted = TRY(wanted_resources(args));
  const Found c = TRY(find(options, args.id));
  if (c.status == Status::kStopped) return fail("container {} is stopped; there is nothing to limit", quoted(args.id));
  TRY(set_cgroup_limits(c.state.cgroups, wanted));
  const bool tell = wanted.memory || wanted.pids || wanted.cpu_quota || wanted.cpu_period || !wanted.unified.empty();
  if (c.status == Status::kPaused || !tell) return 0;
  control::Request request;
  request.mutable_update()->set_memory(wanted.memory.value_or(0));
  request.mutable_update()->set_tasks(wanted.pids ? task_limit(*wanted.pids) : 0);
  request.mutable_update()->set_cpu_bound(static_cast<uint32_t>(cpu_bound(c.state.cgroups).value_or(0)));
  TRY(ask(c.dir, request));
  return 0;
}

Expected<int> cmd_events(const GlobalOptions& options, const EventsArgs& args) {
  const int interval_ms = TRY(parse_interval(args.interval));
  for (;;) {
    const Found c = TRY(find(options, args.id));
    if (c.status == Status::kStopped) {
      return args.stats ? Expected<int>(fail("container {} is stopped", quoted(args.id))) : Expected<int>(0);
    }
    std::printf("%s\n", stats_line(c).c_str());
    std::fflush(stdout);
    if (args.stats) return 0;
    poll(nullptr, 0, interval_ms);
  }
}

}  // namespace run9::runtime
