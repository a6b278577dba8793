// One entry of config.json's mounts: type, options, and what they mean to us.
#include <sys/statvfs.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "runtime/config.h"
#include "runtime/json_reader.h"
#include "runtime/names.h"

namespace run9::runtime {
namespace {

// Options of mount(8) that change ST_* bits.
struct FlagOption {
  std::string_view name;
  uint32_t set = 0, clear = 0;
};
constexpr FlagOption kFlagOptions[] = {
    {"ro", ST_RDONLY, 0},
    {"rw", 0, ST_RDONLY},
    {"nosuid", ST_NOSUID, 0},
    {"suid", 0, ST_NOSUID},
    {"nodev", ST_NODEV, 0},
    {"dev", 0, ST_NODEV},
    {"noexec", ST_NOEXEC, 0},
    {"exec", 0, ST_NOEXEC},
    {"noatime", ST_NOATIME, kRelatime},
    {"atime", kRelatime, ST_NOATIME},
    {"nodiratime", ST_NODIRATIME, 0},
    {"diratime", 0, ST_NODIRATIME},
    {"relatime", kRelatime, ST_NOATIME},
    {"strictatime", 0, ST_NOATIME | kRelatime},
    // A sandbox has one mount table that nothing propagates to or from, and writes as its files do.
    {"bind", 0, 0},
    {"rbind", 0, 0},
    {"private", 0, 0},
    {"rprivate", 0, 0},
    {"slave", 0, 0},
    {"rslave", 0, 0},
    {"shared", 0, 0},
    {"rshared", 0, 0},
    {"unbindable", 0, 0},
    {"runbindable", 0, 0},
    {"defaults", 0, 0},
    {"sync", 0, 0},
    {"async", 0, 0},
    {"dirsync", 0, 0},
    {"nostrictatime", kRelatime, 0},
    {"norelatime", 0, 0},
    {"silent", 0, 0},
    {"loud", 0, 0},
    {"nosymfollow", 0, 0},
    {"rro", ST_RDONLY, 0},
    {"rnosuid", ST_NOSUID, 0},
    {"rnodev", ST_NODEV, 0},
    {"rnoexec", ST_NOEXEC, 0},
};

enum class ValueKind { kSize, kMode, kNumber, kWord };
struct DataOption {
  std::string_view type;  // of the file system
  std::string_view name;
  ValueKind kind;
};
constexpr DataOption kDataOptions[] = {
    {"tmpfs", "size", ValueKind::kSize},      {"tmpfs", "mode", ValueKind::kMode},
    {"tmpfs", "uid", ValueKind::kNumber},     {"tmpfs", "gid", ValueKind::kNumber},
    {"tmpfs", "nr_inodes", ValueKind::kSize}, {"tmpfs", "nr_blocks", ValueKind::kSize},
    {"tmpfs", "huge", ValueKind::kWord},      {"tmpfs", "mpol", ValueKind::kWord},
    {"devpts", "mode", ValueKind::kMode},     {"devpts", "ptmxmode", ValueKind::kMode},
    {"devpts", "uid", ValueKind::kNumber},    {"devpts", "gid", ValueKind::kNumber},
    {"devpts", "max", ValueKind::kNumber},    {"proc", "hidepid", ValueKind::kWord},
    {"proc", "subset", ValueKind::kWord},     {"proc", "gid", ValueKind::kNumber},
};
// Words without a value that a file system knows.
constexpr std::pair<std::string_view, std::string_view> kWords[] = {
    {"devpts", "newinstance"}, {"cgroup", "nsdelegate"},
    {"tmpfs", "inode64"},      {"tmpfs", "noswap"},    {"cgroup", "memory_recursiveprot"}};

constexpr std::string_view kTypes[] = {"bind",   "proc",   "sysfs",  "tmpfs",
                                       "devpts", "mqueue", "cgroup", "cgroup2"};

bool is_number(std::string_view s, int base) {
  uint64_t v = 0;
  const auto [end, error] = std::from_chars(s.data(), s.data() + s.size(), v, base);
  return error == std::errc{} && end == s.data() + s.size() && v <= UINT32_MAX;
}

bool valid_value(ValueKind kind, std::string_view value) {
  switch (kind) {
    case ValueKind::kSize: {
      if (value.ends_with('%')) return is_number(value.substr(0, value.size() - 1), 10);
      return parse_size(value).has_value();
    }
    case ValueKind::kMode: return is_number(value, 8) && value.size() <= 5;
    case ValueKind::kNumber: return is_number(value, 10);
    case ValueKind::kWord: return !value.empty();
  }
  return false;
}

// "size=64m" and the words of this file system; false: unknown.
bool take_data_option(const JsonNode& node, const std::string& type, std::string_view option) {
  for (const auto& [fs, word] : kWords) {
    if (fs == type && word == option) return true;
  }
  const size_t equals = option.find('=');
  if (equals == std::string_view::npos) return false;
  for (const DataOption& known : kDataOptions) {
    if (known.type != type || known.name != option.substr(0, equals)) continue;
    if (!valid_value(known.kind, option.substr(equals + 1))) {
      node.complain(fmt::format("{} has a value that does not fit", quoted(option)),
                    known.kind == ValueKind::kMode ? "give octal digits, for example mode=755"
                                                   : "give a number, for example size=64m");
    }
    return true;
  }
  return false;
}

void read_option(const JsonNode& node, ConfigMount& out) {
  const std::string option = node.string();
  const auto* flag = std::find_if(std::begin(kFlagOptions), std::end(kFlagOptions),
                                  [&](const FlagOption& f) { return f.name == option; });
  if (flag != std::end(kFlagOptions)) {
    out.flags = (out.flags & ~flag->clear) | flag->set;
    return;
  }
  if (out.type == "tmpfs" && option == "tmpcopyup") {
    out.copy_up = true;
    return;
  }
  if (!take_data_option(node, out.type, option)) {
    node.complain(fmt::format("{} is not an option of {} that we know", quoted(option), out.type),
                  "remove it, or correct its spelling");
    return;
  }
  out.data += (out.data.empty() ? "" : ",") + option;
}

std::string read_type(const JsonNode& node, bool bind) {
  const JsonNode type = node.member("type");
  std::string name = type.string();
  if (bind && (name.empty() || name == "none" || name == "bind")) return "bind";
  if (!type.present()) {
    type.complain("is missing", "give one of bind, proc, sysfs, tmpfs, devpts, mqueue, cgroup");
  } else if (std::find(std::begin(kTypes), std::end(kTypes), name) == std::end(kTypes)) {
    type.complain(fmt::format("{} is not a type of mount that we have", quoted(name)),
                  "use one of bind, proc, sysfs, tmpfs, devpts, mqueue, cgroup");
  }
  return name == "cgroup2" ? "cgroup" : name;
}

}  // namespace

std::vector<std::string> mount_option_names() {
  std::vector<std::string> out{"tmpcopyup"};
  for (const FlagOption& o : kFlagOptions) out.emplace_back(o.name);
  std::sort(out.begin(), out.end());
  return out;
}

ConfigMount read_mount(const JsonNode& node) {
  ConfigMount out;
  out.destination = node.required("destination", "give the path in the container").absolute_path();
  const JsonNode options = node.member("options");
  bool bind = false;
  options.each([&](JsonNode n) {
    const std::string s = n.string();
    bind = bind || s == "bind" || s == "rbind";
  });
  out.type = read_type(node, bind);
  const JsonNode source = node.member("source");
  out.source = source.string();
  if (out.type == "bind" && out.source.empty()) {
    source.complain(source.present() ? "is empty" : "is missing", "give the host's path to bind");
  }
  options.each([&](JsonNode n) { read_option(n, out); });
  return out;
}

}  // namespace run9::runtime
