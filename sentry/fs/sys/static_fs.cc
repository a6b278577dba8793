#include "sentry/fs/sys/static_fs.h"

#include <dirent.h>

#include <algorithm>
#include <cstring>

namespace run9::sentry {

class StaticInode : public vfs::Inode {
 public:
  StaticInode(StaticFs& fs, uint32_t mode)
      : Inode(fs, fs.next_ino_++, mode, vfs::KeepFs::kNo), mode_(mode) {}
  Result<vfs::Stat> getattr(vfs::OpContext&) override {
    const auto& fs = static_cast<StaticFs&>(this->fs());
    vfs::Stat st;
    st.dev = fs.dev();
    st.ino = ino();
    st.mode = mode_;
    st.nlink = is_dir() ? 2 : 1;
    st.size = is_dir() || is_symlink() ? 0 : 4096;
    st.atime = st.mtime = st.ctime = fs.made_;
    return st;
  }

 private:
  uint32_t mode_;
};

namespace {

class StaticText final : public StaticInode {
 public:
  StaticText(StaticFs& fs, uint32_t mode, StaticFs::TextFn text)
      : StaticInode(fs, mode), text_(std::move(text)) {}
  Result<vfs::FileRef> open(vfs::OpContext&, const vfs::Path& self, uint32_t flags) override;
  std::string text() const { return text_(); }

 private:
  StaticFs::TextFn text_;
};

class StaticTextFile final : public vfs::File {
 public:
  StaticTextFile(vfs::Path path, uint32_t flags, std::string text)
      : File(std::move(path), flags), text_(std::move(text)) {}
  Result<size_t> pread(vfs::OpContext&, std::span<std::byte> dst, uint64_t offset) override {
    if (offset >= text_.size()) return 0;
    const size_t n = std::min(dst.size(), text_.size() - static_cast<size_t>(offset));
    std::memcpy(dst.data(), text_.data() + offset, n);
    return n;
  }
  Result<size_t> pwrite(vfs::OpContext&, ByteSpan, uint64_t) override { return Errno{EIO}; }

 private:
  std::string text_;
};

Result<vfs::FileRef> StaticText::open(vfs::OpContext&, const vfs::Path& self, uint32_t flags) {
  return vfs::FileRef(std::make_shared<StaticTextFile>(self, flags, text_()));
}

class StaticLink final : public StaticInode {
 public:
  StaticLink(StaticFs& fs, std::string target)
      : StaticInode(fs, S_IFLNK | 0777), target_(std::move(target)) {}
  Result<std::string> readlink(vfs::OpContext&) override { return target_; }
  Result<std::string> follow(vfs::OpContext&, vfs::Path&) override { return target_; }

 private:
  std::string target_;
};

class StaticDirFile;

}  // namespace

class StaticDir final : public StaticInode {
 public:
  explicit StaticDir(StaticFs& fs) : StaticInode(fs, S_IFDIR | 0755) {}
  Result<vfs::InodeRef> lookup(vfs::OpContext&, std::string_view name) override {
    const auto it = entries.find(name);
    if (it == entries.end()) return Errno{ENOENT};
    return it->second;
  }
  Result<vfs::FileRef> open(vfs::OpContext&, const vfs::Path& self, uint32_t flags) override;
  std::map<std::string, vfs::InodeRef, std::less<>> entries;
};

namespace {

class StaticDirFile final : public vfs::File {
 public:
  StaticDirFile(vfs::Path path, uint32_t flags, StaticDir& dir)
      : File(std::move(path), flags), dir_(dir) {}
  Result<void> readdir(vfs::OpContext&, vfs::DirSink& sink) override {
    uint64_t at = 0;
    const auto give = [&](uint64_t ino, uint8_t type, std::string_view name) {
      if (at++ < position()) return true;
      if (!sink.add({.ino = ino, .next = at, .type = type, .name = name})) return false;
      set_position(at);
      return true;
    };
    if (!give(dir_.ino(), DT_DIR, ".") || !give(dir_.ino(), DT_DIR, "..")) return ok();
    for (const auto& [name, inode] : dir_.entries) {
      if (!give(inode->ino(), static_cast<uint8_t>(inode->type() >> 12), name)) break;
    }
    return ok();
  }

 private:
  StaticDir& dir_;  // our path keeps it
};

}  // namespace

Result<vfs::FileRef> StaticDir::open(vfs::OpContext&, const vfs::Path& self, uint32_t flags) {
  return vfs::FileRef(std::make_shared<StaticDirFile>(self, flags, *this));
}

std::shared_ptr<StaticFs> StaticFs::create(std::string_view type, uint64_t magic, uint64_t dev,
                                           vfs::Timespec now) {
  std::shared_ptr<StaticFs> fs(new StaticFs);
  fs->type_ = type;
  fs->magic_ = magic;
  fs->made_ = now;
  fs->set_dev(dev);
  fs->root_ = std::make_shared<StaticDir>(*fs);
  return fs;
}

vfs::InodeRef StaticFs::root() { return root_; }

// The directory that holds the last name of `path`.
StaticDir& StaticFs::dir_of(std::string_view path, std::string_view& name) {
  StaticDir* dir = root_.get();
  while (true) {
    const size_t slash = path.find('/');
    if (slash == path.npos) break;
    auto& entry = dir->entries[std::string(path.substr(0, slash))];
    if (entry == nullptr) entry = std::make_shared<StaticDir>(*this);
    dir = static_cast<StaticDir*>(entry.get());
    path.remove_prefix(slash + 1);
  }
  name = path;
  return *dir;
}

void StaticFs::add_dir(std::string_view path) {
  std::string_view name;
  auto& entry = dir_of(path, name).entries[std::string(name)];
  if (entry == nullptr) entry = std::make_shared<StaticDir>(*this);
}

void StaticFs::add_file(std::string_view path, TextFn text, uint32_t mode) {
  std::string_view name;
  dir_of(path, name).entries[std::string(name)] =
      std::make_shared<StaticText>(*this, S_IFREG | mode, std::move(text));
}

void StaticFs::add_file(std::string_view path, std::string text, uint32_t mode) {
  add_file(path, [text = std::move(text)] { return text; }, mode);
}

void StaticFs::add_link(std::string_view path, std::string target) {
  std::string_view name;
  dir_of(path, name).entries[std::string(name)] = std::make_shared<StaticLink>(*this, std::move(target));
}

}  // namespace run9::sentry
