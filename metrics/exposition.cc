#include "metrics/exposition.h"

#include <fmt/format.h>

#include <iterator>

#include "base/log.h"

namespace run9::metrics {
namespace {

constexpr size_t kMostTypes = 256;  // of requests, that an answer may name
constexpr size_t kLongestLabel = 64;

// A label's value: quotes, backslashes and line ends escaped, and nothing that is not printable
// ASCII.
std::string label(std::string_view text) {
  std::string out;
  for (const char c : text.substr(0, kLongestLabel)) {
    if (c == '"' || c == '\\') out += '\\';
    out += c >= ' ' && c <= '~' ? c : '?';
  }
  return out;
}

class Text {
 public:
  void head(std::string_view name, std::string_view type, std::string_view help) {
    fmt::format_to(std::back_inserter(out_), "# HELP {0} {2}\n# TYPE {0} {1}\n", name, type, help);
  }
  template <typename Value>
  void sample(std::string_view name, std::string_view labels, Value value) {
    fmt::format_to(std::back_inserter(out_), "{}{{{}}} {}\n", name, labels, value);
  }
  std::string take() { return std::move(out_); }

 private:
  std::string out_;
};

struct GoferMetric {
  std::string_view name, type, help;
  uint64_t (*value)(const control::GoferState&);
};
constexpr GoferMetric kGofer[] = {
    {"run9_gofer_connections_total", "counter", "Connections served since the start.",
     [](const auto& s) { return s.connections(); }},
    {"run9_gofer_connections", "gauge", "Connections being served.",
     [](const auto& s) -> uint64_t { return s.connections_open(); }},
    {"run9_gofer_connection_places", "gauge", "Connections that can be served at a time.",
     [](const auto& s) -> uint64_t { return s.places(); }},
    {"run9_gofer_fids", "gauge", "Fids of all connections.",
     [](const auto& s) { return s.fids(); }},
    {"run9_gofer_descriptors_donated_total", "counter", "Descriptors handed to clients: of open files, leases and rings.",
     [](const auto& s) { return s.descriptors_donated(); }},
};

struct RequestMetric {
  std::string_view name, help;
  double (*value)(const control::GoferRequests&);
};
constexpr RequestMetric kRequests[] = {
    {"run9_gofer_requests_total", "Requests by type.",
     [](const auto& r) { return static_cast<double>(r.count()); }},
    {"run9_gofer_request_errors_total", "Requests that got an error.",
     [](const auto& r) { return static_cast<double>(r.errors()); }},
    {"run9_gofer_received_bytes_total", "Bytes of requests.",
     [](const auto& r) { return static_cast<double>(r.bytes_in()); }},
    {"run9_gofer_sent_bytes_total", "Bytes of replies.",
     [](const auto& r) { return static_cast<double>(r.bytes_out()); }},
    {"run9_gofer_request_seconds_total", "Time spent on requests.",
     [](const auto& r) { return static_cast<double>(r.nanoseconds()) / 1e9; }},
};

struct SandboxMetric {
  std::string_view name, type, help;
  uint64_t (*value)(const control::SandboxState&);
};
constexpr SandboxMetric kSandbox[] = {
    {"run9_sandbox_processes", "gauge", "Guest processes.",
     [](const auto& s) -> uint64_t { return s.processes(); }},
    {"run9_sandbox_tasks", "gauge", "Guest threads.",
     [](const auto& s) -> uint64_t { return s.tasks(); }},
    {"run9_sandbox_task_limit", "gauge", "Guest threads that there may be.",
     [](const auto& s) -> uint64_t { return s.task_limit(); }},
    {"run9_sandbox_memory_bytes", "gauge", "Private writable memory that guests have mapped.",
     [](const auto& s) { return s.memory(); }},
    {"run9_sandbox_memory_limit_bytes", "gauge", "How much that may be.",
     [](const auto& s) { return s.memory_limit(); }},
    {"run9_sandbox_guest_events_total", "counter", "Times that guest threads came to the kernel.",
     [](const auto& s) { return s.guest_events(); }},
};

std::string_view kind_name(Answer::Kind kind) {
  return kind == Answer::Kind::kGofer ? "gofer" : "sandbox";
}

void add_requests(Text& text, const RequestMetric& m, const Answer& a) {
  const auto& requests = a.reply.gofer().requests();
  for (int i = 0; i < requests.size() && static_cast<size_t>(i) < kMostTypes; ++i) {
    const std::string labels =
        fmt::format("gofer=\"{}\",type=\"{}\"", label(a.name), label(requests[i].name()));
    text.sample(m.name, labels, m.value(requests[i]));
  }
}

}  // namespace

// All samples of a name stand together.
std::string metrics_text(const std::vector<Answer>& answers) {
  Text text;
  text.head("run9_up", "gauge", "Does it answer?");
  for (const Answer& a : answers) {
    text.sample("run9_up", fmt::format("kind=\"{}\",name=\"{}\"", kind_name(a.kind), label(a.name)),
                a.up ? 1 : 0);
  }
  const auto each = [&](Answer::Kind kind, auto&& add) {
    for (const Answer& a : answers) {
      if (a.up && a.kind == kind) add(a);
    }
  };
  for (const GoferMetric& m : kGofer) {
    text.head(m.name, m.type, m.help);
    each(Answer::Kind::kGofer, [&](const Answer& a) {
      text.sample(m.name, fmt::format("gofer=\"{}\"", label(a.name)), m.value(a.reply.gofer()));
    });
  }
  for (const RequestMetric& m : kRequests) {
    text.head(m.name, "counter", m.help);
    each(Answer::Kind::kGofer, [&](const Answer& a) { add_requests(text, m, a); });
  }
  for (const SandboxMetric& m : kSandbox) {
    text.head(m.name, m.type, m.help);
    each(Answer::Kind::kSandbox, [&](const Answer& a) {
      text.sample(m.name, fmt::format("sandbox=\"{}\"", label(a.name)), m.value(a.reply.state()));
    });
  }
  return text.take();
}

Health health(const std::vector<Answer>& answers) {
  Health h;
  for (const Answer& a : answers) {
    if (a.up) continue;
    h.good = false;
    h.text += fmt::format("{} {} does not answer\n", kind_name(a.kind), quoted(a.name));
  }
  if (h.good) h.text = "ok\n";
  return h;
}

}  // namespace run9::metrics
