// Attributes, symlink targets and extended attributes.
#include <sys/stat.h>

#include "p9/server/session.h"

namespace run9::p9 {

namespace {

// Rgetattr's bits and statx's: the same from atime on, shuffled below.
constexpr uint64_t kSameBits = kGetAtime | kGetMtime | kGetCtime | kGetIno | kGetSize |
                               kGetBlocks | kGetBtime;
static_assert(kGetAtime == STATX_ATIME && kGetBlocks == STATX_BLOCKS && kGetBtime == STATX_BTIME);

uint64_t attrmask_of(uint64_t request) {
  uint64_t mask = request & kSameBits;
  if ((request & (kGetMode | kGetRdev)) != 0) mask |= STATX_TYPE | STATX_MODE;
  if ((request & kGetNlink) != 0) mask |= STATX_NLINK;
  if ((request & kGetUid) != 0) mask |= STATX_UID;
  if ((request & kGetGid) != 0) mask |= STATX_GID;
  return mask;
}

// GEN and DATA_VERSION are never set: nothing here is as exact as they promise.
uint64_t getattr_valid_of(uint64_t attr_valid) {
  uint64_t valid = attr_valid & kSameBits;
  if ((attr_valid & STATX_MODE) != 0) valid |= kGetMode | kGetRdev;
  if ((attr_valid & STATX_NLINK) != 0) valid |= kGetNlink;
  if ((attr_valid & STATX_UID) != 0) valid |= kGetUid;
  if ((attr_valid & STATX_GID) != 0) valid |= kGetGid;
  return valid;
}

Time time_of(const TimeX& t) { return {.sec = t.sec, .nsec = t.nsec}; }

constexpr uint32_t kSettable = kSetMode | kSetUid | kSetGid | kSetSize | kSetAtime | kSetMtime |
                               kSetCtime | kSetAtimeGiven | kSetMtimeGiven;

Result<void> check_xattr_name(std::string_view name) {
  if (name.empty()) return Errno{EINVAL};
  if (name.size() > kMaxName) return Errno{ERANGE};
  return ok();
}

Result<void> check_xattr_flags(uint32_t flags) {
  if ((flags & ~(kXattrCreate | kXattrReplace)) != 0) return Errno{EINVAL};
  return ok();
}

}  // namespace

Result<Rstatfs> Session::handle(const Tstatfs& t) {
  return TRY(fids_.find_node(t.fid))->node->stat_fs();
}

Result<Rgetattr> Session::handle(const Tgetattr& t) {
  FidEntry* e = TRY(fids_.find_node(t.fid));
  const AttrX a = TRY(e->node->get_attr(attrmask_of(t.request_mask), e->file.get()));
  return Rgetattr{.valid = getattr_valid_of(a.valid),
                  .qid = e->node->qid(),
                  .mode = a.mode,
                  .uid = a.uid,
                  .gid = a.gid,
                  .nlink = a.nlink,
                  .rdev = a.rdev,
                  .size = a.size,
                  .blksize = a.blksize,
                  .blocks = a.blocks,
                  .atime = time_of(a.atime),
                  .mtime = time_of(a.mtime),
                  .ctime = time_of(a.ctime),
                  .btime = time_of(a.btime)};
}

Result<void> Session::set_attr(FidEntry& e, SetAttr set) {
  if ((set.valid & ~kSettable) != 0) return Errno{EINVAL};
  constexpr uint64_t kNsecPerSec = 1'000'000'000;
  if (set.atime.nsec >= kNsecPerSec || set.mtime.nsec >= kNsecPerSec) return Errno{EINVAL};
  if (set.size > INT64_MAX) return Errno{EINVAL};
  set.mode &= 07777;
  return e.node->set_attr(set, e.file.get());
}

Result<Rsetattr> Session::handle(const Tsetattr& t) {
  TRY(set_attr(*TRY(fids_.find_node(t.fid)), t.attr));
  return Rsetattr{};
}

Result<Rsetx> Session::handle(const Tsetx& t) {
  FidEntry* e = TRY(fids_.find_node(t.fid));
  TRY(set_attr(*e, t.attr));
  return Rsetx{.attr = TRY(e->node->get_attr(t.attrmask, e->file.get()))};
}

Result<Rreadlink> Session::handle(const Treadlink& t) {
  text_ = TRY(TRY(fids_.find_node(t.fid))->node->read_link());
  return Rreadlink{.target = text_};
}

Result<Rxattrwalk> Session::handle(const Txattrwalk& t) {
  FidEntry* from = TRY(fids_.find_node(t.fid));
  TRY(fids_.check_free(t.newfid));
  NodeRef node = from->node;
  std::vector<std::byte> value;
  if (t.name.empty()) {
    value = TRY(node->list_xattr());
  } else {
    TRY(check_xattr_name(t.name));
    value = TRY(node->get_xattr(t.name));
  }
  FidEntry& e = fids_.bind(t.newfid, std::move(node));
  e.state = FidState::kXattrRead;
  e.xattr.bytes = std::move(value);
  return Rxattrwalk{.size = e.xattr.bytes.size()};
}

Result<Rxattrcreate> Session::handle(const Txattrcreate& t) {
  FidEntry* e = TRY(fids_.find_node(t.fid));
  if (e->state != FidState::kWalked) return Errno{EINVAL};
  TRY(check_xattr_name(t.name));
  TRY(check_xattr_flags(t.flags));
  if (t.attr_size > kMaxXattr) return Errno{E2BIG};
  e->xattr = {.name = std::string(t.name), .expected = t.attr_size, .flags = t.flags};
  e->state = FidState::kXattrWrite;
  return Rxattrcreate{};
}

Result<Rgetxa> Session::handle(const Tgetxa& t) {
  FidEntry* e = TRY(fids_.find_node(t.fid));
  TRY(check_xattr_name(t.name));
  data_ = TRY(e->node->get_xattr(t.name));
  const auto size = static_cast<uint32_t>(data_.size());
  if (t.size == 0) return Rgetxa{.size = size};
  if (size > t.size) return Errno{ERANGE};
  if (size > max_io()) return Errno{E2BIG};
  return Rgetxa{.size = size, .value = data_};
}

Result<Rsetxa> Session::handle(const Tsetxa& t) {
  FidEntry* e = TRY(fids_.find_node(t.fid));
  TRY(check_xattr_name(t.name));
  TRY(check_xattr_flags(t.flags));
  if (t.value.size() > kMaxXattr) return Errno{E2BIG};
  TRY(e->node->set_xattr(t.name, t.value, t.flags));
  return Rsetxa{};
}

Result<Rlistxa> Session::handle(const Tlistxa& t) {
  FidEntry* e = TRY(fids_.find_node(t.fid));
  data_ = TRY(e->node->list_xattr());
  const auto size = static_cast<uint32_t>(data_.size());
  if (t.size == 0) return Rlistxa{.size = size};
  if (size > t.size) return Errno{ERANGE};
  if (size > max_io()) return Errno{E2BIG};
  return Rlistxa{.size = size, .names = data_};
}

Result<Rrmxa> Session::handle(const Trmxa& t) {
  FidEntry* e = TRY(fids_.find_node(t.fid));
  TRY(check_xattr_name(t.name));
  TRY(e->node->remove_xattr(t.name));
  return Rrmxa{};
}

}  // namespace run9::p9
