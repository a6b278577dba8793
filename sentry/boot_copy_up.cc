#include "sentry/boot_copy_up.h"

#include <fcntl.h>

#include <array>

#include "base/copy.h"

namespace run9::sentry {
namespace {

class Names final : public vfs::DirSink {
 public:
  bool add(const vfs::DirEntry& e) override {
    if (e.name != "." && e.name != "..") names.emplace_back(e.name);
    return true;
  }
  std::vector<std::string> names;
};

// One tree into another, both seen through a mount table of our own making: nothing that the container has
// mounted below the place is copied, and no symbolic link is followed.
class Copier {
 public:
  Copier(Kernel& kernel, vfs::Path from, vfs::MountNamespace& target, RootMode root_mode)
      : kernel_(kernel), ctx_(kernel.context()), source_(std::move(from)), target_(target), root_mode_(root_mode) {}

  Result<void> run() {
    if (root_mode_ == RootMode::kCopied) {
      TRY(copy_attributes(target_.root(), TRY(kernel_.mounts().stat(ctx_, source_))));
    }
    // A list, not recursion: the image's author chose the depth.
    todo_.emplace_back("");
    while (!todo_.empty()) {
      const std::string directory = std::move(todo_.back());
      todo_.pop_back();
      TRY(copy_directory(directory));
    }
    return ok();
  }

 private:
  vfs::FsContext from_root() const { return {source_, source_, 0}; }
  vfs::FsContext to_root() const { return {target_.root(), target_.root(), 0}; }

  Result<void> copy_directory(const std::string& directory) {
    const auto open = vfs::OpenHow{.flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW};
    const auto file = TRY(kernel_.mounts().open(ctx_, from_root(), source_, directory.empty() ? "." : directory, open));
    for (;;) {
      Names some;
      TRY(file->readdir(ctx_, some));
      if (some.names.empty()) return ok();
      for (const auto& name : some.names) TRY(copy_entry(directory.empty() ? name : directory + "/" + name));
    }
  }

  Result<void> copy_entry(const std::string& path) {
    auto& ns = kernel_.mounts();
    const vfs::Path from = TRY(ns.walk(ctx_, from_root(), source_, path, vfs::kNoXdev));
    const vfs::Stat st = TRY(ns.stat(ctx_, from));
    if ((st.mode & S_IFMT) == S_IFLNK) {
      TRY(target_.symlink(ctx_, to_root(), target_.root(), path, TRY(ns.readlink(ctx_, from))));
    } else if ((st.mode & S_IFMT) == S_IFDIR) {
      TRY(target_.mkdir(ctx_, to_root(), target_.root(), path, st.mode & 07777));
      todo_.push_back(path);
    } else {
      TRY(target_.mknod(ctx_, to_root(), target_.root(), path, st.mode, st.rdev));
      if ((st.mode & S_IFMT) == S_IFREG) TRY(copy_data(path));
    }
    return copy_attributes(TRY(target_.walk(ctx_, to_root(), target_.root(), path, 0)), st);
  }

  Result<void> copy_data(const std::string& path) {
    const auto in = TRY(kernel_.mounts().open(ctx_, from_root(), source_, path, {.flags = O_RDONLY | O_NOFOLLOW}));
    const auto out = TRY(target_.open(ctx_, to_root(), target_.root(), path, {.flags = O_WRONLY | O_NOFOLLOW}));
    const TransferBuffer buffer(128 << 10);
    for (;;) {
      const size_t n = TRY(in->read(ctx_, buffer.bytes()));
      if (n == 0) return ok();
      for (size_t done = 0; done < n;) done += TRY(out->write(ctx_, buffer.first(n).subspan(done)));
    }
  }

  Result<void> copy_attributes(const vfs::Path& to, const vfs::Stat& st) {
    vfs::SetAttr owner{.valid = vfs::kSetUid | vfs::kSetGid, .uid = st.uid, .gid = st.gid};
    TRY(target_.setattr(ctx_, to, owner));
    if ((st.mode & S_IFMT) == S_IFLNK) return ok();
    // After the owner, which takes set-id bits away.
    return target_.setattr(ctx_, to, {.valid = vfs::kSetMode, .mode = st.mode & 07777});
  }

  Kernel& kernel_;
  vfs::OpContext& ctx_;
  const vfs::Path source_;
  vfs::MountNamespace& target_;
  const RootMode root_mode_;
  std::vector<std::string> todo_;
};

}  // namespace

Result<void> copy_up(Kernel& kernel, const vfs::Path& from, vfs::FileSystem& to, RootMode root_mode) {
  if (!from.inode()->is_dir()) return ok();
  vfs::MountNamespace target(to.shared_from_this(), 0, "tmpfs");
  return Copier(kernel, from, target, root_mode).run();
}

}  // namespace run9::sentry
