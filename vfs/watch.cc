#include "vfs/watch.h"

#include <algorithm>

namespace run9::vfs {

void WatchList::remove(Watcher& w) {
  std::erase(watchers_, &w);
  interest_ = 0;
  for (const Watcher* other : watchers_) interest_ |= other->interest();
}

void WatchList::tell_all(const WatchEvent& e) {
  const auto told = watchers_;
  for (Watcher* w : told) {
    if (std::find(watchers_.begin(), watchers_.end(), w) != watchers_.end()) w->on_event(e);
  }
}

void notify_dentry(const Dentry& d, uint32_t mask) {
  Inode* const inode = d.inode();
  if (inode == nullptr) return;
  if (const auto& up = d.parent(); up && up->inode() != nullptr && up->inode()->watches_if_any() != nullptr) {
    const uint32_t all = mask | (inode->is_dir() ? IN_ISDIR : 0);
    up->inode()->watches().tell({all, 0, d.name(), d.unlinked()});
  }
  notify_inode(*inode, mask);
}

void notify_path(const Path& p, uint32_t mask) { notify_dentry(*p.dentry, mask); }

void notify_inode(Inode& inode, uint32_t mask) {
  if (inode.watches_if_any() == nullptr) return;
  // Of the end and the move of the inode itself Linux does not say that it is a directory.
  const bool plain = (mask & (IN_DELETE_SELF | IN_MOVE_SELF)) != 0;
  const auto keep = inode.shared_from_this();
  inode.watches().tell({mask | (inode.is_dir() && !plain ? IN_ISDIR : 0), 0, {}, false});
}

void notify_name(Inode& dir, std::string_view name, uint32_t mask, bool is_dir, uint32_t cookie) {
  if (dir.watches_if_any() == nullptr) return;
  dir.watches().tell({mask | (is_dir ? IN_ISDIR : 0), cookie, name, false});
}

// TODO(compat): Linux waits with IN_DELETE_SELF until the last descriptor of the file is closed.
void notify_unlinked(OpContext& ctx, Inode& inode) {
  if (inode.watches_if_any() == nullptr || inode.watches().watchers().empty()) return;
  if (!inode.is_dir()) notify_inode(inode, IN_ATTRIB);
  const auto st = inode.getattr(ctx);
  if (inode.is_dir() || !st.has_value() || st.value().nlink == 0) notify_inode(inode, IN_DELETE_SELF);
}

uint32_t event_of(const SetAttr& a) {
  if ((a.valid & kSetSize) != 0) return IN_MODIFY;
  if ((a.valid & (kSetMode | kSetUid | kSetGid)) != 0) return IN_ATTRIB;
  const bool atime = (a.valid & (kSetAtime | kSetAtimeNow)) != 0;
  const bool mtime = (a.valid & (kSetMtime | kSetMtimeNow)) != 0;
  if (atime && mtime) return IN_ATTRIB;
  return atime ? IN_ACCESS : mtime ? IN_MODIFY : 0;
}

}  // namespace run9::vfs
