#include "sentry/syscalls/file_util.h"

#include <poll.h>

#include <algorithm>

#include "vfs/locks.h"

namespace run9::sentry {

Result<Place> resolve(Task& task, GuestFd dirfd, std::string_view path, uint32_t lookup) {
  if (path.empty() && (lookup & vfs::kEmptyPath) != 0) {
    if (dirfd == kAtFdcwd) return Place{task.fs().cwd, nullptr};
    auto file = TRY(task.fds().get(dirfd));
    return Place{file->path(), file};
  }
  if (path.empty()) return Errno{ENOENT};
  const vfs::Path start = TRY(task.start_of(dirfd, path));
  return Place{TRY(task.mounts().walk(task, task.fs(), start, path, lookup)), nullptr};
}

Result<Place> resolve(Task& task, GuestFd dirfd, UserString path, uint32_t lookup) {
  const std::string name = TRY(task.memory().read_path(path));
  return resolve(task, dirfd, name, lookup);
}

uint32_t lookup_flags(int at_flags, bool follow) {
  uint32_t lookup = 0;
  if (follow ? (at_flags & AT_SYMLINK_NOFOLLOW) == 0 : (at_flags & AT_SYMLINK_FOLLOW) != 0) {
    lookup |= vfs::kFollow;
  }
  if ((at_flags & AT_EMPTY_PATH) != 0) lookup |= vfs::kEmptyPath;
  return lookup;
}

Result<uint64_t> install_file(Task& task, vfs::FileRef file, bool cloexec) {
  const GuestFd fd =
      TRY(task.fds().install(std::move(file), cloexec, task.process().limit(RLIMIT_NOFILE)));
  return static_cast<uint64_t>(to_int(fd));
}

bool descriptor_available(Task& task) {
  const uint64_t limit = task.process().limit(RLIMIT_NOFILE);
  if (task.fds().size() < limit) return true;
  for (size_t n = 0; n < limit; ++n) {
    if (task.fds().entry(n) == nullptr) return true;
  }
  return false;
}

void close_file(vfs::OpContext& ctx, vfs::FileRef file) {
  if ((file->flags() & O_PATH) != 0) return;
  file->on_close(ctx);
  // fcntl(2): closing any descriptor of a file drops all POSIX locks the process has on it.
  if (auto* locks = file->inode().locks_if_any()) locks->release_process(ctx.tgid());
}

Result<void> PositionLock::acquire() {
  auto& busy = task_.kernel().special().busy_positions();
  while (std::find(busy.files.begin(), busy.files.end(), &file_) != busy.files.end()) {
    TRY(task_.wait(busy.queue, POLLIN));
  }
  busy.files.push_back(&file_);
  held_ = true;
  return ok();
}

PositionLock::~PositionLock() {
  if (!held_) return;
  auto& busy = task_.kernel().special().busy_positions();
  auto it = std::find(busy.files.begin(), busy.files.end(), &file_);
  *it = busy.files.back();
  busy.files.pop_back();
  if (!busy.queue.empty()) busy.queue.notify_all(POLLIN);
}

}  // namespace run9::sentry
