#include "vfs/told_names.h"

#include <utility>

namespace run9::vfs {
namespace {

constexpr size_t kMostNames = 8192, kMostDirs = 1024;
constexpr uint32_t kNameEvents = IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO;
constexpr uint32_t kOwnEvents = IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF;

}  // namespace

class ToldNames::Dir final : public Watcher {
 public:
  Dir(ToldNames& told, Path place) : told_(told), place_(std::move(place)) { place_.inode()->watches().add(*this); }
  ~Dir() override { place_.inode()->watches().remove(*this); }
  Dir(const Dir&) = delete;
  Dir& operator=(const Dir&) = delete;
  uint32_t interest() const override { return kNameEvents | kOwnEvents; }
  // This may be its end.
  void on_event(const WatchEvent& event) override { told_.happened(*place_.inode(), event); }

 private:
  ToldNames& told_;
  Path place_;
};

ToldNames::ToldNames() = default;
ToldNames::~ToldNames() = default;

size_t ToldNames::hash(const Inode& dir, std::string_view name) {
  return std::hash<std::string_view>{}(name) ^ (std::hash<const void*>{}(&dir) * 0x9e3779b97f4a7c15);
}

bool ToldNames::tell(const Path& dir, std::string_view name) {
  Inode& inode = *dir.inode();
  if (inode.fs().caching() != Caching::kAuthoritative || dir.dentry->unlinked()) return false;
  const size_t h = hash(inode, name);
  if (unsteady_[h % unsteady_.size()] == h >> 32) return false;
  if (names_.size() >= kMostNames || dirs_.size() >= kMostDirs) drop();
  if (!dirs_.contains(&inode)) dirs_.emplace(&inode, std::make_unique<Dir>(*this, dir));
  if (!name.empty()) names_.insert(h);
  return true;
}

void ToldNames::happened(const Inode& dir, const WatchEvent& event) {
  if (event.name.empty()) {
    if ((event.mask & kOwnEvents) != 0) drop();
    return;
  }
  const size_t h = hash(dir, event.name);
  if ((event.mask & kNameEvents) == 0 || !names_.contains(h)) return;
  unsteady_[h % unsteady_.size()] = static_cast<uint32_t>(h >> 32);
  drop();
}

void ToldNames::drop() {
  if (dirs_.empty()) return;
  ++drops_;
  names_.clear();
  if (changed_) changed_();
  const auto gone = std::exchange(dirs_, {});
}

}  // namespace run9::vfs
