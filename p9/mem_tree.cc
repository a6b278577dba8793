#include "p9/mem_tree.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <map>

#include "p9/codec.h"

namespace run9::p9 {

namespace {

// What backend.h promises a tree: nothing else may come from a session, whatever its client sends.
void expect_component(std::string_view name) { CHECK(check_name(name).has_value()); }

}  // namespace

// A file of any kind. A directory owns its children; a child knows its parent weakly.
class MemNode final : public Node, public std::enable_shared_from_this<MemNode> {
 public:
  using Ref = std::shared_ptr<MemNode>;

  MemNode(std::shared_ptr<MemState> state, uint32_t mode, Owner owner)
      : state_(std::move(state)), ino_(state_->next_ino++) {
    attr_.mode = mode;
    attr_.uid = owner.uid == kNoId ? 0 : owner.uid;
    attr_.gid = owner.gid == kNoId ? 0 : owner.gid;
    attr_.nlink = is_dir() ? 2 : 1;
    attr_.btime.sec = attr_.atime.sec = state_->now;
    touch();
  }

  Qid qid() const override {
    const QidType type = is_dir() ? QidType::kDir
                         : is_symlink() ? QidType::kSymlink : QidType::kFile;
    return {.type = type, .path = ino_};
  }
  Result<Walked> walk(std::string_view name, uint64_t attrmask) override;
  Result<AttrX> get_attr(uint64_t attrmask, OpenFile* open) override;
  Result<void> set_attr(const SetAttr& set, OpenFile* open) override;
  Result<std::unique_ptr<OpenFile>> open(OpenFlags flags) override;
  Result<Created> create(std::string_view name, OpenFlags flags, uint32_t mode, Owner owner,
                         uint64_t attrmask) override;
  Result<Walked> mkdir(std::string_view name, uint32_t mode, Owner owner,
                       uint64_t attrmask) override;
  Result<Walked> symlink(std::string_view name, std::string_view target, Owner owner,
                         uint64_t attrmask) override;
  Result<Walked> mknod(std::string_view name, uint32_t mode, uint32_t major, uint32_t minor,
                       Owner owner, uint64_t attrmask) override;
  Result<void> link(Node& target, std::string_view name) override;
  Result<void> unlink(std::string_view name, uint32_t flags) override;
  Result<void> rename(std::string_view name, Node& to, std::string_view new_name,
                      uint32_t flags) override;
  Result<void> rename_self(Node& to, std::string_view new_name) override;
  Result<void> remove_self() override;
  Result<std::string> read_link() override;
  uint32_t watch() override { return static_cast<uint32_t>(ino_); }
  Result<Rstatfs> stat_fs() override;
  Result<void> sync_fs() override { return ok(); }
  Result<std::vector<std::byte>> get_xattr(std::string_view name) override;
  Result<std::vector<std::byte>> list_xattr() override;
  Result<void> set_xattr(std::string_view name, ByteSpan value, uint32_t flags) override;
  Result<void> remove_xattr(std::string_view name) override;

  bool is_dir() const { return S_ISDIR(attr_.mode); }
  bool is_symlink() const { return S_ISLNK(attr_.mode); }
  Result<void> resize(uint64_t size);
  void touch() { attr_.mtime.sec = attr_.ctime.sec = ++state_->now; }
  Ref parent_or_self() {
    Ref p = parent_.lock();
    return p != nullptr ? p : shared_from_this();
  }

  std::vector<std::byte> data_;
  std::map<std::string, Ref, std::less<>> children_;
  std::weak_ptr<char> locked_by_;  // the open file's MemFile::self_

 private:
  Result<Walked> add(std::string_view name, Ref child);
  // The name of this node in its parent; EINVAL for the root, ENOENT when it has none.
  Result<std::string> own_name();
  bool is_below(const MemNode& top);
  void adopt(std::string_view name, const Ref& child);
  void forget(std::string_view name);
  Result<void> check_replace(const MemNode& from, const MemNode& to) const;

  std::shared_ptr<MemState> state_;
  uint64_t ino_;
  AttrX attr_;
  std::string target_;
  std::weak_ptr<MemNode> parent_;
  bool removed_ = false;
  std::map<std::string, std::vector<std::byte>, std::less<>> xattrs_;
};

namespace {

class MemLockWait final : public LockWait {
 public:
  MemLockWait(MemNode::Ref node, std::shared_ptr<char> file) : node_(std::move(node)), file_(std::move(file)) {}
  std::optional<Result<void>> result() override {
    if (!result_ && node_->locked_by_.expired()) {
      node_->locked_by_ = file_;
      result_ = ok();
    }
    return result_;
  }
  void give_up() override {
    if (!result()) result_ = Errno{EINTR};
  }

 private:
  const MemNode::Ref node_;
  const std::shared_ptr<char> file_;
  std::optional<Result<void>> result_;
};

class MemFile final : public OpenFile {
 public:
  MemFile(MemNode::Ref node, OpenFlags flags) : node_(std::move(node)), flags_(flags) {}

  Result<size_t> read(uint64_t offset, std::span<std::byte> out) override {
    const auto& data = node_->data_;
    const size_t from = std::min<uint64_t>(offset, data.size());
    const size_t n = std::min(out.size(), data.size() - from);
    std::copy_n(data.begin() + from, n, out.begin());
    return n;
  }
  Result<size_t> write(uint64_t offset, ByteSpan data) override {
    if (has(flags_, kOAppend)) offset = node_->data_.size();
    if (offset > INT64_MAX) return Errno{EINVAL};
    const uint64_t end = offset + data.size();
    if (end > node_->data_.size()) TRY(node_->resize(end));
    std::copy(data.begin(), data.end(), node_->data_.begin() + offset);
    node_->touch();
    return data.size();
  }
  Result<bool> read_dir(uint64_t offset, uint64_t attrmask, DirSink& sink) override;
  Result<void> fsync(bool) override { return ok(); }
  Result<void> allocate(uint32_t mode, uint64_t offset, uint64_t length) override {
    if (mode != 0) return Errno{EOPNOTSUPP};
    if (offset > INT64_MAX || length > INT64_MAX || length == 0) return Errno{EINVAL};
    if (offset + length > node_->data_.size()) return node_->resize(offset + length);
    return ok();
  }
  Result<uint64_t> seek(uint64_t offset, uint8_t whence) override {
    if (offset >= node_->data_.size()) return Errno{ENXIO};
    return whence == kSeekData ? offset : node_->data_.size();
  }
  Result<uint64_t> copy_from(OpenFile& in, uint64_t from, uint64_t to, uint64_t length) override {
    const auto& source = static_cast<MemFile&>(in).node_->data_;
    if (from >= source.size()) return 0;
    const auto n = std::min<uint64_t>({length, source.size() - from, 4096});
    const std::vector<std::byte> bytes(source.begin() + from, source.begin() + from + n);  // it may be this file
    return write(to, bytes);
  }
  // One lock for all of a file: enough to see somebody wait.
  Result<LockStatus> lock_open_file(const OpenFileLock& lock) override {
    const auto holder = node_->locked_by_.lock();
    if (lock.type == LockType::kUnlock) {
      if (holder == self_) node_->locked_by_.reset();
      return LockStatus::kSuccess;
    }
    if (holder != nullptr && holder != self_) return LockStatus::kBlocked;
    node_->locked_by_ = self_;
    return LockStatus::kSuccess;
  }
  Result<std::unique_ptr<LockWait>> wait_for_lock(const OpenFileLock&) override {
    return std::unique_ptr<LockWait>(std::make_unique<MemLockWait>(node_, self_));
  }
  // A copy as of now: enough to see a descriptor arrive.
  Result<UniqueFd> donate() override {
    if (node_->is_dir()) return Errno{EISDIR};
    UniqueFd fd = TRY(take_fd(memfd_create("run9-memtree", MFD_CLOEXEC)));
    const auto& data = node_->data_;
    if (pwrite(fd.get(), data.data(), data.size(), 0) < 0) return last_errno();
    return fd;
  }

 private:
  const std::shared_ptr<char> self_ = std::make_shared<char>();  // lives as long as it, or who waits for its lock
  MemNode::Ref node_;
  OpenFlags flags_;
};

uint8_t dirent_type(uint32_t mode) { return static_cast<uint8_t>((mode & S_IFMT) >> 12); }

// Offsets are positions in name order: good enough where nobody changes a directory it reads.
Result<bool> MemFile::read_dir(uint64_t offset, uint64_t attrmask, DirSink& sink) {
  uint64_t at = 0;
  const auto emit = [&](std::string_view name, MemNode& node) {
    if (at++ < offset) return true;
    AttrX attr = node.get_attr(attrmask, nullptr).assume_value();
    if ((attrmask & kAttrNoXattrs) != 0 && node.list_xattr().assume_value().empty()) attr.valid |= kAttrNoXattrs;
    return sink.emit({.qid = node.qid(), .offset = at, .type = dirent_type(attr.mode),
                      .attr = attr, .name = name});
  };
  if (!emit(".", *node_) || !emit("..", *node_->parent_or_self())) return false;
  for (const auto& [name, child] : node_->children_) {
    if (!emit(name, *child)) return false;
  }
  return true;
}

}  // namespace

Result<Walked> MemNode::walk(std::string_view name, uint64_t attrmask) {
  if (!is_dir()) return Errno{ENOTDIR};
  if (name == "..") {
    Ref up = parent_or_self();
    return Walked{up, TRY(up->get_attr(attrmask, nullptr))};
  }
  expect_component(name);
  const auto it = children_.find(name);
  if (it == children_.end()) return Errno{ENOENT};
  return Walked{it->second, TRY(it->second->get_attr(attrmask, nullptr))};
}

Result<AttrX> MemNode::get_attr(uint64_t, OpenFile*) {
  AttrX a = attr_;
  a.valid = kAttrBasic | kAttrBtime;
  a.ino = ino_;
  a.size = is_symlink() ? target_.size() : data_.size();
  a.blocks = (a.size + 511) / 512;
  a.blksize = 4096;
  return a;
}

Result<void> MemNode::resize(uint64_t size) {
  if (is_dir()) return Errno{EISDIR};
  if (!S_ISREG(attr_.mode)) return Errno{EINVAL};
  if (size > state_->options.max_file_size) return Errno{EFBIG};
  data_.resize(size);
  touch();
  return ok();
}

Result<void> MemNode::set_attr(const SetAttr& set, OpenFile*) {
  const auto wants = [&](uint32_t bit) { return (set.valid & bit) != 0; };
  if (wants(kSetSize)) TRY(resize(set.size));
  if (wants(kSetMode)) attr_.mode = (attr_.mode & S_IFMT) | set.mode;
  if (wants(kSetUid)) attr_.uid = set.uid;
  if (wants(kSetGid)) attr_.gid = set.gid;
  attr_.ctime.sec = ++state_->now;
  const auto set_time = [&](TimeX& to, const Time& given, bool is_given) {
    to.sec = is_given ? given.sec : state_->now;
    to.nsec = is_given ? static_cast<uint32_t>(given.nsec) : 0;
  };
  if (wants(kSetAtime)) set_time(attr_.atime, set.atime, wants(kSetAtimeGiven));
  if (wants(kSetMtime)) set_time(attr_.mtime, set.mtime, wants(kSetMtimeGiven));
  return ok();
}

Result<std::unique_ptr<OpenFile>> MemNode::open(OpenFlags flags) {
  if (is_symlink()) return Errno{ELOOP};
  if (has(flags, kODirectory) && !is_dir()) return Errno{ENOTDIR};
  if (!is_dir() && !S_ISREG(attr_.mode)) return Errno{EPERM};
  if (has(flags, kOTrunc)) TRY(resize(0));
  std::unique_ptr<OpenFile> file = std::make_unique<MemFile>(shared_from_this(), flags);
  return file;
}

void MemNode::adopt(std::string_view name, const Ref& child) {
  children_.emplace(std::string(name), child);
  child->parent_ = weak_from_this();
  touch();
}

void MemNode::forget(std::string_view name) {
  const auto it = children_.find(name);
  Ref child = it->second;
  children_.erase(it);
  if (child->is_dir() || --child->attr_.nlink == 0) child->removed_ = true;
  touch();
}

Result<Walked> MemNode::add(std::string_view name, Ref child) {
  expect_component(name);
  if (!is_dir()) return Errno{ENOTDIR};
  if (removed_) return Errno{ENOENT};
  if (children_.contains(name)) return Errno{EEXIST};
  adopt(name, child);
  return Walked{child, TRY(child->get_attr(kAttrBasic, nullptr))};
}

Result<Created> MemNode::create(std::string_view name, OpenFlags flags, uint32_t mode, Owner owner,
                                uint64_t attrmask) {
  expect_component(name);
  Ref node;
  const auto it = children_.find(name);
  if (it != children_.end()) {
    if (has(flags, kOExcl)) return Errno{EEXIST};
    node = it->second;
    if (node->is_dir()) return Errno{EISDIR};
  } else {
    node = std::make_shared<MemNode>(state_, S_IFREG | mode, owner);
    TRY(add(name, node));
  }
  auto file = TRY(node->open(flags));
  return Created{node, TRY(node->get_attr(attrmask, nullptr)), std::move(file)};
}

Result<Walked> MemNode::mkdir(std::string_view name, uint32_t mode, Owner owner, uint64_t) {
  return add(name, std::make_shared<MemNode>(state_, S_IFDIR | mode, owner));
}

Result<Walked> MemNode::symlink(std::string_view name, std::string_view target, Owner owner, uint64_t) {
  auto node = std::make_shared<MemNode>(state_, S_IFLNK | 0777, owner);
  node->target_ = target;
  return add(name, std::move(node));
}

Result<Walked> MemNode::mknod(std::string_view name, uint32_t mode, uint32_t, uint32_t,
                              Owner owner, uint64_t) {
  if (!S_ISREG(mode) && !S_ISFIFO(mode)) return Errno{EPERM};
  return add(name, std::make_shared<MemNode>(state_, mode & (S_IFMT | 07777), owner));
}

Result<void> MemNode::link(Node& target, std::string_view name) {
  // All nodes of a FileServer are of its own class.
  auto& node = static_cast<MemNode&>(target);
  if (node.removed_) return Errno{ENOENT};
  TRY(add(name, node.shared_from_this()));
  ++node.attr_.nlink;
  return ok();
}

Result<void> MemNode::unlink(std::string_view name, uint32_t flags) {
  expect_component(name);
  const auto it = children_.find(name);
  if (it == children_.end()) return Errno{ENOENT};
  const MemNode& child = *it->second;
  if ((flags & kAtRemovedir) != 0) {
    if (!child.is_dir()) return Errno{ENOTDIR};
    if (!child.children_.empty()) return Errno{ENOTEMPTY};
  } else if (child.is_dir()) {
    return Errno{EISDIR};
  }
  forget(name);
  return ok();
}

bool MemNode::is_below(const MemNode& top) {
  for (Ref n = shared_from_this(); n != nullptr; n = n->parent_.lock()) {
    if (n.get() == &top) return true;
  }
  return false;
}

Result<void> MemNode::check_replace(const MemNode& from, const MemNode& to) const {
  if (to.is_dir() && !from.is_dir()) return Errno{EISDIR};
  if (!to.is_dir() && from.is_dir()) return Errno{ENOTDIR};
  if (!to.children_.empty()) return Errno{ENOTEMPTY};
  return ok();
}

Result<void> MemNode::rename(std::string_view name, Node& to_node, std::string_view new_name,
                             uint32_t flags) {
  expect_component(name);
  expect_component(new_name);
  auto& to = static_cast<MemNode&>(to_node);
  if ((flags & ~kRenameNoreplace) != 0) return Errno{EINVAL};
  const auto it = children_.find(name);
  if (it == children_.end() || to.removed_) return Errno{ENOENT};
  const Ref moved = it->second;
  if (moved->is_dir() && to.is_below(*moved)) return Errno{EINVAL};
  const auto old = to.children_.find(new_name);
  if (old != to.children_.end()) {
    if ((flags & kRenameNoreplace) != 0) return Errno{EEXIST};
    if (old->second == moved) return ok();  // two links of one file: rename(2) does nothing
    TRY(check_replace(*moved, *old->second));
    to.forget(new_name);
  }
  children_.erase(it);
  touch();
  to.adopt(new_name, moved);
  return ok();
}

Result<std::string> MemNode::own_name() {
  const Ref parent = parent_.lock();
  if (parent == nullptr) return Errno{removed_ ? ENOENT : EINVAL};
  for (const auto& [name, child] : parent->children_) {
    if (child.get() == this) return name;
  }
  return Errno{ENOENT};
}

Result<void> MemNode::rename_self(Node& to, std::string_view new_name) {
  const std::string name = TRY(own_name());
  return parent_.lock()->rename(name, to, new_name, 0);
}

Result<void> MemNode::remove_self() {
  const std::string name = TRY(own_name());
  return parent_.lock()->unlink(name, is_dir() ? kAtRemovedir : 0);
}

Result<std::string> MemNode::read_link() {
  if (!is_symlink()) return Errno{EINVAL};
  return target_;
}

Result<Rstatfs> MemNode::stat_fs() {
  return Rstatfs{.type = 0x01021997, .bsize = 4096, .namelen = kMaxName};  // V9FS_MAGIC
}

Result<std::vector<std::byte>> MemNode::get_xattr(std::string_view name) {
  const auto it = xattrs_.find(name);
  if (it == xattrs_.end()) return Errno{ENODATA};
  return it->second;
}

Result<std::vector<std::byte>> MemNode::list_xattr() {
  std::vector<std::byte> out;
  for (const auto& [name, value] : xattrs_) {
    const ByteSpan text = as_bytes(std::string_view(name.c_str(), name.size() + 1));
    out.insert(out.end(), text.begin(), text.end());
  }
  return out;
}

Result<void> MemNode::set_xattr(std::string_view name, ByteSpan value, uint32_t flags) {
  const auto it = xattrs_.find(name);
  if (it == xattrs_.end() && (flags & kXattrReplace) != 0) return Errno{ENODATA};
  if (it != xattrs_.end() && (flags & kXattrCreate) != 0) return Errno{EEXIST};
  if (it == xattrs_.end() && xattrs_.size() >= 64) return Errno{ENOSPC};
  xattrs_[std::string(name)].assign(value.begin(), value.end());
  return ok();
}

Result<void> MemNode::remove_xattr(std::string_view name) {
  const auto it = xattrs_.find(name);
  if (it == xattrs_.end()) return Errno{ENODATA};
  xattrs_.erase(it);
  return ok();
}

MemTree::MemTree(MemOptions options) : state_(std::make_shared<MemState>()) {
  state_->options = options;
  root_ = std::make_shared<MemNode>(state_, S_IFDIR | 0755, Owner{0, 0});
}

MemTree::~MemTree() = default;

Result<NodeRef> MemTree::attach(const AttachRequest& request) {
  if (!request.aname.empty() && request.aname != "/") return Errno{EPERM};
  return NodeRef{root_};
}

Result<UniqueFd> MemTree::events() { return take_fd(eventfd(0, EFD_CLOEXEC)); }

}  // namespace run9::p9
