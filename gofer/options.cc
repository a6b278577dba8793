#include "gofer/options.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace run9::gofer {
namespace {

bool parse_number(std::string_view text, int& out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return error == std::errc{} && end == text.data() + text.size() && out >= 0;
}

// `WHERE=NAME`: what comes before the equals sign; nothing if NAME is missing.
std::optional<std::string_view> split_export(std::string_view text, ListenSpec& out) {
  const size_t equals = text.find('=');
  if (equals == text.npos) return text;
  out.export_name = text.substr(equals + 1);
  if (out.export_name.empty()) return std::nullopt;
  return text.substr(0, equals);
}

// fd:N[=EXPORT], systemd[:NAME][=EXPORT], unix:PATH, tcp:HOST:PORT, vsock:[CID:]PORT.
bool parse_listen(std::string_view text, ListenSpec& out) {
  out.text = text;
  if (text.starts_with("unix:") || text.starts_with("tcp:") || text.starts_with("vsock:")) {
    out.at = p9::parse_listen_address(text);
    return out.at.has_value();
  }
  const auto where = split_export(text, out);
  if (!where) return false;
  if (where->starts_with("fd:")) return parse_number(where->substr(3), out.fd);
  if (*where == "systemd") out.systemd = "";
  else if (where->starts_with("systemd:")) out.systemd = where->substr(8);
  return out.systemd.has_value();
}

class Parser {
 public:
  Parser(const std::vector<std::string>& args, std::string& error) : args_(args), error_(error) {}

  std::optional<Options> run() {
    for (at_ = 0; at_ < args_.size(); ++at_) {
      if (!flag(args_[at_]) && !option(args_[at_])) {
        if (error_.empty()) error_ = fmt::format("unknown option {}", args_[at_]);
        return std::nullopt;
      }
    }
    check();
    if (!error_.empty()) return std::nullopt;
    return std::move(out_);
  }

 private:
  bool flag(const std::string& a) {
    if (a == "--debug") return out_.debug = true;
    if (a == "--log-9p") return out_.log_9p = true;
    if (a == "--no-jail") return out_.no_jail = true;
    if (a == "--host-sockets") return out_.host_sockets = true;
    if (a == "--multi-user") {
      out_.jail.ids = Ids::kChanging;
      return true;
    }
    return false;
  }

  bool option(const std::string& name) {
    static constexpr std::string_view kNames[] = {
        "--export",   "--listen",    "--hide",          "--empty",        "--log-fd",
        "--ready-fd", "--busy-poll", "--frame-timeout", "--drain-timeout", "--config",
        "--control"};
    if (std::find(std::begin(kNames), std::end(kNames), name) == std::end(kNames)) return false;
    if (++at_ == args_.size()) {
      error_ = name + " needs a value";
      return false;
    }
    if (!set(name, args_[at_])) error_ = fmt::format("{} {}: not understood", name, args_[at_]);
    return error_.empty();
  }

  bool set(const std::string& name, const std::string& value) {
    if (name == "--export") {
      auto spec = parse_export(value, out_.jail.exports.size());
      if (!spec) return false;
      out_.jail.exports.push_back(std::move(spec.assume_value()));
      return true;
    }
    if (name == "--listen") return parse_listen(value, out_.listen.emplace_back());
    if (name == "--hide" || name == "--empty") {
      (name == "--hide" ? out_.jail.hide : out_.jail.empty).push_back(value);
      return value.starts_with('/');
    }
    if (name == "--control") {
      using Kind = p9::Address::Kind;
      ListenSpec& c = out_.control;
      return parse_listen(value, c) && c.export_name.empty() && (c.at ? c.at->kind == Kind::kUnix : c.fd >= 0);
    }
    if (name == "--config") {
      out_.config = value;
      return true;
    }
    int n = 0;
    if (!parse_number(value, n)) return false;
    if (name == "--log-fd") out_.log_fd = n;
    if (name == "--ready-fd") out_.ready_fd = n;
    if (name == "--busy-poll") out_.busy_poll = std::chrono::microseconds(n);
    if (name == "--frame-timeout") out_.frame_timeout = std::chrono::seconds(n);
    if (name == "--drain-timeout") out_.drain_timeout = std::chrono::seconds(n);
    // Poll's milliseconds are an int.
    return std::max(out_.frame_timeout, out_.drain_timeout) <= std::chrono::days(1);
  }

  void check() {
    if (!out_.config.empty()) {
      if (!out_.jail.exports.empty() || !out_.listen.empty()) {
        error_ = "--config FILE says what to export and where to listen: write --export and --listen into it";
      }
    } else if (out_.jail.exports.empty()) {
      error_ = "--export DIR[:NAME][:ro][:xdev][:lease][:whiteout][:tree=FD] is missing";
    } else if (out_.listen.empty()) {
      error_ = "--listen fd:N, unix:PATH, tcp:HOST:PORT, vsock:PORT or systemd is missing";
    } else if (out_.host_sockets && out_.jail.ids == Ids::kChanging) {
      // Whom the other end sees is the process, not the user.
      error_ = "--host-sockets does not go with --multi-user: every user would connect as the gofer's own";
    } else {
      check_names();
    }
  }

  void check_names() {
    for (const ListenSpec& l : out_.listen) {
      const auto& all = out_.jail.exports;
      const bool known = l.export_name.empty() ||
                         std::any_of(all.begin(), all.end(), [&](const ExportSpec& e) {
                           return e.name == l.export_name;
                         });
      if (!known) error_ = fmt::format("--listen names the export {}, which there is not",
                                       l.export_name);
    }
  }

  const std::vector<std::string>& args_;
  std::string& error_;
  size_t at_ = 0;
  Options out_;
};

}  // namespace

std::optional<Options> parse_options(const std::vector<std::string>& args, std::string& error) {
  error.clear();
  return Parser(args, error).run();
}

}  // namespace run9::gofer
