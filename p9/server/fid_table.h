// The fids of one session. A fid is in one of four states: walked (a node), open (a node and its
// OpenFile), xattr-read and xattr-write (a value in memory). Owned by the Session, single-threaded.
#pragma once
#include <optional>
#include <string>
#include <unordered_map>

#include "p9/server/backend.h"

namespace run9::p9 {

// Txattrwalk's value, or Txattrcreate's as it arrives by Twrite.
struct XattrValue {
  std::string name;
  std::vector<std::byte> bytes;
  size_t expected = 0;  // for a write: Txattrcreate's attr_size
  uint32_t flags = 0;
};

enum class FidState { kWalked, kOpen, kXattrRead, kXattrWrite };

struct FidEntry {
  NodeRef node;
  FidState state = FidState::kWalked;
  OpenFlags flags{};               // of an open one
  std::unique_ptr<OpenFile> file;  // set iff open
  XattrValue xattr;                // of the xattr states

  bool is_dir() const { return is(node->qid(), QidType::kDir); }
};

class FidTable {
 public:
  explicit FidTable(size_t limit) : limit_(limit) {}

  // EBADF for an unknown fid. The pointer stays good until this fid is erased.
  Result<FidEntry*> find(Fid fid);
  // One with a node to work on: walked or open.
  Result<FidEntry*> find_node(Fid fid);
  Result<FidEntry*> find_open(Fid fid);
  // EBADF if taken or NOFID, ENFILE when `count` more are too many.
  Result<void> check_free(Fid fid, size_t count = 1) const;
  // check_free() was asked before.
  FidEntry& bind(Fid fid, NodeRef node);
  FidEntry& bind_open(Fid fid, NodeRef node, std::unique_ptr<OpenFile> file, OpenFlags flags);
  // The entry as it was; nothing if there is none.
  std::optional<FidEntry> erase(Fid fid);
  void clear() { entries_.clear(); }
  size_t size() const { return entries_.size(); }

 private:
  size_t limit_;
  std::unordered_map<uint32_t, FidEntry> entries_;
};

}  // namespace run9::p9
