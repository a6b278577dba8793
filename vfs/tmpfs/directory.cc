#include <dirent.h>

#include "vfs/tmpfs/inodes.h"

namespace run9::vfs {
namespace {

constexpr uint64_t kEntrySize = 20;  // what Linux counts for one name (BOGO_DIRENT_SIZE)

class TmpDirFile : public File {
 public:
  TmpDirFile(Path path, uint32_t flags, uint64_t end) : File(std::move(path), flags), end_(end) {}

  Result<void> readdir(OpContext& ctx, DirSink& sink) override {
    auto& dir = static_cast<TmpDir&>(inode());
    // Names made after the start do not show: one who makes names while reading comes to an end.
    uint64_t at = position();
    if (at == 0) end_ = dir.end_position();
    const auto& up = path().dentry->parent();
    dir.list(at, end_, up ? up->inode()->ino() : dir.ino(), sink);
    set_position(at);
    dir.accessed(path(), flags(), ctx.now());
    return ok();
  }
  Result<uint64_t> seek(OpContext& ctx, int64_t offset, int whence) override {
    if (whence != SEEK_SET && whence != SEEK_CUR) return Errno{EINVAL};
    return File::seek(ctx, offset, whence);
  }
  Result<size_t> pread(OpContext&, std::span<std::byte>, uint64_t) override {
    return Errno{EISDIR};
  }

 private:
  uint64_t end_;
};

}  // namespace

TmpDir::TmpDir(Tmpfs& fs, const NewOwner& owner, Timespec now) : TmpInode(fs, owner, 0, now) {
  st_.nlink = 2;
}

Result<Stat> TmpDir::getattr(OpContext& ctx) {
  Stat st = TRY(TmpInode::getattr(ctx));
  st.size = by_name_.size() * kEntrySize;
  return st;
}

TmpDir::Entry* TmpDir::find(std::string_view name) {
  auto it = by_name_.find(name);
  return it == by_name_.end() ? nullptr : &entries_.find(it->second)->second;
}

Result<InodeRef> TmpDir::lookup(OpContext&, std::string_view name) {
  Entry* e = find(name);
  if (e == nullptr) return Errno{ENOENT};
  return InodeRef(e->inode);
}

Result<std::vector<InodeRef>> TmpDir::lookup_many(OpContext& ctx,
                                                  std::span<const std::string_view> names,
                                                 Intent) {
  std::vector<InodeRef> found;
  found.push_back(TRY(lookup(ctx, names.front())));
  for (auto name : names.subspan(1)) {
    if (!found.back()->is_dir()) break;
    auto next = found.back()->lookup(ctx, name);
    if (!next) break;
    found.push_back(std::move(next).assume_value());
  }
  return found;
}

Result<void> TmpDir::may_add(std::string_view name) const {
  if (removed_) return Errno{ENOENT};
  if (by_name_.contains(name)) return Errno{EEXIST};
  return ok();
}

void TmpDir::insert(std::string_view name, std::shared_ptr<TmpInode> inode, Timespec now) {
  if (inode->is_dir()) ++st_.nlink;
  by_name_.emplace(name, next_);
  entries_.emplace(next_++, Entry{std::string(name), std::move(inode)});
  modified(now);
}

void TmpDir::erase(std::string_view name, Timespec now) {
  auto it = by_name_.find(name);
  auto entry = entries_.find(it->second);
  if (entry->second.inode->is_dir()) --st_.nlink;
  entries_.erase(entry);
  by_name_.erase(it);
  modified(now);
}

// The entry keeps its position, so a reader neither misses it nor sees it twice.
void TmpDir::rename_entry(std::string_view name, std::string_view new_name) {
  auto it = by_name_.find(name);
  const uint64_t position = it->second;
  by_name_.erase(it);
  by_name_.emplace(new_name, position);
  entries_.find(position)->second.name = new_name;
}

// A name of it is gone, or it was replaced.
void TmpDir::drop(TmpInode& victim, Timespec now) {
  if (victim.is_dir()) {
    victim.add_links(-2);
    static_cast<TmpDir&>(victim).removed_ = true;
  } else {
    victim.add_links(-1);
  }
  victim.changed(now);
}

template <typename Make>
Result<InodeRef> TmpDir::add(OpContext& ctx, std::string_view name, uint32_t mode, Make make) {
  TRY(may_add(name));
  if (!tmpfs().quota()->has_inode()) return Errno{ENOSPC};
  std::shared_ptr<TmpInode> made = make(new_owner(ctx.creds(), st_, mode));
  insert(name, made, ctx.now());
  return InodeRef(std::move(made));
}

Result<InodeRef> TmpDir::create(OpContext& ctx, std::string_view name, uint32_t mode) {
  return add(ctx, name, S_IFREG | mode, [&](const NewOwner& owner) {
    return std::make_shared<TmpRegular>(tmpfs(), owner, ctx.now());
  });
}

Result<InodeRef> TmpDir::mkdir(OpContext& ctx, std::string_view name, uint32_t mode) {
  return add(ctx, name, S_IFDIR | mode, [&](const NewOwner& owner) {
    return std::make_shared<TmpDir>(tmpfs(), owner, ctx.now());
  });
}

Result<InodeRef> TmpDir::mknod(OpContext& ctx, std::string_view name, uint32_t mode,
                               uint64_t rdev) {
  return add(ctx, name, mode, [&](const NewOwner& owner) {
    return std::make_shared<TmpInode>(tmpfs(), owner, rdev, ctx.now());
  });
}

Result<InodeRef> TmpDir::symlink(OpContext& ctx, std::string_view name, std::string_view target) {
  return add(ctx, name, S_IFLNK | 0777, [&](const NewOwner& owner) {
    return std::make_shared<TmpSymlink>(tmpfs(), owner, target, ctx.now());
  });
}

Result<InodeRef> TmpDir::tmpfile(OpContext& ctx, uint32_t mode, bool linkable) {
  if (!tmpfs().quota()->has_inode()) return Errno{ENOSPC};
  auto made = std::make_shared<TmpRegular>(tmpfs(), new_owner(ctx.creds(), st_, S_IFREG | mode),
                                           ctx.now());
  made->add_links(-1);
  made->linkable = linkable;
  return InodeRef(std::move(made));
}

Result<void> TmpDir::link(OpContext& ctx, std::string_view name, Inode& target) {
  TRY(may_add(name));
  if (target.is_dir()) return Errno{EPERM};
  auto inode = std::static_pointer_cast<TmpInode>(target.shared_from_this());
  if (inode->nlink() == 0) {
    if (!inode->is_regular()) return Errno{ENOENT};
    auto& file = static_cast<TmpRegular&>(*inode);
    if (!file.linkable) return Errno{ENOENT};
    file.linkable = false;
  }
  inode->add_links(1);
  inode->changed(ctx.now());
  insert(name, std::move(inode), ctx.now());
  return ok();
}

Result<void> TmpDir::unlink(OpContext& ctx, std::string_view name, Inode& victim) {
  Entry* e = find(name);
  if (e == nullptr || e->inode.get() != &victim) return Errno{ENOENT};
  if (victim.is_dir()) return Errno{EISDIR};
  auto keep = e->inode;
  erase(name, ctx.now());
  drop(*keep, ctx.now());
  return ok();
}

Result<void> TmpDir::rmdir(OpContext& ctx, std::string_view name, Inode& victim) {
  Entry* e = find(name);
  if (e == nullptr || e->inode.get() != &victim) return Errno{ENOENT};
  if (!victim.is_dir()) return Errno{ENOTDIR};
  if (!static_cast<TmpDir&>(victim).by_name_.empty()) return Errno{ENOTEMPTY};
  auto keep = e->inode;
  erase(name, ctx.now());
  drop(*keep, ctx.now());
  return ok();
}

Result<void> TmpDir::rename(OpContext& ctx, std::string_view name, Inode& victim, Inode& new_dir,
                            std::string_view new_name, Inode* target, uint32_t flags) {
  auto& to = static_cast<TmpDir&>(new_dir);
  Entry* from_entry = find(name);
  if (from_entry == nullptr || from_entry->inode.get() != &victim) return Errno{ENOENT};
  Entry* to_entry = to.find(new_name);
  if ((to_entry == nullptr ? nullptr : to_entry->inode.get()) != target) return Errno{EAGAIN};
  const Timespec now = ctx.now();
  const auto moved = from_entry->inode;
  if ((flags & RenameFlags::kExchange) != 0) {
    std::swap(from_entry->inode, to_entry->inode);
    const int gained = int{target->is_dir()} - int{victim.is_dir()};
    add_links(gained);
    to.add_links(-gained);
    static_cast<TmpInode*>(target)->changed(now);
  } else {
    if (target != nullptr && target->is_dir() &&
        !static_cast<TmpDir*>(target)->by_name_.empty()) {
      return Errno{ENOTEMPTY};
    }
    if (to.removed_) return Errno{ENOENT};
    const bool whiteout = (flags & RenameFlags::kWhiteout) != 0;
    if (whiteout && !tmpfs().quota()->has_inode()) return Errno{ENOSPC};
    if (target != nullptr) {
      auto gone = to_entry->inode;
      to.erase(new_name, now);
      to.drop(*gone, now);
    }
    if (&to == this) {
      rename_entry(name, new_name);
    } else {
      erase(name, now);
      to.insert(new_name, moved, now);
    }
    if (whiteout) TRY(mknod(ctx, name, S_IFCHR, 0));
  }
  moved->changed(now);
  modified(now);
  to.modified(now);
  return ok();
}

Result<FileRef> TmpDir::open(OpContext&, const Path& self, uint32_t flags) {
  return FileRef(std::make_shared<TmpDirFile>(self, flags, next_));
}

void TmpDir::list(uint64_t& position, uint64_t end, uint64_t parent_ino, DirSink& sink) const {
  if (position == 0) {
    if (!sink.add({ino(), 1, DT_DIR, "."})) return;
    position = 1;
  }
  if (position == 1) {
    if (!sink.add({parent_ino, 2, DT_DIR, ".."})) return;
    position = 2;
  }
  for (auto it = entries_.lower_bound(position); it != entries_.end() && it->first < end; ++it) {
    const auto& [at, entry] = *it;
    const auto type = static_cast<uint8_t>(IFTODT(entry.inode->type()));
    if (!sink.add({entry.inode->ino(), at + 1, type, entry.name})) return;
    position = at + 1;
  }
}

std::vector<InodeRef> TmpDir::take_children() {
  std::vector<InodeRef> out;
  for (auto& [at, entry] : entries_) out.push_back(std::move(entry.inode));
  entries_.clear();
  by_name_.clear();
  return out;
}

}  // namespace run9::vfs
