// run9-metrics: counters of gofers and sandboxes for Prometheus. README.md.
#include <CLI/CLI.hpp>
#include <charconv>

#include "base/log.h"
#include "metrics/http_server.h"

namespace run9::metrics {
namespace {

bool parse_gofer(const std::string& text, Gofer& out) {
  const size_t equals = text.find('=');
  if (equals == text.npos || equals == 0 || equals + 1 == text.size()) return false;
  out = {text.substr(0, equals), text.substr(equals + 1)};
  return true;
}

// ADDRESS:PORT, [ADDRESS]:PORT.
bool parse_listen(const std::string& text, ListenAt& out) {
  const size_t colon = text.rfind(':');
  if (colon == text.npos) return false;
  out.host = text.substr(0, colon);
  if (out.host.starts_with('[') && out.host.ends_with(']'))
    out.host = out.host.substr(1, out.host.size() - 2);
  const char* end = text.data() + text.size();
  const auto parsed = std::from_chars(text.data() + colon + 1, end, out.port);
  return parsed.ec == std::errc{} && parsed.ptr == end && !out.host.empty();
}

}  // namespace
}  // namespace run9::metrics

int main(int argc, char** argv) {
  using namespace run9;
  CLI::App app{
      "Serves the counters of run9-gofer and of sandboxes to Prometheus: /metrics, and /health."};
  std::vector<std::string> gofers;
  std::string listen = "127.0.0.1:9564";
  metrics::Sources sources;
  app.add_option("--gofer", gofers,
                 "NAME=SOCKET: a gofer that was started with --control unix:SOCKET")
      ->allow_extra_args(false);
  app.add_option("--sandboxes", sources.sandboxes, "run9's --root: ask every container that runs");
  app.add_option("--listen", listen, "ADDRESS:PORT, numbers; who can connect can read")
      ->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  set_log(2, LogLevel::kWarn, "run9-metrics");
  for (const std::string& text : gofers) {
    if (metrics::parse_gofer(text, sources.gofers.emplace_back())) continue;
    log_error("--gofer {}: write NAME=SOCKET", run9::quoted(text));
    return 2;
  }
  metrics::ListenAt at;
  if (!metrics::parse_listen(listen, at)) {
    log_error("--listen {}: write ADDRESS:PORT, with numbers", run9::quoted(listen));
    return 2;
  }
  if (sources.gofers.empty() && sources.sandboxes.empty()) {
    log_error("nobody to ask: give --gofer NAME=SOCKET or --sandboxes DIRECTORY");
    return 2;
  }
  return metrics::serve_http(at, [&] { return metrics::ask_all(sources); }) ? 0 : 1;
}
