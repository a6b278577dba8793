// Leases: which directories the gofer watches for us. While a lease lives, nobody has changed the
// directory, the names in it or the attributes of its files since it was granted: what was told since
// then is true. The gofer has the host watch (inotify, one report for each watch), and we read the
// reports ourselves before we believe anything: a change is seen once the call that made it is over.
//
// Owned by GoferFs. A lease is a number that is never used again; 0 is none.
#pragma once
#include <cstdint>
#include <unordered_map>
#include <unordered_set>

#include "base/unique_fd.h"

namespace run9::vfs::gofer {

class Leases {
 public:
  Leases() = default;  // none are ever granted
  explicit Leases(UniqueFd events) : events_(std::move(events)) {}

  bool possible() const { return events_.valid(); }
  // Reads what was reported, once in a moment (OpContext::moment). One host call when nothing was.
  bool alive(uint64_t lease, uint64_t moment);
  // A reply granted the watch of that number (0: it did not). `asked_at` is reports() from before
  // the request was sent: a report that came in between may have been this watch's.
  uint64_t granted(uint32_t watch, uint64_t asked_at);
  // How many reports there were of watches that we do not know.
  uint64_t reports() const { return unknown_reports_; }

 private:
  void read_reports();
  void report(int watch);

  UniqueFd events_;
  std::unordered_map<uint32_t, uint64_t> by_watch_;
  std::unordered_set<uint64_t> alive_;
  uint64_t last_ = 0;
  uint64_t read_at_ = 0;  // the moment
  uint64_t unknown_reports_ = 0;
};

}  // namespace run9::vfs::gofer
