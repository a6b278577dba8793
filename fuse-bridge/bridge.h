// Bridge: a 9P server's tree under node numbers, as FUSE wants it. One fid for each node that the kernel knows, one more
// for each open file. Single-threaded; knows 9P, and of FUSE only what it asks for (fuse_ops.cc has the rest).
#pragma once
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <functional>
#include <optional>
#include <string>
#include <unordered_map>

#include "p9/client.h"

namespace run9::fuse {

using NodeId = uint64_t;
inline constexpr NodeId kRoot = 1;

struct Found {
  NodeId node = 0;
  struct stat attr {};
};
// Who asks, and what new files get.
struct Caller {
  uint32_t uid = 0;
  uint32_t gid = 0;
};
struct Created {
  Found found;
  p9::Fid open{};
};

class Bridge {
 public:
  // The client is attached at `root`, and outlives the bridge.
  Bridge(p9::Client& client, p9::Attached root, uint32_t uid);

  // Each Found counts as one lookup of its node; forget() takes them back.
  Result<Found> lookup(NodeId dir, std::string_view name);
  void forget(NodeId node, uint64_t lookups);

  // Of the open file, where there is one: its name may be gone.
  Result<struct stat> get_attr(NodeId node, std::optional<p9::Fid> open);
  Result<struct stat> set_attr(NodeId node, std::optional<p9::Fid> open, const p9::SetAttr& attr);
  Result<std::string> read_link(NodeId node);
  Result<struct statvfs> statfs(NodeId node);

  Result<Created> create(NodeId dir, std::string_view name, int flags, uint32_t mode, Caller who);
  Result<Found> mkdir(NodeId dir, std::string_view name, uint32_t mode, Caller who);
  Result<Found> mknod(NodeId dir, std::string_view name, uint32_t mode, dev_t device, Caller who);
  Result<Found> symlink(NodeId dir, std::string_view name, std::string_view target, Caller who);
  Result<Found> link(NodeId node, NodeId dir, std::string_view name);
  Result<void> unlink(NodeId dir, std::string_view name, bool is_dir);
  // renameat2(2)'s flags.
  Result<void> rename(NodeId from, std::string_view name, NodeId to, std::string_view new_name, uint32_t flags);

  Result<p9::Fid> open(NodeId node, int flags);
  Result<void> release(p9::Fid open) { return client_.clunk(open); }
  // Short at the end of the file only.
  Result<std::vector<std::byte>> read(p9::Fid open, uint64_t offset, size_t size);
  Result<size_t> write(p9::Fid open, uint64_t offset, ByteSpan bytes);
  Result<void> sync(p9::Fid open, bool data_only);
  Result<void> allocate(p9::Fid open, uint32_t mode, uint64_t offset, uint64_t length);
  // From an entry's offset on, until add() says no.
  Result<void> read_dir(p9::Fid open, uint64_t offset, size_t size, const std::function<bool(const p9::Dirent&)>& add);

  // Of the name "": all names.
  Result<std::string> get_xattr(NodeId node, std::string_view name);
  Result<void> set_xattr(NodeId node, std::string_view name, std::string_view value, uint32_t flags);
  Result<void> remove_xattr(NodeId node, std::string_view name);

 private:
  struct Node {
    p9::Fid fid{};
    uint64_t lookups = 0;
    uint64_t qid_path = 0;
    uint32_t mode = 0, gid = 0;  // when it was looked at last
  };
  Result<p9::Fid> fid_of(NodeId node) const;
  // A new fid; nothing is bound if the result is an error.
  Result<p9::Fid> walk(p9::Fid from, std::string_view name, p9::Qid* qid = nullptr);
  Result<struct stat> stat_fid(p9::Fid fid);
  Result<struct stat> stat_node(NodeId node, p9::Fid fid);
  // The group of new files there, and what new directories have beside their mode. In a set-group-id directory that is
  // ours to say, as v9fs does: QEMU's server gives a file to whom the message says, whatever the directory is.
  uint32_t group_in(NodeId dir, Caller who) const;
  uint32_t set_gid_in(NodeId dir) const;
  // New files belong to the server's user; give them to who made them, where the server lets us.
  Result<Found> made(NodeId dir, std::string_view name, Caller who);

  p9::Client& client_;
  const uint32_t uid_;
  std::unordered_map<NodeId, Node> nodes_;
  std::unordered_map<uint64_t, NodeId> by_qid_;  // two names of a file are one node
  NodeId next_ = kRoot + 1;
};

}  // namespace run9::fuse
