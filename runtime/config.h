// Config: what we read of an OCI bundle's config.json (opencontainers/runtime-spec, config.md), checked.
// Plain values; nothing in here was looked up on the host but what check_paths() names.
#pragma once
#include <sys/resource.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "runtime/failure.h"

namespace run9::runtime {

class JsonNode;

struct CapabilitySets {
  uint64_t bounding = 0, effective = 0, permitted = 0, inheritable = 0, ambient = 0;
};

struct ConfigProcess {
  std::vector<std::string> args, env;
  std::string cwd = "/";
  uint32_t uid = 0, gid = 0;
  std::vector<uint32_t> groups;
  std::string user;  // `exec --user NAME`: see ProcessSpec
  std::optional<uint32_t> umask;
  CapabilitySets caps;
  std::vector<std::pair<int, rlimit>> rlimits;
  bool terminal = false;
  uint16_t rows = 0, columns = 0;
  bool no_new_privs = false;
  int oom_score_adj = 0;
};

inline constexpr uint32_t kRelatime = 4096;  // ST_RELATIME: what mount(2) takes where nothing else is said

struct ConfigMount {
  std::string type;  // "bind", "proc", "sysfs", "tmpfs", "devpts", "mqueue", "cgroup"
  std::string destination;
  std::string source;
  uint32_t flags = kRelatime;  // statfs(2) ST_*, which are vfs::MountFlags
  std::string data;    // "size=64m,mode=1777"
  bool copy_up = false;  // tmpcopyup
};

struct ConfigHook {
  std::string path;
  std::vector<std::string> args, env;
  int timeout_s = 0;  // 0: none
};

struct ConfigDevice {
  std::string path;
  char type = 'c';
  int64_t major = 0, minor = 0;
  uint32_t mode = 0666, uid = 0, gid = 0;
};

// linux.resources, as far as cgroups and the Sentry know what to do with it.
struct ConfigResources {
  std::optional<uint64_t> memory, memory_reservation, memory_swap;  // bytes; swap counts memory too
  std::optional<uint64_t> pids;
  std::optional<uint64_t> cpu_shares, cpu_period;
  std::optional<int64_t> cpu_quota;  // microseconds in each period; -1: none
  std::string cpus, mems;            // "0-3,7"
  std::map<std::string, std::string> unified;  // cgroup v2: file, value
};

struct ConfigIdMapping {
  uint32_t container = 0, host = 0, size = 0;
};

struct Config {
  std::string oci_version;
  std::string root_path;
  bool root_readonly = false;
  ConfigProcess process;
  std::string hostname, domainname;
  std::vector<ConfigMount> mounts;
  std::vector<std::pair<std::string, std::string>> namespaces;  // type, path or ""
  std::vector<ConfigIdMapping> uid_mappings, gid_mappings;
  ConfigResources resources;
  std::string cgroups_path;
  std::vector<std::string> masked_paths, readonly_paths;
  std::vector<std::pair<std::string, std::string>> sysctl;
  std::vector<ConfigDevice> devices;
  std::map<std::string, std::vector<ConfigHook>> hooks;  // "prestart", "createRuntime", ...
  std::map<std::string, std::string> annotations;
  // The annotation org.run9.host-sockets is "connect": the container may connect to unix sockets of the host that lie in its
  // root or in what is mounted from the host.
  bool host_sockets = false;
};

// `file` is what complaints call the text.
Expected<Config> parse_config(const std::string& file, std::string_view text);
// BUNDLE/config.json; also checks that root.path and the sources of binds are there.
Expected<Config> load_config(const std::string& bundle);
// The document of `run9 update --resources FILE`: linux.resources alone.
Expected<ConfigResources> parse_resources(const std::string& file, std::string_view text);
// The document of `run9 exec --process FILE`: the process object alone.
Expected<ConfigProcess> load_process(const std::string& file);
// What `run9 spec` writes.
std::string default_config();

// Parts of the above: config_mounts.cc, config_linux.cc, config_process.cc.
ConfigMount read_mount(const JsonNode& node);
// What `run9 features` lists.
std::vector<std::string> mount_option_names();
void read_linux(const JsonNode& node, Config& out);
ConfigResources read_resources(const JsonNode& node);
ConfigProcess read_process(const JsonNode& node);
std::vector<std::string> read_environment(const JsonNode& node);

// A whole file, at most `limit` bytes.
Expected<std::string> read_text_file(const std::string& path, size_t limit = 16 << 20);

}  // namespace run9::runtime
