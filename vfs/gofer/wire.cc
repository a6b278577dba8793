#include "vfs/gofer/wire.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>

#include "vfs/gofer/wire_call.h"

namespace run9::vfs::gofer {

void Wire::drop(Fid fid) {
  if (fid != p9::kNoFid) client_->drop(fid);
}

void Wire::drop_unlinked(Fid fid, uint64_t bytes) {
  drop(fid);
  held_bytes_ += std::min(bytes, kMostHeldBytes);
}

void Wire::flush_drops() {
  held_bytes_ = 0;
  client_->flush_drops();
}

Result<Fid> Wire::new_fids(uint32_t count) {
  if (before_fids_) before_fids_();
  return client_->alloc_fids(count);
}

void Wire::release(Fid first, size_t from, size_t to) {
  for (size_t i = from; i < to; ++i) client_->free_fid(first + i);
}

Result<Walked> Wire::walk(Fid from, std::span<const std::string_view> names, Bind bind,
                          Then then) {
  if (!has(p9::kCapWalkx)) {
    Walked plain = TRY(walk_plain(from, names, bind));
    plain.leases.resize(plain.found.size() + 1);
    return plain;
  }
  p9::Twalkx t{.fid = from, .attrmask = p9::kAttrAll};
  t.names.assign(names.begin(), names.end());
  if (bind == Bind::kYes) {
    t.newfid = TRY(new_fids(static_cast<uint32_t>(names.size())));
    t.wflags = p9::kWalkAllFids;
  }
  if (leases_) t.wflags |= p9::kWalkLease;
  const bool reads = then == Then::kRead && has(p9::kCapFd);
  if (reads) {
    t.wflags |= p9::kWalkOpen | p9::kWalkWantFd;
    t.oflags = p9::kORdonly;
  }
  const size_t fids = bind == Bind::kYes ? names.size() : 0;
  auto answer = call(t);
  // More than was asked for is a broken server: its fids are written off.
  if (answer && answer.assume_value()->walked.size() > names.size()) return Errno{EPROTO};
  if (!answer) {
    release(t.newfid, 0, fids);
    return answer.error();
  }
  const p9::Rwalkx& r = *answer.assume_value();
  release(t.newfid, std::min(r.walked.size(), fids), fids);
  Walked out{.first = t.newfid, .end = r.status};
  out.found.assign(r.walked.begin(), r.walked.end());
  out.host = std::move(answer.assume_value().fd);
  // It was the open that failed: who opens the file will hear of it, if that is what he does.
  if (reads && r.status == p9::WalkStatus::kFailed && r.walked.size() == names.size()) {
    out.end = p9::WalkStatus::kOk;
  }
  if (out.end == p9::WalkStatus::kFailed) out.error = Errno{static_cast<int>(r.error)};
  if (r.status == p9::WalkStatus::kOk && r.walked.size() != names.size()) return Errno{EPROTO};
  out.target = r.target;
  out.leases.assign(r.leases.value.begin(), r.leases.value.end());
  out.leases.resize(out.found.size() + 1);
  return out;
}

std::vector<Wire::Link> Wire::read_links(Fid dir, std::span<const std::string> names) {
  std::vector<p9::Twalkx> requests(names.size(), p9::Twalkx{.fid = dir});
  for (size_t i = 0; i < names.size(); ++i) requests[i].names.emplace_back(names[i]);
  std::vector<Link> links;
  client_->call_all(std::span<const p9::Twalkx>(requests), [&](size_t, const Result<p9::Answer<p9::Rwalkx>>& got) {
    if (!got || got.assume_value()->walked.size() != 1 || got.assume_value()->target.empty()) return;
    links.push_back({got.assume_value()->walked[0].qid, std::string(got.assume_value()->target)});
  });
  return links;
}

Result<Wire::Leased> Wire::lease(Fid dir) {
  const auto r = TRY(call(p9::Twalkx{.fid = dir, .wflags = p9::kWalkLease, .attrmask = p9::kAttrAll}));
  if (r->status == p9::WalkStatus::kFailed) return Errno{r->error == 0 ? EIO : static_cast<int>(r->error)};
  if (r->walked.size() != 1) return Errno{EPROTO};
  return Leased{r->walked[0].attr, r->leases.value.empty() ? 0 : r->leases.value[0]};
}

Result<UniqueFd> Wire::lease_events() {
  if (!has(p9::kCapLease)) return Errno{EOPNOTSUPP};
  auto r = TRY(call(p9::Tlease{}));
  if (!r.fd.valid()) return Errno{EPROTO};
  leases_ = true;
  return std::move(r.fd);
}

// The reply to a Twalkx that makes a file. On failure `control` is given back; it may be bound all
// the same, when the file is there and only its opening failed.
Result<void> Wire::check_made(const Result<p9::Answer<p9::Rwalkx>>& answer, Fid control) {
  if (!answer) {
    release(control, 0, 1);
    return answer.error();
  }
  const p9::Rwalkx& r = *answer.assume_value();
  if (r.status == p9::WalkStatus::kCreated && r.walked.size() == 1) return ok();
  if (r.walked.empty()) {
    release(control, 0, 1);
  } else {
    drop(control);
  }
  switch (r.status) {
    case p9::WalkStatus::kFailed: return Errno{r.error == 0 ? EIO : static_cast<int>(r.error)};
    case p9::WalkStatus::kMissing: return Errno{ENOENT};
    case p9::WalkStatus::kNotDir: return Errno{ENOTDIR};
    default: return Errno{EPROTO};
  }
}

Result<Created> Wire::create(Fid dir, std::string_view name, uint32_t mode, Owner owner) {
  if (!has(p9::kCapWalkx)) return create_plain(dir, name, mode, owner);
  // A donated descriptor does all that an open fid could, so the server need not keep one.
  const bool donates = has(p9::kCapFd);
  const Fid control = TRY(new_fids(donates ? 1 : 2));
  p9::Twalkx t{.fid = dir, .newfid = control, .openfid = donates ? p9::kNoFid : control + 1,
               .wflags = p9::kWalkOpen | p9::kWalkCreate | p9::kWalkExclusive |
                         p9::kWalkKeepControl,
               .attrmask = p9::kAttrAll, .oflags = p9::kORdwr,
               .mode = mode, .uid = owner.uid, .gid = owner.gid};
  if (donates) t.wflags |= p9::kWalkWantFd;
  t.names.emplace_back(name);
  auto answer = call(t);
  if (auto made = check_made(answer, control); !made) {
    if (!donates) release(t.openfid, 0, 1);
    return made.error();
  }
  const p9::WalkedX& file = answer.assume_value()->walked[0];
  return Created{.file = {.qid = file.qid, .attr = file.attr, .fid = control},
                 .host = std::move(answer.assume_value().fd),
                 .open = {t.openfid, chunk(answer.assume_value()->iounit)}};
}

Result<Made> Wire::mkdir(Fid dir, std::string_view name, uint32_t mode, Owner owner) {
  if (!has(p9::kCapWalkx)) {
    TRY(call(p9::Tmkdir{.dfid = dir, .name = name, .mode = mode, .gid = owner.gid}));
    return found_new(dir, name, owner);
  }
  const Fid control = TRY(new_fids());
  p9::Twalkx t{.fid = dir, .newfid = control,
               .wflags = p9::kWalkMkdir | p9::kWalkKeepControl,
               .attrmask = p9::kAttrAll, .mode = mode, .uid = owner.uid, .gid = owner.gid};
  t.names.emplace_back(name);
  auto answer = call(t);
  TRY(check_made(answer, control));
  const p9::WalkedX& file = answer.assume_value()->walked[0];
  return Made{.qid = file.qid, .attr = file.attr, .fid = control};
}

Result<Made> Wire::make(p9::Tmkx request) {
  request.newfid = TRY(new_fids());
  request.attrmask = p9::kAttrAll;
  const auto made = call(request);
  if (!made) {
    release(request.newfid, 0, 1);
    return made.error();
  }
  return Made{.qid = made.assume_value()->qid, .attr = made.assume_value()->attr, .fid = request.newfid};
}

Result<Made> Wire::mknod(Fid dir, std::string_view name, uint32_t mode, uint64_t rdev,
                         Owner owner) {
  if (has(p9::kCapMkx)) {
    return make({.dfid = dir, .name = name, .mode = mode, .uid = owner.uid, .gid = owner.gid,
                 .major = major(rdev), .minor = minor(rdev)});
  }
  TRY(call(p9::Tmknod{.dfid = dir, .name = name, .mode = mode, .major = major(rdev),
                      .minor = minor(rdev), .gid = owner.gid}));
  return found_new(dir, name, owner);
}

Result<Made> Wire::symlink(Fid dir, std::string_view name, std::string_view target, Owner owner) {
  if (has(p9::kCapMkx)) {
    return make({.dfid = dir, .name = name, .mode = S_IFLNK, .uid = owner.uid, .gid = owner.gid, .target = target});
  }
  TRY(call(p9::Tsymlink{.dfid = dir, .name = name, .target = target, .gid = owner.gid}));
  return found_new(dir, name, owner);
}

// What a 9P2000.L create message leaves to do: a fid, the attributes, and the owner, which it has no
// field for. A server that may not change owners keeps its own, and the file shows it.
Result<Made> Wire::found_new(Fid dir, std::string_view name, Owner owner) {
  const Walked w = TRY(walk(dir, std::span(&name, 1), Bind::kYes));
  if (w.found.size() != 1) return w.end == p9::WalkStatus::kFailed ? w.error : Errno{ENOENT};
  Made made{.qid = w.found[0].qid, .attr = w.found[0].attr, .fid = w.first};
  p9::SetAttr set;
  if (owner.uid != p9::kNoId && owner.uid != made.attr.uid) {
    set.valid |= p9::kSetUid;
    set.uid = owner.uid;
  }
  if (owner.gid != p9::kNoId && owner.gid != made.attr.gid) {
    set.valid |= p9::kSetGid;
    set.gid = owner.gid;
  }
  if (set.valid != 0) {
    if (auto attr = setattr(made.fid, set)) made.attr = attr.assume_value();
  }
  return made;
}

Result<void> Wire::link(Fid dir, std::string_view name, Fid file) {
  TRY(call(p9::Tlink{.dfid = dir, .fid = file, .name = name}));
  return ok();
}

Result<void> Wire::unlink(Fid dir, std::string_view name, uint32_t flags) {
  TRY(call(p9::Tunlinkat{.dirfid = dir, .name = name, .flags = flags}));
  return ok();
}

Result<void> Wire::rename(Fid from_dir, std::string_view from, Fid to_dir, std::string_view to,
                          uint32_t flags) {
  if (has(p9::kCapRename2)) {
    TRY(call(p9::Trename2{.olddirfid = from_dir, .oldname = from, .newdirfid = to_dir,
                          .newname = to, .flags = flags}));
    return ok();
  }
  // NOREPLACE: the path walk saw that the new name is free.
  if ((flags & ~p9::kRenameNoreplace) != 0) return Errno{EINVAL};
  TRY(call(p9::Trenameat{.olddirfid = from_dir, .oldname = from, .newdirfid = to_dir,
                         .newname = to}));
  return ok();
}

Result<std::string> Wire::readlink(Fid fid) {
  return std::string(TRY(call(p9::Treadlink{.fid = fid}))->target);
}

Result<p9::WalkedX> Wire::getattr(Fid fid) {
  const auto r = TRY(call(p9::Tgetattr{.fid = fid, .request_mask = p9::kGetAll}));
  auto time = [](const p9::Time& t) {
    return p9::TimeX{.sec = t.sec, .nsec = static_cast<uint32_t>(t.nsec)};
  };
  p9::WalkedX out{.qid = r->qid};
  // The low twelve bits mean the same in both masks.
  out.attr = {.valid = r->valid & (p9::kAttrBasic | p9::kAttrBtime), .mode = r->mode, .uid = r->uid,
              .gid = r->gid, .nlink = static_cast<uint32_t>(r->nlink), .ino = r->qid.path,
              .rdev = r->rdev, .size = r->size, .blocks = r->blocks,
              .blksize = static_cast<uint32_t>(r->blksize), .atime = time(r->atime),
              .mtime = time(r->mtime), .ctime = time(r->ctime), .btime = time(r->btime)};
  return out;
}

Result<AttrX> Wire::setattr(Fid fid, const p9::SetAttr& set) {
  if (has(p9::kCapSetx)) {
    return TRY(call(p9::Tsetx{.fid = fid, .attr = set, .attrmask = p9::kAttrAll}))->attr;
  }
  TRY(call(p9::Tsetattr{.fid = fid, .attr = set}));
  return TRY(getattr(fid)).attr;
}

Result<p9::Rstatfs> Wire::statfs(Fid fid) { return TRY(call(p9::Tstatfs{.fid = fid})).msg; }

Result<UniqueFd> Wire::donated(Fid fid, p9::OpenFlags flags) {
  if (!has(p9::kCapFd)) return Errno{EOPNOTSUPP};
  auto r = TRY(call(p9::Tfdget{.fid = fid, .oflags = flags}));
  if (!r.fd.valid()) return Errno{ENFILE};  // this process may have no more
  return std::move(r.fd);
}

Result<Wire::OpenHost> Wire::open_host(Fid fid, p9::OpenFlags flags) {
  if (!has(p9::kCapFd) || !has(p9::kCapWalkx)) return Errno{EOPNOTSUPP};
  const Fid open = TRY(new_fids());
  const p9::Twalkx t{.fid = fid, .openfid = open, .wflags = p9::kWalkOpen | p9::kWalkWantFd, .oflags = flags};
  auto r = call(t);
  if (!r || r.assume_value()->status != p9::WalkStatus::kOk) {
    release(open, 0, 1);
    if (!r) return r.error();
    const uint32_t error = r.assume_value()->error;
    return Errno{error == 0 ? EIO : static_cast<int>(error)};
  }
  if (!r.assume_value().fd.valid()) {
    drop(open);
    return Errno{ENFILE};
  }
  return OpenHost{open, std::move(r.assume_value().fd)};
}

Result<Wire::Reports> Wire::report_changes(Fid fid, uint32_t mask, bool with_events) {
  auto r = TRY(call(p9::Tevents{.fid = fid, .mask = mask, .flags = with_events ? p9::kEventsFd : 0}));
  if (with_events && !r.fd.valid()) return Errno{ENFILE};
  return Reports{r->watch, std::move(r.fd)};
}

Result<UniqueFd> Wire::connect(Fid fid, uint32_t type) {
  auto r = TRY(call(p9::Tsock{.fid = fid, .type = type}));
  if (!r.fd.valid()) return Errno{ENFILE};
  return std::move(r.fd);
}

Result<void> Wire::lock(const p9::Tlockx& request, const std::function<Result<void>(WaitQueue&)>& sleep) {
  const auto r = TRY(client_->call_slowly(request, sleep));
  return r->status == p9::LockStatus::kSuccess ? Result<void>(ok()) : Errno{EAGAIN};
}

Result<Wire::Donated> Wire::donated_by_name(Fid dir, std::string_view name,
                                            p9::OpenFlags flags) {
  if (!has(p9::kCapFd) || !has(p9::kCapWalkx)) return Errno{EOPNOTSUPP};
  p9::Twalkx t{.fid = dir, .wflags = p9::kWalkOpen | p9::kWalkWantFd, .oflags = flags};
  t.names.emplace_back(name);
  auto r = TRY(call(t));
  if (r->walked.size() != 1) return Errno{ENOENT};
  if (r->status == p9::WalkStatus::kFailed) {
    return Errno{r->error == 0 ? EIO : static_cast<int>(r->error)};
  }
  if (r->status != p9::WalkStatus::kOk) return Errno{ESTALE};
  if (!r.fd.valid()) return Errno{ENFILE};
  return Donated{r->walked[0].qid, std::move(r.fd)};
}

Result<Wire::Opening> Wire::begin_opening(Fid dir, std::vector<Named> files) {
  p9::Tmopen request{.fid = dir};
  for (const Named& f : files) request.names.emplace_back(f.name);
  auto begun = client_->begin(std::span<const p9::Tmopen>(&request, 1));
  if (begun[0] == nullptr) return Errno{EIO};
  return Opening{std::move(files), std::move(begun[0])};
}

Result<std::vector<Wire::Donated>> Wire::Opening::take() {
  auto r = TRY(begun->take());
  if (r->files.size() > files.size()) return Errno{EPROTO};
  std::vector<Donated> opened;
  auto fd = r.fds.begin();
  for (size_t i = 0; i < r->files.size(); ++i) {
    if (r->files[i].error != 0) continue;
    // None came: there is no room for them here.
    if (fd == r.fds.end()) return r.fds.empty() ? Errno{ENFILE} : Errno{EPROTO};
    UniqueFd host = std::move(*fd++);
    if (r->files[i].qid.path == files[i].path) opened.push_back({r->files[i].qid, std::move(host)});
  }
  return opened;
}

Result<Fid> Wire::clone(Fid fid) {
  const Fid copy = TRY(new_fids());
  if (auto r = call(p9::Twalk{.fid = fid, .newfid = copy}); !r) {
    client_->free_fid(copy);
    return r.error();
  }
  return copy;
}

Result<OpenFid> Wire::open(Fid fid, p9::OpenFlags flags) {
  const Fid open = TRY(clone(fid));
  auto r = call(p9::Tlopen{.fid = open, .flags = flags});
  if (!r) {
    drop(open);
    return r.error();
  }
  return OpenFid{open, chunk(r.assume_value()->iounit)};
}

uint32_t Wire::chunk(uint32_t iounit) const {
  const uint32_t most = client_->max_io();
  return iounit == 0 ? most : std::min(iounit, most);
}

Result<size_t> Wire::read(OpenFid file, uint64_t offset, std::span<std::byte> dst) {
  size_t done = 0;
  while (done < dst.size()) {
    const auto want = static_cast<uint32_t>(std::min<size_t>(dst.size() - done, file.iounit));
    auto r = call(p9::Tread{.fid = file.fid, .offset = offset + done, .count = want});
    if (!r) {
      if (done != 0) break;
      return r.error();
    }
    const ByteSpan data = r.assume_value()->data;
    if (data.size() > want) return Errno{EPROTO};
    std::copy(data.begin(), data.end(), dst.begin() + done);
    done += data.size();
    if (data.size() < want) break;
  }
  return done;
}

Result<size_t> Wire::write(OpenFid file, uint64_t offset, ByteSpan src) {
  size_t done = 0;
  while (done < src.size()) {
    const ByteSpan part = src.subspan(done, std::min<size_t>(src.size() - done, file.iounit));
    auto r = call(p9::Twrite{.fid = file.fid, .offset = offset + done, .data = part});
    if (!r) {
      if (done != 0) break;
      return r.error();
    }
    const size_t n = r.assume_value()->count;
    if (n > part.size()) return Errno{EPROTO};
    done += n;
    if (n < part.size()) break;
  }
  return done;
}

Result<void> Wire::fsync(Fid open, bool data_only) {
  TRY(call(p9::Tfsync{.fid = open, .datasync = {data_only ? 1u : 0u}}));
  return ok();
}

Result<uint64_t> Wire::copy(Fid in, uint64_t from, Fid out, uint64_t to, uint64_t length) {
  if (!has(p9::kCapCopy)) return Errno{EOPNOTSUPP};
  const auto r = TRY(call(p9::Tcopy{.infid = in, .inoffset = from, .outfid = out, .outoffset = to, .length = length}));
  return r->copied > length ? Errno{EPROTO} : Result<uint64_t>(r->copied);
}

Result<void> Wire::syncfs(Fid fid) {
  TRY(call(p9::Tsyncfs{.fid = fid}));
  return ok();
}

Result<void> Wire::allocate(Fid open, uint32_t mode, uint64_t offset, uint64_t length) {
  if (!has(p9::kCapAlloc)) return Errno{EOPNOTSUPP};
  TRY(call(p9::Tfalloc{.fid = open, .mode = mode, .offset = offset, .length = length}));
  return ok();
}

Result<uint64_t> Wire::seek(Fid open, uint64_t offset, uint8_t whence) {
  if (!has(p9::kCapSeek)) return Errno{EOPNOTSUPP};
  return TRY(call(p9::Tseek{.fid = open, .offset = offset, .whence = whence}))->offset;
}

namespace {

uint64_t entry_mask(Detail detail) {
  switch (detail) {
    case Detail::kDirectories: return p9::kAttrAll | p9::kAttrOfDirectories;
    case Detail::kAll: return p9::kAttrAll;
    case Detail::kXattrs: return p9::kAttrAll | p9::kAttrNoXattrs;
  }
  return 0;
}

struct Chunk {
  uint64_t offset = 0;  // where to go on
  bool any = false;
};
Result<Chunk> take_entries(ByteSpan data, const std::function<void(const WireEntry&)>& take) {
  p9::DirentReader<p9::DirentX> entries(data);
  Chunk c;
  while (auto e = TRY(entries.next())) {
    take({.qid = e->qid, .type = e->type, .attr = e->attr, .name = e->name});
    c = {e->offset, true};
  }
  return c;
}

}  // namespace

Result<void> Wire::read_directory(Fid dir, const std::function<void(const WireEntry&)>& take, Detail detail) {
  if (!has(p9::kCapReaddirx)) return read_directory_plain(dir, take);
  return read_on(dir, 0, take, detail);
}

Result<void> Wire::read_on(Fid dir, uint64_t offset, const std::function<void(const WireEntry&)>& take, Detail detail) {
  for (std::optional<uint64_t> next = offset; next;) next = TRY(read_part(dir, *next, chunk(0), detail, take));
  return ok();
}

Result<std::optional<uint64_t>> Wire::read_part(Fid dir, uint64_t offset, uint32_t bytes, Detail detail,
                                                const std::function<void(const WireEntry&)>& take) {
  const auto r = TRY(call(p9::Treaddirx{.fid = dir, .offset = offset, .count = std::min(chunk(0), bytes),
                                        .attrmask = entry_mask(detail), .flags = p9::kReaddirOpen}));
  const Chunk c = TRY(take_entries(r->data, take));
  return !c.any || (r->flags & p9::kReaddirEof) != 0 ? std::nullopt : std::optional(c.offset);
}

std::vector<Wire::Reading> Wire::begin_reading(std::span<const NameIn> dirs, size_t whole, Detail detail) {
  std::vector<Reading> all(dirs.size());
  std::vector<p9::Twalkdir> requests;
  for (size_t i = 0; i < dirs.size(); ++i) {
    const auto fid = new_fids();
    if (!fid) break;
    all[i].fid = fid.assume_value();
    all[i].detail = detail;
    const uint32_t count = i < whole ? chunk(0) : std::min(chunk(0), kAhead);
    p9::Twalkdir t{.fid = dirs[i].dir, .newfid = all[i].fid, .count = count, .attrmask = entry_mask(detail)};
    t.names.emplace_back(dirs[i].name);
    requests.push_back(std::move(t));
  }
  if (held_bytes_ >= kMostHeldBytes) flush_drops();
  const auto begun = client_->begin(std::span<const p9::Twalkdir>(requests));
  for (size_t i = 0; i < begun.size(); ++i) {
    all[i].begun = begun[i];
    if (begun[i] == nullptr) release(std::exchange(all[i].fid, p9::kNoFid), 0, 1);
  }
  return all;
}

Result<Wire::ReadDir> Wire::take(const Reading& reading, const std::function<void(const WireEntry&)>& entry) {
  auto got = reading.begun->take();
  if (!got) {
    release(reading.fid, 0, 1);
    return got.error();
  }
  const auto c = take_entries(got.assume_value()->data, entry);
  if (!c) {
    drop(reading.fid);
    return c.error();
  }
  ReadDir out{reading.fid};
  if (c.assume_value().any && (got.assume_value()->flags & p9::kReaddirEof) == 0) out.rest = c.assume_value().offset;
  return out;
}

// getxattr and listxattr answer with the size when asked for none: ask for the most there can be.
Result<std::vector<std::byte>> Wire::getxattr(Fid fid, std::string_view name) {
  if (!has(p9::kCapXattr1)) return read_xattr_plain(fid, name);
  const auto r = TRY(call(p9::Tgetxa{.fid = fid, .name = name, .size = p9::kMaxXattr}));
  return std::vector<std::byte>(r->value.begin(), r->value.end());
}

Result<std::vector<std::byte>> Wire::listxattr(Fid fid) {
  if (!has(p9::kCapXattr1)) return read_xattr_plain(fid, "");
  const auto r = TRY(call(p9::Tlistxa{.fid = fid, .size = p9::kMaxXattr}));
  return std::vector<std::byte>(r->names.begin(), r->names.end());
}

Result<void> Wire::setxattr(Fid fid, std::string_view name, ByteSpan value, uint32_t flags) {
  if (has(p9::kCapXattr1)) {
    TRY(call(p9::Tsetxa{.fid = fid, .name = name, .flags = flags, .value = value}));
    return ok();
  }
  const Fid xattr = TRY(clone(fid));
  if (auto r = call(p9::Txattrcreate{.fid = xattr, .name = name, .attr_size = value.size(),
                                     .flags = flags});
      !r) {
    drop(xattr);
    return r.error();
  }
  const auto written = write({xattr, chunk(0)}, 0, value);
  // The clunk is what sets it, and has the error.
  auto set = client_->clunk(xattr);
  if (!written) return written.error();
  return set;
}

Result<void> Wire::removexattr(Fid fid, std::string_view name) {
  if (!has(p9::kCapXattr1)) return setxattr(fid, name, {}, p9::kXattrReplace);
  TRY(call(p9::Trmxa{.fid = fid, .name = name}));
  return ok();
}

}  // namespace run9::vfs::gofer
