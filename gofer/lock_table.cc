#include "gofer/lock_table.h"

namespace run9::gofer {
namespace {

constexpr size_t kMaxRanges = 16384;

uint64_t last_byte(const p9::LockRequest& r) {
  if (r.length == 0 || r.start > UINT64_MAX - (r.length - 1)) return UINT64_MAX;
  return r.start + r.length - 1;
}

}  // namespace

const LockTable::Range* LockTable::conflict_locked(const Ranges& ranges, uint64_t connection,
                                                   const p9::LockRequest& request) {
  const uint64_t end = last_byte(request);
  for (const Range& r : ranges) {
    const bool own = r.connection == connection && r.proc_id == request.proc_id &&
                     r.client_id == request.client_id;
    if (own || r.end < request.start || r.start > end) continue;
    if (r.write || request.type == p9::LockType::kWrite) return &r;
  }
  return nullptr;
}

Result<p9::LockStatus> LockTable::set(FileId file, uint64_t connection,
                                      const p9::LockRequest& request) {
  if (request.type > p9::LockType::kUnlock) return Errno{EINVAL};
  std::lock_guard lock(mu_);
  const bool unlock = request.type == p9::LockType::kUnlock;
  const auto found = files_.find(file);
  if (unlock && found == files_.end()) return p9::LockStatus::kSuccess;
  size_t& held = held_[connection];
  // A change splits a range at most once.
  if (held + 2 > kMaxRanges && !unlock) return Errno{ENOLCK};
  Ranges& ranges = files_[file];
  if (!unlock && conflict_locked(ranges, connection, request) != nullptr) {
    if (ranges.empty()) files_.erase(file);
    return p9::LockStatus::kBlocked;
  }
  const uint64_t end = last_byte(request);
  const size_t before = ranges.size();
  // What the owner held of this range goes, whatever its type.
  for (auto it = ranges.begin(); it != ranges.end();) {
    const bool own = it->connection == connection && it->proc_id == request.proc_id &&
                     it->client_id == request.client_id;
    if (!own || it->end < request.start || it->start > end) {
      ++it;
      continue;
    }
    if (it->start < request.start) {
      Range left = *it;
      left.end = request.start - 1;
      ranges.insert(it, std::move(left));
    }
    if (it->end > end) {
      it->start = end + 1;
      ++it;
    } else {
      it = ranges.erase(it);
    }
  }
  if (!unlock) {
    ranges.push_back({request.start, end, request.type == p9::LockType::kWrite, connection,
                      request.proc_id, std::string(request.client_id)});
  }
  held = held + ranges.size() - before;
  if (ranges.empty()) files_.erase(file);
  if (held == 0) held_.erase(connection);
  return p9::LockStatus::kSuccess;
}

std::optional<p9::LockRequest> LockTable::find_conflict(FileId file, uint64_t connection,
                                                        const p9::LockRequest& request,
                                                        std::string& client) {
  std::lock_guard lock(mu_);
  const auto it = files_.find(file);
  if (it == files_.end()) return std::nullopt;
  const Range* r = conflict_locked(it->second, connection, request);
  if (r == nullptr) return std::nullopt;
  client = r->client_id;
  return p9::LockRequest{.type = r->write ? p9::LockType::kWrite : p9::LockType::kRead,
                         .start = r->start,
                         .length = r->end == UINT64_MAX ? 0 : r->end - r->start + 1,
                         .proc_id = r->proc_id,
                         .client_id = client};
}

void LockTable::drop(FileId file, uint64_t connection) {
  std::lock_guard lock(mu_);
  const auto it = files_.find(file);
  if (it == files_.end()) return;
  const size_t gone =
      it->second.remove_if([&](const Range& r) { return r.connection == connection; });
  if (it->second.empty()) files_.erase(it);
  const auto held = held_.find(connection);
  if (held != held_.end() && (held->second -= gone) == 0) held_.erase(held);
}

}  // namespace run9::gofer
