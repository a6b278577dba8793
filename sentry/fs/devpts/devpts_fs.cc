#include "sentry/fs/devpts/devpts_fs.h"

#include <dirent.h>
#include <fmt/format.h>
#include <sys/sysmacros.h>

#include <charconv>

#include "sentry/fs/devpts/tty_file.h"
#include "sentry/task/kernel.h"
#include "vfs/permission.h"

namespace run9::sentry {
namespace {

constexpr unsigned kSlaveMajor = 136;
constexpr uint64_t kFirstNode = 3;  // inode number of terminal 0, as in Linux

// Attributes in memory.
class Node : public vfs::Inode {
 public:
  Node(DevptsFs& fs, uint64_t ino, uint32_t mode, vfs::OpContext& ctx) : Inode(fs, ino, mode, vfs::KeepFs::kNo) {
    st.dev = fs.dev();
    st.ino = ino;
    st.mode = mode;
    st.blksize = 1024;
    st.atime = st.mtime = st.ctime = ctx.now();
  }
  Result<vfs::Stat> getattr(vfs::OpContext&) override { return st; }
  Result<void> setattr(vfs::OpContext& ctx, const vfs::SetAttr& a) override {
    if ((a.valid & vfs::kSetSize) != 0) return Errno{EINVAL};
    const auto now = ctx.now();
    if ((a.valid & vfs::kSetMode) != 0) st.mode = (st.mode & S_IFMT) | (a.mode & 07777);
    if ((a.valid & vfs::kSetUid) != 0) st.uid = a.uid;
    if ((a.valid & vfs::kSetGid) != 0) st.gid = a.gid;
    if ((a.valid & vfs::kSetAtime) != 0) st.atime = a.atime;
    if ((a.valid & vfs::kSetMtime) != 0) st.mtime = a.mtime;
    if ((a.valid & vfs::kSetAtimeNow) != 0) st.atime = now;
    if ((a.valid & vfs::kSetMtimeNow) != 0) st.mtime = now;
    st.ctime = now;
    return ok();
  }
  DevptsFs& devpts() const { return static_cast<DevptsFs&>(fs()); }
  vfs::Stat st;
};

class SlaveNode final : public Node {
 public:
  SlaveNode(DevptsFs& fs, int index, uint32_t mode, vfs::OpContext& ctx, std::weak_ptr<Tty> tty)
      : Node(fs, kFirstNode + static_cast<uint64_t>(index), mode, ctx), tty_(std::move(tty)) {
    st.rdev = makedev(kSlaveMajor, static_cast<unsigned>(index));
  }
  Result<vfs::FileRef> open(vfs::OpContext& ctx, const vfs::Path& self, uint32_t flags) override {
    auto tty = tty_.lock();
    if (tty == nullptr) return Errno{EIO};
    return SlaveFile::open(ctx, std::move(tty), self, flags);
  }

 private:
  std::weak_ptr<Tty> tty_;
};

class PtmxNode final : public Node {
 public:
  using Node::Node;
  Result<vfs::FileRef> open(vfs::OpContext& ctx, const vfs::Path& self, uint32_t flags) override {
    return devpts().open_master(ctx, self, flags & ~uint32_t{O_NOCTTY});
  }
};

class RootFile final : public vfs::File {
 public:
  RootFile(vfs::Path path, uint32_t flags, DevptsFs& fs) : File(std::move(path), flags), fs_(fs) {}
  // Positions: 0 and 1 are the dots, 2 is ptmx, 3 + n is terminal n.
  Result<void> readdir(vfs::OpContext&, vfs::DirSink& sink) override {
    const auto give = [&](uint64_t at, uint64_t ino, uint8_t type, std::string_view name) {
      if (position() > at) return true;
      if (!sink.add({.ino = ino, .next = at + 1, .type = type, .name = name})) return false;
      set_position(at + 1);
      return true;
    };
    if (!give(0, 1, DT_DIR, ".") || !give(1, 1, DT_DIR, "..") || !give(2, 2, DT_CHR, "ptmx")) return ok();
    for (const auto& [index, node] : fs_.nodes()) {
      if (!give(3 + static_cast<uint64_t>(index), node->ino(), DT_CHR, std::to_string(index))) break;
    }
    return ok();
  }

 private:
  DevptsFs& fs_;  // our path keeps it
};

class RootNode final : public Node {
 public:
  using Node::Node;
  Result<vfs::InodeRef> lookup(vfs::OpContext&, std::string_view name) override {
    if (name == "ptmx") return devpts().ptmx();
    int index = -1;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), index);
    if (error != std::errc{} || end != name.data() + name.size()) return Errno{ENOENT};
    if (name.size() > 1 && name.front() == '0') return Errno{ENOENT};
    auto node = devpts().node(index);
    if (node == nullptr) return Errno{ENOENT};
    return node;
  }
  Result<vfs::FileRef> open(vfs::OpContext&, const vfs::Path& self, uint32_t flags) override {
    return vfs::FileRef(std::make_shared<RootFile>(self, flags, devpts()));
  }
};

Result<uint32_t> number(std::string_view text, int base) {
  uint32_t n = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n, base);
  if (text.empty() || error != std::errc{} || end != text.data() + text.size()) return Errno{EINVAL};
  return n;
}

Result<DevptsFs::Options> parse(std::string_view data) {
  DevptsFs::Options o;
  while (!data.empty()) {
    const size_t comma = std::min(data.find(','), data.size());
    const auto item = data.substr(0, comma);
    data.remove_prefix(std::min(comma + 1, data.size()));
    const size_t equals = std::min(item.find('='), item.size());
    const auto key = item.substr(0, equals);
    const auto value = item.substr(std::min(equals + 1, item.size()));
    if (key == "uid") o.uid = TRY(number(value, 10));
    else if (key == "gid") o.gid = TRY(number(value, 10));
    else if (key == "mode") o.mode = TRY(number(value, 8)) & 0777;
    else if (key == "ptmxmode") o.ptmx_mode = TRY(number(value, 8)) & 0777;
    else if (key == "max") o.max = TRY(number(value, 10));
    else if (key != "newinstance" && !key.empty()) return Errno{EINVAL};
  }
  return o;
}

}  // namespace

Result<vfs::FileSystemRef> make_devpts(Kernel& kernel, vfs::OpContext& ctx, std::string_view,
                                       std::string_view data) {
  return vfs::FileSystemRef(DevptsFs::create(kernel, TRY(parse(data)), ctx));
}

std::shared_ptr<DevptsFs> DevptsFs::create(Kernel& kernel, const Options& options,
                                           vfs::OpContext& ctx) {
  std::shared_ptr<DevptsFs> fs(new DevptsFs(kernel));
  fs->options_ = options;
  fs->set_dev(kernel.next_dev());
  auto root = std::make_shared<RootNode>(*fs, 1, S_IFDIR | 0755, ctx);
  root->st.nlink = 2;
  fs->root_ = std::move(root);
  auto ptmx = std::make_shared<PtmxNode>(*fs, 2, S_IFCHR | options.ptmx_mode, ctx);
  ptmx->st.rdev = makedev(5, 2);
  fs->ptmx_ = std::move(ptmx);
  return fs;
}

Result<vfs::StatFs> DevptsFs::statfs(vfs::OpContext&) { return vfs::StatFs{.type = 0x1cd1}; }

std::string DevptsFs::show_options() const {
  std::string s;
  if (options_.uid >= 0) s += fmt::format(",uid={}", options_.uid);
  if (options_.gid >= 0) s += fmt::format(",gid={}", options_.gid);
  return s + fmt::format(",mode={:03o},ptmxmode={:03o}", options_.mode, options_.ptmx_mode);
}

Result<std::shared_ptr<Tty>> DevptsFs::add(vfs::OpContext& ctx, int64_t uid) {
  int index = 0;
  for (const auto& [used, node] : nodes_) {
    if (used != index) break;
    ++index;
  }
  if (static_cast<uint32_t>(index) >= options_.max) return Errno{ENOSPC};
  auto tty = std::make_shared<Tty>(kernel_, index);
  auto node = std::make_shared<SlaveNode>(*this, index, S_IFCHR | options_.mode, ctx, tty);
  const auto& creds = ctx.creds();
  node->st.uid = uid >= 0 ? static_cast<uint32_t>(uid)
                          : options_.uid >= 0 ? static_cast<uint32_t>(options_.uid) : creds.fsuid;
  node->st.gid = options_.gid >= 0 ? static_cast<uint32_t>(options_.gid) : creds.fsgid;
  nodes_[index] = std::move(node);
  return tty;
}

void DevptsFs::remove(int index) { nodes_.erase(index); }

vfs::InodeRef DevptsFs::node(int index) const {
  const auto it = nodes_.find(index);
  return it == nodes_.end() ? nullptr : it->second;
}

Result<vfs::FileRef> DevptsFs::open_master(vfs::OpContext& ctx, const vfs::Path& path,
                                           uint32_t flags) {
  auto tty = TRY(add(ctx));
  tty->locked = true;  // until unlockpt(3)
  auto self = std::static_pointer_cast<DevptsFs>(shared_from_this());
  return vfs::FileRef(std::make_shared<MasterFile>(path, flags, std::move(self), std::move(tty)));
}

std::shared_ptr<DevptsFs> find_devpts(Kernel& kernel, vfs::MountRef* mount) {
  auto& ns = kernel.mounts();
  std::shared_ptr<DevptsFs> found;
  for (const auto& m : ns.mounts()) {
    auto fs = std::dynamic_pointer_cast<DevptsFs>(m->fs);
    if (fs == nullptr || m->root->inode() != fs->root().get()) continue;
    const bool usual = ns.path_name({m, m->root}, ns.root()) == "/dev/pts";
    if (found != nullptr && !usual) continue;
    found = std::move(fs);
    if (mount != nullptr) *mount = m;
    if (usual) break;
  }
  return found;
}

}  // namespace run9::sentry
