// HostNode: names that come, go and move.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "gofer/host_node.h"

namespace run9::gofer {

Result<void> HostNode::check_change(std::string_view name) const {
  TRY(check_dir());
  if (export_.spec.read_only) return Errno{EROFS};
  // It does not exist, and cannot be made to.
  if (sealed_ || export_.hidden.has(id_, name)) return Errno{EACCES};
  return ok();
}

Result<void> HostNode::check_new(std::string_view name) const {
  TRY(check_change(name));
  return server_.budget().check();
}

Result<void> HostNode::check_same_tree(const HostNode& other) const {
  if (&other.export_ != &export_) return Errno{EXDEV};
  return is_same_users(other) ? Result<void>(ok()) : Errno{EPERM};
}

// Gives a new file to whom the client said: true if something changed. In a set-group-id directory
// the host has chosen the group already.
Result<bool> HostNode::fix_owner(BorrowedFd fd, const Stat& st, uint32_t mode, p9::Owner owner) {
  uint32_t uid = owner.uid, gid = owner.gid;
  if (uid == st.attr.uid) uid = p9::kNoId;
  if (gid == st.attr.gid) gid = p9::kNoId;
  if (gid != p9::kNoId && (TRY(stat_fd(fd_.borrow(), 0)).attr.mode & S_ISGID) != 0) {
    gid = p9::kNoId;
  }
  if (uid == p9::kNoId && gid == p9::kNoId) return false;
  TRY(chown_fd(fd, uid, gid));
  // chown takes set-id bits away.
  if (S_ISREG(st.attr.mode) && (mode & (S_ISUID | S_ISGID)) != 0) {
    TRY(check_call(fchmod(fd.get(), mode & 07777)));
  }
  return true;
}

// After mkdirat and its like: the new node, owned by whom it should.
Result<p9::Walked> HostNode::finish_new(std::string_view name, uint32_t kind, uint32_t mode,
                                        p9::Owner owner, uint64_t attrmask) {
  const CName cname(name);
  UniqueFd fd = TRY(open_child(fd_.borrow(), cname.c_str(), O_PATH, 0, export_.cross()));
  Stat st = TRY(stat_fd(fd.borrow(), attrmask));
  if ((st.attr.mode & S_IFMT) != kind) return Errno{ESTALE};  // it was replaced at once
  // Regular files by mknod have no set-id bits to restore: fix_owner could not, on O_PATH.
  const auto changed = fix_owner(fd.borrow(), st, mode & ~uint32_t{S_ISUID | S_ISGID}, owner);
  if (!changed) {
    unlinkat(fd_.get(), cname.c_str(), kind == S_IFDIR ? AT_REMOVEDIR : 0);
    return changed.assume_error();
  }
  if (changed.assume_value()) st = TRY(stat_fd(fd.borrow(), attrmask));
  return adopt(name, std::move(fd), st);
}

Result<p9::Walked> HostNode::mkdir(std::string_view name, uint32_t mode, p9::Owner owner,
                                   uint64_t attrmask) {
  act();
  TRY(check_new(name));
  TRY(check_call(mkdirat(fd_.get(), CName(name).c_str(), mode & 07777)));
  return finish_new(name, S_IFDIR, mode, owner, attrmask);
}

Result<p9::Walked> HostNode::symlink(std::string_view name, std::string_view target,
                                     p9::Owner owner, uint64_t attrmask) {
  act();
  TRY(check_new(name));
  TRY(check_call(symlinkat(std::string(target).c_str(), fd_.get(), CName(name).c_str())));
  return finish_new(name, S_IFLNK, 0, owner, attrmask);
}

Result<p9::Walked> HostNode::mknod(std::string_view name, uint32_t mode, uint32_t major,
                                   uint32_t minor, p9::Owner owner, uint64_t attrmask) {
  act();
  TRY(check_new(name));
  const uint32_t kind = (mode & S_IFMT) != 0 ? mode & S_IFMT : S_IFREG;
  // FIFOs and sockets are inert here, the client's kernel gives them life. Devices never are.
  const bool whiteout =
      kind == S_IFCHR && major == 0 && minor == 0 && export_.spec.whiteouts;
  if (kind != S_IFREG && kind != S_IFIFO && kind != S_IFSOCK && !whiteout) return Errno{EPERM};
  TRY(check_call(mknodat(fd_.get(), CName(name).c_str(), kind | (mode & 07777), 0)));
  return finish_new(name, kind, mode, owner, attrmask);
}

Result<void> HostNode::link(p9::Node& target, std::string_view name) {
  act();
  TRY(check_change(name));
  const auto& from = static_cast<HostNode&>(target);
  TRY(check_same_tree(from));
  const CName cname(name);
  if (linkat(from.fd_.get(), "", fd_.get(), cname.c_str(), AT_EMPTY_PATH) == 0) return ok();
  // ENOENT: a capability of the initial user namespace is missing. Then by name.
  if (errno != ENOENT) return last_errno();
  TRY(from.check_name_current());
  return check_call(
      linkat(from.parent_->fd_.get(), from.name_.c_str(), fd_.get(), cname.c_str(), 0));
}

Result<void> HostNode::unlink(std::string_view name, uint32_t flags) {
  act();
  TRY(check_dir());
  if (export_.spec.read_only) return Errno{EROFS};
  if (sealed_ || export_.hidden.has(id_, name)) return Errno{ENOENT};
  const int how = (flags & p9::kAtRemovedir) != 0 ? AT_REMOVEDIR : 0;
  TRY(check_call(unlinkat(fd_.get(), CName(name).c_str(), how)));
  detach_child(name);
  return ok();
}

void HostNode::move_to(HostNode& parent, std::string_view name) {
  // A host process may have moved `parent` below this node, which our tree does not know; parents
  // own each other then. The tree is wrong there anyway: end the circle at the root.
  HostNode* top = &parent;
  while (top->parent_ != nullptr && top->parent_.get() != this) top = top->parent_.get();
  if (top->parent_ != nullptr || top == this) return;
  parent_ = parent.shared_from_this();
  name_ = name;
  if (parent.children_ == nullptr) {
    parent.children_ = std::make_unique<std::unordered_map<std::string, HostNode*>>();
  }
  (*parent.children_)[name_] = this;
}

Result<void> HostNode::rename(std::string_view name, p9::Node& to, std::string_view new_name,
                              uint32_t flags) {
  act();
  auto& dir = static_cast<HostNode&>(to);
  TRY(check_change(name));
  TRY(dir.check_change(new_name));
  TRY(check_same_tree(dir));
  if ((flags & p9::kRenameWhiteout) != 0 && !export_.spec.whiteouts) return Errno{EPERM};
  // The wire's flags are renameat2's. Not through libc, which calls renameat for no flags.
  TRY(check_call(static_cast<int>(syscall(SYS_renameat2, fd_.get(), CName(name).c_str(),
                                          dir.fd_.get(), CName(new_name).c_str(), flags))));
  Ref moved = known_child(name);
  Ref other = dir.known_child(new_name);
  if (moved != nullptr && moved == other) return ok();
  detach_child(name);
  dir.detach_child(new_name);
  if (moved != nullptr) moved->move_to(dir, new_name);
  if (other != nullptr && (flags & p9::kRenameExchange) != 0) other->move_to(*this, name);
  return ok();
}

Result<void> HostNode::rename_self(p9::Node& to, std::string_view new_name) {
  act();
  if (parent_ == nullptr) return Errno{EINVAL};
  TRY(check_name_current());
  const Ref dir = parent_;  // rename changes them
  const std::string name = name_;
  return dir->rename(name, to, new_name, 0);
}

Result<void> HostNode::remove_self() {
  act();
  if (parent_ == nullptr) return Errno{EINVAL};
  TRY(check_name_current());
  return parent_->unlink(name_, is_dir() ? p9::kAtRemovedir : 0);
}

}  // namespace run9::gofer
