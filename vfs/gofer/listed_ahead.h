// Directories that the gofer lists before anybody reads them, since whoever reads one directory of a tree after the other
// reads them next: the requests that are on their way, and whether it pays to make them.
//
// Owned by GoferFs.
#pragma once
#include <algorithm>
#include <list>
#include <memory>
#include <string>

#include "vfs/gofer/foresight.h"
#include "vfs/gofer/wire.h"

namespace run9::vfs::gofer {

class GoferInode;

class ListedAhead {
 public:
  struct Expected {
    Qid qid;
    std::string name;  // in `parent`
    std::weak_ptr<GoferInode> parent;
    Wire::Reading reading;
    uint64_t changes = 0;  // GoferFs::changes() when it was asked for
    bool changed = false;  // by us, meanwhile: names may have come and gone
  };
  void expect(Expected e) { expected_.push_back(std::make_shared<Expected>(std::move(e))); }
  bool expects(uint64_t path) const { return find(path) != expected_.end(); }
  // Blocks the calling fiber until the answer is there.
  void wait_for(uint64_t path) {
    const auto it = find(path);
    if (it == expected_.end()) return;
    const auto held = *it;
    held->reading.begun->wait();
  }
  void changed(uint64_t path) {
    if (const auto it = find(path); it != expected_.end()) (*it)->changed = true;
  }
  // Those that are answered, to be taken.
  std::list<std::shared_ptr<Expected>> answered() {
    std::list<std::shared_ptr<Expected>> out;
    for (auto it = expected_.begin(); it != expected_.end();) {
      const auto next = std::next(it);
      if ((*it)->reading.begun->answered()) out.splice(out.end(), expected_, it);
      it = next;
    }
    return out;
  }
  // How many more there may be.
  size_t room() const { return kMost - std::min(kMost, expected_.size()); }
  Foresight& foresight() { return foresight_; }

 private:
  static constexpr size_t kMost = 32;
  using List = std::list<std::shared_ptr<Expected>>;
  List::const_iterator find(uint64_t path) const {
    return std::ranges::find(expected_, path, [](const auto& e) { return e->qid.path; });
  }
  List expected_;
  Foresight foresight_;
};

}  // namespace run9::vfs::gofer
