#include "sentry/syscalls/xattr.h"

#include <linux/limits.h>
#include <sys/xattr.h>

#include "sentry/syscalls/file_util.h"

namespace run9::sentry {
namespace {

// struct xattr_args of setxattrat(2) and getxattrat(2).
struct XattrArgs {
  uint64_t value;
  uint32_t size;
  uint32_t flags;
};
static_assert(sizeof(XattrArgs) == 16);

Result<std::string> read_xattr_name(Task& task, UserString name) {
  std::string s = TRY(task.memory().read_string(name.addr, XATTR_NAME_MAX + 1, Errno{ERANGE}));
  if (s.empty() || s.size() > XATTR_NAME_MAX) return Errno{ERANGE};
  return s;
}

Result<vfs::Path> path_of(Task& task, UserString path, uint32_t lookup) {
  return TRY(resolve(task, kAtFdcwd, path, lookup)).path;
}

Result<vfs::Path> path_of(Task& task, GuestFd fd) {
  return TRY(task.fds().get_not_path(fd))->path();
}

Result<void> check_at_flags(uint32_t at_flags) {
  if ((at_flags & ~uint32_t{AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH}) != 0) return Errno{EINVAL};
  return ok();
}

Result<vfs::Path> path_of(Task& task, GuestFd dirfd, UserString path, uint32_t at_flags) {
  return TRY(resolve(task, dirfd, path, lookup_flags(static_cast<int>(at_flags)))).path;
}

// setxattr_copy(): all that the caller says about the attribute, before the file is looked for.
struct NewAttribute {
  std::string name;
  std::vector<std::byte> value;
  int flags = 0;
};

Result<NewAttribute> read_attribute(Task& task, UserString name, uint64_t addr, uint64_t size, int flags) {
  if ((flags & ~(XATTR_CREATE | XATTR_REPLACE)) != 0) return Errno{EINVAL};
  NewAttribute a{.name = TRY(read_xattr_name(task, name)), .flags = flags};
  if (size > XATTR_SIZE_MAX) return Errno{E2BIG};
  a.value = TRY(task.memory().read_array(UserPtr<std::byte>{addr}, size));
  return a;
}

Result<uint64_t> set(Task& task, const vfs::Path& path, const NewAttribute& a) {
  TRY(task.mounts().setxattr(task, path, a.name, a.value, a.flags));
  return 0;
}

Result<uint64_t> get(Task& task, const vfs::Path& path, const std::string& name, uint64_t addr,
                     uint64_t size) {
  const auto value = TRY(task.mounts().getxattr(task, path, name));
  if (size == 0) return value.size();
  if (value.size() > size) return Errno{ERANGE};
  TRY(task.memory().copy_out(addr, value.data(), value.size()));
  return value.size();
}

Result<uint64_t> list(Task& task, const vfs::Path& path, uint64_t addr, uint64_t size) {
  std::string all;
  for (const auto& name : TRY(task.mounts().listxattr(task, path))) {
    all += name;
    all += '\0';
  }
  if (size == 0) return all.size();
  if (all.size() > size) return Errno{all.size() > XATTR_LIST_MAX ? E2BIG : ERANGE};
  TRY(task.memory().copy_out(addr, all.data(), all.size()));
  return all.size();
}

Result<uint64_t> remove(Task& task, const vfs::Path& path, const std::string& name) {
  TRY(task.mounts().removexattr(task, path, name));
  return 0;
}

Result<XattrArgs> read_args(Task& task, uint64_t addr, uint64_t size) {
  if (size < sizeof(XattrArgs)) return Errno{EINVAL};
  if (size > 4096) return Errno{E2BIG};
  const auto bytes = TRY(task.memory().read_array(UserPtr<std::byte>{addr}, size));
  for (size_t i = sizeof(XattrArgs); i < size; ++i) {
    if (bytes[i] != std::byte{0}) return Errno{E2BIG};
  }
  XattrArgs args;
  std::memcpy(&args, bytes.data(), sizeof args);
  return args;
}

}  // namespace

Result<uint64_t> sys_setxattr(Task& task, UserString path, UserString name, uint64_t value,
                              uint64_t size, int flags) {
  const auto a = TRY(read_attribute(task, name, value, size, flags));
  return set(task, TRY(path_of(task, path, vfs::kFollow)), a);
}

Result<uint64_t> sys_lsetxattr(Task& task, UserString path, UserString name, uint64_t value,
                               uint64_t size, int flags) {
  const auto a = TRY(read_attribute(task, name, value, size, flags));
  return set(task, TRY(path_of(task, path, 0)), a);
}

Result<uint64_t> sys_fsetxattr(Task& task, GuestFd fd, UserString name, uint64_t value,
                               uint64_t size, int flags) {
  const auto a = TRY(read_attribute(task, name, value, size, flags));
  return set(task, TRY(path_of(task, fd)), a);
}

Result<uint64_t> sys_setxattrat(Task& task, GuestFd dirfd, UserString path, uint32_t at_flags,
                                UserString name, uint64_t args_addr, uint64_t args_size) {
  const XattrArgs args = TRY(read_args(task, args_addr, args_size));
  TRY(check_at_flags(at_flags));
  const auto a = TRY(read_attribute(task, name, args.value, args.size, static_cast<int>(args.flags)));
  return set(task, TRY(path_of(task, dirfd, path, at_flags)), a);
}

Result<uint64_t> sys_getxattr(Task& task, UserString path, UserString name, uint64_t value,
                              uint64_t size) {
  const std::string key = TRY(read_xattr_name(task, name));
  return get(task, TRY(path_of(task, path, vfs::kFollow)), key, value, size);
}

Result<uint64_t> sys_lgetxattr(Task& task, UserString path, UserString name, uint64_t value,
                               uint64_t size) {
  const std::string key = TRY(read_xattr_name(task, name));
  return get(task, TRY(path_of(task, path, 0)), key, value, size);
}

Result<uint64_t> sys_fgetxattr(Task& task, GuestFd fd, UserString name, uint64_t value,
                               uint64_t size) {
  const std::string key = TRY(read_xattr_name(task, name));
  return get(task, TRY(path_of(task, fd)), key, value, size);
}

Result<uint64_t> sys_getxattrat(Task& task, GuestFd dirfd, UserString path, uint32_t at_flags,
                                UserString name, uint64_t args_addr, uint64_t args_size) {
  const XattrArgs args = TRY(read_args(task, args_addr, args_size));
  TRY(check_at_flags(at_flags));
  if (args.flags != 0) return Errno{EINVAL};
  const std::string key = TRY(read_xattr_name(task, name));
  return get(task, TRY(path_of(task, dirfd, path, at_flags)), key, args.value, args.size);
}

Result<uint64_t> sys_listxattr(Task& task, UserString path, uint64_t addr, uint64_t size) {
  return list(task, TRY(path_of(task, path, vfs::kFollow)), addr, size);
}

Result<uint64_t> sys_llistxattr(Task& task, UserString path, uint64_t addr, uint64_t size) {
  return list(task, TRY(path_of(task, path, 0)), addr, size);
}

Result<uint64_t> sys_flistxattr(Task& task, GuestFd fd, uint64_t addr, uint64_t size) {
  return list(task, TRY(path_of(task, fd)), addr, size);
}

Result<uint64_t> sys_listxattrat(Task& task, GuestFd dirfd, UserString path, uint32_t at_flags,
                                 uint64_t addr, uint64_t size) {
  TRY(check_at_flags(at_flags));
  return list(task, TRY(path_of(task, dirfd, path, at_flags)), addr, size);
}

Result<uint64_t> sys_removexattr(Task& task, UserString path, UserString name) {
  const std::string key = TRY(read_xattr_name(task, name));
  return remove(task, TRY(path_of(task, path, vfs::kFollow)), key);
}

Result<uint64_t> sys_lremovexattr(Task& task, UserString path, UserString name) {
  const std::string key = TRY(read_xattr_name(task, name));
  return remove(task, TRY(path_of(task, path, 0)), key);
}

Result<uint64_t> sys_fremovexattr(Task& task, GuestFd fd, UserString name) {
  const std::string key = TRY(read_xattr_name(task, name));
  return remove(task, TRY(path_of(task, fd)), key);
}

Result<uint64_t> sys_removexattrat(Task& task, GuestFd dirfd, UserString path, uint32_t at_flags,
                                   UserString name) {
  TRY(check_at_flags(at_flags));
  const std::string key = TRY(read_xattr_name(task, name));
  return remove(task, TRY(path_of(task, dirfd, path, at_flags)), key);
}

}  // namespace run9::sentry
