#include "runtime/config.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <limits>

#include "base/unique_fd.h"
#include "runtime/json_reader.h"

namespace run9::runtime {
namespace {

constexpr std::string_view kHostSockets = "org.run9.host-sockets";

constexpr int64_t kMaxHostname = 64;  // __NEW_UTS_LEN
constexpr std::string_view kHookKinds[] = {"prestart",       "createRuntime", "createContainer",
                                           "startContainer", "poststart",     "poststop"};

std::string read_host_name(const JsonNode& node) {
  std::string s = node.string();
  if (s.size() > kMaxHostname) {
    node.complain(fmt::format("has {} characters", s.size()), "give at most 64");
  }
  return s;
}

ConfigHook read_hook(const JsonNode& node) {
  ConfigHook hook;
  hook.path = node.required("path", "give the hook's program").absolute_path();
  hook.args = node.member("args").strings();
  hook.env = read_environment(node.member("env"));
  if (const JsonNode t = node.member("timeout"); t.present()) {
    hook.timeout_s = static_cast<int>(t.integer(1, std::numeric_limits<int>::max()));
  }
  return hook;
}

void read_hooks(const JsonNode& node, Config& out) {
  for (std::string_view kind : kHookKinds) {
    node.member(kind).each(
        [&](JsonNode n) { out.hooks[std::string(kind)].push_back(read_hook(n)); });
  }
}

void read_top(const JsonNode& root, Config& out) {
  const JsonNode version = root.required("ociVersion", "write \"ociVersion\": \"1.0.2\"");
  out.oci_version = version.string();
  if (version.present() && !out.oci_version.starts_with("1.")) {
    version.complain(fmt::format("{} is not a version that we know", quoted(out.oci_version)),
                     "use 1.x, for example \"1.0.2\"");
  }
  out.process = read_process(root.required("process", "give an object with args, cwd and user"));
  const JsonNode fs = root.required("root", "write \"root\": {\"path\": \"rootfs\"}");
  if (fs.present()) {
    const JsonNode path = fs.required("path", "give the directory of the root file system");
    out.root_path = path.string();
    if (path.present() && out.root_path.empty()) {
      path.complain("is empty", "give the directory of the root file system");
    }
    out.root_readonly = fs.member("readonly").boolean();
  }
  out.hostname = read_host_name(root.member("hostname"));
  out.domainname = read_host_name(root.member("domainname"));
  root.member("mounts").each([&](JsonNode n) { out.mounts.push_back(read_mount(n)); });
  read_linux(root.member("linux"), out);
  read_hooks(root.member("hooks"), out);
  root.member("annotations").each_member([&](std::string_view key, JsonNode n) {
    if (key.empty()) n.complain("has an empty name", "name the annotation");
    out.annotations[std::string(key)] = n.string();
    if (key != kHostSockets) return;
    out.host_sockets = n.string() == "connect";
    if (!out.host_sockets && n.string() != "none") n.complain("is not known", "write \"connect\" or \"none\"");
  });
}

// Paths that have to be there, or the container's start would fail with less to say.
Expected<void> check_paths(const std::string& file, const std::string& bundle, Config& config) {
  struct stat st {};
  if (!config.root_path.starts_with('/')) config.root_path = bundle + "/" + config.root_path;
  if (stat(config.root_path.c_str(), &st) != 0) {
    return fail("{}: /root/path: {}: {}; make the directory, or correct the path", file,
                config.root_path, strerror(errno));
  }
  if (!S_ISDIR(st.st_mode)) {
    return fail("{}: /root/path: {} is not a directory; unpack the root file system there", file,
                config.root_path);
  }
  for (size_t i = 0; i < config.mounts.size(); ++i) {
    ConfigMount& m = config.mounts[i];
    if (m.type != "bind") continue;
    if (!m.source.starts_with('/')) m.source = bundle + "/" + m.source;
    if (stat(m.source.c_str(), &st) != 0) {
      return fail("{}: /mounts/{}/source: {}: {}; make it, or remove the mount", file, i, m.source,
                  strerror(errno));
    }
  }
  return ok();
}

}  // namespace

Expected<std::string> read_text_file(const std::string& path, size_t limit) {
  const UniqueFd fd = TRY(explain(take_fd(open(path.c_str(), O_RDONLY | O_CLOEXEC)), "{}", path));
  std::string text;
  char buffer[16384];
  for (;;) {
    const ssize_t n = read(fd.get(), buffer, sizeof buffer);
    if (n == 0) return text;
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail("{}: {}", path, describe(last_errno()));
    text.append(buffer, static_cast<size_t>(n));
    if (text.size() > limit) return fail("{}: longer than {} bytes", path, limit);
  }
}

Expected<Config> parse_config(const std::string& file, std::string_view text) {
  JsonReader reader = TRY(JsonReader::create(file, text));
  Config config;
  const JsonNode root = reader.root();
  read_top(root, config);
  if (reader.failure()) return *reader.failure();
  return config;
}

Expected<Config> load_config(const std::string& bundle) {
  const std::string file = bundle + "/config.json";
  auto text = read_text_file(file);
  if (!text) {
    return fail("{}; name the bundle's directory with --bundle, or write a config.json there with "
                "\"run9 spec\"",
                text.error().text);
  }
  Config config = TRY(parse_config(file, text.assume_value()));
  TRY(check_paths(file, bundle, config));
  return config;
}

Expected<ConfigResources> parse_resources(const std::string& file, std::string_view text) {
  JsonReader reader = TRY(JsonReader::create(file, text));
  ConfigResources resources = read_resources(reader.root());
  if (reader.failure()) return *reader.failure();
  return resources;
}

Expected<ConfigProcess> load_process(const std::string& file) {
  const std::string text = TRY(read_text_file(file));
  JsonReader reader = TRY(JsonReader::create(file, text));
  ConfigProcess process = read_process(reader.root());
  if (reader.failure()) return *reader.failure();
  return process;
}

}  // namespace run9::runtime
