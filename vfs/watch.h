// Watches: who is told of what happens to an inode and, if it is a directory, to the names in it
// (inotify). The events are the IN_* bits of <sys/inotify.h>. A WatchList belongs to its inode, a
// Watcher to whoever watches; a watcher keeps the dentry, so that later walks meet the same inode.
#pragma once
#include <sys/inotify.h>

#include <string_view>
#include <vector>

#include "vfs/dentry.h"

namespace run9::vfs {

// No event of inotify's: something of what stat(2) gives has changed, or may from now on without our hearing of it (Inode::moves_unseen).
inline constexpr uint32_t kAttributesMoved = 0x1000;

struct WatchEvent {
  uint32_t mask = 0;  // one event, and IN_ISDIR
  uint32_t cookie = 0;
  std::string_view name;  // in the watched directory; empty: the watched inode itself
  bool unlinked = false;  // the name is gone (IN_EXCL_UNLINK)
};

class Watcher {
 public:
  virtual ~Watcher() = default;
  // The events that it wants to hear of.
  virtual uint32_t interest() const { return ~0u; }
  // May remove itself from the list, and no other watcher of it. Must not block.
  virtual void on_event(const WatchEvent&) = 0;
};

// Of a file system that others change too: has its inodes' watchers told by whoever sees all changes, ours among them.
class OuterEvents {
 public:
  // What he tells of, instead of us; and IN_CLOSE_WRITE of others.
  static constexpr uint32_t kMask = IN_MODIFY | IN_ATTRIB | IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_MOVE_SELF;
  virtual ~OuterEvents() = default;
  // The inode's watchers are to be told from now on. May block. If it fails we tell them, of what we do.
  virtual Result<void> begin(OpContext&, Inode&) = 0;
  // Passes on what there is by now. Does not block.
  virtual void catch_up() = 0;
};

class WatchList {
 public:
  void add(Watcher& w) {
    watchers_.push_back(&w);
    interest_ |= w.interest();
  }
  void remove(Watcher& w);
  void tell(const WatchEvent& e) {
    if ((e.mask & interest_) != 0 && (!told_from_outside_ || (e.mask & OuterEvents::kMask) == 0)) tell_all(e);
  }
  // OuterEvents::begin() was called, and calls this for each event.
  void tell_from_outside(const WatchEvent& e) { tell_all(e); }
  void set_told_from_outside() { told_from_outside_ = true; }
  bool told_from_outside() const { return told_from_outside_; }
  const std::vector<Watcher*>& watchers() const { return watchers_; }

 private:
  void tell_all(const WatchEvent&);
  std::vector<Watcher*> watchers_;
  uint32_t interest_ = 0;
  bool told_from_outside_ = false;
};

// fsnotify() of Linux: to the watchers of the parent by name, then to those of the inode itself.
void notify_dentry(const Dentry& d, uint32_t mask);
void notify_path(const Path& p, uint32_t mask);
// To the watchers of the inode alone.
void notify_inode(Inode& inode, uint32_t mask);
// To the watchers of a directory: something became of one of its names. is_dir: of a directory's.
void notify_name(Inode& dir, std::string_view name, uint32_t mask, bool is_dir, uint32_t cookie = 0);
// A name of `inode` is gone, or was replaced: IN_ATTRIB, and IN_DELETE_SELF if it was the last.
void notify_unlinked(OpContext& ctx, Inode& inode);
// The event that setattr(2)'s kin tell of; 0: none.
uint32_t event_of(const SetAttr& a);

}  // namespace run9::vfs
