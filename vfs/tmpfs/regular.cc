#include <linux/falloc.h>
#include <sys/mman.h>

#include <utility>

#include "vfs/tmpfs/inodes.h"
#include "vfs/watch.h"

namespace run9::vfs {
namespace {

constexpr uint32_t kNoWrite = F_SEAL_WRITE | F_SEAL_FUTURE_WRITE;
constexpr uint32_t kNoExecSeal = 8, kExec = 16;  // MFD_NOEXEC_SEAL, MFD_EXEC; newer than our headers

class TmpFile : public File {
 public:
  using File::File;
  TmpRegular& node() const { return static_cast<TmpRegular&>(inode()); }

  Result<size_t> pread(OpContext& ctx, std::span<std::byte> dst, uint64_t offset) override {
    TmpRegular& n = node();
    const size_t count = TRY(n.read(dst, offset, (flags() & O_NOATIME) != 0));
    n.accessed(path(), flags(), ctx.now());
    return count;
  }

  bool moves_bytes() const override { return true; }

  Result<std::optional<size_t>> read_unnoticed(OpContext& ctx, std::span<std::byte> dst) override {
    TmpRegular& n = node();
    const bool traces = (flags() & O_NOATIME) == 0 && n.access_moves(path().mount ? path().mount->flags : 0, ctx.now());
    if (!readable() || traces || *n.content.writable_maps != 0) return std::nullopt;
    return std::optional<size_t>(TRY(n.read(dst, 0, true)));
  }

  Result<size_t> pwrite(OpContext& ctx, ByteSpan src, uint64_t offset) override {
    TmpRegular& n = node();
    TmpContent& content = n.content;
    if (src.empty()) return 0;
    if ((content.seals & kNoWrite) != 0) return Errno{EPERM};
    const uint64_t limit = std::min<uint64_t>(ctx.file_size_limit(), INT64_MAX);
    if (offset >= limit) return Errno{EFBIG};
    src = src.first(std::min<uint64_t>(src.size(), limit - offset));
    if ((content.seals & F_SEAL_GROW) != 0) {
      if (offset >= content.size()) return Errno{EPERM};
      src = src.first(std::min<uint64_t>(src.size(), content.size() - offset));
    }
    const size_t count = TRY(content.write(src, offset));
    n.drop_privileges(ctx);
    n.modified(ctx.now());
    return count;
  }

  Result<size_t> append(OpContext& ctx, ByteSpan src, uint64_t& end) override {
    const uint64_t at = node().content.size();
    const size_t count = TRY(pwrite(ctx, src, at));
    end = at + count;
    return count;
  }

  Result<uint64_t> seek(OpContext& ctx, int64_t offset, int whence) override {
    if (whence != SEEK_DATA && whence != SEEK_HOLE) return File::seek(ctx, offset, whence);
    if (offset < 0) return Errno{ENXIO};
    set_position(TRY(node().content.seek_data_hole(static_cast<uint64_t>(offset), whence)));
    return position();
  }

  Result<MapSource> map_source(OpContext&, bool shared, bool writable) override {
    TmpContent& content = node().content;
    auto fd = TRY(content.host_fd());
    if (shared) node().map_at_host();
    const bool never_sealed = content.seals == F_SEAL_SEAL;
    if (!shared || !writable) return MapSource{std::move(fd), 0, never_sealed};
    if ((content.seals & kNoWrite) != 0) return Errno{EPERM};
    // Counted while the mapping lives: F_SEAL_WRITE is refused until then.
    auto counter = content.writable_maps;
    ++*counter;
    UniqueFd* raw = fd.get();
    auto tracked = std::shared_ptr<UniqueFd>(
        raw, [fd = std::move(fd), counter = std::move(counter)](UniqueFd*) { --*counter; });
    return MapSource{std::move(tracked), 0, never_sealed};
  }

  // The memfd's access time is what tells of such reads.
  Result<MapSource> read_source(OpContext&) override {
    TmpRegular& n = node();
    if (!readable() || n.content.seals != F_SEAL_SEAL) return MapSource{};
    auto fd = n.content.fd_to_read();
    if (fd == nullptr) return MapSource{};
    n.read_at_host(path());
    return MapSource{std::move(fd), 0, true};
  }

  Result<void> fallocate(OpContext& ctx, int mode, uint64_t offset, uint64_t length) override {
    TmpRegular& n = node();
    TmpContent& content = n.content;
    const bool punch = (mode & FALLOC_FL_PUNCH_HOLE) != 0;
    const bool grows = (mode & FALLOC_FL_KEEP_SIZE) == 0 && offset + length > content.size();
    if (punch && (mode & FALLOC_FL_KEEP_SIZE) == 0) return Errno{EOPNOTSUPP};
    if ((punch || (mode & FALLOC_FL_ZERO_RANGE) != 0) && (content.seals & kNoWrite) != 0) {
      return Errno{EPERM};
    }
    if (grows && (content.seals & F_SEAL_GROW) != 0) return Errno{EPERM};
    if (grows && offset + length > ctx.file_size_limit()) return Errno{EFBIG};
    TRY(content.fallocate(mode, offset, length));
    n.drop_privileges(ctx);
    n.modified(ctx.now());
    return ok();
  }
};

}  // namespace

void TmpRegular::read_at_host(const Path& at) {
  note_host_reads();
  host_reads_ = HostReads{.mount_flags = at.mount ? at.mount->flags : 0, .last = content.host_atime()};
  notify_inode(*this, kAttributesMoved);
}

// A hole is filled by whoever reads it through a mapping.
bool TmpRegular::moves_unseen() const { return host_reads_.has_value() || mapped_ || !content.is_dense(); }

// Pages that come by a mapping are no write(2)'s.
void TmpRegular::map_at_host() {
  mapped_ = true;
  notify_inode(*this, kAttributesMoved);
}

void TmpRegular::note_host_reads() {
  if (!host_reads_) return;
  const Timespec last = content.host_atime();
  if (std::exchange(host_reads_->last, last) != last && last > st_.atime) accessed(host_reads_->mount_flags, last);
}

Result<size_t> TmpRegular::read(std::span<std::byte> dst, uint64_t offset, bool quietly) {
  if (!quietly || !host_reads_) return content.read(dst, offset);
  note_host_reads();
  const auto n = content.read(dst, offset);
  host_reads_->last = content.host_atime();
  return n;
}

Result<void> TmpRegular::setattr(OpContext& ctx, const SetAttr& a) {
  note_host_reads();
  return TmpInode::setattr(ctx, a);
}

Result<Stat> TmpRegular::getattr(OpContext& ctx) {
  note_host_reads();
  Stat st = TRY(TmpInode::getattr(ctx));
  st.size = content.size();
  st.blocks = content.blocks();
  return st;
}

Result<void> TmpRegular::set_size(OpContext& ctx, uint64_t size) {
  if (size < content.size() && (content.seals & F_SEAL_SHRINK) != 0) return Errno{EPERM};
  if (size > content.size() && (content.seals & F_SEAL_GROW) != 0) return Errno{EPERM};
  TRY(content.resize(size));
  modified(ctx.now());
  return ok();
}

Result<FileRef> TmpRegular::open(OpContext&, const Path& self, uint32_t flags) {
  return FileRef(std::make_shared<TmpFile>(self, flags));
}

MountRef make_internal_mount(FileSystemRef fs) {
  DentryRef root = fs->root_dentry();
  return std::make_shared<Mount>(0, std::move(fs), std::move(root), kMntNoSuid | kMntNoDev, "none");
}

Result<FileRef> make_anonymous_file(OpContext& ctx, const MountRef& mount, std::string name,
                                    uint32_t mode, uint32_t seals) {
  InodeRef inode = TRY(mount->fs->root()->tmpfile(ctx, mode & 07777, false));
  static_cast<TmpRegular&>(*inode).content.seals = seals;
  auto dentry = std::make_shared<Dentry>(mount->root, std::move(name), inode);
  dentry->mark_unlinked();
  return inode->open(ctx, Path{mount, std::move(dentry)}, O_RDWR | O_LARGEFILE);
}

Result<void> check_memfd_flags(uint32_t mfd_flags) {
  constexpr uint32_t kKnown = MFD_CLOEXEC | MFD_ALLOW_SEALING | kNoExecSeal | kExec;
  constexpr uint32_t kEither = kNoExecSeal | kExec;
  if ((mfd_flags & ~kKnown) != 0 || (mfd_flags & kEither) == kEither) return Errno{EINVAL};
  return ok();
}

Result<FileRef> create_memfd(OpContext& ctx, const MountRef& mount, std::string_view name,
                             uint32_t mfd_flags) {
  constexpr size_t kNameMax = 249;  // NAME_MAX less "memfd:"
  TRY(check_memfd_flags(mfd_flags));
  if (name.size() > kNameMax) return Errno{EINVAL};
  uint32_t seals = (mfd_flags & MFD_ALLOW_SEALING) != 0 ? 0 : F_SEAL_SEAL;
  uint32_t mode = 0777;
  if ((mfd_flags & kNoExecSeal) != 0) {
    mode = 0666;
    seals = 0x20;  // F_SEAL_EXEC, and sealing is allowed
  }
  return make_anonymous_file(ctx, mount, "memfd:" + std::string(name), mode, seals);
}

Result<void> add_seals(File& file, uint32_t seals) {
  constexpr uint32_t kAll = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | kNoWrite | 0x20;
  auto* f = dynamic_cast<TmpFile*>(&file);
  if (f == nullptr) return Errno{EINVAL};
  if (!file.writable()) return Errno{EPERM};
  if ((seals & ~kAll) != 0) return Errno{EINVAL};
  TmpContent& content = f->node().content;
  if ((content.seals & F_SEAL_SEAL) != 0) return Errno{EPERM};
  const bool adds_write = (seals & F_SEAL_WRITE) != 0 && (content.seals & F_SEAL_WRITE) == 0;
  if (adds_write && *content.writable_maps != 0) return Errno{EBUSY};
  content.seals |= seals;
  return ok();
}

Result<uint32_t> get_seals(File& file) {
  auto* f = dynamic_cast<TmpFile*>(&file);
  if (f == nullptr) return Errno{EINVAL};
  return f->node().content.seals;
}

}  // namespace run9::vfs
