// GoferInode's operations on names. A change is made on the server first; what is remembered here
// (listings, link counts, times of directories) follows when the answer is in.
#include <dirent.h>
#include <sys/stat.h>

#include "vfs/dentry.h"
#include "vfs/gofer/coarse_now.h"
#include "vfs/gofer/gofer_fs.h"
#include "vfs/gofer/gofer_inode.h"
#include "vfs/permission.h"

namespace run9::vfs::gofer {

namespace {

p9::TimeX to_wire(Timespec t) { return {.sec = static_cast<uint64_t>(t.sec), .nsec = t.nsec}; }

GoferInode& as_gofer(Inode& inode) { return static_cast<GoferInode&>(inode); }

// How long a listing serves who looks at the attributes of what he has listed: the entry timeout that FUSE file systems
// give by default, a third of what NFS clients grant at least (acregmin).
constexpr int64_t kListedNs = 1'000'000'000;

}  // namespace

Result<std::shared_ptr<GoferInode>> GoferInode::known_child(OpContext& ctx, std::string_view name, Intent intent) {
  return gofer().authoritative() ? own_child(name) : listed_child(ctx, name, intent);
}

Result<std::shared_ptr<GoferInode>> GoferInode::own_child(std::string_view name) {
  if (!names().missing.empty() && names().missing == name) return Errno{ENOENT};
  if (names().listing == nullptr) return nullptr;
  Listing::Entry* entry = names().listing->find(name);
  if (entry == nullptr) return Errno{ENOENT};
  if (auto live = gofer().find_live(entry->qid);
      live != nullptr && dirent_type(live->type()) == entry->type()) {
    return live;
  }
  if (entry->type() != DT_DIR) gofer().attribute_use().wanted();
  if (!entry->has_attributes()) return nullptr;
  auto child = gofer().intern(entry->qid, *entry->attr, p9::kNoFid);
  child->moved_to(*this, name);
  entry->attr.reset();  // the inode knows better from now on
  return child;
}

// In a tree that others change. As long as the lease lives under which the directory was listed, all is true that was told
// then, but for what is in directories and for files of several names. Where there are no leases a listing serves, for a
// moment, whoever wants to know the attributes of what he has just listed: once, as if he had asked.
Result<std::shared_ptr<GoferInode>> GoferInode::listed_child(OpContext& ctx, std::string_view name, Intent intent) {
  Leases& leases = gofer().leases();
  if (names().leased_missing.contains(name) && leases.alive(lease_, ctx.moment())) return Errno{ENOENT};
  if (names().listing == nullptr) return nullptr;
  const bool leased = leases.alive(names().lease, ctx.moment());
  const bool recent = !leases.possible() && coarse_now() - names().told_at_ns < kListedNs;
  if (!leased && !recent) {
    drop_listing();
    return nullptr;
  }
  Listing::Entry* entry = names().listing->find(name);
  if (entry == nullptr) return leased ? Errno{ENOENT} : Result<std::shared_ptr<GoferInode>>(nullptr);
  const bool covered = leased && entry->type() != DT_DIR;
  if (!entry->has_attributes()) return nullptr;
  if (!covered && (intent != Intent::kStat || !recent)) return nullptr;
  auto child = gofer().find_live(entry->qid);
  if (child == nullptr) {
    child = gofer().intern(entry->qid, *entry->attr, p9::kNoFid);
    child->moved_to(*this, name);
    child->told_ = 0;  // before this listing
  }
  if (dirent_type(child->type()) != entry->type()) return nullptr;
  if (!child->take_listed(*this, *entry, covered ? Listed::kLeased : Listed::kOfTheMoment)) return nullptr;
  return child;
}

// False: this inode has been told something since, or was changed by us.
bool GoferInode::take_listed(const GoferInode& dir, Listing::Entry& entry, Listed how) {
  const bool newest = told_ < dir.names().told && version_ < dir.names().told;
  if (!newest && how != Listed::kLeased) return false;
  if (newest) {
    learn(*entry.attr);
    told_ = dir.names().told;
    told_at_ns_ = named_at_ns_ = dir.names().told_at_ns;
  }
  entry.attr.reset();
  if (how != Listed::kLeased) return true;
  name_lease_ = dir.names().lease;
  leased_name_ = entry.name();
  attr_lease_ = attr_lease_now();
  return true;
}

std::optional<bool> GoferInode::known_name(OpContext& ctx, std::string_view name, const Inode& child, Intent intent) {
  const auto& file = static_cast<const GoferInode&>(child);
  if (file.name_believed(ctx.moment())) return true;
  if (file.name_lease_ == lease_ && file.leased_name_ == name && gofer().leases().alive(lease_, ctx.moment())) return true;
  if (intent == Intent::kStat && file.names().on_way_name == name && coarse_now() < file.names().on_way_until_ns) return true;
  const auto listed = listed_child(ctx, name, intent);
  if (!listed) return false;
  if (listed.assume_value() == nullptr) return std::nullopt;
  return listed.assume_value().get() == &file;
}

Result<bool> GoferInode::revalidate(OpContext& ctx, std::span<const CachedName> names, Intent intent) {
  names = names.first(std::min(names.size(), wire().has(p9::kCapWalkx) ? wire().max_walk() : 1));
  GoferInode& last = as_gofer(*names.back().inode);
  std::vector<std::string_view> path;
  for (const CachedName& n : names) path.push_back(n.name);
  const Fid dir = TRY(fid());
  const uint64_t asked_at = gofer().leases().reports();
  // Whatever comes next needs a fid, unless it is a look at the attributes.
  const Bind bind = last.fid_ == p9::kNoFid && intent != Intent::kStat ? Bind::kYes : Bind::kNo;
  const Then then = intent == Intent::kRead && !last.has_host_file() ? Then::kRead : Then::kNothing;
  Walked w = TRY(wire().walk(dir, path, bind, then));
  leased(w.leases[0], asked_at);
  size_t same = 0;
  for (size_t i = 0; i < w.found.size(); ++i) {
    GoferInode& file = as_gofer(*names[i].inode);
    const Fid fid = bind == Bind::kYes ? Fid{static_cast<uint32_t>(w.first) + static_cast<uint32_t>(i)} : p9::kNoFid;
    if (same != i || w.found[i].qid.path != file.qid_.path || (w.found[i].attr.mode & S_IFMT) != file.type()) {
      wire().drop(fid);
      continue;
    }
    ++same;
    file.learn(w.found[i].attr);
    if (fid != p9::kNoFid) file.meet_again(w.found[i].attr, fid);
    file.leased_as(i == 0 ? *this : as_gofer(*names[i - 1].inode), path[i], w.leases[i + 1], asked_at);
    file.met(ctx);
  }
  if (w.host.valid() && same == names.size() && last.is_regular()) last.opened_already(std::move(w.host));
  return same != 0;
}

// The names on the way to a listed directory serve as long as its listing does.
void GoferInode::listed_at(const Dentry& place) {
  if (gofer().authoritative() || gofer().leases().possible() || names().listing == nullptr) return;
  for (const Dentry* d = &place; d != nullptr; d = d->parent().get()) {
    auto* const dir = dynamic_cast<GoferInode*>(d->inode());
    if (dir == nullptr || &dir->fs() != &fs()) return;  // of a file system on top of ours
    dir->names().on_way_until_ns = names().told_at_ns + kListedNs;
    dir->names().on_way_name = d->name();
  }
}

// A child from our listing that nothing was ever done with: its attributes are good still.
void GoferInode::take_back(const GoferInode& child) {
  if (names().listing == nullptr || !child.attr_known_) return;
  if (!gofer().authoritative() && (child.attr_lease_ == 0 || child.attr_lease_ != names().lease)) return;
  Listing::Entry* entry = names().listing->find(child.name_);
  if (entry == nullptr || entry->qid.path != child.qid_.path) return;
  if (child.is_dir() || child.attr_.nlink == 1) entry->attr = std::make_unique<AttrX>(child.attr_);
}

Result<InodeRef> GoferInode::lookup(OpContext& ctx, std::string_view name) {
  if (!is_dir()) return Errno{ENOTDIR};
  return TRY(lookup_many(ctx, std::span(&name, 1))).front();
}

Result<std::vector<InodeRef>> GoferInode::lookup_many(OpContext& ctx,
                                                      std::span<const std::string_view> names,
                                                      Intent intent) {
  if (!is_dir()) return Errno{ENOTDIR};
  std::vector<InodeRef> found;
  const Intent first = names.size() == 1 ? intent : Intent::kLook;
  auto known = TRY(known_child(ctx, names[0], first));
  if (known == nullptr) {
    TRY(list_for_lookups());
    known = TRY(known_child(ctx, names[0], first));
  }
  if (known != nullptr && (names.size() == 1 || !known->is_dir())) {
    found.push_back(std::move(known));
    return found;
  }
  const Fid dir = TRY(fid());
  names = names.first(std::min(names.size(), wire().max_walk()));
  const uint64_t version = version_;
  const Then then = intent == Intent::kRead ? Then::kRead : Then::kNothing;
  const uint64_t asked_at = gofer().leases().reports();
  Walked w = TRY(wire().walk(dir, names, Bind::kYes, then));
  leased(w.leases[0], asked_at);
  for (size_t i = 0; i < w.found.size(); ++i) {
    const Fid fid{static_cast<uint32_t>(w.first) + static_cast<uint32_t>(i)};
    auto inode = gofer().intern(w.found[i].qid, w.found[i].attr, fid);
    // From now on the inode knows better than the listing its name may be in.
    GoferInode& parent = i == 0 ? *this : as_gofer(*found.back());
    if (parent.names().listing != nullptr) {
      if (auto* entry = parent.names().listing->find(names[i])) entry->attr.reset();
    }
    inode->has_name(parent, names[i]);
    inode->leased_as(parent, names[i], w.leases[i + 1], asked_at);
    inode->met(ctx);
    if (inode->is_symlink() && !w.target.empty()) inode->link_ = w.target;
    if (w.host.valid() && i + 1 == names.size() && inode->is_regular()) {
      inode->opened_already(std::move(w.host));
    }
    found.push_back(std::move(inode));
  }
  if (w.end == p9::WalkStatus::kMissing && gofer().authoritative() &&
      w.found.size() < names.size()) {
    // The path walk asks for the next name next.
    GoferInode& last = found.empty() ? *this : as_gofer(*found.back());
    if (last.is_dir() && (&last != this || version == version_)) {
      last.names().missing = names[w.found.size()];
    }
  }
  if (w.end == p9::WalkStatus::kMissing && w.found.size() < names.size()) {
    constexpr size_t kMostMissing = 256;
    GoferInode& last = found.empty() ? *this : as_gofer(*found.back());
    if (last.lease_ != 0 && last.names().leased_missing.size() < kMostMissing) {
      last.names().leased_missing.emplace(names[w.found.size()]);
    }
  }
  if (!found.empty()) return found;
  switch (w.end) {
    case p9::WalkStatus::kFailed: return w.error;
    case p9::WalkStatus::kMissing: return Errno{ENOENT};
    case p9::WalkStatus::kNotDir: return Errno{ENOTDIR};
    default: return Errno{EPROTO};
  }
}

Owner GoferInode::new_owner_of(OpContext& ctx, uint32_t& mode) const {
  const NewOwner n = new_owner(ctx.creds(), stat_now(), mode);
  mode = n.mode;
  return {.uid = n.uid, .gid = n.gid};
}

InodeRef GoferInode::made(OpContext& ctx, std::string_view name, const Made& file) {
  auto child = gofer().intern(file.qid, file.attr, file.fid);
  name_added(ctx, name, *child);
  return child;
}

Result<InodeRef> GoferInode::create(OpContext& ctx, std::string_view name, uint32_t mode) {
  TRY(gofer().writable());
  const Fid dir = TRY(fid());
  mode |= S_IFREG;
  const Owner owner = new_owner_of(ctx, mode);
  Created c = TRY(wire().create(dir, name, mode & 07777, owner));
  InodeRef inode = made(ctx, name, c.file);
  GoferInode& child = as_gofer(*inode);
  if (c.host.valid() && child.rw_ == nullptr && child.is_regular()) {
    child.rw_ = std::make_shared<UniqueFd>(std::move(c.host));
    gofer().host_files().use(child);
  }
  if (c.open.fid != p9::kNoFid) {
    wire().drop(std::exchange(child.spare_open_, c.open).fid);
  }
  return inode;
}

Result<InodeRef> GoferInode::mkdir(OpContext& ctx, std::string_view name, uint32_t mode) {
  TRY(gofer().writable());
  const Fid dir = TRY(fid());
  mode |= S_IFDIR;
  const Owner owner = new_owner_of(ctx, mode);
  const Made file = TRY(wire().mkdir(dir, name, mode & 07777, owner));
  InodeRef child = made(ctx, name, file);
  ++attr_.nlink;
  return child;
}

Result<InodeRef> GoferInode::mknod(OpContext& ctx, std::string_view name, uint32_t mode,
                                   uint64_t rdev) {
  TRY(gofer().writable());
  const Fid dir = TRY(fid());
  const Owner owner = new_owner_of(ctx, mode);
  return made(ctx, name, TRY(wire().mknod(dir, name, mode, rdev, owner)));
}

Result<InodeRef> GoferInode::symlink(OpContext& ctx, std::string_view name,
                                     std::string_view target) {
  TRY(gofer().writable());
  const Fid dir = TRY(fid());
  uint32_t mode = S_IFLNK | 0777;
  const Owner owner = new_owner_of(ctx, mode);
  InodeRef inode = made(ctx, name, TRY(wire().symlink(dir, name, target, owner)));
  as_gofer(*inode).link_ = target;
  return inode;
}

Result<void> GoferInode::link(OpContext& ctx, std::string_view name, Inode& target) {
  TRY(gofer().writable());
  GoferInode& file = as_gofer(target);
  const Fid dir = TRY(fid());
  const Fid from = TRY(file.fid());
  TRY(wire().link(dir, name, from));
  ++file.attr_.nlink;
  file.renamed(ctx);
  file.has_name(*this, name);
  name_added(ctx, name, file);
  return ok();
}

Result<void> GoferInode::unlink(OpContext& ctx, std::string_view name, Inode& victim) {
  TRY(gofer().writable());
  const Fid dir = TRY(fid());
  TRY(as_gofer(victim).prepare_to_lose_name());
  TRY(wire().unlink(dir, name, 0));
  name_removed(ctx, name, as_gofer(victim));
  as_gofer(victim).lacks_name(*this, name);
  as_gofer(victim).lost_name(ctx);
  return ok();
}

Result<void> GoferInode::rmdir(OpContext& ctx, std::string_view name, Inode& victim) {
  TRY(gofer().writable());
  const Fid dir = TRY(fid());
  TRY(wire().unlink(dir, name, p9::kAtRemovedir));
  name_removed(ctx, name, as_gofer(victim));
  --attr_.nlink;
  as_gofer(victim).lost_name(ctx);
  return ok();
}

Result<void> GoferInode::rename(OpContext& ctx, std::string_view name, Inode& victim,
                                Inode& new_dir, std::string_view new_name, Inode* target,
                                uint32_t flags) {
  TRY(gofer().writable());
  GoferInode& file = as_gofer(victim);
  GoferInode& to = as_gofer(new_dir);
  // Two names of one file: rename(2) does nothing.
  if (target == &victim && flags == 0) return ok();
  const Fid from_fid = TRY(fid());
  const Fid to_fid = TRY(to.fid());
  if (target != nullptr) TRY(as_gofer(*target).prepare_to_lose_name());
  TRY(wire().rename(from_fid, name, to_fid, new_name, flags));
  const int moved_dirs = file.is_dir() ? 1 : 0;
  int came_back = 0;  // directories that left `to`
  if ((flags & (RenameFlags::kExchange | RenameFlags::kWhiteout)) != 0) {
    drop_listing();
    to.drop_listing();
    changed(ctx);
    to.changed(ctx);
    if ((flags & RenameFlags::kExchange) != 0 && target != nullptr) {
      as_gofer(*target).moved_to(*this, name);
      as_gofer(*target).renamed(ctx);
      if (target->is_dir()) came_back = 1, ++attr_.nlink;
    }
  } else {
    name_removed(ctx, name, file);
    if (target != nullptr) {
      to.name_removed(ctx, new_name, as_gofer(*target));
      as_gofer(*target).lacks_name(to, new_name);
      as_gofer(*target).lost_name(ctx);
      if (target->is_dir()) came_back = 1;
    }
    to.name_added(ctx, new_name, file);
  }
  attr_.nlink -= moved_dirs;
  to.attr_.nlink += moved_dirs - came_back;
  file.moved_to(to, new_name);
  file.lacks_name(*this, name);
  file.has_name(to, new_name);
  file.renamed(ctx);
  return ok();
}

void GoferInode::moved_to(GoferInode& dir, std::string_view name) {
  if (fid_ != p9::kNoFid || unlinked_) return;
  parent_ = std::static_pointer_cast<GoferInode>(dir.shared_from_this());
  name_ = name;
}

void GoferInode::has_name(GoferInode& dir, std::string_view name) {
  constexpr size_t kEnough = 8;
  if (is_dir() || attr_.nlink < 2 || places_.size() >= kEnough) return;
  lacks_name(dir, name);
  places_.push_back({std::static_pointer_cast<GoferInode>(dir.shared_from_this()),
                     std::string(name)});
}

void GoferInode::lacks_name(const GoferInode& dir, std::string_view name) {
  std::erase_if(places_, [&](const Place& p) {
    return p.name == name && p.dir.lock().get() == &dir;
  });
}

Result<void> GoferInode::walk_by_other_name() {
  while (!places_.empty()) {
    const Place place = std::move(places_.back());
    places_.pop_back();
    const auto dir = place.dir.lock();
    if (dir == nullptr) continue;
    const std::string_view names[] = {place.name};
    const Fid dir_fid = TRY(dir->fid());
    const Walked w = TRY(wire().walk(dir_fid, names, Bind::kYes));
    if (w.found.empty()) continue;
    if (w.found[0].qid.path != qid_.path) {
      wire().drop(w.first);
      continue;
    }
    wire().drop(std::exchange(fid_, w.first));
    return ok();
  }
  return Errno{ENOENT};
}

void GoferInode::name_added(OpContext& ctx, std::string_view name, const GoferInode& child) {
  if (names().listing != nullptr) {
    names().listing->add(name, child.qid_, dirent_type(child.type()));
  }
  changed(ctx);
}

void GoferInode::name_removed(OpContext& ctx, std::string_view name, const GoferInode&) {
  if (names().listing != nullptr) names().listing->erase(name);
  changed(ctx);
  // Who removes a file may make it anew.
  if (gofer().authoritative()) names().missing = name;
}

// The server's clock is the host's, and so is ours: the times differ from its by less than a tick.
void GoferInode::changed(OpContext& ctx) {
  own_change();
  names().missing.clear();
  names().leased_missing.clear();
  names().links.ahead.clear();
  attr_.mtime = attr_.ctime = to_wire(ctx.now());
}

// A name of it came, went or moved.
void GoferInode::renamed(OpContext& ctx) {
  own_change();
  attr_.ctime = to_wire(ctx.now());
}

// Whoever has the file open goes on with it: without a fid nobody could change its mode or owner any more.
Result<void> GoferInode::prepare_to_lose_name() {
  if (fid_ != p9::kNoFid || idle()) return ok();
  TRY(fid());
  return ok();
}

void GoferInode::lost_name(OpContext& ctx) {
  attr_.nlink = is_dir() || attr_.nlink == 0 ? 0 : attr_.nlink - 1;
  renamed(ctx);
  if (fid_ == p9::kNoFid) parent_.reset();  // another name, if there is one, brings it back
  if (attr_.nlink != 0) return;
  unlinked_ = true;
  drop_listing();
  gofer().forget(*this);
  gofer().opened_ahead().drop(qid_.path);
}

}  // namespace run9::vfs::gofer
