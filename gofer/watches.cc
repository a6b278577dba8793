#include "gofer/watches.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sched.h>
#include <sys/inotify.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>

namespace run9::gofer {
namespace {

// Not in linux/magic.h of every version.
constexpr uint32_t kZfs = 0x2fc12fc1, kBcachefs = 0xca451a4e, kXfs = 0x58465342, kIso = 0x9660;

// A change that is made through this kernel is all the change there is.
constexpr uint32_t kLocal[] = {EXT4_SUPER_MAGIC, kXfs,        BTRFS_SUPER_MAGIC, F2FS_SUPER_MAGIC,
                               TMPFS_MAGIC,      RAMFS_MAGIC, OVERLAYFS_SUPER_MAGIC,
                               SQUASHFS_MAGIC,   kIso,        kZfs,              kBcachefs};

constexpr uint32_t kChanges = IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_ATTRIB |
                              IN_MODIFY | IN_DELETE_SELF | IN_MOVE_SELF;

}  // namespace

Result<UniqueFd> make_events() { return take_fd(inotify_init1(IN_NONBLOCK | IN_CLOEXEC)); }

Result<void> own_working_directory() { return check_call(unshare(CLONE_FS)); }

Result<UniqueFd> Watches::events() const {
  if (!possible()) return Errno{EOPNOTSUPP};
  return take_fd(fcntl(events_.get(), F_DUPFD_CLOEXEC, 0));
}

bool Watches::tells(BorrowedFd dir, uint64_t dev) {
  if (dev == dev_) return dev_tells_;
  struct statfs s;
  dev_ = dev;
  dev_tells_ = fstatfs(dir.get(), &s) == 0 &&
               std::find(std::begin(kLocal), std::end(kLocal), static_cast<uint32_t>(s.f_type)) !=
                   std::end(kLocal);
  return dev_tells_;
}

uint32_t Watches::add(BorrowedFd dir, uint64_t dev) {
  if (!possible() || count_ >= kMost || !tells(dir, dev)) return 0;
  if (fchdir(dir.get()) != 0) return 0;
  const int watch =
      inotify_add_watch(events_.get(), ".", kChanges | IN_ONLYDIR | IN_DONT_FOLLOW | IN_ONESHOT);
  if (watch <= 0) return 0;
  ++count_;
  return static_cast<uint32_t>(watch);
}

Result<UniqueFd> Reports::events() {
  if (!events_.valid()) events_ = TRY(make_events());
  return take_fd(fcntl(events_.get(), F_DUPFD_CLOEXEC, 0));
}

Result<uint32_t> Reports::add(BorrowedFd dir, const char* name, uint32_t mask) {
  if (users_.size() >= kMost) return Errno{ENOSPC};
  TRY(check_call(fchdir(dir.get())));
  const int watch = inotify_add_watch(events_.get(), name, mask | IN_DONT_FOLLOW);
  if (watch < 0) return last_errno();
  ++users_[static_cast<uint32_t>(watch)];
  return static_cast<uint32_t>(watch);
}

void Reports::remove(uint32_t watch) {
  const auto it = users_.find(watch);
  if (it == users_.end() || --it->second != 0) return;
  users_.erase(it);
  inotify_rm_watch(events_.get(), static_cast<int>(watch));
}

// It may have reported already, and be gone.
void Watches::remove(uint32_t watch) {
  if (watch == 0) return;
  inotify_rm_watch(events_.get(), static_cast<int>(watch));
  --count_;
}

}  // namespace run9::gofer
