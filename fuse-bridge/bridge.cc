#include "fuse-bridge/bridge.h"

#include <fcntl.h>
#include <sys/sysmacros.h>

#include <algorithm>

#include "p9/bulk.h"

namespace run9::fuse {

using namespace p9;

namespace {

struct stat to_stat(const Rgetattr& a) {
  const auto time = [](const Time& t) {
    return timespec{static_cast<time_t>(t.sec), static_cast<long>(t.nsec)};
  };
  struct stat st {};
  st.st_ino = a.qid.path;
  st.st_mode = a.mode;
  st.st_nlink = a.nlink;
  st.st_uid = a.uid;
  st.st_gid = a.gid;
  st.st_rdev = a.rdev;
  st.st_size = static_cast<off_t>(a.size);
  st.st_blksize = static_cast<blksize_t>(a.blksize);
  st.st_blocks = static_cast<blkcnt_t>(a.blocks);
  st.st_atim = time(a.atime);
  st.st_mtim = time(a.mtime);
  st.st_ctim = time(a.ctime);
  return st;
}

// The kernel has dealt with the others (O_CREAT, O_EXCL, O_NOFOLLOW ...).
OpenFlags to_open_flags(int flags) {
  return OpenFlags{static_cast<uint32_t>(flags & (O_ACCMODE | O_TRUNC | O_APPEND | O_SYNC | O_DSYNC | O_DIRECTORY))};
}

}  // namespace

Bridge::Bridge(Client& client, Attached root, uint32_t uid) : client_(client), uid_(uid) {
  nodes_[kRoot] = {.fid = root.fid, .lookups = 1, .qid_path = root.qid.path};
  by_qid_[root.qid.path] = kRoot;
}

Result<Fid> Bridge::fid_of(NodeId node) const {
  const auto it = nodes_.find(node);
  if (it == nodes_.end()) return Errno{ESTALE};
  return it->second.fid;
}

Result<Fid> Bridge::walk(Fid from, std::string_view name, Qid* qid) {
  const Fid fid = TRY(client_.alloc_fid());
  Twalk t{.fid = from, .newfid = fid};
  if (!name.empty()) t.names.emplace_back(name);
  const auto got = client_.call(t);
  if (!got || got.assume_value()->qids.size() != t.names.size()) {
    client_.free_fid(fid);
    if (got) return Errno{ENOENT};
    return got.assume_error();
  }
  if (qid != nullptr) *qid = got.assume_value()->qids.back();
  return fid;
}

Result<struct stat> Bridge::stat_fid(Fid fid) {
  return to_stat(*TRY(client_.call(Tgetattr{.fid = fid, .request_mask = kGetBasic})));
}

Result<struct stat> Bridge::stat_node(NodeId node, Fid fid) {
  const struct stat st = TRY(stat_fid(fid));
  if (const auto it = nodes_.find(node); it != nodes_.end()) {
    it->second.mode = st.st_mode;
    it->second.gid = st.st_gid;
  }
  return st;
}

uint32_t Bridge::set_gid_in(NodeId dir) const {
  const auto it = nodes_.find(dir);
  return it == nodes_.end() ? 0 : it->second.mode & S_ISGID;
}

uint32_t Bridge::group_in(NodeId dir, Caller who) const {
  return set_gid_in(dir) != 0 ? nodes_.at(dir).gid : who.gid;
}

Result<Found> Bridge::lookup(NodeId dir, std::string_view name) {
  Qid qid;
  const Fid fid = TRY(walk(TRY(fid_of(dir)), name, &qid));
  const auto attr = stat_fid(fid);
  if (!attr) {
    client_.drop(fid);
    return attr.assume_error();
  }
  const auto [it, is_new] = by_qid_.try_emplace(qid.path, next_);
  if (is_new) ++next_;
  Node& node = nodes_[it->second];
  // The name that was found last is the likeliest to be there still.
  if (is_new) node.qid_path = qid.path;
  else client_.drop(node.fid);
  node.fid = fid;
  node.mode = attr.assume_value().st_mode;
  node.gid = attr.assume_value().st_gid;
  ++node.lookups;
  return Found{it->second, attr.assume_value()};
}

void Bridge::forget(NodeId id, uint64_t lookups) {
  const auto it = nodes_.find(id);
  if (it == nodes_.end() || id == kRoot) return;
  it->second.lookups -= std::min(it->second.lookups, lookups);
  if (it->second.lookups != 0) return;
  client_.drop(it->second.fid);
  by_qid_.erase(it->second.qid_path);
  nodes_.erase(it);
}

Result<struct stat> Bridge::get_attr(NodeId node, std::optional<Fid> open) {
  return stat_node(node, open ? *open : TRY(fid_of(node)));
}

Result<struct stat> Bridge::set_attr(NodeId node, std::optional<Fid> open, const SetAttr& attr) {
  const Fid fid = open ? *open : TRY(fid_of(node));
  TRY(client_.call(Tsetattr{.fid = fid, .attr = attr}));
  return stat_node(node, fid);
}

Result<std::string> Bridge::read_link(NodeId node) {
  return std::string(TRY(client_.call(Treadlink{.fid = TRY(fid_of(node))}))->target);
}

Result<struct statvfs> Bridge::statfs(NodeId node) {
  const auto got = TRY(client_.call(Tstatfs{.fid = TRY(fid_of(node))}));
  struct statvfs out {};
  out.f_bsize = out.f_frsize = got->bsize;
  out.f_blocks = got->blocks;
  out.f_bfree = got->bfree;
  out.f_bavail = got->bavail;
  out.f_files = got->files;
  out.f_ffree = out.f_favail = got->ffree;
  out.f_namemax = got->namelen;
  return out;
}

Result<Found> Bridge::made(NodeId dir, std::string_view name, Caller who) {
  Found found = TRY(lookup(dir, name));
  if (found.attr.st_uid == who.uid || who.uid == uid_) return found;
  auto attr = set_attr(found.node, {}, {.valid = kSetUid, .uid = who.uid});
  if (attr) found.attr = attr.assume_value();
  return found;
}

Result<Created> Bridge::create(NodeId dir, std::string_view name, int flags, uint32_t mode, Caller who) {
  const Fid open = TRY(walk(TRY(fid_of(dir)), ""));
  const auto failed = [&](Errno e) {
    client_.drop(open);
    return e;
  };
  const OpenFlags excl = (flags & O_EXCL) != 0 ? kOExcl : OpenFlags{};
  const auto r = client_.call(Tlcreate{.fid = open, .name = name, .flags = to_open_flags(flags) | kOCreat | excl,
                                       .mode = mode & 07777, .gid = group_in(dir, who)});
  if (!r) return failed(r.assume_error());
  auto found = made(dir, name, who);
  if (!found) return failed(found.assume_error());
  return Created{found.assume_value(), open};
}

Result<Found> Bridge::mkdir(NodeId dir, std::string_view name, uint32_t mode, Caller who) {
  TRY(client_.call(Tmkdir{.dfid = TRY(fid_of(dir)), .name = name, .mode = (mode & 07777) | set_gid_in(dir),
                          .gid = group_in(dir, who)}));
  return made(dir, name, who);
}

Result<Found> Bridge::mknod(NodeId dir, std::string_view name, uint32_t mode, dev_t device, Caller who) {
  TRY(client_.call(Tmknod{.dfid = TRY(fid_of(dir)), .name = name, .mode = mode, .major = major(device),
                          .minor = minor(device), .gid = group_in(dir, who)}));
  return made(dir, name, who);
}

Result<Found> Bridge::symlink(NodeId dir, std::string_view name, std::string_view target, Caller who) {
  TRY(client_.call(Tsymlink{.dfid = TRY(fid_of(dir)), .name = name, .target = target, .gid = group_in(dir, who)}));
  return made(dir, name, who);
}

Result<Found> Bridge::link(NodeId node, NodeId dir, std::string_view name) {
  TRY(client_.call(Tlink{.dfid = TRY(fid_of(dir)), .fid = TRY(fid_of(node)), .name = name}));
  return lookup(dir, name);
}

Result<void> Bridge::unlink(NodeId dir, std::string_view name, bool is_dir) {
  const Fid fid = TRY(fid_of(dir));
  const auto r = client_.call(Tunlinkat{.dirfid = fid, .name = name, .flags = is_dir ? kAtRemovedir : 0});
  if (r) return ok();
  if (r.assume_error() != Errno{EOPNOTSUPP}) return r.assume_error();
  // diod 1.0.
  const Fid file = TRY(walk(fid, name));
  const auto removed = client_.call(Tremove{.fid = file});
  client_.free_fid(file);  // Tremove clunks it in any case
  if (!removed) return removed.assume_error();
  return ok();
}

Result<void> Bridge::rename(NodeId from, std::string_view name, NodeId to, std::string_view new_name, uint32_t flags) {
  const Fid source = TRY(fid_of(from)), target = TRY(fid_of(to));
  if (flags != 0) {
    if (!client_.has_cap(kCapRename2)) return Errno{EINVAL};
    TRY(client_.call(Trename2{.olddirfid = source, .oldname = name, .newdirfid = target, .newname = new_name, .flags = flags}));
    return ok();
  }
  const auto r = client_.call(Trenameat{.olddirfid = source, .oldname = name, .newdirfid = target, .newname = new_name});
  if (r) return ok();
  if (r.assume_error() != Errno{EOPNOTSUPP}) return r.assume_error();
  // diod 1.0. Its fids are paths, and the one in the message alone learns the new one: let it be the node's.
  Qid qid;
  const Fid file = TRY(walk(source, name, &qid));
  const auto node = by_qid_.find(qid.path);
  const Fid own = node != by_qid_.end() ? nodes_[node->second].fid : file;
  const auto moved = client_.call(Trename{.fid = own, .dfid = target, .name = new_name});
  client_.drop(file);
  if (!moved) return moved.assume_error();
  return ok();
}

Result<Fid> Bridge::open(NodeId node, int flags) {
  const Fid fid = TRY(walk(TRY(fid_of(node)), ""));
  const auto r = client_.call(Tlopen{.fid = fid, .flags = to_open_flags(flags)});
  if (r) return fid;
  client_.drop(fid);
  return r.assume_error();
}

Result<std::vector<std::byte>> Bridge::read(Fid open, uint64_t offset, size_t size) {
  std::vector<Tread> reads;
  for (size_t at = 0; at < size; at += client_.max_io()) {
    const auto n = static_cast<uint32_t>(std::min<size_t>(client_.max_io(), size - at));
    reads.push_back({.fid = open, .offset = offset + at, .count = n});
  }
  std::vector<std::byte> out;
  Errno error{};
  bool gap = false;
  client_.call_all<Tread>(reads, [&](size_t i, Result<Answer<Rread>> got) {
    if (error != Errno{} || gap) return;
    if (!got) return void(error = got.assume_error());
    const ByteSpan data = got.assume_value()->data;
    if (data.size() > reads[i].count) return void(error = Errno{EPROTO});
    gap = data.size() < reads[i].count;
    out.insert(out.end(), data.begin(), data.end());
  });
  if (error != Errno{} && out.empty()) return error;
  return out;
}

Result<size_t> Bridge::write(Fid open, uint64_t offset, ByteSpan bytes) {
  const Written written = write_pieces(client_, open, offset, bytes);
  if (written.error != Errno{} && written.count == 0) return written.error;
  return written.count;
}

Result<void> Bridge::sync(Fid open, bool data_only) {
  TRY(client_.call(Tfsync{.fid = open, .datasync = {data_only ? 1u : 0u}}));
  return ok();
}

Result<void> Bridge::allocate(Fid open, uint32_t mode, uint64_t offset, uint64_t length) {
  if (!client_.has_cap(kCapAlloc)) return Errno{EOPNOTSUPP};
  TRY(client_.call(Tfalloc{.fid = open, .mode = mode, .offset = offset, .length = length}));
  return ok();
}

Result<void> Bridge::read_dir(Fid open, uint64_t offset, size_t size, const std::function<bool(const Dirent&)>& add) {
  // FUSE's entries are as large as ours, give or take their padding.
  const auto count = static_cast<uint32_t>(std::clamp<size_t>(size, 1024, client_.max_io()));
  const auto got = TRY(client_.call(Treaddir{.fid = open, .offset = offset, .count = count}));
  DirentReader<Dirent> reader(got->data);
  while (auto entry = TRY(reader.next())) {
    if (!add(*entry)) break;
  }
  return ok();
}

Result<std::string> Bridge::get_xattr(NodeId node, std::string_view name) {
  const Fid file = TRY(fid_of(node));
  const Fid fid = TRY(client_.alloc_fid());
  const auto walked = client_.call(Txattrwalk{.fid = file, .newfid = fid, .name = name});
  if (!walked) {
    client_.free_fid(fid);
    return walked.assume_error();
  }
  const uint64_t size = walked.assume_value()->size;
  auto value = size > kMaxXattr ? Errno{E2BIG} : read(fid, 0, size);
  client_.drop(fid);
  const auto bytes = TRY(std::move(value));
  return std::string(as_chars(bytes));
}

Result<void> Bridge::set_xattr(NodeId node, std::string_view name, std::string_view value, uint32_t flags) {
  const Fid fid = TRY(walk(TRY(fid_of(node)), ""));
  const auto r = client_.call(Txattrcreate{.fid = fid, .name = name, .attr_size = value.size(), .flags = flags});
  if (!r) {
    client_.drop(fid);
    return r.assume_error();
  }
  const auto written = value.empty() ? Result<size_t>(size_t{0}) : write(fid, 0, as_bytes(value));
  TRY(client_.clunk(fid));  // which sets it
  if (!written) return written.assume_error();
  return ok();
}

Result<void> Bridge::remove_xattr(NodeId node, std::string_view name) {
  TRY(get_xattr(node, name));  // ENODATA
  return set_xattr(node, name, "", kXattrReplace);
}

}  // namespace run9::fuse
