#include "sentry/syscalls/dir.h"

#include <algorithm>

#include "sentry/syscalls/file_util.h"
#include "vfs/watch.h"

namespace run9::sentry {
namespace {

enum class Layout { kOld, k64 };  // struct linux_dirent, linux_dirent64

constexpr size_t kMaxListing = 64 * 1024;  // for one call; callers ask again

class ListingSink final : public vfs::DirSink {
 public:
  ListingSink(std::span<std::byte> out, Layout layout) : out_(out), layout_(layout) {}
  size_t used() const { return used_; }
  bool overflowed() const { return overflowed_; }

  bool add(const vfs::DirEntry& e) override {
    // Old: ino off reclen name NUL type-in-the-last-byte; 64: ino off reclen type name NUL.
    const size_t name_at = layout_ == Layout::k64 ? 19 : 18;
    const size_t tail = layout_ == Layout::k64 ? 1 : 2;
    const size_t length = (name_at + e.name.size() + tail + 7) & ~size_t{7};
    if (length > out_.size() - used_) {
      overflowed_ = true;
      return false;
    }
    std::byte* p = out_.data() + used_;
    const auto reclen = static_cast<uint16_t>(length);
    std::memset(p + length - 8, 0, 8);  // before the name, which may reach into these
    std::memcpy(p, &e.ino, 8);
    std::memcpy(p + 8, &e.next, 8);
    std::memcpy(p + 16, &reclen, 2);
    p[layout_ == Layout::k64 ? 18 : length - 1] = std::byte{e.type};
    std::memcpy(p + name_at, e.name.data(), e.name.size());
    p[name_at + e.name.size()] = std::byte{0};
    used_ += length;
    return true;
  }

 private:
  std::span<std::byte> out_;
  Layout layout_;
  size_t used_ = 0;
  bool overflowed_ = false;
};

Result<uint64_t> list(Task& task, GuestFd fd, uint64_t buf, uint32_t count, Layout layout) {
  const auto file = TRY(task.fds().get_not_path(fd));
  if (!file->inode().is_dir()) return Errno{ENOTDIR};
  PositionLock lock(task, *file);
  TRY(lock.acquire());
  if (file->path().dentry->unlinked()) return Errno{ENOENT};
  const uint64_t before = file->position();
  SpecialFiles::Loan loan(task.kernel().special(), std::min<size_t>(count, kMaxListing));
  ListingSink sink(loan.bytes().first(std::min({size_t{count}, kMaxListing, loan.bytes().size()})),
                   layout);
  auto listed = file->readdir(task, sink);
  vfs::notify_path(file->path(), IN_ACCESS);
  if (sink.used() == 0) {
    TRY(listed);
    if (sink.overflowed()) return Errno{EINVAL};  // not even one entry fits
    return 0;
  }
  auto copied = task.memory().copy_out(buf, loan.bytes().data(), sink.used());
  if (!copied.has_value()) {
    file->set_position(before);
    return copied.error();
  }
  if (!sink.overflowed()) task.kernel().files().listed_to_end(task, *file);
  return sink.used();
}

Result<void> enter(Task& task, const vfs::Path& path) {
  TRY(task.mounts().access(task, path, X_OK));
  return ok();
}

}  // namespace

Result<uint64_t> sys_getdents(Task& task, GuestFd fd, uint64_t buf, uint32_t count) {
  return list(task, fd, buf, count, Layout::kOld);
}

Result<uint64_t> sys_getdents64(Task& task, GuestFd fd, uint64_t buf, uint32_t count) {
  return list(task, fd, buf, count, Layout::k64);
}

Result<uint64_t> sys_getcwd(Task& task, uint64_t buf, uint64_t size) {
  const vfs::Path& cwd = task.fs().cwd;
  if (cwd.dentry->unlinked()) return Errno{ENOENT};
  const std::string name = task.mounts().path_name(cwd, task.fs().root);
  if (name.size() + 1 > PATH_MAX) return Errno{ENAMETOOLONG};
  if (name.size() + 1 > size) return Errno{ERANGE};
  TRY(task.memory().copy_out(buf, name.c_str(), name.size() + 1));
  return name.size() + 1;
}

Result<uint64_t> sys_chdir(Task& task, UserString path) {
  Place place = TRY(resolve(task, kAtFdcwd, path, vfs::kFollow | vfs::kDirectory));
  TRY(enter(task, place.path));
  task.fs().cwd = std::move(place.path);
  task.publish_place();
  return 0;
}

Result<uint64_t> sys_fchdir(Task& task, GuestFd fd) {
  const auto file = TRY(task.fds().get(fd));
  if (!file->inode().is_dir()) return Errno{ENOTDIR};
  TRY(enter(task, file->path()));
  task.fs().cwd = file->path();
  task.publish_place();
  return 0;
}

Result<uint64_t> sys_chroot(Task& task, UserString path) {
  Place place = TRY(resolve(task, kAtFdcwd, path, vfs::kFollow | vfs::kDirectory));
  TRY(enter(task, place.path));
  if (!task.creds().has_cap(CAP_SYS_CHROOT)) return Errno{EPERM};
  task.fs().root = std::move(place.path);
  task.publish_place();
  return 0;
}

Result<uint64_t> sys_umask(Task& task, uint32_t mask) {
  return std::exchange(task.fs().umask, mask & 0777);
}

}  // namespace run9::sentry
