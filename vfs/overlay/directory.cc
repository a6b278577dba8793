#include <dirent.h>

#include <cstring>
#include <map>

#include "vfs/overlay/inodes.h"

namespace run9::vfs {
namespace {

struct Collector : DirSink {
  bool add(const DirEntry& e) override {
    ++taken;
    if (e.name != "." && e.name != "..") entries.push_back({std::string(e.name), e.ino, e.type});
    return true;
  }
  size_t taken = 0;
  std::vector<OvlDir::Name> entries;
};

Result<std::vector<OvlDir::Name>> read_all(OpContext& ctx, const Real& dir) {
  auto file = TRY(dir.inode->open(ctx, dir.path(), O_RDONLY | O_DIRECTORY));
  Collector all;
  size_t before = 0;
  do {
    before = all.taken;
    TRY(file->readdir(ctx, all));
  } while (all.taken != before);
  return std::move(all.entries);
}

uint64_t number_of(OpContext& ctx, const Real& upper) {
  OverlayContext own(ctx);
  uint64_t number = 0;
  auto origin = upper.inode->getxattr(own, kOrigin);
  if (!origin || origin.assume_value().size() != sizeof number) return upper.ino();
  std::memcpy(&number, origin.assume_value().data(), sizeof number);
  return number;
}

// A directory is read as it was at the start, or at the last rewind.
class OvlDirFile : public File {
 public:
  using File::File;
  Result<void> readdir(OpContext& ctx, DirSink& sink) override {
    auto& dir = static_cast<OvlDir&>(inode());
    if (position() == 0 || !read_) {
      names_ = TRY(dir.names(ctx));
      read_ = true;
    }
    if (position() == 0) {
      if (!sink.add({dir.ino(), 1, DT_DIR, "."})) return ok();
      set_position(1);
    }
    if (position() == 1) {
      const auto& up = path().dentry->parent();
      const uint64_t number = up ? up->inode()->ino() : dir.ino();
      if (!sink.add({number, 2, DT_DIR, ".."})) return ok();
      set_position(2);
    }
    while (position() - 2 < names_.size()) {
      const auto& n = names_[position() - 2];
      if (!sink.add({n.ino, position() + 1, n.type, n.name})) return ok();
      set_position(position() + 1);
    }
    return ok();
  }
  Result<uint64_t> seek(OpContext& ctx, int64_t offset, int whence) override {
    if (whence != SEEK_SET && whence != SEEK_CUR) return Errno{EINVAL};
    return File::seek(ctx, offset, whence);
  }
  Result<size_t> pread(OpContext&, std::span<std::byte>, uint64_t) override {
    return Errno{EISDIR};
  }

 private:
  bool read_ = false;
  std::vector<OvlDir::Name> names_;
};

}  // namespace

Result<FileRef> OvlDir::open(OpContext&, const Path& self, uint32_t flags) {
  return FileRef(std::make_shared<OvlDirFile>(self, flags));
}

Result<std::vector<OvlDir::Name>> OvlDir::names(OpContext& caller) {
  OverlayContext ctx(caller);
  std::map<std::string, bool, std::less<>> seen;
  std::vector<Name> out;
  std::vector<Real> layers;
  if (upper_) layers.push_back(upper_);
  layers.insert(layers.end(), lowers_.begin(), lowers_.end());
  for (const Real& layer : layers) {
    for (auto& e : TRY(read_all(ctx, layer))) {
      if (!seen.emplace(e.name, true).second) continue;
      Real r{nullptr, layer.mount, layer.layer};
      if (e.type == DT_CHR || layer.layer == 0) {
        auto found = layer.inode->lookup(ctx, e.name);
        if (!found) continue;
        r.inode = std::move(found).assume_value();
        if (is_whiteout(ctx, *r.inode)) continue;
      }
      if (layer.layer == 0) {
        e.ino = number_of(ctx, r);
      } else {
        e.ino ^= uint64_t{layer.layer - 1} << 48;
      }
      out.push_back(std::move(e));
    }
  }
  return out;
}

std::shared_ptr<OvlInode> OvlDir::wrap(OpContext& ctx, std::string_view name, Real upper,
                                       std::vector<Real> lowers) {
  const Real& real = upper ? upper : lowers.front();
  auto self = std::static_pointer_cast<OvlDir>(shared_from_this());
  if (real.inode->is_dir()) {
    const uint64_t number = lowers.empty() ? upper.ino() : lowers.front().ino();
    return std::make_shared<OvlDir>(overlay(), number, S_IFDIR, KeepFs::kYes, std::move(upper),
                                    std::move(lowers), std::move(self), std::string(name));
  }
  if (upper) {
    if (auto known = overlay().known(*upper.inode)) return known;
  }
  const uint64_t number = upper ? number_of(ctx, upper) : lowers.front().ino();
  const InodeRef in_upper = upper.inode;
  auto made = std::make_shared<OvlInode>(overlay(), number, real.inode->type(), KeepFs::kYes,
                                         std::move(upper), std::move(lowers), std::move(self),
                                         std::string(name));
  if (in_upper) overlay().remember(*in_upper, made);
  return made;
}

Result<InodeRef> OvlDir::lookup(OpContext& ctx, std::string_view name) {
  const std::string_view one[] = {name};
  return TRY(lookup_many(ctx, one)).front();
}

// One name where layers merge; the whole run where a single lower tree holds the rest of it.
Result<std::vector<InodeRef>> OvlDir::lookup_many(OpContext& caller,
                                                  std::span<const std::string_view> names,
                                                  Intent intent) {
  OverlayContext ctx(caller);
  const std::string_view name = names.front();
  Real in_upper;
  std::vector<Real> below;
  bool deeper = true;
  if (upper_) {
    auto found = upper_.inode->lookup(ctx, name);
    if (!found && found.error() != Errno{ENOENT}) return found.error();
    if (found) {
      in_upper = Real{std::move(found).assume_value(), upper_.mount, 0};
      if (is_whiteout(ctx, *in_upper.inode)) return Errno{ENOENT};
      deeper = in_upper.inode->is_dir() && !is_opaque(ctx, *in_upper.inode);
    }
  }
  if (!in_upper && lowers_.size() == 1) {
    const Real& low = lowers_.front();
    auto found = TRY(low.inode->lookup_many(ctx, names, intent));
    std::vector<InodeRef> out;
    OvlDir* at = this;
    for (size_t i = 0; i < found.size(); ++i) {
      if (is_whiteout(ctx, *found[i])) break;
      const bool dir = found[i]->is_dir();
      out.push_back(at->wrap(ctx, names[i], Real{}, {Real{found[i], low.mount, low.layer}}));
      if (!dir) break;
      at = static_cast<OvlDir*>(out.back().get());
    }
    if (out.empty()) return Errno{ENOENT};
    return out;
  }
  for (const Real& low : lowers_) {
    if (!deeper) break;
    auto found = low.inode->lookup(ctx, name);
    if (!found && found.error() != Errno{ENOENT}) return found.error();
    if (!found) continue;
    Real r{std::move(found).assume_value(), low.mount, low.layer};
    if (is_whiteout(ctx, *r.inode)) break;
    const bool dir = r.inode->is_dir();
    const bool first = !in_upper && below.empty();
    if (!dir && !first) break;
    deeper = dir && &low != &lowers_.back() && !is_opaque(ctx, *r.inode);
    below.push_back(std::move(r));
  }
  if (!in_upper && below.empty()) return Errno{ENOENT};
  std::vector<InodeRef> out;
  out.push_back(wrap(ctx, name, std::move(in_upper), std::move(below)));
  return out;
}

}  // namespace run9::vfs
