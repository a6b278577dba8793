// How the listing of a directory comes here: because somebody reads it, asks for many of its names, or is likely to read it soon.
#include <dirent.h>
#include <sys/stat.h>

#include <algorithm>

#include "vfs/gofer/coarse_now.h"
#include "vfs/gofer/gofer_fs.h"
#include "vfs/gofer/gofer_inode.h"

namespace run9::vfs::gofer {

namespace {

constexpr size_t kFirstDirectories = 4, kMostDirectories = 32;

void add_entry(Listing& listing, const WireEntry& e) {
  if (e.name == ".") return;
  if (e.name == "..") return listing.set_parent_ino(e.qid.path);
  AttrX attr = e.attr;
  // A file of several names may be changed through another one.
  if (!S_ISDIR(attr.mode) && attr.nlink != 1) attr.valid = 0;
  listing.add(e.name, e.qid, attr.mode != 0 ? dirent_type(attr.mode) : e.type, attr);
}

}  // namespace

// Who asks for many names of a directory (git status, a compiler's search path) asks for more of them. The server is to have
// spent no more on an answer that is of no use, since the directory is larger, than it has on the questions: some 40 entries
// for each, so that larger ones are tried again after four times as many.
Result<void> GoferInode::list_for_lookups() {
  constexpr uint32_t kBytesEach = 8192;
  constexpr size_t kMostLookups = 1024;
  if (!gofer().authoritative() || !wire().has(p9::kCapReaddirx) || unlinked_) return ok();
  if ((names().listing != nullptr && !names().listing->light()) || ++names().lookups < names().list_after || names().list_after > kMostLookups) return ok();
  const auto bytes = static_cast<uint32_t>(names().list_after) * kBytesEach;
  names().list_after *= 4;
  const uint64_t version = version_;
  const Detail detail = gofer().wanted_of_files();
  auto listing = std::make_shared<Listing>(detail);
  listing->set_parent_ino(ino());
  const Fid dir = TRY(fid());
  const auto rest = wire().read_part(dir, 0, bytes, detail, [&](const WireEntry& e) { add_entry(*listing, e); });
  // Who may search a directory may not always read it.
  if (!rest || rest.assume_value() || version != version_ || unlinked_) return ok();
  if (names().listing != nullptr) {
    if (!names().listing->light()) return ok();
    drop_listing();
  }
  forget_inodes_of(*listing);
  keep_listing(std::move(listing));
  return ok();
}

// Whoever asks for one file's extended attributes after the other is mostly told that there are none (ls -l). Nobody waits
// longer for it than for some forty questions.
Result<void> GoferInode::list_for_xattrs() {
  constexpr size_t kFirstQuestions = 2;
  constexpr uint32_t kFirstBytes = 8192;
  Names::Xattrs& x = names().xattrs;
  if (!gofer().authoritative() || !wire().has(p9::kCapReaddirx) || names().listing == nullptr || x.done || unlinked_) return ok();
  if (++x.questions < kFirstQuestions) return ok();
  gofer().xattr_use().wanted();
  const Fid dir = TRY(fid());
  const uint64_t changes = gofer().xattr_changes(), from = x.offset;
  x.bytes = std::clamp(2 * x.bytes, kFirstBytes, p9::kMaxMsize);
  std::vector<std::pair<std::string, Qid>> without;
  const auto rest = wire().read_part(dir, from, x.bytes, Detail::kXattrs, [&](const WireEntry& e) {
    if ((e.attr.valid & p9::kAttrNoXattrs) != 0) without.emplace_back(e.name, e.qid);
  });
  if (!rest || names().xattrs.offset != from) {
    x.done = x.done || !rest;
    return ok();
  }
  x.done = !rest.assume_value();
  x.offset = rest.assume_value().value_or(from);
  if (changes != gofer().xattr_changes() || names().listing == nullptr) return ok();
  for (const auto& [name, qid] : without) {
    Listing::Entry* const entry = names().listing->find(name);
    if (entry == nullptr || entry->qid.path != qid.path) continue;
    if (const auto live = gofer().find_live(qid)) live->attr_.valid |= p9::kAttrNoXattrs;
    else if (entry->attr != nullptr) entry->attr->valid |= p9::kAttrNoXattrs;
  }
  return ok();
}

std::string GoferInode::link_in(std::string_view name, uint64_t path) {
  constexpr size_t kFirst = 8, kMost = 32;
  Names::Links& links = names().links;
  if (auto known = links.ahead.extract(path)) {
    ++links.used;
    return std::move(known.mapped());
  }
  const auto own = position_of(name);
  if (!own || !gofer().authoritative() || !wire().has(p9::kCapWalkx) || links.in_vain || links.questions++ == 0) return {};
  // Who wanted few of them will not want the next ones either.
  links.in_vain = 2 * links.used < links.batch;
  if (links.in_vain) return {};
  links.batch = std::clamp(2 * links.batch, kFirst, kMost);
  links.used = 0;
  links.ahead.clear();
  std::vector<std::string> together{std::string(name)};
  size_t looks = Listing::kMostLooks;
  for (const Listing::Entry& e : names().listing->after(*own)) {
    if (looks-- == 0 || together.size() > links.batch) break;
    if (e.type() == DT_LNK) together.emplace_back(e.name());
  }
  const auto dir = fid();
  if (!dir) return {};
  const uint64_t version = version_;
  auto answers = wire().read_links(dir.assume_value(), together);
  if (version != version_) return {};
  std::string link;
  for (Wire::Link& answer : answers) {
    if (answer.qid.path == path) link = std::move(answer.target);
    else links.ahead.emplace(answer.qid.path, std::move(answer.target));
  }
  return link;
}

Result<std::shared_ptr<Listing>> GoferInode::fetch_listing() {
  if (gofer().authoritative() && fid_ == p9::kNoFid && parent_ != nullptr && wire().has(p9::kCapWalkdir)) {
    auto listing = fetch_by_name();
    if (listing || listing.error() != Errno{ESTALE}) return listing;
  }
  const Fid dir = TRY(fid());
  const Detail detail = gofer().wanted_of_files();
  auto listing = std::make_shared<Listing>(detail);
  listing->set_parent_ino(ino());
  TRY(wire().read_directory(dir, [&](const WireEntry& e) { add_entry(*listing, e); }, detail));
  return listing;
}

// The answer to a request to list this directory. What it says of the directory itself is learned. ESTALE: the name is
// another one's.
Result<GoferInode::Told> GoferInode::told_by(const Wire::Reading& reading, uint64_t parent_ino) {
  Told told{std::make_shared<Listing>(reading.detail), {}};
  told.listing->set_parent_ino(parent_ino);
  AttrX attr;
  bool same = false;
  const Wire::ReadDir got = TRY(wire().take(reading, [&](const WireEntry& e) {
    if (e.name == ".") {
      same = e.qid.path == qid_.path;
      attr = e.attr;
    }
    add_entry(*told.listing, e);
  }));
  if (!same) {
    wire().drop(got.fid);
    return Errno{ESTALE};
  }
  told.rest = got.rest;
  if (!told.rest && gofer().fids_are_scarce()) {
    // Who knows all its names needs none, until something changes or is opened in it.
    wire().drop(got.fid);
    meet_again(attr, p9::kNoFid);
  } else {
    meet_again(attr, got.fid);
  }
  return told;
}

// Lists a directory without a fid, and with it those that will be asked for soon.
Result<std::shared_ptr<Listing>> GoferInode::fetch_by_name() {
  const auto parent = parent_;
  if (gofer().listed_ahead().expects(qid_.path)) {
    gofer().listed_ahead().wait_for(qid_.path);
    gofer().settle_listings();
    if (names().listing != nullptr) return names().listing;
    if (fid_ != p9::kNoFid || parent_ != parent) return Errno{ESTALE};
  }
  TRY(parent->fid());
  if (fid_ != p9::kNoFid || parent_ != parent) return Errno{ESTALE};
  std::vector<Unlisted> dirs{{parent, name_, qid_}};
  if (const auto own = parent->position_of(name_)) parent->unlisted_after(*own, parent->widen_window(), dirs);
  const auto readings = begin_listing(gofer(), dirs, Await::kFirst);
  if (readings.empty()) return Errno{ENFILE};
  readings[0].begun->wait();
  auto told = told_by(readings[0], parent->ino());
  gofer().settle_listings();
  if (!told) return told.error() == Errno{ENOENT} ? Errno{ESTALE} : told.error();
  names().above = parent;
  const auto listing = told.assume_value().listing;
  if (const auto rest = told.assume_value().rest) {
    TRY(wire().read_on(fid_, *rest, [&](const WireEntry& e) { add_entry(*listing, e); }, readings[0].detail));
  }
  return listing;
}

// Of the next `window` directories behind the one at position `own` of our listing, and then of those before it: adds
// those which nobody has listed yet, unless the first half is.
void GoferInode::unlisted_after(uint64_t own, size_t window, std::vector<Unlisted>& next) {
  ListedAhead& ahead = gofer().listed_ahead();
  // Inodes keep their file system alive, and that its root: the root keeps none of them.
  if (names().listing == nullptr || fid_ == p9::kNoFid || this == gofer().root().get() || gofer().fids_are_scarce()) return;
  const auto me = std::static_pointer_cast<GoferInode>(shared_from_this());
  const size_t before = next.size();
  window = std::min(window, ahead.room() - std::min(ahead.room(), before));
  size_t looks = Listing::kMostLooks, seen = 0;
  uint64_t looked_to = own;
  const auto enough = [&] { return looks == 0 || seen >= window || (next.size() == before && seen > window / 2); };
  const auto look_at = [&](const Listing::Entry& e) {
    --looks;
    if (e.type() != DT_DIR) return;
    ++seen;
    const auto live = gofer().find_live(e.qid);
    const bool known = live != nullptr && (live->fid_ != p9::kNoFid || live->parent_.get() != this || live->names().listing != nullptr);
    if (!known && !ahead.expects(e.qid.path)) next.push_back({me, std::string(e.name()), e.qid});
    if (seen <= window / 2) looked_to = std::max(looked_to, e.position);
  };
  bool ended = true;
  for (const Listing::Entry& e : names().listing->after(own)) {
    if (enough()) {
      ended = false;
      break;
    }
    look_at(e);
  }
  if (ended && !enough()) {
    if (seen <= window / 2) looked_to = ~uint64_t{0};
    for (const Listing::Entry& e : names().listing->all()) {
      if (e.position >= own || enough()) break;
      look_at(e);
    }
  }
  names().looked_from = own;
  names().looked_to = looked_to;
}

// How many directories in it to list along with one that is read: none with the first, then more each time.
size_t GoferInode::widen_window() {
  return std::exchange(names().window, std::clamp<size_t>(names().window * 2, kFirstDirectories, kMostDirectories));
}

// Asks for listings, all at once. Gives the answer that is awaited, if it could be asked for.
std::vector<Wire::Reading> GoferInode::begin_listing(GoferFs& fs, std::span<const Unlisted> dirs, Await await) {
  std::vector<Wire::NameIn> names;
  for (const Unlisted& d : dirs) names.push_back({d.parent->fid_, d.name});
  const size_t awaited = await == Await::kFirst ? 1 : 0;
  const uint64_t changes = fs.changes();
  auto all = fs.wire().begin_reading(names, awaited, fs.wanted_detail());
  for (size_t i = awaited; i < all.size(); ++i) {
    if (all[i].begun == nullptr) continue;
    fs.listed_ahead().expect({.qid = dirs[i].qid, .name = dirs[i].name, .parent = dirs[i].parent, .reading = all[i], .changes = changes});
  }
  all.resize(awaited);
  if (awaited != 0 && all[0].begun == nullptr) all.clear();
  return all;
}

// What was asked for before anybody wanted it has come.
void GoferInode::take_listed_ahead(const ListedAhead::Expected& e) {
  const auto child = own_child(e.name);
  if (!child || child.assume_value() == nullptr || child.assume_value()->qid_.path != e.qid.path) return gofer().discard(e);
  GoferInode& dir = *child.assume_value();
  const auto told = dir.told_by(e.reading, ino());
  // Large ones are read when they are wanted.
  if (!told || told.assume_value().rest || e.changed || dir.unlinked_ || dir.names().listing != nullptr) return;
  Listing& listing = *told.assume_value().listing;
  if (e.changes != gofer().changes()) listing.forget_attributes();
  dir.forget_inodes_of(listing);
  dir.keep_listing(told.assume_value().listing);
  dir.names().above = std::static_pointer_cast<GoferInode>(shared_from_this());
  dir.names().before_need = true;
  if (dir.fid_ == p9::kNoFid) return;  // it keeps us: we must not keep it
  names().listed_ahead.push_back(child.assume_value());
  constexpr size_t kMostKept = 64;
  if (names().listed_ahead.size() > kMostKept) names().listed_ahead.pop_front();
}

void GoferInode::about_to_be_told() {
  if (!gofer().authoritative()) return;
  if (names().listing != nullptr) gofer().told(names().listing->detail());
  list_on();
  open_neighbours();
}

// Those who read one directory after the other get the next ones listed before they ask: those beside this one, and where
// that was of use so far, the first ones in it and in the one after it.
void GoferInode::list_on() {
  if (!wire().has(p9::kCapWalkdir)) return;
  gofer().settle_listings();
  Foresight& foresight = gofer().listed_ahead().foresight();
  if (std::exchange(names().before_need, false)) foresight.used();
  const auto parent = names().above.lock();
  std::vector<Unlisted> next;
  if (foresight.pays()) list_first(next);
  if (parent != nullptr) {
    parent->list_after(name_, next);
    if (foresight.pays()) {
      for (const auto& dir : parent->directories_after(name_, 1)) dir->list_first(next);
    }
  }
  if (!next.empty()) begin_listing(gofer(), next, Await::kNone);
}

void GoferInode::list_after(std::string_view name, std::vector<Unlisted>& next) {
  const auto own = position_of(name);
  if (!own || names().window == 0 || (*own >= names().looked_from && *own < names().looked_to)) return;
  const size_t before = next.size();
  unlisted_after(*own, names().window, next);
  if (next.size() != before) widen_window();
}

void GoferInode::list_first(std::vector<Unlisted>& next) {
  if (names().window != 0 || names().looked_to != 0) return;
  const size_t before = next.size();
  unlisted_after(0, kFirstDirectories, next);
  if (next.size() != before) names().window = kFirstDirectories;
}

Result<std::shared_ptr<Listing>> GoferInode::listing(OpContext& ctx) {
  const bool own = gofer().authoritative();
  if (names().listing != nullptr && (own || gofer().leases().alive(names().lease, ctx.moment()))) return names().listing;
  if (unlinked_) return Errno{ENOENT};
  if (!own) TRY(renew_lease(ctx));
  const uint64_t version = version_, lease = lease_;
  const uint64_t told = gofer().next_event();
  const int64_t told_at_ns = coarse_now();
  auto listing = TRY(fetch_listing());
  if (version != version_ || unlinked_) return listing;
  if (own) {
    if (names().listing != nullptr) return names().listing;  // another fiber was quicker
    forget_inodes_of(*listing);
  }
  drop_listing();
  names().told = told;
  names().told_at_ns = told_at_ns;
  names().lease = lease == lease_ ? lease : 0;
  return keep_listing(std::move(listing));
}

// An inode that lives may have changed since it was listed by its old attributes: it is asked first, and what it leaves
// behind must not be found in the listing.
void GoferInode::forget_inodes_of(Listing& listing) const {
  for (Listing::Entry& e : listing.all()) {
    if (e.attr != nullptr && gofer().find_live(e.qid) != nullptr) e.attr.reset();
  }
}

std::shared_ptr<Listing> GoferInode::keep_listing(std::shared_ptr<Listing> listing) {
  names().listing = std::move(listing);
  names().listing->complete();
  names().cost = names().listing->size() + 16;
  names().place = gofer().listing_kept(*this, names().cost);
  return names().listing;
}

std::optional<uint64_t> GoferInode::position_of(std::string_view name) const {
  return names().listing == nullptr ? std::nullopt : names().listing->position_of(name);
}

void GoferInode::drop_listing() {
  if (names_ == nullptr) return;
  names().listed_ahead.clear();
  if (std::exchange(names().before_need, false)) gofer().listed_ahead().foresight().wasted();
  names().run = {};
  names().looked_from = names().looked_to = 0;
  names().lookups = 0;
  names().xattrs = {};
  names().links = {};
  names().list_after = Names::kListAfter;
  if (names().listing == nullptr) return;
  gofer().listing_dropped(names().place, names().cost);
  names().listing.reset();
}

}  // namespace run9::vfs::gofer
