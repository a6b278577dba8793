// Walking, opening, attributes. Names that come and go: host_node_tree.cc; xattrs: host_xattr.cc.
#include "gofer/host_node.h"

#include <fcntl.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>

#include "gofer/host_file.h"

namespace run9::gofer {

namespace {

// EPERM for what must not be opened: devices, FIFOs, sockets.
Result<void> check_openable(uint32_t mode) {
  if (S_ISREG(mode) || S_ISDIR(mode)) return ok();
  return S_ISLNK(mode) ? Errno{ELOOP} : Errno{EPERM};
}

}  // namespace

HostNode::HostNode(HostServer& server, Export& exp, const User* user, UniqueFd fd, const Stat& st)
    : server_(server), export_(exp), user_(user), fd_(std::move(fd)), id_(st.id),
      mode_(st.attr.mode & S_IFMT) {
  server_.budget().take();
}

void HostNode::leave_parent() {
  const auto it = parent_->children_->find(name_);
  if (it != parent_->children_->end() && it->second == this) parent_->children_->erase(it);
}

// A loop, not recursion up the parents: a client can make trees deeper than our stack.
HostNode::~HostNode() {
  server_.watches().remove(watch_);
  server_.reports().remove(report_);
  server_.budget().give_back();
  if (parent_ == nullptr) return;
  leave_parent();
  Ref up = std::move(parent_);
  while (up != nullptr && up.use_count() == 1 && up->parent_ != nullptr) {
    up->leave_parent();
    up = std::move(up->parent_);
  }
}

Result<HostNode::Ref> HostNode::make_root(HostServer& server, Export& exp, const User* user) {
  UniqueFd fd = TRY(exp.root.dup());
  const Stat st = TRY(stat_fd(fd.borrow(), 0));
  return std::make_shared<HostNode>(server, exp, user, std::move(fd), st);
}

p9::Qid HostNode::qid() const { return export_.qids.qid(id_, mode_); }

p9::AttrX HostNode::finish(const Stat& st) const {
  p9::AttrX attr = st.attr;
  attr.ino = export_.qids.path(st.id);
  return attr;
}

HostNode::Ref HostNode::known_child(std::string_view name) const {
  if (children_ == nullptr) return nullptr;
  const auto it = children_->find(std::string(name));
  return it == children_->end() ? nullptr : it->second->shared_from_this();
}

p9::Walked HostNode::adopt(std::string_view name, UniqueFd fd, const Stat& st) {
  detach_child(name);
  auto child = std::make_shared<HostNode>(server_, export_, user_, std::move(fd), st);
  child->parent_ = self();
  child->name_ = name;
  child->sealed_ = export_.sealed.has(st.id) || (st.id.dev != id_.dev && is_pseudo(child->fd()));
  if (children_ == nullptr) {
    children_ = std::make_unique<std::unordered_map<std::string, HostNode*>>();
  }
  (*children_)[child->name_] = child.get();
  return {std::move(child), finish(st)};
}

// The child keeps its parent and name: the name is compared with the inode wherever it is used.
void HostNode::detach_child(std::string_view name) {
  if (children_ != nullptr) children_->erase(std::string(name));
}

Result<p9::Walked> HostNode::walk(std::string_view name, uint64_t attrmask) {
  act();
  TRY(check_dir());
  if (name == "..") {
    HostNode& up = parent();
    return p9::Walked{up.shared_from_this(), TRY(up.get_attr(attrmask, nullptr))};
  }
  if (sealed_ || export_.hidden.has(id_, name)) return Errno{ENOENT};
  const CName cname(name);
  if (Ref known = known_child(name)) {
    // While we hold the descriptor its inode number cannot be given to another file.
    const Stat st = TRY(stat_child(fd_.borrow(), cname.c_str(), attrmask));
    if (st.id == known->id_) return p9::Walked{std::move(known), finish(st)};
  }
  TRY(server_.budget().check());
  UniqueFd fd = TRY(open_child(fd_.borrow(), cname.c_str(), O_PATH, 0, export_.cross()));
  const Stat st = TRY(stat_fd(fd.borrow(), attrmask));
  if (export_.hidden.has(st.id)) return Errno{ENOENT};
  return adopt(name, std::move(fd), st);
}

// As walk() and reopen() would, but for the node: four host calls, where those take twice as many.
Result<p9::Donated> HostNode::donate_child(std::string_view name) {
  act();
  TRY(check_dir());
  if (sealed_ || export_.hidden.has(id_, name)) return Errno{ENOENT};
  const CName cname(name);
  const Stat st = TRY(stat_child(fd_.borrow(), cname.c_str(), 0));
  // A file system of another kind may have to be looked at first: that is walk()'s business.
  if (st.id.dev != id_.dev) return Node::donate_child(name);
  if (export_.hidden.has(st.id)) return Errno{ENOENT};
  if (S_ISDIR(st.attr.mode)) return Errno{EISDIR};
  TRY(check_openable(st.attr.mode));
  TRY(server_.budget().check());
  UniqueFd fd = TRY(open_child(fd_.borrow(), cname.c_str(), O_RDONLY | kOpenQuietly, 0, export_.cross()));
  // The type too: nothing held the inode's number in between.
  const Stat opened = TRY(stat_fd(fd.borrow(), 0));
  if (opened.id != st.id || !S_ISREG(opened.attr.mode)) return Errno{ESTALE};
  return p9::Donated{export_.qids.qid(st.id, st.attr.mode & S_IFMT), std::move(fd)};
}

// Where something is hidden its changes are too.
uint32_t HostNode::watch() {
  act();
  if (!is_dir() || sealed_ || export_.hidden.any_in(id_) || export_.hidden.has(id_)) return 0;
  const uint32_t old = std::exchange(watch_, server_.watches().add(fd_.borrow(), id_.dev));
  // The same number again, unless the old one has reported.
  if (old != watch_) {
    server_.watches().remove(old);
  } else {
    server_.watches().merged(old);
  }
  return watch_;
}

Result<uint32_t> HostNode::report_changes(uint32_t mask) {
  // What others read is none of the client's business, and what it reads itself goes by other descriptors than it thinks.
  constexpr uint32_t kReported = IN_MODIFY | IN_ATTRIB | IN_CLOSE_WRITE | IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO |
                                 IN_MOVE_SELF;
  act();
  if ((mask & ~kReported) != 0) return Errno{EINVAL};
  if (sealed_ || export_.hidden.any_in(id_) || export_.hidden.has(id_)) return Errno{EPERM};
  if (mask == 0) {
    server_.reports().remove(std::exchange(report_, 0));
    return 0;
  }
  if (!is_dir()) TRY(check_name_current());
  const uint32_t watch = TRY(is_dir() ? server_.reports().add(fd_.borrow(), ".", mask)
                                      : server_.reports().add(parent_->fd_.borrow(), name_.c_str(), mask));
  server_.reports().remove(std::exchange(report_, watch));
  return watch;
}

// connect(2) takes names only, and follows links: if another file has taken the name since we looked, it is a file that this
// client could name as well, in an export.
Result<UniqueFd> HostNode::connect(uint32_t type) {
  act();
  if (!S_ISSOCK(mode_)) return Errno{ECONNREFUSED};
  if (type != SOCK_STREAM && type != SOCK_DGRAM && type != SOCK_SEQPACKET) return Errno{EINVAL};
  TRY(check_name_current());
  sockaddr_un at{.sun_family = AF_UNIX, .sun_path = {}};
  if (name_.size() >= sizeof at.sun_path) return Errno{ENAMETOOLONG};
  std::copy(name_.begin(), name_.end(), at.sun_path);
  TRY(server_.budget().check());
  UniqueFd socket = TRY(take_fd(::socket(AF_UNIX, static_cast<int>(type) | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)));
  TRY(check_call(fchdir(parent_->fd_.get())));
  TRY(check_call(::connect(socket.get(), reinterpret_cast<const sockaddr*>(&at), sizeof at)));
  return socket;
}

Result<p9::AttrX> HostNode::get_attr(uint64_t attrmask, p9::OpenFile*) {
  act();
  return finish(TRY(stat_fd(fd_.borrow(), attrmask)));
}

Result<void> HostNode::check_name_current() const {
  if (parent_ == nullptr) return Errno{ENOENT};
  const Stat st = TRY(stat_child(parent_->fd_.borrow(), name_.c_str(), 0));
  return st.id == id_ ? Result<void>(ok()) : Errno{ESTALE};
}

Result<UniqueFd> HostNode::reopen(uint64_t flags) {
  TRY(check_openable(mode_));
  TRY(server_.budget().check());
  flags |= kOpenQuietly;
  if (is_dir()) {
    flags = (flags & ~uint64_t{O_ACCMODE}) | O_DIRECTORY;
    auto fd = open_child(fd_.borrow(), ".", flags, 0, export_.cross());
    // That searches the directory itself, which its reader need not be allowed to do: by its name, then.
    if (fd || fd.error() != Errno{EACCES} || parent_ == nullptr) return fd;
  }
  if (parent_ == nullptr) return Errno{ENOENT};
  // O_TRUNC only once we know that it is our file.
  UniqueFd fd = TRY(open_child(parent_->fd_.borrow(), name_.c_str(), flags & ~uint64_t{O_TRUNC}, 0,
                               export_.cross()));
  if (TRY(stat_fd(fd.borrow(), 0)).id != id_) return Errno{ESTALE};
  if ((flags & O_TRUNC) != 0) TRY(check_call(ftruncate(fd.get(), 0)));
  return fd;
}

// The flags that mean something to a server; the rest is the client's business.
static Result<uint64_t> host_flags(p9::OpenFlags flags) {
  const uint32_t access = p9::bits(p9::access_mode(flags));
  if (access == 3) return Errno{EINVAL};
  uint64_t out = access;  // O_RDONLY, O_WRONLY, O_RDWR have these numbers everywhere
  if (has(flags, p9::kOTrunc)) out |= O_TRUNC;
  if (has(flags, p9::kOAppend)) out |= O_APPEND;
  if (has(flags, p9::kODsync)) out |= O_DSYNC;
  // Two bits, one of which is O_DSYNC's.
  if (has(flags, p9::kOSync)) out |= O_SYNC;
  return out;
}

std::unique_ptr<p9::OpenFile> HostNode::make_file(UniqueFd fd) {
  if (is_dir()) return std::make_unique<HostDir>(self(), std::move(fd));
  return std::make_unique<HostFile>(self(), std::move(fd));
}

Result<std::unique_ptr<p9::OpenFile>> HostNode::open(p9::OpenFlags flags) {
  act();
  const uint64_t how = TRY(host_flags(flags));
  TRY(check_openable(mode_));
  if (!is_dir() && has(flags, p9::kODirectory)) return Errno{ENOTDIR};
  if (p9::wants_write(flags)) {
    if (is_dir()) return Errno{EISDIR};
    if (export_.spec.read_only) return Errno{EROFS};
  }
  return make_file(TRY(reopen(how)));
}

Result<p9::Created> HostNode::create_new(const CName& name, std::string_view text, uint64_t flags,
                                         uint32_t mode, p9::Owner owner, uint64_t attrmask) {
  TRY(server_.budget().check());
  UniqueFd fd = TRY(open_child(
      fd_.borrow(), name.c_str(),
      (flags & ~uint64_t{O_TRUNC}) | O_CREAT | O_EXCL | O_NOCTTY | O_LARGEFILE | O_NONBLOCK,
      mode & 07777, export_.cross()));
  Stat st = TRY(stat_fd(fd.borrow(), attrmask));
  const auto changed = fix_owner(fd.borrow(), st, mode, owner);
  Result<UniqueFd> own = changed ? fd.dup() : changed.assume_error();
  if (!own) {
    // Half a file is worse than none.
    unlinkat(fd_.get(), name.c_str(), 0);
    return own.assume_error();
  }
  if (changed.assume_value()) st = TRY(stat_fd(fd.borrow(), attrmask));
  p9::Walked made = adopt(text, std::move(own.assume_value()), st);
  auto& node = static_cast<HostNode&>(*made.node);
  server_.settle_later(node.weak_from_this());
  return p9::Created{std::move(made.node), made.attr, node.make_file(std::move(fd))};
}

void HostNode::settle() {
  act();
  if (parent_ == nullptr) return;
  auto path = open_child(parent_->fd(), CName(name_).c_str(), O_PATH, 0, export_.cross());
  if (!path) return;
  const auto st = stat_fd(path.assume_value().borrow(), 0);
  if (st && st.assume_value().id == id_) fd_ = std::move(path.assume_value());
}

Result<p9::Created> HostNode::create(std::string_view name, p9::OpenFlags flags, uint32_t mode,
                                     p9::Owner owner, uint64_t attrmask) {
  act();
  TRY(check_change(name));
  const uint64_t how = TRY(host_flags(flags));
  const CName cname(name);
  // Without O_EXCL an existing file is opened, but only after a look at what it is: an openat with
  // O_CREAT alone would open a FIFO. Others may create and remove the name meanwhile.
  for (int attempts = 0; attempts < 8; ++attempts) {
    auto made = create_new(cname, name, how, mode, owner, attrmask);
    if (made || has(flags, p9::kOExcl) || made.assume_error() != Errno{EEXIST}) return made;
    auto found = walk(name, attrmask);
    if (!found) {
      if (found.assume_error() == Errno{ENOENT}) continue;
      return found.assume_error();
    }
    auto& node = static_cast<HostNode&>(*found.assume_value().node);
    if (node.is_dir()) return Errno{EISDIR};
    auto file = TRY(node.open(flags));
    const p9::AttrX attr = TRY(node.get_attr(attrmask, nullptr));
    return p9::Created{node.shared_from_this(), attr, std::move(file)};
  }
  return Errno{ESTALE};
}

Result<void> HostNode::truncate(uint64_t size, p9::OpenFile* open) {
  if (is_dir()) return Errno{EISDIR};
  if (!S_ISREG(mode_)) return Errno{EINVAL};
  if (size > INT64_MAX) return Errno{EFBIG};
  if (open != nullptr && ftruncate(static_cast<HostFile*>(open)->fd().get(),
                                   static_cast<off_t>(size)) == 0) {
    return ok();
  }
  // Not open for writing: truncate(2) by a fid needs a descriptor of its own.
  const UniqueFd fd = TRY(reopen(O_WRONLY));
  return check_call(ftruncate(fd.get(), static_cast<off_t>(size)));
}

Result<void> HostNode::change_mode(uint32_t mode) {
  const auto done = chmod_fd(fd_.borrow(), mode);
  if (done || done.assume_error() != Errno{ENOSYS}) return done;
  const UniqueFd fd = TRY(reopen_for_metadata());
  return check_call(fchmod(fd.get(), mode & 07777));
}

static Result<timespec> time_of(const p9::SetAttr& set, uint32_t bit, uint32_t given,
                                const p9::Time& t) {
  if ((set.valid & bit) == 0) return timespec{0, UTIME_OMIT};
  if ((set.valid & given) == 0) return timespec{0, UTIME_NOW};
  if (t.nsec > 999'999'999) return Errno{EINVAL};
  return timespec{static_cast<time_t>(t.sec), static_cast<long>(t.nsec)};
}

// The owner first: changing it takes away set-id bits, which an explicit mode then gives back.
Result<void> HostNode::set_attr(const p9::SetAttr& set, p9::OpenFile* open) {
  act();
  if (export_.spec.read_only) return Errno{EROFS};
  const uint32_t v = set.valid;
  const timespec times[2] = {TRY(time_of(set, p9::kSetAtime, p9::kSetAtimeGiven, set.atime)),
                             TRY(time_of(set, p9::kSetMtime, p9::kSetMtimeGiven, set.mtime))};
  constexpr uint32_t kOthers =
      p9::kSetMode | p9::kSetSize | p9::kSetAtime | p9::kSetMtime;
  if ((v & (p9::kSetUid | p9::kSetGid)) != 0 || ((v & p9::kSetCtime) != 0 && (v & kOthers) == 0)) {
    TRY(chown_fd(fd_.borrow(), (v & p9::kSetUid) != 0 ? set.uid : p9::kNoId,
                 (v & p9::kSetGid) != 0 ? set.gid : p9::kNoId));
  }
  if ((v & p9::kSetMode) != 0) TRY(change_mode(set.mode));
  if ((v & p9::kSetSize) != 0) TRY(truncate(set.size, open));
  if ((v & (p9::kSetAtime | p9::kSetMtime)) != 0) {
    TRY(check_call(utimensat(fd_.get(), "", times, AT_EMPTY_PATH)));
  }
  return ok();
}

Result<std::string> HostNode::read_link() {
  act();
  if (!S_ISLNK(mode_)) return Errno{EINVAL};
  char text[4096];
  const ssize_t n = readlinkat(fd_.get(), "", text, sizeof text);
  if (n < 0) return last_errno();
  return std::string(text, static_cast<size_t>(n));
}

Result<p9::Rstatfs> HostNode::stat_fs() {
  act();
  struct statfs s;
  TRY(check_call(fstatfs(fd_.get(), &s)));
  uint64_t fsid;
  static_assert(sizeof s.f_fsid == sizeof fsid);
  std::memcpy(&fsid, &s.f_fsid, sizeof fsid);
  return p9::Rstatfs{.type = static_cast<uint32_t>(s.f_type),
                     .bsize = static_cast<uint32_t>(s.f_bsize),
                     .blocks = s.f_blocks,
                     .bfree = s.f_bfree,
                     .bavail = s.f_bavail,
                     .files = s.f_files,
                     .ffree = s.f_ffree,
                     .fsid = fsid,
                     .namelen = static_cast<uint32_t>(s.f_namelen)};
}

// The host writes back all of the file system, as it does for any process that may call sync(2).
Result<void> HostNode::sync_fs() {
  act();
  const UniqueFd fd = TRY(reopen(O_RDONLY));
  return check_call(syncfs(fd.get()));
}

void HostNode::file_opened() {
  ++open_files_;
  server_.budget().take();
}

void HostNode::file_closed() {
  server_.budget().give_back();
  if (--open_files_ == 0 && locked_) {
    export_.locks.drop(id_, server_.connection());
    locked_ = false;
  }
}

}  // namespace run9::gofer
