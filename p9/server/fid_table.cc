#include "p9/server/fid_table.h"

#include "base/check.h"

namespace run9::p9 {

namespace {
constexpr Errno kBadFid{EBADF};
}

Result<FidEntry*> FidTable::find(Fid fid) {
  const auto it = entries_.find(static_cast<uint32_t>(fid));
  if (it == entries_.end()) return kBadFid;
  return &it->second;
}

Result<FidEntry*> FidTable::find_node(Fid fid) {
  FidEntry* e = TRY(find(fid));
  if (e->state != FidState::kWalked && e->state != FidState::kOpen) return kBadFid;
  return e;
}

Result<FidEntry*> FidTable::find_open(Fid fid) {
  FidEntry* e = TRY(find(fid));
  if (e->state != FidState::kOpen) return kBadFid;
  return e;
}

Result<void> FidTable::check_free(Fid fid, size_t count) const {
  const auto first = static_cast<uint32_t>(fid);
  // kNoFid itself must not be among them.
  if (count > static_cast<uint32_t>(kNoFid) - first) return kBadFid;
  if (entries_.size() + count > limit_) return Errno{ENFILE};
  for (size_t i = 0; i < count; ++i) {
    if (entries_.contains(first + static_cast<uint32_t>(i))) return kBadFid;
  }
  return ok();
}

FidEntry& FidTable::bind(Fid fid, NodeRef node) {
  const auto [it, added] = entries_.try_emplace(static_cast<uint32_t>(fid));
  CHECK(added);
  it->second.node = std::move(node);
  return it->second;
}

FidEntry& FidTable::bind_open(Fid fid, NodeRef node, std::unique_ptr<OpenFile> file,
                              OpenFlags flags) {
  FidEntry& e = bind(fid, std::move(node));
  e.state = FidState::kOpen;
  e.file = std::move(file);
  e.flags = flags;
  return e;
}

std::optional<FidEntry> FidTable::erase(Fid fid) {
  auto handle = entries_.extract(static_cast<uint32_t>(fid));
  if (handle.empty()) return std::nullopt;
  return std::move(handle.mapped());
}

}  // namespace run9::p9
