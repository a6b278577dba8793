// /proc/PID/fd, fdinfo and mem.
#include <dirent.h>
#include <fcntl.h>

#include <algorithm>

#include "sentry/fs/anon.h"
#include "sentry/fs/proc/proc_fs.h"

namespace run9::sentry {
namespace {

// The table's entry; null if the descriptor or its process is gone.
const FdTable::Entry* entry_of(const View& view, int64_t fd) {
  if (view.task == nullptr || view.task->fds_ref() == nullptr || fd < 0) return nullptr;
  return view.task->fds().entry(static_cast<size_t>(fd));
}

class FdLink final : public ProcInode {
 public:
  FdLink(ProcFs& fs, const Subject& s, int64_t fd, uint32_t mode)
      : ProcInode(fs, s, "fd/" + std::to_string(fd), mode), fd_(fd) {}

  Result<std::string> readlink(vfs::OpContext& ctx) override {
    View view = TRY(resolve(proc(), subject_, ctx));
    TRY(may_inspect(view));
    const auto* e = entry_of(view, fd_);
    if (e == nullptr) return Errno{ENOENT};
    return display_name(view.kernel, e->file->path(), view.root());
  }

  Result<std::string> follow(vfs::OpContext& ctx, vfs::Path& jump) override {
    View view = TRY(resolve(proc(), subject_, ctx));
    TRY(may_inspect(view));
    const auto* e = entry_of(view, fd_);
    if (e == nullptr) return Errno{ENOENT};
    jump = e->file->path();
    return std::string();
  }

 private:
  int64_t fd_;
};

class FdInfoInode final : public ProcInode {
 public:
  FdInfoInode(ProcFs& fs, const Subject& s, int64_t fd)
      : ProcInode(fs, s, "fdinfo/" + std::to_string(fd), S_IFREG | 0444), fd_(fd) {}

  Result<std::string> text(vfs::OpContext& ctx) {
    View view = TRY(resolve(proc(), subject_, ctx));
    const auto* e = entry_of(view, fd_);
    if (e == nullptr) return Errno{ENOENT};
    vfs::File& f = *e->file;
    const uint32_t flags = f.flags() | O_LARGEFILE | 0100000 | (e->cloexec ? uint32_t{O_CLOEXEC} : 0u);
    return fmt::format("pos:\t{}\nflags:\t0{:o}\nmnt_id:\t{}\nino:\t{}\n{}", f.position(), flags,
                       f.path().mount ? f.path().mount->id : 0, f.inode().ino(), f.fdinfo());
  }

  Result<vfs::FileRef> open(vfs::OpContext& ctx, const vfs::Path& self, uint32_t flags) override;

 private:
  int64_t fd_;
};

class FdInfoFile final : public vfs::File {
 public:
  FdInfoFile(vfs::Path path, uint32_t flags, std::shared_ptr<FdInfoInode> inode)
      : File(std::move(path), flags), inode_(std::move(inode)) {}
  Result<size_t> pread(vfs::OpContext& ctx, std::span<std::byte> dst, uint64_t offset) override {
    const std::string text = TRY(inode_->text(ctx));
    if (offset >= text.size()) return 0;
    const size_t n = std::min(dst.size(), text.size() - static_cast<size_t>(offset));
    std::memcpy(dst.data(), text.data() + offset, n);
    return n;
  }

 private:
  std::shared_ptr<FdInfoInode> inode_;
};

Result<vfs::FileRef> FdInfoInode::open(vfs::OpContext&, const vfs::Path& self, uint32_t flags) {
  return vfs::FileRef(std::make_shared<FdInfoFile>(
      self, flags, std::static_pointer_cast<FdInfoInode>(shared_from_this())));
}

class FdDir final : public ProcDir {
 public:
  FdDir(ProcFs& fs, const Subject& s, const ProcRow& row, bool info)
      : ProcDir(fs, s, row.path, row.mode), info_(info) {}

  // proc_fd_permission(): the process may always look at its own.
  Result<void> permission(vfs::OpContext& ctx, uint32_t mask) override {
    const auto allowed = ProcDir::permission(ctx, mask);
    Task* task = task_of(ctx);
    if (allowed.has_value() || task == nullptr || task->tgid() != subject_.pid) return allowed;
    return ok();
  }

  Result<vfs::InodeRef> lookup(vfs::OpContext& ctx, std::string_view name) override {
    const auto view = resolve(proc(), subject_, ctx);
    const int64_t fd = name.size() > 1 && name.front() == '0' ? -1 : parse_number(name);
    if (!view.has_value()) return Errno{ENOENT};
    const auto* e = entry_of(view.value(), fd);
    if (e == nullptr) return Errno{ENOENT};
    if (info_) return vfs::InodeRef(std::make_shared<FdInfoInode>(proc(), subject_, fd));
    const uint32_t mode = S_IFLNK | (e->file->readable() ? 0500u : 0u) | (e->file->writable() ? 0300u : 0u);
    return vfs::InodeRef(std::make_shared<FdLink>(proc(), subject_, fd, mode));
  }

  Result<std::vector<Child>> list(vfs::OpContext& ctx) override {
    View view = TRY(resolve(proc(), subject_, ctx));
    TRY(may_inspect(view));
    std::vector<Child> children;
    if (view.task == nullptr || view.task->fds_ref() == nullptr) return children;
    for (size_t i = 0; i < view.task->fds().size(); ++i) {
      if (view.task->fds().entry(i) == nullptr) continue;
      std::string name = std::to_string(i);
      const uint64_t ino = proc_ino(subject_, (info_ ? "fdinfo/" : "fd/") + name);
      children.push_back({i, std::move(name), ino, info_ ? uint8_t{DT_REG} : uint8_t{DT_LNK}});
    }
    return children;
  }

  // Since Linux 6.2 the size is the number of descriptors.
  Result<vfs::Stat> getattr(vfs::OpContext& ctx) override {
    auto st = TRY(ProcInode::getattr(ctx));
    const auto view = resolve(proc(), subject_, ctx);
    if (info_ || !view.has_value() || view.value().task == nullptr) return st;
    const auto& fds = view.value().task->fds_ref();
    for (size_t i = 0; fds != nullptr && i < fds->size(); ++i) st.size += fds->entry(i) != nullptr;
    return st;
  }

 private:
  const bool info_;
};

// The memory of a process; the right to it was checked at open and the process must still be there.
class MemFile final : public vfs::File {
 public:
  MemFile(vfs::Path path, uint32_t flags, std::weak_ptr<MemoryManager> memory)
      : File(std::move(path), flags), memory_(std::move(memory)) {}
  Result<size_t> pread(vfs::OpContext&, std::span<std::byte> dst, uint64_t offset) override {
    const auto memory = memory_.lock();
    if (memory == nullptr || dst.empty()) return 0;
    const auto n = memory->copy_in_some(dst, offset);
    return n.has_value() ? n : Errno{EIO};
  }
  Result<size_t> pwrite(vfs::OpContext&, ByteSpan src, uint64_t offset) override {
    const auto memory = memory_.lock();
    if (memory == nullptr || src.empty()) return 0;
    const auto n = memory->copy_out_some(offset, src);
    return n.has_value() ? n : Errno{EIO};
  }
  // Addresses are positions: all of them.
  Result<uint64_t> seek(vfs::OpContext&, int64_t offset, int whence) override {
    if (whence != SEEK_SET && whence != SEEK_CUR) return Errno{EINVAL};
    set_position((whence == SEEK_CUR ? position() : 0) + static_cast<uint64_t>(offset));
    return position();
  }

 private:
  std::weak_ptr<MemoryManager> memory_;
};

class MemInode final : public ProcInode {
 public:
  using ProcInode::ProcInode;
  Result<vfs::FileRef> open(vfs::OpContext& ctx, const vfs::Path& self, uint32_t flags) override {
    View view = TRY(resolve(proc(), subject_, ctx));
    TRY(may_inspect(view));
    std::weak_ptr<MemoryManager> memory;
    if (view.task != nullptr) memory = view.task->memory_ref();
    return vfs::FileRef(std::make_shared<MemFile>(self, flags, std::move(memory)));
  }
};

}  // namespace

vfs::InodeRef make_fd_dir(ProcFs& fs, const Subject& s, const ProcRow& row) {
  return std::make_shared<FdDir>(fs, s, row, false);
}

vfs::InodeRef make_fdinfo_dir(ProcFs& fs, const Subject& s, const ProcRow& row) {
  return std::make_shared<FdDir>(fs, s, row, true);
}

vfs::InodeRef make_mem(ProcFs& fs, const Subject& s, const ProcRow& row) {
  return std::make_shared<MemInode>(fs, s, row.path, row.mode);
}

}  // namespace run9::sentry
