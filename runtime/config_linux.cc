// The linux object of config.json.
#include <algorithm>
#include <iterator>
#include <limits>

#include "runtime/config.h"
#include "runtime/json_reader.h"

namespace run9::runtime {
namespace {

constexpr std::string_view kNamespaces[] = {"pid",  "network", "mount",  "ipc",
                                            "uts",  "user",    "cgroup", "time"};
constexpr int64_t kMaxInt = std::numeric_limits<int64_t>::max();
constexpr int64_t kMaxId = std::numeric_limits<uint32_t>::max();

void read_namespace(const JsonNode& node, Config& out) {
  const JsonNode type = node.required("type", "name the namespace, for example \"pid\"");
  const std::string name = type.string();
  if (type.present() &&
      std::find(std::begin(kNamespaces), std::end(kNamespaces), name) == std::end(kNamespaces)) {
    type.complain(fmt::format("{} is not a namespace", quoted(name)),
                  "use one of pid, network, mount, ipc, uts, user, cgroup, time");
  }
  for (const auto& [other, path] : out.namespaces) {
    if (other == name) type.complain(fmt::format("{} is given twice", quoted(name)), "remove one");
  }
  const JsonNode path = node.member("path");
  out.namespaces.emplace_back(name, path.absolute_path());
  // A sandbox has a kernel of its own: what others share, it cannot show.
  const bool never = name == "pid" || name == "user" || name == "mount" || name == "time";
  if (path.present() && never) {
    path.complain(fmt::format("a sandbox cannot join another's {} namespace", name),
                  "remove the path; the container gets one of its own");
  }
}

ConfigIdMapping read_mapping(const JsonNode& node) {
  ConfigIdMapping m;
  m.container = static_cast<uint32_t>(
      node.required("containerID", "give the first id in the container").integer(0, kMaxId));
  m.host = static_cast<uint32_t>(
      node.required("hostID", "give the first id on the host").integer(0, kMaxId));
  m.size = static_cast<uint32_t>(
      node.required("size", "give the number of ids").integer(1, kMaxId));
  return m;
}

// -1 means "no limit", as in cgroups; podman and docker write 0 where they mean "not set".
std::optional<uint64_t> read_limit(const JsonNode& node) {
  if (!node.present()) return {};
  const int64_t n = node.integer(-1, kMaxInt);
  if (n <= 0) return {};
  return static_cast<uint64_t>(n);
}

std::string read_cpu_list(const JsonNode& node) {
  std::string s = node.string();
  if (s.find_first_not_of("0123456789-,") != std::string::npos) {
    node.complain(fmt::format("{} is no list of numbers", quoted(s)), "write for example \"0-3,7\"");
  }
  return s;
}

ConfigDevice read_device(const JsonNode& node) {
  ConfigDevice d;
  d.path = node.required("path", "give the path in the container").absolute_path();
  const JsonNode type = node.required("type", "give c, b, u or p");
  const std::string t = type.string();
  if (t.size() != 1 || std::string_view("cbup").find(t) == std::string_view::npos) {
    type.complain(fmt::format("{} is not a type of device", quoted(t)), "use c, b, u or p");
    return d;
  }
  d.type = t[0];
  d.major = node.member("major").integer(0, kMaxId);
  d.minor = node.member("minor").integer(0, kMaxId);
  if (d.type != 'p' && !node.member("major").present()) {
    node.required("major", "give the device's major number");
  }
  if (d.type != 'p' && !node.member("minor").present()) {
    node.required("minor", "give the device's minor number");
  }
  // podman and docker put the type's bits there too.
  if (const JsonNode mode = node.member("fileMode"); mode.present()) {
    d.mode = static_cast<uint32_t>(mode.integer(0, 0177777)) & 07777;
  }
  d.uid = static_cast<uint32_t>(node.member("uid").integer(0, kMaxId));
  d.gid = static_cast<uint32_t>(node.member("gid").integer(0, kMaxId));
  return d;
}

std::vector<std::string> read_paths(const JsonNode& node) {
  std::vector<std::string> out;
  node.each([&](JsonNode n) {
    if (!n.present()) n.complain("is null", "give a path, or remove it");
    out.push_back(n.absolute_path());
  });
  return out;
}

}  // namespace

ConfigResources read_resources(const JsonNode& node) {
  ConfigResources out;
  const JsonNode memory = node.member("memory");
  out.memory = read_limit(memory.member("limit"));
  out.memory_reservation = read_limit(memory.member("reservation"));
  out.memory_swap = read_limit(memory.member("swap"));
  out.pids = read_limit(node.member("pids").member("limit"));
  const JsonNode cpu = node.member("cpu");
  out.cpu_shares = read_limit(cpu.member("shares"));
  out.cpu_period = read_limit(cpu.member("period"));
  if (const JsonNode quota = cpu.member("quota"); quota.present()) {
    if (const int64_t n = quota.integer(-1, kMaxInt); n != 0) out.cpu_quota = n;
  }
  out.cpus = read_cpu_list(cpu.member("cpus"));
  out.mems = read_cpu_list(cpu.member("mems"));
  node.member("unified").each_member([&](std::string_view key, JsonNode n) {
    if (key.empty() || key.find('/') != key.npos) {
      n.complain(fmt::format("{} is no file of a cgroup", quoted(std::string(key))), "name one, for example memory.high");
    }
    out.unified[std::string(key)] = n.string();
  });
  return out;
}

void read_linux(const JsonNode& node, Config& out) {
  node.member("namespaces").each([&](JsonNode n) { read_namespace(n, out); });
  node.member("uidMappings").each([&](JsonNode n) { out.uid_mappings.push_back(read_mapping(n)); });
  node.member("gidMappings").each([&](JsonNode n) { out.gid_mappings.push_back(read_mapping(n)); });
  out.resources = read_resources(node.member("resources"));
  out.cgroups_path = node.member("cgroupsPath").string();
  out.masked_paths = read_paths(node.member("maskedPaths"));
  out.readonly_paths = read_paths(node.member("readonlyPaths"));
  node.member("sysctl").each_member([&](std::string_view key, JsonNode n) {
    out.sysctl.emplace_back(std::string(key), n.string());
  });
  node.member("devices").each([&](JsonNode n) { out.devices.push_back(read_device(n)); });
}

}  // namespace run9::runtime
