#include "sentry/fs/proc/node.h"

#include <dirent.h>

#include <algorithm>
#include <charconv>
#include <cstring>

#include "sentry/fs/anon.h"
#include "sentry/fs/proc/proc_fs.h"
#include "sentry/task/access.h"

namespace run9::sentry {
namespace {

constexpr size_t kWriteLimit = 4096;

// The text that was made when it was read from the start.
class TextFile final : public vfs::File {
 public:
  TextFile(vfs::Path path, uint32_t flags, std::shared_ptr<RowInode> inode)
      : File(std::move(path), flags), inode_(std::move(inode)) {}

  Result<size_t> pread(vfs::OpContext& ctx, std::span<std::byte> dst, uint64_t offset) override {
    if (inode_->row().text == nullptr) return Errno{EINVAL};
    if (offset == 0 || !made_) {
      View view = TRY(resolve(inode_->proc(), inode_->subject(), ctx));
      view.path = inode_->row().path;
      text_ = TRY(inode_->row().text(view));
      made_ = true;
    }
    if (offset >= text_.size()) return 0;
    const size_t n = std::min(dst.size(), text_.size() - static_cast<size_t>(offset));
    std::memcpy(dst.data(), text_.data() + offset, n);
    return n;
  }

  Result<size_t> pwrite(vfs::OpContext& ctx, ByteSpan src, uint64_t) override {
    if (inode_->row().write == nullptr) return Errno{EINVAL};
    View view = TRY(resolve(inode_->proc(), inode_->subject(), ctx));
    view.path = inode_->row().path;
    const std::string_view text(reinterpret_cast<const char*>(src.data()),
                                std::min(src.size(), kWriteLimit));
    TRY(inode_->row().write(view, text));
    return text.size();
  }
  Result<size_t> append(vfs::OpContext& ctx, ByteSpan src, uint64_t& end) override {
    const size_t n = TRY(pwrite(ctx, src, 0));
    end = n;
    return n;
  }

 private:
  std::shared_ptr<RowInode> inode_;
  std::string text_;
  bool made_ = false;
};

class DirFile final : public vfs::File {
 public:
  DirFile(vfs::Path path, uint32_t flags, std::shared_ptr<ProcDir> dir)
      : File(std::move(path), flags), dir_(std::move(dir)) {}

  // Positions: 0 and 1 are the dots; an entry's own is its position + 2.
  Result<void> readdir(vfs::OpContext& ctx, vfs::DirSink& sink) override {
    for (; position() < 2; set_position(position() + 1)) {
      const auto name = position() == 0 ? std::string_view(".") : std::string_view("..");
      if (!sink.add({dir_->ino(), position() + 1, DT_DIR, name})) return ok();
    }
    for (const auto& child : TRY(dir_->list(ctx))) {
      const uint64_t at = child.position + 2;
      if (at < position()) continue;
      if (!sink.add({child.ino, at + 1, child.type, child.name})) break;
      set_position(at + 1);
    }
    return ok();
  }

 private:
  std::shared_ptr<ProcDir> dir_;
};

uint8_t dirent_type(uint32_t mode) { return static_cast<uint8_t>((mode & S_IFMT) >> 12); }

vfs::Timespec time_of(Kernel& kernel, const Process* p) {
  vfs::Timespec t = kernel.boot_realtime;
  if (p == nullptr || p->start_time_ns < kernel.boot_time_ns) return t;
  const uint64_t ns = p->start_time_ns - kernel.boot_time_ns + t.nsec;
  t.sec += static_cast<int64_t>(ns / 1'000'000'000);
  t.nsec = static_cast<uint32_t>(ns % 1'000'000'000);
  return t;
}

}  // namespace

vfs::Path View::root() const {
  if (Task* t = task_of(ctx); t != nullptr && t->fs_ref() != nullptr) return t->fs().root;
  return kernel.mounts().root();
}

Result<View> resolve(ProcFs& fs, const Subject& s, vfs::OpContext& ctx) {
  View view{fs, fs.kernel(), ctx, nullptr, nullptr, s.thread, {}};
  if (s.pid == 0) return view;
  view.process = s.process.lock();
  if (view.process == nullptr || view.kernel.find_process(s.pid) != view.process) return Errno{ESRCH};
  view.task = s.task.lock();
  if (view.task != nullptr && view.kernel.find_task(view.task->tid()) != view.task.get()) {
    view.task = nullptr;
  }
  if (view.task == nullptr && s.thread) return Errno{ESRCH};
  // The leader may have gone, or another thread may have become it (exec).
  if (view.task == nullptr && !view.process->tasks.empty()) {
    view.task = view.process->tasks.front()->shared_from_this();
  }
  if (view.task != nullptr && view.task->memory_ref() == nullptr) view.task = nullptr;
  if (view.task != nullptr) {
    view.kernel.files().settle(*view.task, ctx);
    view.task->memory().catch_up();
  }
  return view;
}

Result<void> may_inspect(View& view) {
  Task* caller = task_of(view.ctx);
  if (caller == nullptr || view.process == nullptr) return ok();
  if (view.task == nullptr) {
    const bool own = &caller->process() == view.process.get();
    return own || caller->creds().has_cap(CAP_SYS_PTRACE) ? Result<void>(ok()) : Errno{EACCES};
  }
  return may_trace(*caller, *view.task, TraceIds::kFs) ? Result<void>(ok()) : Errno{EACCES};
}

uint64_t proc_ino(const Subject& s, std::string_view path) {
  uint64_t h = 0xcbf29ce484222325u;
  const auto mix = [&h](uint8_t byte) { h = (h ^ byte) * 0x100000001b3u; };
  for (int i = 0; i < 32; i += 8) {
    mix(static_cast<uint8_t>(s.pid >> i));
    mix(static_cast<uint8_t>((s.thread ? s.tid : 0) >> i));
  }
  for (const char c : path) mix(static_cast<uint8_t>(c));
  return ((h ^ (h >> 32)) & 0xffffffff) | 2;  // 1 is the root
}

ProcInode::ProcInode(ProcFs& fs, Subject subject, std::string_view path, uint32_t mode)
    : Inode(fs, path.empty() && subject.pid == 0 ? 1 : proc_ino(subject, path), mode,
            path.empty() && subject.pid == 0 ? vfs::KeepFs::kNo : vfs::KeepFs::kYes),
      subject_(std::move(subject)),
      mode_(mode) {}

ProcFs& ProcInode::proc() const { return static_cast<ProcFs&>(fs()); }

Result<vfs::Stat> ProcInode::getattr(vfs::OpContext& ctx) {
  vfs::Stat st;
  st.dev = fs().dev();
  st.ino = ino();
  st.mode = mode_;
  st.blksize = 1024;
  st.nlink = is_dir() ? 2 : 1;
  st.size = is_symlink() ? 64 : 0;
  const auto view = resolve(proc(), subject_, ctx);
  if (!view.has_value()) return Errno{ENOENT};
  const View& v = view.value();
  st.atime = st.mtime = st.ctime = time_of(v.kernel, v.process.get());
  if (v.process == nullptr) return st;
  if (v.task == nullptr) {
    st.uid = v.process->exit_uid;
  } else if (v.task->memory().dumpable || mode_ == (S_IFDIR | 0555)) {
    // task_dump_owner(): what is not dumpable is root's, but for the directory itself.
    st.uid = v.task->creds().euid;
    st.gid = v.task->creds().egid;
  }
  return st;
}

Result<void> ProcInode::setattr(vfs::OpContext&, const vfs::SetAttr& a) {
  // O_TRUNC of a writable file.
  if (a.valid == vfs::kSetSize) return ok();
  return Errno{EPERM};
}

RowInode::RowInode(ProcFs& fs, Subject subject, const ProcRow& row)
    : ProcInode(fs, std::move(subject), row.path, row.mode), row_(row) {}

Result<vfs::FileRef> RowInode::open(vfs::OpContext& ctx, const vfs::Path& self, uint32_t flags) {
  View view = TRY(resolve(proc(), subject_, ctx));
  if (row_.guarded) TRY(may_inspect(view));
  return vfs::FileRef(std::make_shared<TextFile>(
      self, flags, std::static_pointer_cast<RowInode>(shared_from_this())));
}

Result<std::string> RowInode::readlink(vfs::OpContext& ctx) {
  View view = TRY(resolve(proc(), subject_, ctx));
  view.path = row_.path;
  if (row_.guarded) TRY(may_inspect(view));
  if (row_.text != nullptr) return row_.text(view);
  const vfs::Path place = TRY(row_.jump(view));
  return display_name(view.kernel, place, view.root());
}

Result<std::string> RowInode::follow(vfs::OpContext& ctx, vfs::Path& jump) {
  if (row_.jump == nullptr) return readlink(ctx);
  View view = TRY(resolve(proc(), subject_, ctx));
  view.path = row_.path;
  if (row_.guarded) TRY(may_inspect(view));
  jump = TRY(row_.jump(view));
  return std::string();
}

Result<vfs::FileRef> ProcDir::open(vfs::OpContext&, const vfs::Path& self, uint32_t flags) {
  return vfs::FileRef(
      std::make_shared<DirFile>(self, flags, std::static_pointer_cast<ProcDir>(shared_from_this())));
}

TreeDir::TreeDir(ProcFs& fs, Subject subject, ProcTable table, std::string prefix, uint32_t mode)
    : ProcDir(fs, std::move(subject), prefix, mode), table_(table), prefix_(std::move(prefix)) {}

Result<vfs::InodeRef> TreeDir::lookup(vfs::OpContext& ctx, std::string_view name) {
  if (!resolve(proc(), subject_, ctx).has_value()) return Errno{ENOENT};
  for (const ProcRow& row : table_) {
    if (!row.path.starts_with(prefix_) || !shown(row)) continue;
    const auto rest = row.path.substr(prefix_.size());
    if (!rest.starts_with(name)) continue;
    if (rest.size() == name.size()) {
      if (row.make != nullptr) return row.make(proc(), subject_, row);
      return vfs::InodeRef(std::make_shared<RowInode>(proc(), subject_, row));
    }
    if (rest[name.size()] == '/') {
      return vfs::InodeRef(std::make_shared<TreeDir>(
          proc(), subject_, table_, prefix_ + std::string(name) + "/", S_IFDIR | 0555));
    }
  }
  return Errno{ENOENT};
}

Result<std::vector<ProcDir::Child>> TreeDir::list(vfs::OpContext& ctx) {
  if (!resolve(proc(), subject_, ctx).has_value()) return Errno{ENOENT};
  std::vector<Child> children;
  for (size_t i = 0; i < table_.size(); ++i) {
    const ProcRow& row = table_[i];
    if (!row.path.starts_with(prefix_) || !shown(row)) continue;
    const auto rest = row.path.substr(prefix_.size());
    const size_t slash = rest.find('/');
    const std::string name(rest.substr(0, slash));
    // The rows of a directory are neighbours.
    if (slash != rest.npos && !children.empty() && children.back().name == name) continue;
    const bool dir = slash != rest.npos;
    children.push_back({i, name, proc_ino(subject_, dir ? prefix_ + name + "/" : std::string(row.path)),
                        dir ? uint8_t{DT_DIR} : dirent_type(row.mode)});
  }
  return children;
}

int64_t parse_number(std::string_view text) {
  int64_t n = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
  if (error != std::errc{} || end != text.data() + text.size()) return -1;
  return n;
}

std::string_view trimmed(std::string_view text) {
  const auto is_space = [](char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\0'; };
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  return text;
}

}  // namespace run9::sentry
