#include "vfs/walk.h"

namespace run9::vfs {
namespace {

constexpr int kMaxLinks = 40;
// What one 9P walk can carry.
constexpr size_t kMaxRun = 16;

bool is_dots(std::string_view name) { return name == "." || name == ".."; }

}  // namespace

Result<void> Walk::begin(const FsContext& fs, const Path& start, std::string_view path) {
  if (path.size() >= kPathMax) return Errno{ENAMETOOLONG};
  root_ = (flags_ & kScoped) != 0 ? start : fs.root;
  cur_ = start;
  if (path.empty()) {
    if ((flags_ & kEmptyPath) == 0) return Errno{ENOENT};
    return ok();
  }
  if (path.front() == '/') {
    if ((flags_ & kBeneath) != 0) return Errno{EXDEV};
    cur_ = root_;
  }
  rest_ = path;
  return ok();
}

bool Walk::next(std::string_view& name) {
  at_ = rest_.find_first_not_of('/', at_);
  if (at_ == std::string::npos) {
    at_ = rest_.size();
    return false;
  }
  const size_t end = std::min(rest_.find('/', at_), rest_.size());
  name = std::string_view(rest_).substr(at_, end - at_);
  at_ = end;
  return true;
}

Result<void> Walk::check_component(std::string_view name) {
  Inode& dir = *cur_.inode();
  if (!dir.is_dir()) return Errno{ENOTDIR};
  TRY(dir.permission(ctx_, kMayExec));
  if (name.size() > kNameMax) return Errno{ENAMETOOLONG};
  return ok();
}

Result<void> Walk::to_end() {
  std::string_view name;
  while (next(name)) TRY(component(name));
  const bool want_dir = (flags_ & kDirectory) != 0 || (!rest_.empty() && rest_.back() == '/');
  if (want_dir && !cur_.inode()->is_dir()) return Errno{ENOTDIR};
  return ok();
}

Result<Last> Walk::to_parent() {
  std::string_view name;
  while (next(name)) {
    if (!at_last()) {
      TRY(component(name));
      continue;
    }
    TRY(check_component(name));
    last_ = name;
    trailing_slash_ = at_ < rest_.size();
    return is_dots(name) ? Last::kDot : Last::kName;
  }
  last_ = "/";
  trailing_slash_ = false;
  return Last::kRoot;
}

Result<void> Walk::component(std::string_view name) {
  const bool dots = is_dots(name);
  TRY(told(cur_, dots ? std::string_view{} : name, !dots && at_last()));
  TRY(check_component(name));
  if (dots) return name == "." ? ok() : step_up();
  DentryRef d = TRY(child(name));
  if (d->negative()) return Errno{ENOENT};
  if (d->inode()->is_symlink()) {
    const bool last = at_last();
    const bool slash = at_ < rest_.size();
    if (!last || slash || (flags_ & kFollow) != 0) return follow_link(*d->inode());
  }
  return enter(std::move(d));
}

Result<void> Walk::enter(DentryRef child) {
  cur_.dentry = std::move(child);
  if (cur_.dentry->mounts == 0) return ok();
  Path top = ns_.topmost(cur_);
  if ((flags_ & kNoXdev) != 0 && top.mount != cur_.mount) return Errno{EXDEV};
  cur_ = std::move(top);
  return ok();
}

Result<void> Walk::step_up() {
  if (cur_ == root_) return (flags_ & kBeneath) != 0 ? Result<void>(Errno{EXDEV}) : ok();
  while (cur_.mount && cur_.dentry == cur_.mount->root) {
    if (!cur_.mount->mountpoint) return ok();  // the top, or a detached tree
    if ((flags_ & kNoXdev) != 0) return Errno{EXDEV};
    cur_ = Path(cur_.mount->mountpoint);
    if (cur_ == root_) return ok();
  }
  if (cur_.dentry->parent()) {
    TRY(told(Path{cur_.mount, cur_.dentry->parent()}, cur_.dentry->name(), false));
    return enter(cur_.dentry->parent());
  }
  return ok();
}

Result<void> Walk::follow_link(Inode& link) {
  if (++links_ > kMaxLinks || (flags_ & kNoSymlinks) != 0) return Errno{ELOOP};
  const InodeRef keep = link.shared_from_this();
  Path jump;
  std::string text = TRY(link.follow(ctx_, jump));
  if (jump) {
    if ((flags_ & kNoMagicLinks) != 0) return Errno{ELOOP};
    if ((flags_ & kScoped) != 0) return Errno{EXDEV};
    if ((flags_ & kNoXdev) != 0 && jump.mount != cur_.mount) return Errno{EXDEV};
    cur_ = std::move(jump);
    rest_.erase(0, at_);
    at_ = 0;
    return ok();
  }
  if (text.empty()) return Errno{ENOENT};
  if (text.front() == '/') {
    if ((flags_ & kBeneath) != 0) return Errno{EXDEV};
    if ((flags_ & kNoXdev) != 0 && cur_.mount != root_.mount) return Errno{EXDEV};
    cur_ = root_;
  }
  rest_.replace(0, at_, text);
  at_ = 0;
  return ok();
}

Result<DentryRef> Walk::lookup_last() { return child(last_); }

Result<DentryRef> Walk::lookup_new() {
  const DentryRef& dir = cur_.dentry;
  // Whoever may not make it is told first that it is there.
  const bool refused = trailing_slash_ || read_only(cur_) || !may_change_dir(ctx_, cur_);
  if (refused || dir->fs().caching() != Caching::kRevalidate || dir->child(last_) != nullptr) return lookup_last();
  return std::make_shared<Dentry>(dir, last_, nullptr);
}

Intent Walk::intent() const {
  if ((flags_ & kOpenRead) != 0) return Intent::kRead;
  return (flags_ & kStatOnly) != 0 ? Intent::kStat : Intent::kLook;
}

Result<DentryRef> Walk::child(std::string_view name) {
  const DentryRef dir = cur_.dentry;
  const Caching caching = dir->inode()->fs().caching();
  if (DentryRef d = dir->child(name)) {
    bool good = caching == Caching::kAuthoritative || d->mounts != 0;
    if (!good && caching == Caching::kRevalidate && !d->negative()) {
      good = TRY(still_good(dir, name, d));
      if (!good && dir->child(name) == d) dir->drop_child(name);
    }
    if (good) {
      if (caching != Caching::kNone) ns_.shared_->cache.touch(d);
      return d;
    }
  }
  return look_up(dir, name);
}

// Is this what the name stands for? If that has to be asked for, all cached names behind it are, in one go.
Result<bool> Walk::still_good(const DentryRef& dir, std::string_view name, const DentryRef& child) {
  Inode& in = *dir->inode();
  if (const auto known = in.known_name(ctx_, name, *child->inode(), intent())) return *known;
  std::vector<CachedName> names{{name, child->inode()}};
  std::vector<DentryRef> kept{child};  // while we wait
  bool all = false;
  const auto path = plain_names(name, all);
  for (size_t i = 1; i < path.size() && kept.back()->inode()->is_dir() && kept.back()->mounts == 0; ++i) {
    DentryRef next = kept.back()->child(path[i]);
    if (next == nullptr || next->negative() || next->mounts != 0) break;
    names.push_back({path[i], next->inode()});
    kept.push_back(std::move(next));
  }
  return in.revalidate(ctx_, names, all && names.size() == path.size() ? intent() : Intent::kLook);
}

// `first` and the plain names that follow it in the path: "..", and whatever comes after it, is not
// known before the links among them are. `all`: there are no further ones.
std::vector<std::string_view> Walk::plain_names(std::string_view first, bool& all) const {
  std::vector<std::string_view> names{first};
  all = false;
  size_t at = at_;
  while (names.size() < kMaxRun) {
    at = rest_.find_first_not_of('/', at);
    if (at == std::string::npos) {
      all = true;
      break;
    }
    const size_t end = std::min(rest_.find('/', at), rest_.size());
    const auto name = std::string_view(rest_).substr(at, end - at);
    if (is_dots(name) || name.size() > kNameMax) break;
    names.push_back(name);
    at = end;
  }
  return names;
}

// Asks the file system, and remembers. Another fiber may have looked up, made or removed the name
// while we waited: what the cache holds then is newer than our answer.
Result<DentryRef> Walk::look_up(const DentryRef& dir, std::string_view name) {
  Inode& inode = *dir->inode();
  const Caching caching = inode.fs().caching();
  bool all = false;
  const auto names = plain_names(name, all);
  const Intent intent = all ? this->intent() : Intent::kLook;
  std::vector<InodeRef> found;
  if (names.size() == 1 && intent == Intent::kLook) {
    auto one = inode.lookup(ctx_, name);
    if (!one && one.error() != Errno{ENOENT}) return one.error();
    if (one) found.push_back(std::move(one).assume_value());
  } else {
    auto many = inode.lookup_many(ctx_, names, intent);
    if (!many && many.error() != Errno{ENOENT}) return many.error();
    if (many) found = std::move(many).assume_value();
  }
  if (found.empty()) {
    if (auto d = dir->child(name); d && caching == Caching::kAuthoritative) return d;
    if (caching != Caching::kAuthoritative) {
      return std::make_shared<Dentry>(dir, std::string(name), nullptr);
    }
    auto d = dir->add_child(name, nullptr);
    ns_.shared_->cache.touch(d);
    return d;
  }
  DentryRef first;
  DentryRef at = dir;
  for (size_t i = 0; i < found.size() && i < names.size(); ++i) {
    DentryRef d = at->child(names[i]);
    const bool keep = d && (caching == Caching::kAuthoritative || d->inode_ref() == found[i]);
    if (!keep) d = at->add_child(names[i], found[i]);
    if (caching != Caching::kNone) ns_.shared_->cache.touch(d);
    if (i == 0) first = d;
    if (d->inode_ref() != found[i] || !found[i]->is_dir()) break;
    at = d;
  }
  return first;
}

bool read_only(const Path& p) {
  return (p.mount && (p.mount->flags & kMntReadOnly) != 0) || p.inode()->fs().read_only();
}

Result<void> inode_permission(OpContext& ctx, const Path& p, uint32_t mask) {
  Inode& inode = *p.inode();
  if ((mask & kMayWrite) != 0 && read_only(p)) {
    const auto type = inode.type();
    if (type == S_IFREG || type == S_IFDIR || type == S_IFLNK) return Errno{EROFS};
  }
  return inode.permission(ctx, mask);
}

Result<void> may_change_dir(OpContext& ctx, const Path& dir) {
  if (dir.dentry->unlinked()) return Errno{ENOENT};
  return dir.inode()->permission(ctx, kMayWrite | kMayExec);
}

// may_delete of Linux, in its order of errors.
Result<void> may_delete(OpContext& ctx, const Path& dir, Inode& victim, bool want_dir) {
  TRY(dir.inode()->permission(ctx, kMayWrite | kMayExec));
  const FileRights dir_rights = TRY(dir.inode()->rights(ctx));
  if ((dir_rights.mode & S_ISVTX) != 0) {
    if (sticky_forbids(ctx.creds(), dir_rights, TRY(victim.rights(ctx)))) return Errno{EPERM};
  }
  if (want_dir && !victim.is_dir()) return Errno{ENOTDIR};
  if (!want_dir && victim.is_dir()) return Errno{EISDIR};
  if (dir.dentry->unlinked()) return Errno{ENOENT};
  return ok();
}

}  // namespace run9::vfs
