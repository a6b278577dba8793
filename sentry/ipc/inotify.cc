#include "sentry/ipc/inotify.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <cstring>

#include "sentry/task/task.h"

namespace run9::sentry {
namespace {

constexpr size_t kMaxEvents = 16384;   // fs.inotify.max_queued_events
constexpr size_t kMaxWatches = 65536;  // fs.inotify.max_user_watches, here for each instance
constexpr uint32_t kShownMask = IN_ALL_EVENTS | IN_ONESHOT | IN_EXCL_UNLINK;  // in fdinfo
constexpr uint32_t kMaskAdd = IN_MASK_ADD, kMaskCreate = IN_MASK_CREATE;
// What a watch keeps of the mask that was asked for.
constexpr uint32_t kKept = kShownMask | IN_UNMOUNT;

}  // namespace

// Tells the file of events of one inode. Keeps the inode's dentry and file system, not its mount.
class InotifyFile::Watch final : public vfs::Watcher {
 public:
  Watch(InotifyFile& owner, int32_t wd, const vfs::Path& at, uint32_t mask)
      : wd(wd), mask(mask), owner_(owner), fs_(at.inode()->fs().shared_from_this()), dentry_(at.dentry) {
    inode().watches().add(*this);
  }
  ~Watch() override { inode().watches().remove(*this); }
  vfs::Inode& inode() const { return *dentry_->inode(); }
  void on_event(const vfs::WatchEvent& e) override { owner_.saw(*this, e); }

  const int32_t wd;
  uint32_t mask;

 private:
  InotifyFile& owner_;
  const vfs::FileSystemRef fs_;
  const vfs::DentryRef dentry_;
};

// The name is padded with zeros to a multiple of the header's size.
size_t InotifyFile::Event::size() const {
  constexpr size_t kHeader = sizeof(inotify_event);
  return kHeader + (name.empty() ? 0 : (name.size() + 1 + kHeader - 1) / kHeader * kHeader);
}

InotifyFile::InotifyFile(vfs::Path path, uint32_t flags) : File(std::move(path), O_RDONLY | flags) {}
InotifyFile::~InotifyFile() = default;

Result<int32_t> InotifyFile::add(vfs::OpContext& ctx, const vfs::Path& at, uint32_t mask) {
  const auto keep = shared_from_this();
  if (auto* const outer = at.inode()->outer_events(); outer != nullptr && outer->begin(ctx, *at.inode()).has_value()) {
    const bool known = std::any_of(outer_.begin(), outer_.end(), [&](const Outer& o) { return o.events == outer; });
    if (!known) outer_.push_back({at.inode()->fs().shared_from_this(), outer});
  }
  for (auto& [wd, w] : watches_) {
    if (&w->inode() != at.inode()) continue;
    if ((mask & kMaskCreate) != 0) return Errno{EEXIST};
    w->mask = (mask & kKept) | ((mask & kMaskAdd) != 0 ? w->mask : 0);
    return wd;
  }
  if (watches_.size() >= kMaxWatches) return Errno{ENOSPC};
  do {
    last_wd_ = last_wd_ == INT32_MAX ? 1 : last_wd_ + 1;
  } while (watches_.contains(last_wd_));
  watches_[last_wd_] = std::make_unique<Watch>(*this, last_wd_, at, mask & kKept);
  return last_wd_;
}

Result<void> InotifyFile::remove(int32_t wd) {
  if (!watches_.contains(wd)) return Errno{EINVAL};
  drop(wd);
  return ok();
}

void InotifyFile::drop(int32_t wd) {
  watches_.erase(wd);
  queue({wd, IN_IGNORED, 0, ""});
}

void InotifyFile::queue(Event e) {
  if (!events_.empty() && events_.back() == e) return;  // the same again: told once
  if (events_.size() > kMaxEvents) return;
  if (events_.size() == kMaxEvents) e = {-1, IN_Q_OVERFLOW, 0, ""};
  events_.push_back(std::move(e));
  queue_.notify(POLLIN | POLLRDNORM);
}

void InotifyFile::catch_up() {
  for (const Outer& o : outer_) o.events->catch_up();
}

void InotifyFile::saw(Watch& watch, const vfs::WatchEvent& e) {
  if ((e.mask & IN_Q_OVERFLOW) != 0) return queue({-1, IN_Q_OVERFLOW, 0, ""});
  const int32_t wd = watch.wd;
  // What somebody else saw before comes first, and may have been the last that this watch sees.
  if (!outer_.empty()) {
    catch_up();
    if (!watches_.contains(wd)) return;
  }
  const bool over = (e.mask & IN_DELETE_SELF) != 0;
  const bool wanted = (watch.mask & e.mask & (IN_ALL_EVENTS | IN_UNMOUNT)) != 0 &&
                      !(e.unlinked && (watch.mask & IN_EXCL_UNLINK) != 0);
  const bool once = (watch.mask & IN_ONESHOT) != 0;
  if (wanted) queue({wd, e.mask, e.cookie, std::string(e.name)});
  if (over || (wanted && once)) drop(wd);
}

Result<size_t> InotifyFile::read(vfs::OpContext& ctx, std::span<std::byte> dst) {
  const auto keep = shared_from_this();
  catch_up();
  while (events_.empty()) {
    if (nonblocking()) return Errno{EAGAIN};
    TRY(ctx.wait(queue_, POLLIN));
  }
  size_t used = 0;
  while (!events_.empty() && events_.front().size() <= dst.size() - used) {
    const Event& e = events_.front();
    const size_t size = e.size();
    const inotify_event head{e.wd, e.mask, e.cookie, static_cast<uint32_t>(size - sizeof head)};
    std::memset(dst.data() + used, 0, size);
    std::memcpy(dst.data() + used, &head, sizeof head);
    std::memcpy(dst.data() + used + sizeof head, e.name.data(), e.name.size());
    used += size;
    events_.pop_front();
  }
  if (used == 0) return Errno{EINVAL};
  return used;
}

uint32_t InotifyFile::poll(vfs::OpContext&) {
  if (events_.empty()) catch_up();
  return events_.empty() ? 0 : POLLIN | POLLRDNORM;
}

Result<uint64_t> InotifyFile::ioctl(vfs::OpContext& ctx, uint32_t request, uint64_t arg) {
  Task* task = task_of(ctx);
  if (request != FIONREAD || task == nullptr) return Errno{ENOTTY};
  catch_up();
  int total = 0;
  for (const Event& e : events_) total += static_cast<int>(e.size());
  TRY(task->memory().write(UserPtr<int>{arg}, total));
  return 0;
}

std::string InotifyFile::fdinfo() const {
  std::string text;
  for (const auto& [wd, w] : watches_) {
    text += fmt::format("inotify wd:{:x} ino:{:x} sdev:{:x} mask:{:x} ignored_mask:0\n", wd, w->inode().ino(),
                        w->inode().fs().dev(), w->mask & kShownMask);
  }
  return text;
}

}  // namespace run9::sentry
