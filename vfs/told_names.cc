#include "vfs/told_names.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

namespace run9::vfs {
namespace {

constexpr size_t kMostNames = 8192, kMostDirs = 1024, kMostFiles = 1024;
constexpr uint32_t kNameEvents = IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO;
constexpr uint32_t kOwnEvents = IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF;

// By which a name is found without being copied.
struct NameHash : std::hash<std::string_view> {
  using is_transparent = void;
};

void add_to(std::vector<uint32_t>& records, uint32_t record) {
  if (std::ranges::find(records, record) == records.end()) records.push_back(record);
}

}  // namespace

class ToldNames::Dir final : public Watcher {
 public:
  Dir(ToldNames& told, Path place) : told_(told), place_(std::move(place)) { place_.inode()->watches().add(*this); }
  ~Dir() override { place_.inode()->watches().remove(*this); }
  Dir(const Dir&) = delete;
  Dir& operator=(const Dir&) = delete;
  uint32_t interest() const override { return kNameEvents | kOwnEvents; }
  // This may be its end.
  void on_event(const WatchEvent& event) override { told_.happened(*this, event); }
  Inode& inode() const { return *place_.inode(); }

  struct Name {
    bool all = false;  // what was told by it is more than these
    Records records = {};
  };
  std::unordered_map<std::string, Name, NameHash, std::equal_to<>> names;
  Name& note(std::string_view name) {
    const auto [found, is_new] = names.try_emplace(std::string(name));
    if (is_new) ++told_.names_;
    return found->second;
  }

 private:
  ToldNames& told_;
  Path place_;
};

class ToldNames::Attributes final : public Watcher {
 public:
  Attributes(ToldNames& told, Path place) : told_(told), place_(std::move(place)), holder_(place_.inode()->holder().shared_from_this()) {
    inode().watches().add(*this);
    if (holder_.get() != &inode()) holder_->watches().add(*this);
  }
  ~Attributes() override {
    inode().watches().remove(*this);
    if (holder_.get() != &inode()) holder_->watches().remove(*this);
  }
  Attributes(const Attributes&) = delete;
  Attributes& operator=(const Attributes&) = delete;
  uint32_t interest() const override { return kAttributesMoved; }
  // This is its end.
  void on_event(const WatchEvent&) override { told_.moved(*this); }
  Inode& inode() const { return *place_.inode(); }

  Records records;

 private:
  ToldNames& told_;
  Path place_;
  InodeRef holder_;
};

ToldNames::ToldNames() = default;
ToldNames::~ToldNames() = default;

size_t ToldNames::hash(const Inode& dir, std::string_view name) {
  // Not by its address, which another one may have later.
  return std::hash<std::string_view>{}(name) ^ ((dir.ino() + (dir.fs().dev() << 48)) * 0x9e3779b97f4a7c15);
}

ToldNames::Dir* ToldNames::watch(const Path& dir, std::string_view name) {
  Inode& inode = *dir.inode();
  if (inode.fs().caching() != Caching::kAuthoritative || dir.dentry->unlinked() || is_unsteady(hash(inode, name))) return nullptr;
  if (names_ >= kMostNames || dirs_.size() >= kMostDirs) drop();
  auto& known = dirs_[&inode];
  if (known == nullptr) known = std::make_unique<Dir>(*this, dir);
  return known.get();
}

bool ToldNames::tell(const Path& dir, std::string_view name) {
  Dir* const in = watch(dir, name);
  if (in != nullptr && !name.empty()) in->note(name).all = true;
  return in != nullptr;
}

bool ToldNames::tell_last(const Path& dir, std::string_view name, uint32_t record) {
  Dir* const in = watch(dir, name);
  if (in != nullptr) add_to(in->note(name).records, record);
  return in != nullptr;
}

bool ToldNames::may_tell_attributes(const Inode& file) const {
  const bool kind = file.is_regular() || file.is_dir() || file.is_symlink();
  return kind && file.fs().caching() == Caching::kAuthoritative && !file.moves_unseen() && !is_unsteady(hash(file, {}));
}

bool ToldNames::tell_attributes(const Path& file, uint32_t record) {
  Inode& inode = *file.inode();
  if (file.dentry->unlinked() || !may_tell_attributes(inode)) return false;
  if (files_.size() >= kMostFiles) drop();
  auto& known = files_[&inode];
  if (known == nullptr) known = std::make_unique<Attributes>(*this, file);
  add_to(known->records, record);
  return true;
}

void ToldNames::moved(const Attributes& attributes) {
  note_unsteady(hash(attributes.inode(), {}));
  const auto gone = files_.extract(&attributes.inode());
  for (const uint32_t record : attributes.records) hears_.moved(record);
}

void ToldNames::happened(Dir& dir, const WatchEvent& event) {
  if (event.name.empty()) {
    if ((event.mask & kOwnEvents) != 0) drop();
    return;
  }
  if ((event.mask & kNameEvents) == 0) return;
  const auto found = dir.names.find(event.name);
  if (found == dir.names.end()) return;
  note_unsteady(hash(dir.inode(), event.name));
  const bool came = (event.mask & IN_CREATE) != 0;
  if (found->second.all && !came) return drop();
  const Dir::Name name = std::move(found->second);
  dir.names.erase(found);
  --names_;
  ++voids_;
  for (const uint32_t record : name.records) hears_.moved(record);
  // Nothing that is there was told by a name that comes.
  if (name.all) hears_.came();
}

void ToldNames::drop() {
  if (dirs_.empty() && files_.empty()) return;
  ++voids_;
  names_ = 0;
  hears_.changed();
  const auto gone = std::exchange(dirs_, {});
  const auto files = std::exchange(files_, {});
}

}  // namespace run9::vfs
