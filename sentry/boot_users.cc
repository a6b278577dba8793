#include "sentry/boot_users.h"

#include <fcntl.h>

#include <algorithm>
#include <charconv>
#include <functional>
#include <optional>

#include "base/log.h"

namespace run9::sentry {
namespace {

constexpr size_t kMaxFile = 4 << 20;  // the image's author chose its size

std::string read_file(Kernel& kernel, const char* path) {
  const auto root = kernel.mounts().root();
  const vfs::FsContext fs{root, root, 0};
  auto& ctx = kernel.context();
  const auto where = kernel.mounts().walk(ctx, fs, root, path, vfs::kFollow);
  if (!where.has_value() || !where.value().inode()->is_regular()) return "";
  const auto file = kernel.mounts().open(ctx, fs, root, path, {.flags = O_RDONLY});
  if (!file.has_value()) return "";
  std::string out;
  std::array<std::byte, 4096> buffer;
  while (out.size() < kMaxFile) {
    const auto n = file.value()->read(ctx, buffer);
    if (!n.has_value() || n.value() == 0) break;
    out.append(reinterpret_cast<const char*>(buffer.data()), n.value());
  }
  return out;
}

using Fields = std::vector<std::string_view>;

std::vector<std::string_view> split(std::string_view text, char at) {
  std::vector<std::string_view> out;
  for (;;) {
    const size_t end = text.find(at);
    out.push_back(text.substr(0, end));
    if (end == text.npos) return out;
    text.remove_prefix(end + 1);
  }
}

// The first line of at least `count` fields for which `fits`.
std::optional<Fields> find_line(std::string_view text, size_t count, const std::function<bool(const Fields&)>& fits) {
  for (const std::string_view line : split(text, '\n')) {
    Fields fields = split(line, ':');
    if (fields.size() >= count && fits(fields)) return fields;
  }
  return {};
}

std::optional<uint32_t> number(std::string_view text) {
  uint32_t v = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), v);
  if (error != std::errc{} || end != text.data() + text.size() || v == UINT32_MAX) return {};
  return v;
}

bool has_member(std::string_view members, std::string_view name) {
  const auto all = split(members, ',');
  return std::find(all.begin(), all.end(), name) != all.end();
}

Result<uint32_t> find_group(std::string_view groups, std::string_view name, std::string& error) {
  if (const auto n = number(name)) return *n;
  const auto line = find_line(groups, 3, [&](const Fields& f) { return f[0] == name; });
  if (line) {
    if (const auto gid = number((*line)[2])) return *gid;
  }
  error = fmt::format("group {}: not in the container's /etc/group; give a number", quoted(name));
  return Errno{ENOENT};
}

// NAME or UID, and its groups unless one was named.
Result<void> look_up(std::string_view passwd, Kernel& kernel, ProcessSpec& spec, std::string& error) {
  const std::string wanted = spec.user;
  const std::string_view user = std::string_view(wanted).substr(0, wanted.find(':'));
  const bool named_group = user.size() < wanted.size();
  const auto uid = number(user);
  const auto line = find_line(passwd, 4, [&](const Fields& f) { return uid ? number(f[2]) == uid : f[0] == user; });
  if (!uid && (!line || !number((*line)[2]))) {
    error = fmt::format("user {}: not in the container's /etc/passwd; give a number", quoted(user));
    return Errno{ENOENT};
  }
  spec.uid = uid ? *uid : *number((*line)[2]);
  const std::string groups = read_file(kernel, "/etc/group");
  if (named_group) {
    spec.gid = TRY(find_group(groups, std::string_view(wanted).substr(user.size() + 1), error));
    return ok();
  }
  if (!line) return ok();
  spec.gid = number((*line)[3]).value_or(spec.gid);
  spec.groups.clear();
  (void)find_line(groups, 4, [&](const Fields& f) {
    const auto gid = number(f[2]);
    if (gid && *gid != spec.gid && has_member(f[3], (*line)[0])) spec.groups.push_back(*gid);
    return false;  // all of them
  });
  return ok();
}

}  // namespace

Result<void> resolve_user(Kernel& kernel, ProcessSpec& spec, std::string& error) {
  const bool has_home = std::any_of(spec.env.begin(), spec.env.end(),
                                    [](const std::string& e) { return e.starts_with("HOME=") && e.size() > 5; });
  if (has_home && spec.user.empty()) return ok();
  const std::string passwd = read_file(kernel, "/etc/passwd");
  if (!spec.user.empty()) TRY(look_up(passwd, kernel, spec, error));
  if (has_home) return ok();
  // As runc: images count on it.
  const auto line = find_line(passwd, 6, [&](const Fields& f) { return number(f[2]) == spec.uid; });
  std::erase_if(spec.env, [](const std::string& e) { return e.starts_with("HOME="); });
  spec.env.push_back("HOME=" + (line && !(*line)[5].empty() ? std::string((*line)[5]) : std::string("/")));
  return ok();
}

}  // namespace run9::sentry
