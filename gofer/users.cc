#include "gofer/users.h"

#include <charconv>

#include "base/log.h"
#include "gofer/text_file.h"

namespace run9::gofer {
namespace {

// What is before the separator; `rest` goes on behind it.
std::string_view take(std::string_view& rest, char separator) {
  const size_t at = rest.find(separator);
  const std::string_view out = rest.substr(0, at);
  rest = at == rest.npos ? std::string_view{} : rest.substr(at + 1);
  return out;
}

bool to_id(std::string_view text, uint32_t& out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return error == std::errc{} && end == text.data() + text.size() && out != ~0u;
}

Result<std::string> read_list(const char* path) {
  auto text = read_text_file(path);
  if (!text) log_error("--multi-user: {}: {}", path, describe(text.assume_error()));
  return text;
}

}  // namespace

Users Users::parse(std::string_view passwd, std::string_view group) {
  Users out;
  while (!passwd.empty()) {  // name:password:uid:gid:...
    std::string_view line = take(passwd, '\n');
    const std::string_view name = take(line, ':');
    take(line, ':');
    uint32_t uid, gid;
    if (name.empty() || !to_id(take(line, ':'), uid) || !to_id(take(line, ':'), gid)) continue;
    out.by_name_.emplace(name, uid);
    out.by_uid_.emplace(uid, User{uid, gid, {gid}});  // of two names for a number the first counts
  }
  while (!group.empty()) {  // name:password:gid:member,member
    std::string_view line = take(group, '\n');
    take(line, ':');
    take(line, ':');
    uint32_t gid;
    if (!to_id(take(line, ':'), gid)) continue;
    while (!line.empty()) {
      const auto named = out.by_name_.find(take(line, ','));
      if (named == out.by_name_.end()) continue;
      User& user = out.by_uid_.at(named->second);
      if (gid != user.gid) user.groups.push_back(gid);
    }
  }
  return out;
}

Result<Users> Users::load() {
  return parse(TRY(read_list("/etc/passwd")), TRY(read_list("/etc/group")));
}

const User* Users::find(uint32_t uid) const {
  const auto at = by_uid_.find(uid);
  return at == by_uid_.end() ? nullptr : &at->second;
}

const User* Users::find(std::string_view name) const {
  const auto at = by_name_.find(name);
  return at == by_name_.end() ? nullptr : find(at->second);
}

}  // namespace run9::gofer
