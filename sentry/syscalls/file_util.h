// What the families of file calls share: places named by (dirfd, path, flags), descriptors, the lock on a
// file's position, a caller's real ids.
#pragma once
#include <string>
#include <string_view>

#include "sentry/fs/special.h"
#include "sentry/task/fd_table.h"
#include "sentry/task/kernel.h"
#include "sentry/task/task.h"
#include "vfs/path_walk.h"

namespace run9::sentry {

inline constexpr GuestFd kAtFdcwd{AT_FDCWD};

// file is set when an empty path named the descriptor itself.
struct Place {
  vfs::Path path;
  vfs::FileRef file;
};
// lookup: vfs::LookupFlags.
Result<Place> resolve(Task& task, GuestFd dirfd, std::string_view path, uint32_t lookup);
Result<Place> resolve(Task& task, GuestFd dirfd, UserString path, uint32_t lookup);
// AT_SYMLINK_NOFOLLOW, AT_SYMLINK_FOLLOW and AT_EMPTY_PATH of a call whose default is `follow`.
uint32_t lookup_flags(int at_flags, bool follow = true);

// Puts an open file at the lowest free descriptor.
Result<uint64_t> install_file(Task& task, vfs::FileRef file, bool cloexec);
// False: the next install_file would fail (open reports EMFILE before it looks at the path).
bool descriptor_available(Task& task);
// A descriptor of `file` is gone from the caller's table: drops the process's POSIX locks on it.
void close_file(vfs::OpContext& ctx, vfs::FileRef file);

// f_pos_lock: one call at a time moves a file's position. Waits in acquire().
class PositionLock {
 public:
  PositionLock(Task& task, vfs::File& file) : task_(task), file_(file) {}
  ~PositionLock();
  PositionLock(const PositionLock&) = delete;
  PositionLock& operator=(const PositionLock&) = delete;
  Result<void> acquire();

 private:
  Task& task_;
  vfs::File& file_;
  bool held_ = false;
};

// The caller with other credentials: access(2) asks with the real ids.
class ContextWithCreds final : public vfs::OpContext {
 public:
  ContextWithCreds(Task& task, vfs::Credentials creds) : task_(task), creds_(std::move(creds)) {}
  const vfs::Credentials& creds() const override { return creds_; }
  vfs::Timespec now() const override { return task_.now(); }
  int32_t tgid() const override { return task_.tgid(); }
  uint64_t file_size_limit() const override { return task_.file_size_limit(); }
  uint64_t moment() const override { return task_.moment(); }
  Result<void> wait(WaitQueue& q, uint32_t events, std::optional<uint64_t> deadline_ns) override {
    return task_.wait(q, events, deadline_ns);
  }
  void host_call(const std::function<void()>& call) override { task_.host_call(call); }

 private:
  Task& task_;
  vfs::Credentials creds_;
};

}  // namespace run9::sentry
