// The process object of config.json, and of `run9 exec --process`.
#include <limits>

#include "runtime/config.h"
#include "runtime/json_reader.h"
#include "runtime/names.h"

namespace run9::runtime {
namespace {

// The last value that is an id: -1 means "no change" to chown and setuid.
constexpr int64_t kMaxId = std::numeric_limits<uint32_t>::max() - 1;

uint32_t read_id(const JsonNode& node) { return static_cast<uint32_t>(node.integer(0, kMaxId)); }

void read_user(const JsonNode& node, ConfigProcess& out) {
  out.uid = read_id(node.member("uid"));
  out.gid = read_id(node.member("gid"));
  node.member("additionalGids").each([&](JsonNode n) { out.groups.push_back(read_id(n)); });
  if (const JsonNode umask = node.member("umask"); umask.present()) {
    out.umask = static_cast<uint32_t>(umask.integer(0, 0777));
  }
}

uint64_t read_capability_set(const JsonNode& node) {
  uint64_t bits = 0;
  node.each([&](JsonNode n) {
    const std::string name = n.string();
    const auto number = capability_number(name);
    if (!number || !name.starts_with("CAP_")) {
      n.complain(fmt::format("{} is no capability", quoted(name)),
                 "use a name of capabilities(7), for example \"CAP_KILL\"");
      return;
    }
    bits |= uint64_t{1} << *number;
  });
  return bits;
}

// capset(2) would refuse this; say which field is to blame. Ambient ones that are not permitted and
// inheritable are dropped instead, as runc does: its own `runc spec` writes such sets.
void check_capabilities(const JsonNode& node, const CapabilitySets& caps) {
  if ((caps.effective & ~caps.permitted) != 0) {
    node.member("effective").complain(
        fmt::format("has {}, which \"permitted\" lacks",
                    capability_name(__builtin_ctzll(caps.effective & ~caps.permitted))),
        "add it to \"permitted\" too");
  }
}

CapabilitySets read_capabilities(const JsonNode& node) {
  CapabilitySets caps;
  caps.bounding = read_capability_set(node.member("bounding"));
  caps.effective = read_capability_set(node.member("effective"));
  caps.permitted = read_capability_set(node.member("permitted"));
  caps.inheritable = read_capability_set(node.member("inheritable"));
  caps.ambient = read_capability_set(node.member("ambient")) & caps.permitted & caps.inheritable;
  if (node.present()) check_capabilities(node, caps);
  return caps;
}

void read_rlimit(const JsonNode& node, ConfigProcess& out) {
  const JsonNode type = node.required("type", "name the limit, for example \"RLIMIT_NOFILE\"");
  const std::string name = type.string();
  const auto number = rlimit_number(name);
  if (!number) {
    type.complain(fmt::format("{} is no limit of getrlimit(2)", quoted(name)),
                  "use a name such as \"RLIMIT_NOFILE\"");
    return;
  }
  for (const auto& [other, value] : out.rlimits) {
    if (other == *number) type.complain(fmt::format("{} is given twice", name), "remove one");
  }
  rlimit value{};
  value.rlim_cur = node.required("soft", "give the soft limit").unsigned_integer();
  value.rlim_max = node.required("hard", "give the hard limit").unsigned_integer();
  if (value.rlim_cur > value.rlim_max) {
    node.member("soft").complain(
        fmt::format("{} is above the hard limit {}", value.rlim_cur, value.rlim_max), "lower it");
  }
  out.rlimits.emplace_back(*number, value);
}

void read_console_size(const JsonNode& node, ConfigProcess& out) {
  if (!node.present()) return;
  constexpr int64_t kMax = std::numeric_limits<uint16_t>::max();
  out.rows = static_cast<uint16_t>(node.required("height", "give the rows").integer(0, kMax));
  out.columns = static_cast<uint16_t>(node.required("width", "give the columns").integer(0, kMax));
}

}  // namespace

std::vector<std::string> read_environment(const JsonNode& node) {
  std::vector<std::string> out;
  node.each([&](JsonNode n) {
    std::string s = n.string();
    if (s.find('=') == std::string::npos || s.starts_with('=')) {
      n.complain(fmt::format("{} is no environment entry", quoted(s)), "write it as \"NAME=value\"");
    }
    out.push_back(std::move(s));
  });
  return out;
}

ConfigProcess read_process(const JsonNode& node) {
  ConfigProcess out;
  if (!node.present()) return out;
  constexpr std::string_view kArgsFix = "give the program and its arguments, for example [\"sh\"]";
  const JsonNode args = node.required("args", kArgsFix);
  out.args = args.strings();
  if (args.present() && out.args.empty()) args.complain("is empty", kArgsFix);
  if (!out.args.empty() && out.args[0].empty()) args.complain("begins with an empty name", kArgsFix);
  out.env = read_environment(node.member("env"));
  out.cwd = node.required("cwd", "give the working directory, for example \"/\"").absolute_path();
  read_user(node.member("user"), out);
  out.caps = read_capabilities(node.member("capabilities"));
  node.member("rlimits").each([&](JsonNode n) { read_rlimit(n, out); });
  out.terminal = node.member("terminal").boolean();
  read_console_size(node.member("consoleSize"), out);
  out.no_new_privs = node.member("noNewPrivileges").boolean();
  out.oom_score_adj = static_cast<int>(node.member("oomScoreAdj").integer(-1000, 1000));
  return out;
}

}  // namespace run9::runtime
