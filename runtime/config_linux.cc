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
  out.namespaces.emplace_back(name, node.member("path").absolute_path());
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

// -1 means "no limit", as in cgroups.
std::optional<uint64_t> read_limit(const JsonNode& node) {
  if (!node.present()) return {};
  const int64_t n = node.integer(-1, kMaxInt);
  if (n < 0) return {};
  return static_cast<uint64_t>(n);
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
  node.member("fileMode").integer(0, 07777);
  node.member("uid").integer(0, kMaxId);
  node.member("gid").integer(0, kMaxId);
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

void read_linux(const JsonNode& node, Config& out) {
  node.member("namespaces").each([&](JsonNode n) { read_namespace(n, out); });
  node.member("uidMappings").each([&](JsonNode n) { out.uid_mappings.push_back(read_mapping(n)); });
  node.member("gidMappings").each([&](JsonNode n) { out.gid_mappings.push_back(read_mapping(n)); });
  const JsonNode resources = node.member("resources");
  out.memory_limit = read_limit(resources.member("memory").member("limit"));
  out.pids_limit = read_limit(resources.member("pids").member("limit"));
  // podman and docker write 0 where they mean "not set".
  if (out.memory_limit == uint64_t{0}) out.memory_limit.reset();
  if (out.pids_limit == uint64_t{0}) out.pids_limit.reset();
  out.cgroups_path = node.member("cgroupsPath").string();
  out.masked_paths = read_paths(node.member("maskedPaths"));
  out.readonly_paths = read_paths(node.member("readonlyPaths"));
  node.member("sysctl").each_member([&](std::string_view key, JsonNode n) {
    out.sysctl.emplace_back(std::string(key), n.string());
  });
  node.member("devices").each([&](JsonNode n) { out.devices.push_back(read_device(n)); });
}

}  // namespace run9::runtime
