// Watches: who is told of what happens to an inode and, if it is a directory, to the names in it
// (inotify). The events are the IN_* bits of <sys/inotify.h>. A WatchList belongs to its inode, a
// Watcher to whoever watches; a watcher keeps the dentry, so that later walks meet the same inode.
#pragma once
#include <sys/inotify.h>

#include <string_view>
#include <vector>

#include "vfs/dentry.h"

namespace run9::vfs {

struct WatchEvent {
  uint32_t mask = 0;  // one event, and IN_ISDIR
  uint32_t cookie = 0;
  std::string_view name;  // in the watched directory; empty: the watched inode itself
  bool unlinked = false;  // the name is gone (IN_EXCL_UNLINK)
};

class Watcher {
 public:
  virtual ~Watcher() = default;
  // May remove itself from the list, and no other watcher. Must not block.
  virtual void on_event(const WatchEvent&) = 0;
};

class WatchList {
 public:
  void add(Watcher& w) { watchers_.push_back(&w); }
  void remove(Watcher& w) { std::erase(watchers_, &w); }
  void tell(const WatchEvent&);
  const std::vector<Watcher*>& watchers() const { return watchers_; }

 private:
  std::vector<Watcher*> watchers_;
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
