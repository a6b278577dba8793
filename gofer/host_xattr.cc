// HostNode: extended attributes. user.* is the host's own. In sandbox mode security.* and trusted.* are the guest
// kernel's and must mean nothing to the host: they are kept as user.run9.security.* and so on, a
// prefix that clients do not see under its real name. With users of the host the host's ACLs are theirs. All else is
// refused.
#include <fcntl.h>
#include <sys/xattr.h>

#include "gofer/host_node.h"

namespace run9::gofer {
namespace {

constexpr std::string_view kOurs = "user.run9.";
constexpr size_t kMaxXattrName = 255;

bool is_kept(std::string_view name) {
  return name.starts_with("security.") || name.starts_with("trusted.");
}

enum class Kind { kSandbox, kMultiUser };
Kind kind_of(const HostServer& server) { return server.multi_user() ? Kind::kMultiUser : Kind::kSandbox; }

bool is_acl(std::string_view name) {
  return name == "system.posix_acl_access" || name == "system.posix_acl_default";
}

Result<std::string> host_name(std::string_view name, Kind kind) {
  std::string out;
  if (kind == Kind::kMultiUser && is_acl(name)) out = name;
  else if (kind == Kind::kSandbox && is_kept(name)) out = std::string(kOurs) + std::string(name);
  else if (name.starts_with(kOurs) || !name.starts_with("user.")) return Errno{EOPNOTSUPP};
  else out = name;
  if (out.size() > kMaxXattrName) return Errno{ERANGE};
  return out;
}

// The names that a client sees, each with its NUL.
Result<std::vector<std::byte>> shown_names(BorrowedFd fd, Kind kind) {
  std::vector<std::byte> out;
  std::vector<char> names(1024);
  ssize_t n;
  while ((n = flistxattr(fd.get(), names.data(), names.size())) < 0) {
    if (errno == EOPNOTSUPP) return out;
    if (errno != ERANGE || names.size() == p9::kMaxXattr) return last_errno();
    names.resize(p9::kMaxXattr);
  }
  std::string_view rest(names.data(), static_cast<size_t>(n));
  while (!rest.empty()) {
    const size_t end = rest.find('\0');
    if (end == rest.npos) break;
    std::string_view name = rest.substr(0, end + 1);  // with its NUL
    rest.remove_prefix(end + 1);
    if (name.starts_with(kOurs)) {
      name.remove_prefix(kOurs.size());
      if (kind == Kind::kMultiUser || !is_kept(name)) continue;
    } else if (!name.starts_with("user.") && (kind == Kind::kSandbox || !is_acl(name.substr(0, end)))) {
      continue;
    }
    const ByteSpan bytes = as_bytes(name);
    out.insert(out.end(), bytes.begin(), bytes.end());
  }
  return out;
}

// Others have no user.* attributes.
bool may_have_xattrs(uint32_t mode) { return S_ISREG(mode) || S_ISDIR(mode); }

}  // namespace

// What the descriptor can do does not matter: who may do what to an attribute the kernel asks then, and it lets those list attributes and read an ACL
// who may not open the file.
Result<UniqueFd> HostNode::reopen_for_metadata() {
  if (!may_have_xattrs(mode_)) return Errno{EPERM};
  auto fd = reopen(O_RDONLY);
  if (fd || fd.assume_error() != Errno{EACCES}) return fd;
  if (S_ISREG(mode_)) fd = reopen(O_WRONLY);
  if (fd || !server_.multi_user()) return fd;
  server_.lend_rights();
  fd = reopen(O_RDONLY);
  act();
  return fd;
}

Result<std::vector<std::byte>> HostNode::get_xattr(std::string_view name) {
  act();
  const std::string host = TRY(host_name(name, kind_of(server_)));
  if (!may_have_xattrs(mode_)) return Errno{ENODATA};
  const UniqueFd fd = TRY(reopen_for_metadata());
  std::vector<std::byte> value(256);
  for (;;) {
    const ssize_t n = fgetxattr(fd.get(), host.c_str(), value.data(), value.size());
    if (n >= 0) {
      value.resize(static_cast<size_t>(n));
      return value;
    }
    if (errno != ERANGE || value.size() == p9::kMaxXattr) return last_errno();
    value.resize(p9::kMaxXattr);
  }
}

Result<std::vector<std::byte>> HostNode::list_xattr() {
  act();
  if (!may_have_xattrs(mode_)) return std::vector<std::byte>{};
  const UniqueFd fd = TRY(reopen_for_metadata());
  return shown_names(fd.borrow(), kind_of(server_));
}

bool HostNode::lacks_xattrs(BorrowedFd dir, const char* name, uint32_t mode) {
  if (!may_have_xattrs(mode)) return true;
  if (!server_.budget().check()) return false;
  const auto fd = open_child(dir, name, O_RDONLY | kOpenQuietly, 0, CrossMounts::kNo);
  if (!fd) return false;
  const auto shown = shown_names(fd.assume_value().borrow(), kind_of(server_));
  return shown && shown.assume_value().empty();
}

Result<void> HostNode::set_xattr(std::string_view name, ByteSpan value, uint32_t flags) {
  act();
  const std::string host = TRY(host_name(name, kind_of(server_)));
  if (export_.spec.read_only) return Errno{EROFS};
  if (value.size() > p9::kMaxXattr) return Errno{E2BIG};
  const UniqueFd fd = TRY(reopen_for_metadata());
  return check_call(fsetxattr(fd.get(), host.c_str(), value.data(), value.size(),
                              static_cast<int>(flags)));
}

Result<void> HostNode::remove_xattr(std::string_view name) {
  act();
  const std::string host = TRY(host_name(name, kind_of(server_)));
  if (export_.spec.read_only) return Errno{EROFS};
  const UniqueFd fd = TRY(reopen_for_metadata());
  return check_call(fremovexattr(fd.get(), host.c_str()));
}

}  // namespace run9::gofer
