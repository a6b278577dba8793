#include "runtime/profile.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <iterator>

#include "runtime/commands.h"
#include "runtime/flame_graph.h"
#include "runtime/names.h"

namespace run9::runtime {
namespace {

constexpr size_t kNameWidth = 22;

double ms(uint64_t ns) { return static_cast<double>(ns) / 1e6; }

uint64_t busy_ns(const control::ProfileRow& r) {
  return r.hand_over_ns() + r.kernel_ns() + r.gofer_ns() + r.host_ns();
}

// The dearest first.
std::vector<const control::ProfileRow*> sorted(const control::ProfileReport& report) {
  std::vector<const control::ProfileRow*> rows;
  for (const auto& r : report.rows()) rows.push_back(&r);
  std::ranges::stable_sort(rows, [](const auto* a, const auto* b) { return busy_ns(*a) > busy_ns(*b); });
  return rows;
}

Flame layer(const char* name, const char* color, uint64_t ns, uint64_t whole_ns) {
  const double share = whole_ns != 0 ? 100.0 * static_cast<double>(ns) / static_cast<double>(whole_ns) : 0;
  return {name, fmt::format("{:.3f} ms, {:.1f} %", ms(ns), share), static_cast<double>(ns), color, {}};
}

Expected<UniqueFd> open_svg(const std::string& path) {
  UniqueFd fd(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (!fd.valid()) return fail("{}: {}; name a file that can be written", path, describe(last_errno()));
  return fd;
}

Expected<void> write_all(const UniqueFd& fd, std::string_view text) {
  while (!text.empty()) {
    const int n = TRY(check(static_cast<int>(write(fd.get(), text.data(), text.size())), "writing the flame graph"));
    text.remove_prefix(static_cast<size_t>(n));
  }
  return ok();
}

}  // namespace

Expected<UniqueFd> begin_profile(const StateDir& dir, uint32_t milliseconds) {
  control::Request request;
  request.mutable_profile()->set_milliseconds(milliseconds);
  UniqueFd connection = TRY(send_request(dir, request));
  const control::Reply reply = TRY(receive_reply(connection));
  if (reply.has_failed() && reply.failed().error() == EBUSY) {
    return fail("profile: somebody else makes one of this container; try again when that is done");
  }
  if (!reply.has_done()) return fail("profile: the sandbox answered something else");
  return connection;
}

Expected<control::ProfileReport> await_profile(const UniqueFd& connection) {
  pollfd wait{.fd = connection.get(), .events = POLLIN, .revents = 0};
  while (poll(&wait, 1, -1) < 0 && errno == EINTR) {
  }
  const control::Reply reply = TRY(receive_reply(connection));
  if (!reply.has_profile()) return fail("profile: the sandbox answered something else");
  return reply.profile();
}

std::string profile_table(const control::ProfileReport& report) {
  uint64_t calls = 0, waits = 0;
  for (const auto& r : report.rows()) {
    calls += busy_ns(r);
    waits += r.wait_ns();
  }
  std::string out = fmt::format(
      "{:.1f} ms went by; of all guest threads {:.1f} ms in guest code, {:.1f} ms in calls, {:.1f} ms waiting; "
      "the Sentry used {:.1f} ms of CPU\n"
      "{:<{}} {:>9} {:>9} {:>10} {:>10} {:>10} {:>10} {:>10}  (ms)\n",
      ms(report.wall_ns()), ms(report.guest_ns()), ms(calls), ms(waits), ms(report.sentry_ns()), "call", kNameWidth,
      "count", "us each", "hand-over", "kernel", "gofer", "host", "waiting");
  for (const auto* r : sorted(report)) {
    const double each = r->count() != 0 ? ms(busy_ns(*r)) * 1000 / static_cast<double>(r->count()) : 0;
    fmt::format_to(std::back_inserter(out), "{:<{}} {:>9} {:>9.2f} {:>10.2f} {:>10.2f} {:>10.2f} {:>10.2f} {:>10.2f}\n",
                   printable(r->name()).substr(0, kNameWidth), kNameWidth, r->count(), each, ms(r->hand_over_ns()),
                   ms(r->kernel_ns()), ms(r->gofer_ns()), ms(r->host_ns()), ms(r->wait_ns()));
  }
  return out;
}

std::string profile_svg(const control::ProfileReport& report, const std::string& title) {
  const auto rows = sorted(report);
  uint64_t whole_ns = report.guest_ns();
  for (const auto* r : rows) whole_ns += busy_ns(*r);
  Flame whole = layer("all guest threads", "#dddddd", whole_ns, whole_ns);
  whole.children.push_back(layer("guest code", "#8fce73", report.guest_ns(), whole_ns));
  for (const auto* r : rows) {
    Flame call = layer("", "#f2d16b", busy_ns(*r), whole_ns);
    call.name = r->name();
    call.note += fmt::format(", {} times", r->count());
    call.children = {layer("hand-over", "#f0a35e", r->hand_over_ns(), whole_ns),
                     layer("kernel", "#e57368", r->kernel_ns(), whole_ns),
                     layer("gofer", "#7fb2e5", r->gofer_ns(), whole_ns), layer("host", "#b39ddb", r->host_ns(), whole_ns)};
    whole.children.push_back(std::move(call));
  }
  return flame_graph(title + ": where guest threads spend their time, without waiting", whole);
}

Expected<void> RunProfile::begin(const StateDir& dir) {
  if (where_.empty()) return ok();
  if (where_ != kProfileTable) svg_ = TRY(open_svg(where_));
  connection_ = TRY(begin_profile(dir, 0));
  return ok();
}

void RunProfile::show(const std::string& title) const {
  if (!connection_.valid()) return;
  const auto report = await_profile(connection_);
  if (!report) return log_warn("{}", report.error().text);
  std::fputs(profile_table(report.assume_value()).c_str(), stderr);
  if (!svg_.valid()) return;
  if (auto r = write_all(svg_, profile_svg(report.assume_value(), title)); !r) log_warn("{}", r.error().text);
}

Expected<int> cmd_profile(const GlobalOptions& options, const ProfileArgs& args) {
  if (args.seconds <= 0 || args.seconds > 86400) return fail("--seconds {}: not between 0 and 86400", args.seconds);
  const StateDir dir = TRY(StateDir::open(options.root, args.id));
  UniqueFd svg;
  if (!args.svg.empty()) svg = TRY(open_svg(args.svg));
  const UniqueFd connection = TRY(begin_profile(dir, static_cast<uint32_t>(args.seconds * 1000)));
  const control::ProfileReport report = TRY(await_profile(connection));
  std::fputs(profile_table(report).c_str(), stdout);
  if (svg.valid()) TRY(write_all(svg, profile_svg(report, args.id)));
  return 0;
}

}  // namespace run9::runtime
