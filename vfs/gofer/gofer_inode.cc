#include "vfs/gofer/gofer_inode.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vfs/gofer/coarse_now.h"
#include "vfs/gofer/gofer_file.h"
#include "vfs/gofer/gofer_fs.h"
#include "vfs/gofer/gofer_locks.h"
#include "vfs/permission.h"
#include "vfs/watch.h"

namespace run9::vfs::gofer {

namespace {

// How long the attributes that came with a walk serve the getattr that follows it.
constexpr int64_t kFreshNs = 10'000'000;

Timespec to_timespec(const p9::TimeX& t) { return {static_cast<int64_t>(t.sec), t.nsec}; }
p9::TimeX from_host(const timespec& t) {
  return {.sec = static_cast<uint64_t>(t.tv_sec), .nsec = static_cast<uint32_t>(t.tv_nsec)};
}
int64_t to_ns(const p9::TimeX& t) { return static_cast<int64_t>(t.sec) * 1'000'000'000 + t.nsec; }
constexpr int64_t kSecondNs = 1'000'000'000, kDayNs = 24 * 3600 * kSecondNs;
// The access time is one that a read at that time does not change, if the mount has relatime or noatime (mount(8)).
bool is_recent(const AttrX& a, int64_t at_ns) {
  const int64_t atime = to_ns(a.atime);
  return atime > to_ns(a.mtime) && atime > to_ns(a.ctime) && at_ns - atime < kDayNs;
}
p9::Time to_wire(const Timespec& t) { return {.sec = static_cast<uint64_t>(t.sec), .nsec = t.nsec}; }

}  // namespace

GoferInode::GoferInode(GoferFs& fs, Qid qid, const AttrX& attr, Fid fid, KeepFs keep)
    : Inode(fs, qid.path, attr.mode, keep), qid_(qid), fid_(fid) {
  learn(attr);
  named_at_ns_ = told_at_ns_;
}

GoferInode::~GoferInode() {
  drop_listing();
  if ((touched_ && !only_read_) || mapped_ || unseen_writers_ != 0) gofer().note_change();
  if (fid_ == p9::kNoFid && parent_ != nullptr) {
    note_others();
    if (touched_) refresh_from_host_file();
    parent_->take_back(*this);
  }
  if (spare_open_.fid != p9::kNoFid) wire().drop(spare_open_.fid);
  if (fid_ != p9::kNoFid) {
    if (unlinked_) {
      note_others();
      if (touched_) refresh_from_host_file();  // how many bytes it holds
      wire().drop_unlinked(fid_, attr_.size);
    } else {
      wire().drop(fid_);
    }
  }
  gofer().forget(*this);
}

GoferInode::Names& GoferInode::names() {
  if (names_ == nullptr) names_ = std::make_unique<Names>();
  return *names_;
}

const GoferInode::Names& GoferInode::names() const {
  static const Names kNone;
  return names_ == nullptr ? kNone : *names_;
}

GoferFs& GoferInode::gofer() const { return static_cast<GoferFs&>(fs()); }
Wire& GoferInode::wire() const { return gofer().wire(); }

Result<Fid> GoferInode::fid() {
  // A rename while we were away moves the name: then it is walked once more.
  for (int tries = 0; fid_ == p9::kNoFid && tries < 3; ++tries) {
    if (parent_ == nullptr) return Errno{ESTALE};
    const auto parent = parent_;
    const std::string name = name_;
    const std::string_view names[] = {name};
    const Fid dir = TRY(parent->fid());
    const Walked w = TRY(wire().walk(dir, names, Bind::kYes));
    if (w.end == p9::WalkStatus::kFailed) return w.error;
    if (w.found.empty()) continue;
    if (fid_ != p9::kNoFid || w.found[0].qid.path != qid_.path) {
      wire().drop(w.first);
      continue;
    }
    if (is_symlink()) link_ = w.target;
    meet_again(w.found[0].attr, w.first);
  }
  if (fid_ == p9::kNoFid) return Errno{ESTALE};
  return fid_;
}

void GoferInode::meet_again(const AttrX& attr, Fid fid) {
  if (fid_ != p9::kNoFid) {
    wire().drop(fid);
  } else if (fid != p9::kNoFid) {
    fid_ = fid;
    parent_.reset();
  }
  // In a tree that is ours what we know is never older than what a walk saw on its way.
  if (!gofer().authoritative() || !attr_known_) learn(attr);
  named_at_ns_ = told_at_ns_;
}

void GoferInode::learn(const AttrX& attr) {
  attr_ = attr;
  attr_.mode = (attr.mode & 07777) | type();
  attr_known_ = true;
  touched_ = has_host_file();
  only_read_ = false;
  told_ = gofer().next_event();
  told_at_ns_ = coarse_now();
  fresh_until_ns_ = told_at_ns_ + kFreshNs;
  attr_lease_ = 0;
}

void GoferInode::learn(const AttrX& attr, uint64_t since) {
  learn(attr);
  if (version_ == since) return;
  attr_known_ = false;
  fresh_until_ns_ = 0;
}

bool GoferInode::fresh() const { return fresh_until_ns_ != 0 && coarse_now() < fresh_until_ns_; }

bool GoferInode::attr_believed(OpContext& ctx) const {
  if (gofer().authoritative() || gofer().leases().alive(attr_lease_, ctx.moment())) return true;
  if (met_ != 0 && met_ == ctx.moment() && version_ < told_) return true;
  const int64_t staleness = gofer().staleness_ns();
  return staleness != 0 && coarse_now() - told_at_ns_ < staleness;
}

uint64_t GoferInode::attr_lease_now() const {
  if (is_dir()) return lease_;
  return attr_.nlink == 1 ? name_lease_ : 0;
}

void GoferInode::leased(uint32_t watch, uint64_t asked_at) {
  const uint64_t lease = gofer().leases().granted(watch, asked_at);
  if (lease != lease_) names().leased_missing.clear();
  lease_ = lease;
}

void GoferInode::leased_as(const GoferInode& dir, std::string_view name, uint32_t own_watch,
                           uint64_t asked_at) {
  name_lease_ = dir.lease_;
  leased_name_ = name_lease_ != 0 ? name : std::string_view{};
  if (is_dir()) leased(own_watch, asked_at);
  attr_lease_ = attr_lease_now();
}

// One name of several may be gone while others are walked: those are always asked for.
bool GoferInode::name_believed(uint64_t moment) const {
  if (!is_dir() && attr_.nlink != 1) return false;
  if (met_ != 0 && met_ == moment) return true;
  const int64_t staleness = gofer().staleness_ns();
  return staleness != 0 && coarse_now() - named_at_ns_ < staleness;
}

void GoferInode::met(OpContext& ctx) {
  named_at_ns_ = told_at_ns_;
  met_ = ctx.moment();
}

// Of a directory whose lease has ended, or that never had one.
Result<void> GoferInode::renew_lease(OpContext& ctx) {
  if (!gofer().leases().possible() || gofer().leases().alive(lease_, ctx.moment())) return ok();
  const Fid fid = TRY(this->fid());
  const uint64_t version = version_, asked_at = gofer().leases().reports();
  const Wire::Leased got = TRY(wire().lease(fid));
  learn(got.attr, version);
  leased(got.watch, asked_at);
  attr_lease_ = attr_lease_now();
  return ok();
}

Result<void> GoferInode::refresh() {
  const uint64_t told = told_, version = version_;
  const Fid fid = TRY(this->fid());
  // The walk for the fid has told them, unless they were better known here.
  if (told_ == told || !attr_known_ || version_ != version) {
    const uint64_t lease = attr_lease_now();
    learn(TRY(wire().getattr(fid)).attr, version);
    if (lease == attr_lease_now()) attr_lease_ = lease;
  }
  fresh_until_ns_ = 0;
  return ok();
}

// Owners are not taken from the descriptor: the gofer may show others than the host has.
void GoferInode::refresh_from_host_file() {
  struct stat st;
  const HostFd& host = rw_ != nullptr ? rw_ : ro_;
  if (host == nullptr || host_fstat(host->get(), &st) != 0) {
    attr_known_ = false;
    return;
  }
  attr_.mode = (st.st_mode & 07777) | type();
  attr_.size = static_cast<uint64_t>(st.st_size);
  attr_.blocks = static_cast<uint64_t>(st.st_blocks);
  attr_.atime = from_host(st.st_atim);
  attr_.mtime = from_host(st.st_mtim);
  attr_.ctime = from_host(st.st_ctim);
  touched_ = mapped_;
  only_read_ = false;
}

void GoferInode::note_others() {
  if (!has_host_file()) return;
  if (unseen_writers_ != 0) {
    touched_ = true;
    only_read_ = false;
  } else if (others_read_ && !read_changes_nothing()) {
    touched_ = true;
  }
}

void GoferInode::before_host_files_go() {
  note_others();
  mapped_ = false;  // a mapping would have kept them, and so would
  no_unseen_writers();  // whoever writes by them
  if (touched_) refresh_from_host_file();
}

// What the server tells now may be from before.
void GoferInode::new_version() {
  version_ = gofer().next_event();
  fresh_until_ns_ = 0;
  notify_inode(*this, kAttributesMoved);
}

void GoferInode::own_change() {
  new_version();
  gofer().note_change();
  if (is_dir()) gofer().listed_ahead().changed(qid_.path);
}

bool GoferInode::read_changes_nothing() const {
  return attr_known_ && (attr_.valid & p9::kAttrRelatime) != 0 && is_recent(attr_, coarse_now(CLOCK_REALTIME_COARSE));
}

void GoferInode::read_by_others() {
  others_read_ = true;
  notify_inode(*this, kAttributesMoved);
}

void GoferInode::was_read() {
  if (!touched_ && read_changes_nothing()) return;
  const bool only = !touched_ || only_read_;
  new_version();
  data_moved();
  only_read_ = only && touched_;
}

void GoferInode::touched() {
  own_change();
  data_moved();
}

void GoferInode::data_moved() {
  only_read_ = false;
  if (has_host_file()) {
    touched_ = true;
  } else {
    attr_known_ = false;
  }
}

std::optional<uint64_t> GoferInode::known_end() const {
  if (!gofer().authoritative() || end_.version != version_ || unseen_writers_ != 0) return std::nullopt;
  return end_.bytes;
}

class GoferInode::HostWrites final : public UnseenWrites {
 public:
  HostWrites(std::shared_ptr<GoferInode> node, HostFd host) : node_(std::move(node)), host_(std::move(host)) { ++node_->unseen_writers_; }
  void over() override {
    if (std::exchange(over_, true)) return;
    if (node_->unseen_writers_ > 0 && --node_->unseen_writers_ == 0) node_->no_unseen_writers();
    node_->touched();
  }

 private:
  const std::shared_ptr<GoferInode> node_;
  const HostFd host_;  // with it the inode keeps its own
  bool over_ = false;
};

void GoferInode::no_unseen_writers() {
  unseen_writers_ = 0;
  if (appender_ != nullptr) appender_->stop_appends();
}

bool GoferInode::may_append_unseen(const GoferFile& file) const {
  return gofer().authoritative() && (unseen_writers_ == 0 || appender_ == &file);
}

GoferInode::SizeChange::SizeChange(GoferInode& node) : node_(node) {
  if (node_.appender_ != nullptr) node_.appender_->note_appends();
}

GoferInode::SizeChange::~SizeChange() {
  if (node_.appender_ != nullptr) node_.appender_->skip_appends();
}

std::unique_ptr<UnseenWrites> GoferInode::write_unseen(HostFd host) {
  touched();
  return std::make_unique<HostWrites>(std::static_pointer_cast<GoferInode>(shared_from_this()), std::move(host));
}

Stat GoferInode::stat_now() const {
  Stat st{.mask = static_cast<uint32_t>(attr_.valid & (p9::kAttrBasic | p9::kAttrBtime)),
          .ino = ino(), .mode = attr_.mode, .nlink = attr_.nlink, .uid = attr_.uid,
          .gid = attr_.gid, .rdev = attr_.rdev, .size = attr_.size, .blocks = attr_.blocks,
          .blksize = attr_.blksize == 0 ? 4096 : attr_.blksize,
          .atime = to_timespec(attr_.atime), .mtime = to_timespec(attr_.mtime),
          .ctime = to_timespec(attr_.ctime), .btime = to_timespec(attr_.btime)};
  return st;
}

Result<Stat> GoferInode::getattr(OpContext& ctx) {
  if (attr_believed(ctx)) {
    note_others();
    if (touched_) refresh_from_host_file();
    if (!attr_known_) TRY(refresh());
  } else if (!fresh() || unseen_writers_ != 0) {
    TRY(refresh());
  }
  fresh_until_ns_ = 0;
  return stat_now();
}

// Mode and owner are known from the walk that led here: only a root has to be asked for again.
Result<FileRights> GoferInode::rights(OpContext& ctx) {
  if (!gofer().authoritative() && gofer().root().get() == this &&
      coarse_now() - told_at_ns_ > kSecondNs && !attr_believed(ctx)) {
    TRY(refresh());
  }
  if (unseen_writers_ != 0 && has_host_file()) refresh_from_host_file();  // set-id bits go with a write
  return FileRights{attr_.mode, attr_.uid, attr_.gid};
}

Result<void> GoferInode::permission(OpContext& ctx, uint32_t mask) {
  return generic_permission(ctx, TRY(rights(ctx)), mask);
}

Result<void> GoferInode::setattr(OpContext&, const vfs::SetAttr& a) {
  return setattr_by(p9::kNoFid, a);
}

Result<void> GoferInode::setattr_by(Fid open, const vfs::SetAttr& a) {
  TRY(gofer().writable());
  const SizeChange change(*this);
  // A truncation is mostly the first half of an open for writing: get the descriptor for both.
  if (a.valid == kSetSize && is_regular()) {
    if (auto host = host_file(Access::kReadWrite)) {
      if (ftruncate(host.assume_value()->get(), static_cast<off_t>(a.size)) == 0) {
        touched();
        return ok();
      }
    }
  }
  p9::SetAttr set{.mode = a.mode & 07777, .size = a.size, .atime = to_wire(a.atime),
                  .mtime = to_wire(a.mtime)};
  if ((a.valid & kSetMode) != 0) set.valid |= p9::kSetMode;
  if ((a.valid & kSetUid) != 0) set.valid |= p9::kSetUid, set.uid = a.uid;
  if ((a.valid & kSetGid) != 0) set.valid |= p9::kSetGid, set.gid = a.gid;
  if ((a.valid & kSetSize) != 0) set.valid |= p9::kSetSize;
  if ((a.valid & (kSetAtime | kSetAtimeNow)) != 0) set.valid |= p9::kSetAtime;
  if ((a.valid & (kSetMtime | kSetMtimeNow)) != 0) set.valid |= p9::kSetMtime;
  if ((a.valid & kSetAtime) != 0) set.valid |= p9::kSetAtimeGiven;
  if ((a.valid & kSetMtime) != 0) set.valid |= p9::kSetMtimeGiven;
  if (set.valid == 0) return ok();
  const Fid fid = open != p9::kNoFid ? open : TRY(this->fid());
  const uint64_t version = version_ = gofer().next_event();
  auto attr = wire().setattr(fid, set);
  notify_inode(*this, kAttributesMoved);
  if (!attr) {
    attr_known_ = false;  // a part of it may be done
    return attr.error();
  }
  learn(attr.assume_value(), version);
  fresh_until_ns_ = 0;
  return ok();
}

Result<void> GoferInode::clear_set_ids(OpContext& ctx) {
  if (!has_set_ids()) return ok();
  const uint32_t mode = mode_after_write(ctx.creds(), attr_.mode, attr_.gid);
  // Also where they stay (CAP_FSETID): the host has taken them from a write of ours, as we have no rights there.
  return setattr(ctx, {.valid = kSetMode, .mode = mode & 07777});
}

Result<std::string> GoferInode::readlink(OpContext&) {
  if (!is_symlink()) return Errno{EINVAL};
  if (const auto dir = parent_; link_.empty() && dir != nullptr) link_ = dir->link_in(name_, qid_.path);
  if (link_.empty()) {
    const Fid fid = TRY(this->fid());
    // The walk for the fid may have brought it.
    if (link_.empty()) link_ = TRY(wire().readlink(fid));
  }
  return link_;
}

Result<UniqueFd> GoferInode::connect(OpContext&, int type) {
  if (!wire().has(p9::kCapSock)) return Errno{ECONNREFUSED};
  return wire().connect(TRY(fid()), static_cast<uint32_t>(type));
}

// In a tree of our own nobody else locks anything.
std::unique_ptr<OuterLocks> GoferInode::outer_locks() {
  if (gofer().authoritative() || !is_regular() || !wire().has(p9::kCapLockx) || !wire().has(p9::kCapFd)) return nullptr;
  return std::make_unique<GoferLocks>(*this, wire());
}

OuterEvents* GoferInode::outer_events() { return gofer().host_events(); }

// As far as is known; for a file out of a listing that is found out.
Result<bool> GoferInode::lacks_xattrs() {
  const auto known = [this] { return gofer().authoritative() && (attr_.valid & p9::kAttrNoXattrs) != 0; };
  if (known()) {
    gofer().xattr_use().wanted();
    return true;
  }
  const auto dir = parent_;
  if (dir == nullptr) return false;
  TRY(dir->list_for_xattrs());
  return known();
}

Result<std::vector<std::byte>> GoferInode::getxattr(OpContext&, std::string_view name) {
  if (absent_xattrs_.contains(name)) return Errno{ENODATA};
  // Of other kinds the server says what it thinks of them.
  const bool is_shown = name.starts_with("user.") || name.starts_with("security.") || name.starts_with("trusted.");
  if (is_shown && TRY(lacks_xattrs())) return Errno{ENODATA};
  const Fid fid = TRY(this->fid());
  auto value = wire().getxattr(fid, name);
  constexpr size_t kMostAbsent = 16;
  if (!value && value.error() == Errno{ENODATA} && gofer().authoritative() &&
      absent_xattrs_.size() < kMostAbsent) {
    absent_xattrs_.emplace(name);
  }
  return value;
}

Result<void> GoferInode::setxattr(OpContext&, std::string_view name, ByteSpan value, int flags) {
  TRY(gofer().writable());
  const Fid fid = TRY(this->fid());
  has_xattrs();
  auto set = wire().setxattr(fid, name, value, static_cast<uint32_t>(flags));
  attributes_changed();
  has_xattrs();
  return set;
}

void GoferInode::has_xattrs() {
  absent_xattrs_.clear();
  attr_.valid &= ~p9::kAttrNoXattrs;
  gofer().note_xattr_change();
}

// ctime has moved, and an ACL changes the mode: asked for when somebody wants to know.
void GoferInode::attributes_changed() {
  own_change();
  attr_known_ = false;
}

Result<void> GoferInode::removexattr(OpContext&, std::string_view name) {
  TRY(gofer().writable());
  const Fid fid = TRY(this->fid());
  auto removed = wire().removexattr(fid, name);
  attributes_changed();
  return removed;
}

Result<std::vector<std::string>> GoferInode::listxattr(OpContext&) {
  if (TRY(lacks_xattrs())) return std::vector<std::string>{};
  const auto bytes = TRY(wire().listxattr(TRY(fid())));
  std::vector<std::string> names;
  for (std::string_view rest = as_chars(bytes); !rest.empty();) {
    const size_t n = std::min(rest.find('\0'), rest.size());
    if (n != 0) names.emplace_back(rest.substr(0, n));
    rest.remove_prefix(std::min(n + 1, rest.size()));
  }
  return names;
}

}  // namespace run9::vfs::gofer
