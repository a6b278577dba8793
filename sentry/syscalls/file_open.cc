#include "sentry/syscalls/file_open.h"

#include <linux/openat2.h>

#include <utility>

#include "sentry/syscalls/file_util.h"
#include "vfs/tmpfs/tmpfs.h"

namespace run9::sentry {
namespace {

constexpr uint32_t kLargeFile = 0100000;  // O_LARGEFILE, 0 in our headers; F_GETFL puts it back
constexpr uint32_t kMfdCloexec = 1;       // MFD_CLOEXEC
constexpr uint32_t kTmpFileBit = 020000000;
// include/linux/fcntl.h, VALID_OPEN_FLAGS.
constexpr uint32_t kValidOpenFlags = O_ACCMODE | O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | O_APPEND |
                                     O_NONBLOCK | O_SYNC | O_ASYNC | O_DIRECT | kLargeFile |
                                     O_DIRECTORY | O_NOFOLLOW | O_NOATIME | O_CLOEXEC | O_PATH |
                                     O_TMPFILE;
constexpr uint32_t kPathFlags = O_DIRECTORY | O_NOFOLLOW | O_PATH | O_CLOEXEC;

// build_open_flags() of Linux 6.x.
Result<void> check_flags(uint32_t flags) {
  if ((flags & (O_DIRECTORY | O_CREAT)) == (O_DIRECTORY | O_CREAT)) return Errno{EINVAL};
  if ((flags & kTmpFileBit) != 0) {
    if ((flags & O_TMPFILE) != O_TMPFILE || (flags & O_ACCMODE) == O_RDONLY) return Errno{EINVAL};
  }
  return ok();
}

Result<uint64_t> open_file(Task& task, GuestFd dirfd, UserString user_path,
                          const vfs::OpenHow& how) {
  TRY(check_flags(how.flags));
  const std::string path = TRY(task.memory().read_path(user_path));
  if (path.empty()) return Errno{ENOENT};
  if (!descriptor_available(task)) {
    if (!std::exchange(task.process().asks_for_names, true)) {
      for (Task* t : task.process().tasks) t->publish_identity();
    }
    return Errno{EMFILE};
  }
  // What may not be left is the directory, for absolute paths as well.
  const bool scoped = (how.lookup & (vfs::kBeneath | vfs::kInRoot)) != 0;
  const vfs::Path start = TRY(task.start_of(dirfd, scoped ? "." : path));
  auto file = TRY(task.mounts().open(task, task.fs(), start, path, how));
  vfs::File& opened = *file;
  const bool cloexec = (how.flags & O_CLOEXEC) != 0;
  const uint64_t fd = TRY(install_file(task, std::move(file), cloexec));
  task.kernel().files().tell(task, static_cast<int>(fd), opened, cloexec, true);
  return fd;
}

Result<uint32_t> resolve_bits(uint64_t resolve) {
  constexpr uint64_t kKnown = RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS |
                              RESOLVE_BENEATH | RESOLVE_IN_ROOT | RESOLVE_CACHED;
  if ((resolve & ~kKnown) != 0) return Errno{EINVAL};
  if ((resolve & RESOLVE_BENEATH) != 0 && (resolve & RESOLVE_IN_ROOT) != 0) return Errno{EINVAL};
  uint32_t lookup = 0;
  if ((resolve & RESOLVE_NO_XDEV) != 0) lookup |= vfs::kNoXdev;
  if ((resolve & RESOLVE_NO_MAGICLINKS) != 0) lookup |= vfs::kNoMagicLinks;
  if ((resolve & RESOLVE_NO_SYMLINKS) != 0) lookup |= vfs::kNoSymlinks;
  if ((resolve & RESOLVE_BENEATH) != 0) lookup |= vfs::kBeneath;
  if ((resolve & RESOLVE_IN_ROOT) != 0) lookup |= vfs::kInRoot;
  return lookup;
}

// copy_struct_from_user(): a longer struct than ours is fine while its tail is zero.
Result<::open_how> read_how(Task& task, uint64_t addr, uint64_t size) {
  if (size < sizeof(::open_how)) return Errno{EINVAL};
  if (size > 4096) return Errno{E2BIG};
  const auto bytes = TRY(task.memory().read_array(UserPtr<std::byte>{addr}, size));
  for (size_t i = sizeof(::open_how); i < size; ++i) {
    if (bytes[i] != std::byte{0}) return Errno{E2BIG};
  }
  ::open_how how;
  std::memcpy(&how, bytes.data(), sizeof how);
  return how;
}

}  // namespace

Result<uint64_t> sys_open(Task& task, UserString path, int flags, uint32_t mode) {
  return sys_openat(task, kAtFdcwd, path, flags, mode);
}

Result<uint64_t> sys_openat(Task& task, GuestFd dirfd, UserString path, int flags,
                            uint32_t mode) {
  uint32_t f = static_cast<uint32_t>(flags) & kValidOpenFlags & ~kLargeFile;
  if ((f & O_PATH) != 0) f &= kPathFlags;
  const bool makes = (f & O_CREAT) != 0 || (f & kTmpFileBit) != 0;
  return open_file(task, dirfd, path, {.flags = f, .mode = makes ? mode & 07777 : 0, .lookup = 0});
}

Result<uint64_t> sys_openat2(Task& task, GuestFd dirfd, UserString path, uint64_t how_addr,
                             uint64_t size) {
  const ::open_how how = TRY(read_how(task, how_addr, size));
  if ((how.flags & ~uint64_t{kValidOpenFlags}) != 0) return Errno{EINVAL};
  const auto flags = static_cast<uint32_t>(how.flags) & ~kLargeFile;
  const uint32_t lookup = TRY(resolve_bits(how.resolve));
  const bool makes = (flags & O_CREAT) != 0 || (flags & kTmpFileBit) != 0;
  if (makes ? (how.mode & ~uint64_t{07777}) != 0 : how.mode != 0) return Errno{EINVAL};
  if ((flags & O_PATH) != 0 && (flags & ~kPathFlags) != 0) return Errno{EINVAL};
  // We cannot promise to answer from the cache alone; callers must be ready for this.
  if ((how.resolve & RESOLVE_CACHED) != 0) return Errno{EAGAIN};
  return open_file(task, dirfd, path,
                  {.flags = flags, .mode = static_cast<uint32_t>(how.mode), .lookup = lookup});
}

Result<uint64_t> sys_creat(Task& task, UserString path, uint32_t mode) {
  return sys_openat(task, kAtFdcwd, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

Result<uint64_t> sys_memfd_create(Task& task, UserString user_name, uint32_t flags) {
  constexpr size_t kNameMax = 249;  // NAME_MAX less "memfd:"
  TRY(vfs::check_memfd_flags(flags));
  const std::string name =
      TRY(task.memory().read_string(user_name.addr, kNameMax + 1, Errno{EINVAL}));
  auto file = TRY(vfs::create_memfd(task, task.kernel().special().internal_tmpfs(), name, flags));
  return install_file(task, std::move(file), (flags & kMfdCloexec) != 0);
}

Result<uint64_t> sys_name_to_handle_at(Task& task, GuestFd dirfd, UserString path, uint64_t handle,
                                       uint64_t, int flags) {
  if ((flags & ~(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH)) != 0) return Errno{EINVAL};
  TRY(resolve(task, dirfd, path, lookup_flags(flags, false)));
  TRY(task.memory().read(UserPtr<uint32_t>{handle}));
  return Errno{EOPNOTSUPP};  // no file system of ours has handles
}

}  // namespace run9::sentry
