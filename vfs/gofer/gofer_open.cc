// How a GoferInode comes by descriptors of the host: by its fid, by its name, or before anybody asks.
#include <dirent.h>
#include <fcntl.h>

#include <algorithm>

#include "vfs/gofer/gofer_file.h"
#include "vfs/gofer/gofer_fs.h"

namespace run9::vfs::gofer {

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
    const auto together = parent->open_next({name, qid_.path});
    if (together.size() > 1) return parent->open_together(together);
  }
  const Fid dir = TRY(parent->fid());
  auto got = wire().donated_by_name(dir, name, flags);
  if (!got && got.error() != Errno{ENOENT}) return got.error();
  if (!got || got.assume_value().qid.path != qid_.path) return Errno{ESTALE};
  return std::move(got.assume_value().host);
}

UniqueFd GoferInode::take_opened_ahead() {
  UniqueFd host = gofer().opened_ahead().take(qid_.path);
  if (host.valid() && parent_ != nullptr) ++parent_->names_.run.used;
  return host;
}

void GoferInode::read_from_the_start() { names_.run = {}; }

// `first`, and the files behind it in the directory, if those before it were opened in this order too.
std::vector<GoferInode::Named> GoferInode::open_next(Named first) {
  constexpr size_t kAtFirst = 8, kMost = p9::kMaxOpens, kMayLeaveOut = 4;
  std::vector<Named> files{std::move(first)};
  Names::Run& run = names_.run;
  const uint64_t* own = names_.listing == nullptr ? nullptr : names_.listing->position_of(files[0].name);
  if (own == nullptr || *own <= run.last || !gofer().authoritative() || !wire().has(p9::kCapMopen)) return files;
  const auto& entries = names_.listing->entries();
  // Of a large directory of other things only a part is looked at.
  size_t looks = 8 * kMost, left_out = 0;
  for (auto it = entries.upper_bound(run.last); it->first < *own; ++it) {
    if (it->second.type == DT_REG) ++left_out;
    if (--looks == 0 || left_out > kMayLeaveOut) return files;
  }
  // Who wanted few of them will not want the next ones either.
  const size_t ahead = 2 * run.used < run.batch ? 0 : run.batch == 0 ? kAtFirst : std::min(2 * run.batch, kMost - 1);
  run = {.last = ahead == 0 ? Names::Run::kNever : *own};
  for (auto it = entries.upper_bound(*own); it != entries.end() && run.batch < ahead && looks > 0; ++it, --looks) {
    const auto& [position, entry] = *it;
    if (entry.type != DT_REG || gofer().opened_ahead().has(entry.qid.path)) continue;
    const auto live = gofer().find_live(entry.qid);
    if (live != nullptr && live->has_host_file()) continue;
    files.push_back({entry.name, entry.qid.path});
    run.last = position;
    ++run.batch;
  }
  return files;
}

// One round trip for all of them; gives the first one's descriptor. ESTALE: another file has its name, or none.
Result<UniqueFd> GoferInode::open_together(std::span<const Named> files) {
  const Fid dir = TRY(fid());
  std::vector<Wire::Opened> opened = TRY(wire().donated_by_names(dir, files));
  for (size_t i = 1; i < opened.size(); ++i) {
    // Its name may have gone while we were away, and then nobody would ever take it.
    const auto* entry = names_.listing == nullptr ? nullptr : names_.listing->find(files[i].name);
    if (entry == nullptr || entry->qid.path != files[i].path) continue;
    if (opened[i].host.valid() && opened[i].qid.path == files[i].path) {
      gofer().opened_ahead().put(files[i].path, std::move(opened[i].host));
    }
  }
  if (opened.empty()) return Errno{EPROTO};
  const Errno error = opened[0].error;
  if (error == Errno{ENOENT} || (error == Errno{} && opened[0].qid.path != files[0].path)) return Errno{ESTALE};
  if (error != Errno{}) return error;
  return std::move(opened[0].host);
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
