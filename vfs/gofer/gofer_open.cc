// How a GoferInode comes by descriptors of the host: by its fid, by its name, or before anybody asks.
#include <dirent.h>
#include <fcntl.h>

#include <algorithm>

#include "vfs/gofer/gofer_file.h"
#include "vfs/gofer/gofer_fs.h"

namespace run9::vfs::gofer {

namespace {

constexpr size_t kFirstAhead = 8, kMostAhead = p9::kMaxOpens - 1;

}  // namespace

Result<HostFd> GoferInode::host_file(Access access, bool exact) {
  const bool write = access == Access::kReadWrite;
  HostFd& slot = write ? rw_ : ro_;
  if (slot == nullptr && !write && !exact && rw_ != nullptr) {
    gofer().host_files().use(*this);
    return rw_;
  }
  if (slot == nullptr) {
    if (!wire().has(p9::kCapFd)) return Errno{EOPNOTSUPP};
    const auto flags = write ? p9::kORdwr : p9::kORdonly;
    Result<UniqueFd> got = Errno{ESTALE};
    if (UniqueFd ahead = write ? UniqueFd{} : take_opened_ahead(); ahead.valid()) {
      got = std::move(ahead);
    } else if (fid_ == p9::kNoFid) {
      got = donated_by_name(flags);
    }
    if (!got && got.error() == Errno{ESTALE}) got = wire().donated(TRY(fid()), flags);
    while (!got && got.error() == Errno{ENOENT}) {
      TRY(walk_by_other_name());
      got = wire().donated(TRY(fid()), flags);
    }
    UniqueFd host = TRY(std::move(got));
    // Another fiber may have been quicker.
    if (slot == nullptr) slot = std::make_shared<UniqueFd>(std::move(host));
  }
  const HostFd held = slot;
  gofer().host_files().use(*this);
  return held;
}

void GoferInode::opened_already(UniqueFd host) {
  if (ro_ != nullptr) return;
  ro_ = std::make_shared<UniqueFd>(std::move(host));
  gofer().host_files().use(*this);
}

// Needs no fid, now or later. ESTALE: the name is not ours any more, or never was.
Result<UniqueFd> GoferInode::donated_by_name(p9::OpenFlags flags) {
  const auto parent = parent_;
  if (parent == nullptr || !wire().has(p9::kCapWalkx)) return Errno{ESTALE};
  const std::string name = name_;
  if (flags == p9::kORdonly) {
    auto together = parent->open_next({name, qid_.path});
    if (together.size() > 1 && parent->begin_opening(std::move(together))) {
      UniqueFd host = gofer().opened_ahead().take(qid_.path);
      if (host.valid()) return host;
    }
  }
  const Fid dir = TRY(parent->fid());
  auto got = wire().donated_by_name(dir, name, flags);
  if (!got && got.error() != Errno{ENOENT}) return got.error();
  if (!got || got.assume_value().qid.path != qid_.path) return Errno{ESTALE};
  return std::move(got.assume_value().host);
}

UniqueFd GoferInode::take_opened_ahead() {
  UniqueFd host = gofer().opened_ahead().take(qid_.path);
  const auto dir = parent_;
  if (host.valid() && dir != nullptr) {
    ++dir->names().run.used;
    dir->open_on();
  }
  return host;
}

void GoferInode::read_from_the_start() {
  if (!names().run.foreseen || names().run.told) names().run = {};
  names().run.told = true;
  names().links.in_vain = false;
}

// Those whose files are opened one directory after the other get the first of them before they ask, of the directory that
// is read now and of those after it.
void GoferInode::open_neighbours() {
  constexpr size_t kNeighbours = 2;
  if (!wire().has(p9::kCapMopen) || !gofer().opened_ahead().pays()) return;
  const auto open_first = [](GoferInode& dir) {
    Names::Run& run = dir.names().run;
    if (run.foreseen || run.last != 0 || dir.names().listing == nullptr) return;
    dir.open_on();
    run.foreseen = true;
  };
  open_first(*this);
  const auto parent = names().above.lock();
  if (parent == nullptr) return;
  for (const auto& dir : parent->directories_after(name_, kNeighbours)) open_first(*dir);
}

std::vector<std::shared_ptr<GoferInode>> GoferInode::directories_after(std::string_view name, size_t most) const {
  std::vector<std::shared_ptr<GoferInode>> dirs;
  const auto at = position_of(name);
  if (!at) return dirs;
  size_t looks = Listing::kMostLooks;
  for (const Listing::Entry& e : names().listing->after(*at)) {
    if (looks-- == 0 || dirs.size() == most) break;
    if (e.type() != DT_DIR) continue;
    if (auto dir = gofer().find_live(e.qid)) dirs.push_back(std::move(dir));
  }
  return dirs;
}

// Adds the next `count` files that nobody has open yet.
void GoferInode::next_files(size_t count, size_t looks, std::vector<Named>& files) {
  Names::Run& run = names().run;
  for (const Listing::Entry& entry : names().listing->after(run.last)) {
    if (count == 0 || looks-- == 0) break;
    if (entry.type() != DT_REG) continue;
    const auto live = gofer().find_live(entry.qid);
    if ((live != nullptr && live->has_host_file()) || gofer().opened_ahead().has(entry.qid.path)) continue;
    files.push_back({std::string(entry.name()), entry.qid.path});
    run.last = entry.position;
    ++run.batch;
    --count;
  }
}

// `first`, and the files behind it in the directory, if those before it were opened in this order too.
std::vector<GoferInode::Named> GoferInode::open_next(Named first) {
  constexpr size_t kMayLeaveOut = 4;
  std::vector<Named> files{std::move(first)};
  Names::Run& run = names().run;
  const auto own = position_of(files[0].name);
  if (!own || !gofer().authoritative() || !wire().has(p9::kCapMopen)) return files;
  if (*own <= run.last) {
    // Again from an earlier one on, without reading the directory anew: as when a list says what to open.
    if (run.last != Names::Run::kNever && 2 * run.used >= run.batch) run = {.last = *own, .told = true};
    return files;
  }
  size_t looks = Listing::kMostLooks, left_out = 0;
  for (const Listing::Entry& e : names().listing->after(run.last)) {
    if (e.position >= *own) break;
    if (e.type() == DT_REG) ++left_out;
    if (--looks == 0 || left_out > kMayLeaveOut) return files;
  }
  // Who wanted few of them will not want the next ones either.
  const size_t ahead = 2 * run.used < run.batch ? 0 : run.batch == 0 ? kFirstAhead : std::min(2 * run.batch, kMostAhead);
  run = {.last = ahead == 0 ? Names::Run::kNever : *own, .told = true};
  next_files(ahead, looks, files);
  return files;
}

// Asks for the files after those that were opened ahead, once most of them were wanted. Nobody waits for the answer.
void GoferInode::open_on() {
  Names::Run& run = names().run;
  if (names().listing == nullptr || fid_ == p9::kNoFid || run.last == Names::Run::kNever || 2 * run.used < run.batch) return;
  const size_t most = run.batch == 0 ? kMostAhead : std::clamp(2 * run.batch, kFirstAhead, kMostAhead);
  std::vector<Named> files;
  next_files(std::min(most, gofer().opened_ahead().room()), Listing::kMostLooks, files);
  if (files.empty()) return;
  run.batch -= std::min(run.batch, std::exchange(run.used, 0));
  static_cast<void>(begin_opening(std::move(files)));
}

// What it does not bring is opened when somebody wants it.
Result<void> GoferInode::begin_opening(std::vector<Named> files) {
  gofer().opened_ahead().expect(TRY(wire().begin_opening(TRY(fid()), std::move(files))));
  return ok();
}

Result<FileRef> GoferInode::open(OpContext&, const Path& self, uint32_t flags) {
  auto me = std::static_pointer_cast<GoferInode>(shared_from_this());
  if (is_dir()) return FileRef(std::make_shared<GoferDir>(self, flags, std::move(me)));
  if (!is_regular()) return Errno{ENXIO};
  const bool write = (flags & O_ACCMODE) != O_RDONLY;
  if (write) TRY(gofer().writable());
  fresh_until_ns_ = 0;
  auto host = host_file(write ? Access::kReadWrite : Access::kRead);
  if (host) {
    return FileRef(std::make_shared<GoferFile>(self, flags, std::move(me), host.assume_value()));
  }
  if (host.error() == Errno{EACCES} && (flags & O_ACCMODE) == O_WRONLY) {
    // May be written but not read by the gofer. Not kept: nobody else can do with it.
    UniqueFd only = TRY(wire().donated(TRY(fid()), p9::kOWronly));
    return FileRef(std::make_shared<GoferFile>(self, flags, std::move(me),
                                               std::make_shared<UniqueFd>(std::move(only))));
  }
  if (host.error() != Errno{EOPNOTSUPP}) return host.error();
  OpenFid open = std::exchange(spare_open_, {});
  if (open.fid == p9::kNoFid) {
    const auto mode = write ? p9::kORdwr : p9::kORdonly;
    auto opened = wire().open(TRY(fid()), mode);
    while (!opened && opened.error() == Errno{ENOENT}) {
      TRY(walk_by_other_name());
      opened = wire().open(TRY(fid()), mode);
    }
    if (!opened && opened.error() == Errno{EACCES} && (flags & O_ACCMODE) == O_WRONLY) {
      opened = wire().open(TRY(fid()), p9::kOWronly);
    }
    open = TRY(std::move(opened));
  }
  return FileRef(std::make_shared<GoferFile>(self, flags, std::move(me), open));
}

}  // namespace run9::vfs::gofer
