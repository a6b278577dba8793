#include "vfs/overlay/inodes.h"

#include <utility>

#include "base/copy.h"
#include "vfs/watch.h"

namespace run9::vfs {
namespace {

constexpr size_t kChunk = 256 * 1024;

// The data file of an open file: that of the lower tree until the file is copied up.
class OvlFile : public File {
 public:
  OvlFile(Path path, uint32_t flags, Real on, FileRef real)
      : File(std::move(path), flags), on_(std::move(on)), real_(std::move(real)) {}

  Result<size_t> pread(OpContext& ctx, std::span<std::byte> dst, uint64_t offset) override {
    return TRY(real(ctx))->pread(ctx, dst, offset);
  }
  bool moves_bytes() const override { return real_->moves_bytes(); }
  Result<std::optional<size_t>> read_unnoticed(OpContext& ctx, std::span<std::byte> dst) override {
    return TRY(real(ctx))->read_unnoticed(ctx, dst);
  }
  Result<size_t> pwrite(OpContext& ctx, ByteSpan src, uint64_t offset) override {
    return TRY(real(ctx))->pwrite(ctx, src, offset);
  }
  Result<size_t> append(OpContext& ctx, ByteSpan src, uint64_t& end) override {
    return TRY(real(ctx))->append(ctx, src, end);
  }
  Result<uint64_t> seek(OpContext& ctx, int64_t offset, int whence) override {
    if (whence != SEEK_DATA && whence != SEEK_HOLE) return File::seek(ctx, offset, whence);
    set_position(TRY(TRY(real(ctx))->seek(ctx, offset, whence)));
    return position();
  }
  Result<MapSource> map_source(OpContext& ctx, bool shared, bool writable) override {
    return TRY(real(ctx))->map_source(ctx, shared, writable);
  }
  Result<MapSource> read_source(OpContext& ctx) override {
    auto source = TRY(TRY(real(ctx))->read_source(ctx));
    if (source.fd != nullptr) static_cast<OvlInode&>(inode()).read_at_host();
    return source;
  }
  Result<WriteSource> write_source(OpContext& ctx) override {
    if ((flags() & O_APPEND) != 0) return WriteSource{};  // the position is this one's
    return TRY(real(ctx))->write_source(ctx);
  }
  Result<void> fsync(OpContext& ctx, bool data_only) override {
    return TRY(real(ctx))->fsync(ctx, data_only);
  }
  Result<void> fallocate(OpContext& ctx, int mode, uint64_t offset, uint64_t length) override {
    return TRY(real(ctx))->fallocate(ctx, mode, offset, length);
  }

 private:
  Result<FileRef> real(OpContext& ctx) {
    const Real& now = static_cast<OvlInode&>(inode()).real();
    if (now.inode != on_.inode) {
      const Real next = now;
      real_ = TRY(next.inode->open(ctx, next.path(), flags()));
      on_ = next;
    }
    return real_;
  }
  Real on_;
  FileRef real_;
};

Result<void> copy_data(OpContext& ctx, const Real& from, const Path& to, uint64_t size) {
  auto src = TRY(from.inode->open(ctx, from.path(), O_RDONLY));
  auto dst = TRY(to.inode()->open(ctx, to, O_WRONLY));
  const TransferBuffer buffer(std::min<uint64_t>(size, kChunk));
  uint64_t at = 0;
  while (at < size) {
    const size_t want = std::min<uint64_t>(buffer.size(), size - at);
    const size_t n = TRY(src->pread(ctx, buffer.first(want), at));
    if (n == 0) break;
    for (size_t done = 0; done < n;) {
      done += TRY(dst->pwrite(ctx, buffer.first(n).subspan(done), at + done));
    }
    at += n;
  }
  return ok();
}

}  // namespace

OvlInode::OvlInode(Overlay& fs, uint64_t ino, uint32_t mode, KeepFs keep, Real upper,
                   std::vector<Real> lowers, std::shared_ptr<OvlDir> parent, std::string name)
    : Inode(fs, ino, mode, keep),
      upper_(std::move(upper)),
      lowers_(std::move(lowers)),
      parent_(std::move(parent)),
      name_(std::move(name)) {}

OvlInode::~OvlInode() {
  if (upper_ && !is_dir()) overlay().forget(*upper_.inode);
}

void OvlInode::lost_name() {
  ++lost_names_;
  notify_inode(*this, kAttributesMoved);
}

Result<Stat> OvlInode::getattr(OpContext& ctx) {
  Stat st = TRY(real().inode->getattr(ctx));
  st.ino = ino();
  st.dev = fs().dev();
  // What a merged directory's would be costs a look at every layer; 1 means "unknown" to find(1).
  if (is_dir() && !lowers_.empty()) st.nlink = 1;
  if (!upper_) st.nlink -= std::min(st.nlink, lost_names_);
  return st;
}

Result<void> OvlInode::setattr(OpContext& ctx, const SetAttr& a) {
  TRY(copy_up(ctx, (a.valid & kSetSize) != 0 ? a.size : ~uint64_t{0}));
  return upper_.inode->setattr(ctx, a);
}

Result<FileRef> OvlInode::open(OpContext& ctx, const Path& self, uint32_t flags) {
  if (!is_regular()) return Errno{ENXIO};
  if ((flags & O_ACCMODE) != O_RDONLY) TRY(copy_up(ctx));
  const Real on = real();
  auto file = TRY(on.inode->open(ctx, on.path(), flags));
  return FileRef(std::make_shared<OvlFile>(self, flags, on, std::move(file)));
}

Result<std::vector<std::byte>> OvlInode::getxattr(OpContext& ctx, std::string_view name) {
  if (name.starts_with(kPrivatePrefix)) return Errno{EOPNOTSUPP};
  return real().inode->getxattr(ctx, name);
}

Result<void> OvlInode::setxattr(OpContext& ctx, std::string_view name, ByteSpan value, int flags) {
  if (name.starts_with(kPrivatePrefix)) return Errno{EOPNOTSUPP};
  TRY(copy_up(ctx));
  return upper_.inode->setxattr(ctx, name, value, flags);
}

Result<void> OvlInode::removexattr(OpContext& ctx, std::string_view name) {
  if (name.starts_with(kPrivatePrefix)) return Errno{EOPNOTSUPP};
  TRY(real().inode->getxattr(ctx, name));
  TRY(copy_up(ctx));
  return upper_.inode->removexattr(ctx, name);
}

Result<std::vector<std::string>> OvlInode::listxattr(OpContext& ctx) {
  auto names = TRY(real().inode->listxattr(ctx));
  std::erase_if(names, [](const std::string& n) { return n.starts_with(kPrivatePrefix); });
  return names;
}

Result<void> OvlInode::copy_up(OpContext& caller, uint64_t bytes) {
  if (upper_) return ok();
  if (overlay().read_only()) return Errno{EROFS};
  OverlayContext ctx(caller);
  std::vector<OvlInode*> todo;
  for (OvlInode* at = this; at != nullptr && !at->upper_; at = at->parent_.get()) {
    todo.push_back(at);
  }
  for (; !todo.empty(); todo.pop_back()) TRY(todo.back()->copy_up_one(ctx, bytes));
  return ok();
}

Result<void> OvlInode::copy_up_one(OpContext& ctx, uint64_t bytes) {
  // Another fiber may be at it.
  while (copying_) TRY(ctx.wait(copied_, ~0u));
  if (upper_) return ok();
  copying_ = true;
  struct Done {
    OvlInode& inode;
    ~Done() {
      inode.copying_ = false;
      inode.copied_.notify_all();
    }
  } done{*this};

  const bool nameless = lost_names_ != 0;
  const OvlInode& above = nameless || !parent_ ? overlay().root_dir() : *parent_;
  const Real dir = above.upper();
  const Stat st = TRY(lowers_.front().inode->getattr(ctx));
  bool linked = true;
  InodeRef made = TRY(copy_node(ctx, *dir.inode, st, bytes, linked));
  TRY(copy_metadata(ctx, *made, st));
  if (!linked && lost_names_ == 0) TRY(dir.inode->link(ctx, name_, *made));
  upper_ = Real{made, dir.mount, 0};
  notify_inode(*this, kAttributesMoved);
  if (std::exchange(read_at_host_, false)) ctx.copied_up();
  if (!is_dir()) {
    overlay().remember(*made, std::static_pointer_cast<OvlInode>(shared_from_this()));
  }
  return ok();
}

// The copy, in the upper directory `dir`; a regular file has no name yet (linked = false), for it must
// not be seen half full.
Result<InodeRef> OvlInode::copy_node(OpContext& ctx, Inode& dir, const Stat& st, uint64_t bytes,
                                     bool& linked) {
  const uint32_t mode = st.mode & 07777;
  switch (type()) {
    case S_IFDIR: return dir.mkdir(ctx, name_, mode);
    case S_IFLNK: return dir.symlink(ctx, name_, TRY(lowers_.front().inode->readlink(ctx)));
    case S_IFREG: break;
    default: return dir.mknod(ctx, name_, st.mode, st.rdev);
  }
  linked = false;
  InodeRef made = TRY(dir.tmpfile(ctx, mode, true));
  const MountRef mount = overlay().root_dir().upper().mount;
  const Path to{mount, std::make_shared<Dentry>(nullptr, "", made)};
  TRY(copy_data(ctx, lowers_.front(), to, std::min(st.size, bytes)));
  return made;
}

Result<void> OvlInode::copy_metadata(OpContext& ctx, Inode& to, const Stat& st) {
  Inode& from = *lowers_.front().inode;
  if (auto names = from.listxattr(ctx)) {
    for (const auto& name : names.assume_value()) {
      if (name.starts_with(kPrivatePrefix)) continue;
      auto value = from.getxattr(ctx, name);
      if (!value) continue;
      auto set = to.setxattr(ctx, name, value.assume_value(), 0);
      if (!set && set.error() != Errno{EOPNOTSUPP}) return set.error();
    }
  }
  SetAttr a{.valid = kSetUid | kSetGid | kSetAtime | kSetMtime};
  a.uid = st.uid;
  a.gid = st.gid;
  a.atime = st.atime;
  a.mtime = st.mtime;
  if (!is_symlink()) {
    a.valid |= kSetMode;
    a.mode = st.mode & 07777;
  }
  TRY(to.setattr(ctx, a));
  const uint64_t number = ino();
  auto kept = to.setxattr(ctx, kOrigin, std::as_bytes(std::span(&number, 1)), 0);
  if (!kept && kept.error() != Errno{EOPNOTSUPP} && kept.error() != Errno{EPERM}) {
    return kept.error();
  }
  return ok();
}

}  // namespace run9::vfs
