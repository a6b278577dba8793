#include "vfs/gofer/gofer_fs.h"

namespace run9::vfs::gofer {

Result<FileSystemRef> GoferFs::create(OpContext&, std::unique_ptr<p9::Client> client,
                                      GoferOptions options) {
  TRY(client->start());
  const p9::Attached attached = TRY(client->attach(options.aname));
  Wire wire(std::move(client));
  const p9::WalkedX root = TRY(wire.getattr(attached.fid));
  if (!S_ISDIR(root.attr.mode)) return Errno{ENOTDIR};
  Leases leases;
  if (options.caching == Caching::kRevalidate && wire.has(p9::kCapLease)) {
    leases = Leases(TRY(wire.lease_events()));
  }
  return FileSystemRef(new GoferFs(std::move(wire), std::move(leases), std::move(options),
                                   attached.fid, root));
}

GoferFs::GoferFs(Wire wire, Leases leases, GoferOptions options, Fid root_fid, const p9::WalkedX& root)
    : options_(std::move(options)),
      wire_(std::move(wire)),
      leases_(std::move(leases)),
      host_files_(options_.max_host_files),
      root_(std::make_shared<GoferInode>(*this, root.qid, root.attr, root_fid, KeepFs::kNo)) {
  inodes_[root.qid.path] = root_;
  if (options_.fids != nullptr) {
    wire_.before_fids([this] { options_.fids->make_room(fids_counted_, wire_.fids_in_use()); });
  }
  if (!authoritative() && options_.on_readable && wire_.has(p9::kCapEvents) && wire_.has(p9::kCapFd)) {
    host_events_ = std::make_unique<HostEvents>(wire_, options_.on_readable);
  }
}

GoferFs::~GoferFs() {
  if (options_.fids != nullptr) options_.fids->end(fids_counted_);
}

Result<void> GoferFs::writable() const {
  if (options_.read_only) return Errno{EROFS};
  return ok();
}

Result<StatFs> GoferFs::statfs(OpContext&) {
  const p9::Rstatfs r = TRY(wire_.statfs(TRY(root_->fid())));
  return StatFs{.type = r.type, .bsize = r.bsize, .blocks = r.blocks, .bfree = r.bfree,
                .bavail = r.bavail, .files = r.files, .ffree = r.ffree, .fsid = r.fsid,
                .namelen = r.namelen};
}

// Without the message data is in the host's page cache, and outlives the sandbox there, if not the host.
// TODO(perf): the gofer answers nobody else of the sandbox until the host has written back.
Result<void> GoferFs::sync(OpContext&) {
  wire_.flush_drops();
  if (read_only() || !wire_.has(p9::kCapSyncfs)) return ok();
  return wire_.syncfs(TRY(root_->fid()));
}

std::string GoferFs::show_options() const {
  return std::string(",trans=fd,cache=") + (authoritative() ? "loose" : "none");
}

std::shared_ptr<GoferInode> GoferFs::find_live(Qid qid) const {
  const auto it = inodes_.find(qid.path);
  return it == inodes_.end() ? nullptr : it->second.lock();
}

std::shared_ptr<GoferInode> GoferFs::intern(Qid qid, const AttrX& attr, Fid fid) {
  if (auto live = find_live(qid); live && live->type() == (attr.mode & S_IFMT)) {
    live->meet_again(attr, fid);
    return live;
  }
  auto inode = std::make_shared<GoferInode>(*this, qid, attr, fid, KeepFs::kYes);
  inodes_[qid.path] = inode;
  return inode;
}

void GoferFs::settle_listings() {
  for (const auto& e : listed_ahead_.answered()) {
    if (const auto parent = e->parent.lock()) {
      parent->take_listed_ahead(*e);
    } else {
      discard(*e);
    }
  }
}

void GoferFs::discard(const ListedAhead::Expected& e) {
  listed_ahead_.foresight().wasted();
  if (const auto got = wire_.take(e.reading, [](const WireEntry&) {})) wire_.drop(got.assume_value().fid);
}

void GoferFs::forget(GoferInode& inode) {
  const auto it = inodes_.find(inode.qid().path);
  if (it == inodes_.end()) return;
  // Another file may have the number by now.
  const auto holder = it->second.lock();
  if (holder == nullptr || holder.get() == &inode) inodes_.erase(it);
}

std::list<GoferInode*>::iterator GoferFs::listing_kept(GoferInode& dir, size_t cost) {
  const auto place = listings_.insert(listings_.begin(), &dir);
  listed_ += cost;
  while (listed_ > options_.max_listed_names && listings_.size() > 1) {
    listings_.back()->drop_listing();
  }
  return place;
}

void GoferFs::listing_dropped(std::list<GoferInode*>::iterator place, size_t cost) {
  listed_ -= cost;
  listings_.erase(place);
}

}  // namespace run9::vfs::gofer
