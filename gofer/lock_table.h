// POSIX record locks of one export's clients. A lock belongs to (connection, client_id, proc_id)
// and an inode, never to a fid: v9fs sends unlocks on fids of other processes (spec/9p2000L.md,
// "lock"). Held in memory: the host's own processes do not see them. Shared by the connections,
// which run on threads.
#pragma once
#include <list>
#include <map>
#include <mutex>
#include <optional>
#include <string>

#include "gofer/host_calls.h"
#include "p9/server/backend.h"

namespace run9::gofer {

class LockTable {
 public:
  // kBlocked if another owner is in the way. ENOLCK when the connection holds too many.
  Result<p9::LockStatus> set(FileId file, uint64_t connection, const p9::LockRequest& request);
  // The first lock in the way of `request`; client_id is copied to `client`.
  std::optional<p9::LockRequest> find_conflict(FileId file, uint64_t connection,
                                               const p9::LockRequest& request,
                                               std::string& client);
  // The connection closed its last open file of this inode.
  void drop(FileId file, uint64_t connection);

 private:
  struct Range {
    uint64_t start;
    uint64_t end;  // the last byte
    bool write;
    uint64_t connection;
    uint32_t proc_id;
    std::string client_id;
  };
  struct Less {
    bool operator()(const FileId& a, const FileId& b) const {
      return a.ino != b.ino ? a.ino < b.ino : a.dev < b.dev;
    }
  };
  using Ranges = std::list<Range>;

  static const Range* conflict_locked(const Ranges& ranges, uint64_t connection,
                                      const p9::LockRequest& request);

  std::mutex mu_;
  std::map<FileId, Ranges, Less> files_;    // guarded by mu_
  std::map<uint64_t, size_t> held_;         // ranges of each connection; guarded by mu_
};

}  // namespace run9::gofer
