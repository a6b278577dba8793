// A file of an export: an O_PATH descriptor (the one that made it, for a moment), and its place in the tree as this
// connection knows it.
//
// All operations work on the descriptor where the kernel has such a call. Where it wants a name
// (opening, linking), the name is used from the parent's descriptor and the result compared with
// the inode we hold. ".." is the parent in this tree, never the kernel's.
#pragma once
#include <string>
#include <unordered_map>

#include "gofer/host_server.h"

namespace run9::gofer {

class HostFile;

// Owned by fids, open files and children; a parent knows its children weakly. Lives on
// its connection's thread.
class HostNode final : public p9::Node, public std::enable_shared_from_this<HostNode> {
 public:
  using Ref = std::shared_ptr<HostNode>;

  // `user`: in whose name all is done with it and what is below; null in sandbox mode.
  static Result<Ref> make_root(HostServer& server, Export& exp, const User* user);
  HostNode(HostServer& server, Export& exp, const User* user, UniqueFd fd, const Stat& st);
  ~HostNode() override;

  p9::Qid qid() const override;
  Result<p9::Walked> walk(std::string_view name, uint64_t attrmask) override;
  Result<p9::AttrX> get_attr(uint64_t attrmask, p9::OpenFile* open) override;
  Result<void> set_attr(const p9::SetAttr& set, p9::OpenFile* open) override;
  Result<std::unique_ptr<p9::OpenFile>> open(p9::OpenFlags flags) override;
  Result<p9::Donated> donate_child(std::string_view name) override;
  Result<p9::Created> create(std::string_view name, p9::OpenFlags flags, uint32_t mode,
                             p9::Owner owner, uint64_t attrmask) override;
  Result<p9::Walked> mkdir(std::string_view name, uint32_t mode, p9::Owner owner,
                           uint64_t attrmask) override;
  Result<p9::Walked> symlink(std::string_view name, std::string_view target, p9::Owner owner,
                             uint64_t attrmask) override;
  Result<p9::Walked> mknod(std::string_view name, uint32_t mode, uint32_t major, uint32_t minor,
                           p9::Owner owner, uint64_t attrmask) override;
  Result<void> link(p9::Node& target, std::string_view name) override;
  Result<void> unlink(std::string_view name, uint32_t flags) override;
  Result<void> rename(std::string_view name, p9::Node& to, std::string_view new_name,
                      uint32_t flags) override;
  Result<void> rename_self(p9::Node& to, std::string_view new_name) override;
  Result<void> remove_self() override;
  uint32_t watch() override;
  Result<uint32_t> report_changes(uint32_t mask) override;
  Result<UniqueFd> connect(uint32_t type) override;
  Result<std::string> read_link() override;
  Result<p9::Rstatfs> stat_fs() override;
  Result<void> sync_fs() override;
  Result<std::vector<std::byte>> get_xattr(std::string_view name) override;
  Result<std::vector<std::byte>> list_xattr() override;
  Result<void> set_xattr(std::string_view name, ByteSpan value, uint32_t flags) override;
  Result<void> remove_xattr(std::string_view name) override;

  Export& exp() const { return export_; }
  HostServer& server() const { return server_; }
  // First thing in every operation of a node or open file that asks the host for anything.
  void act() const { server_.become(user_); }
  bool is_same_users(const HostNode& other) const { return user_ == other.user_; }
  FileId id() const { return id_; }
  BorrowedFd fd() const { return fd_.borrow(); }
  bool is_dir() const { return S_ISDIR(mode_); }
  // A directory that shows nothing of what is in it.
  bool sealed() const { return sealed_; }
  // The directory above, the node itself at the attach root.
  HostNode& parent() { return parent_ != nullptr ? *parent_ : *this; }
  p9::AttrX finish(const Stat& st) const;
  // The entry of `dir`, this directory opened, has no extended attributes that list_xattr() would show. False: or they
  // could not be listed.
  bool lacks_xattrs(BorrowedFd dir, const char* name, uint32_t mode);

  // Its descriptor is the one by which the file was made: replaces it by one that keeps nobody from executing the file
  // (ETXTBSY). Where the name has gone meanwhile it stays.
  void settle();

  // Open files of this node and whether one of them ever locked: locks go with the last one.
  void file_opened();
  void file_closed();
  void set_locked() { locked_ = true; }

 private:
  Result<void> check_dir() const { return is_dir() ? Result<void>(ok()) : Errno{ENOTDIR}; }
  // EPERM, EXDEV: a node of another user's or another export's tree.
  Result<void> check_same_tree(const HostNode& other) const;
  // A directory that may change, and a name in it that is not hidden.
  Result<void> check_change(std::string_view name) const;
  // The same for a name that gets a node.
  Result<void> check_new(std::string_view name) const;
  Ref self() { return shared_from_this(); }
  Ref known_child(std::string_view name) const;
  p9::Walked adopt(std::string_view name, UniqueFd fd, const Stat& st);
  void detach_child(std::string_view name);
  void leave_parent();
  // The node and all below it have moved there.
  void move_to(HostNode& parent, std::string_view name);

  // A descriptor with access to this very file.
  Result<UniqueFd> reopen(uint64_t flags);
  // One with any access, for fsetxattr and its like; EPERM on other kinds of files.
  Result<UniqueFd> reopen_for_metadata();
  // Still ours under its name? ENOENT, ESTALE.
  Result<void> check_name_current() const;
  Result<p9::Walked> finish_new(std::string_view name, uint32_t kind, uint32_t mode,
                                p9::Owner owner, uint64_t attrmask);
  Result<bool> fix_owner(BorrowedFd fd, const Stat& st, uint32_t mode, p9::Owner owner);
  Result<p9::Created> create_new(const CName& name, std::string_view text, uint64_t flags,
                                 uint32_t mode, p9::Owner owner, uint64_t attrmask);
  std::unique_ptr<p9::OpenFile> make_file(UniqueFd fd);
  Result<void> truncate(uint64_t size, p9::OpenFile* open);
  Result<void> change_mode(uint32_t mode);

  HostServer& server_;
  Export& export_;
  const User* const user_;
  UniqueFd fd_;
  const FileId id_;
  const uint32_t mode_;  // the S_IFMT bits
  Ref parent_;           // null: a root, or no longer in the tree
  std::string name_;
  std::unique_ptr<std::unordered_map<std::string, HostNode*>> children_;
  uint32_t open_files_ = 0;
  uint32_t watch_ = 0;   // the last one; it ends with the node
  uint32_t report_ = 0;  // the same, for report_changes()
  bool sealed_ = false;
  bool locked_ = false;
};

}  // namespace run9::gofer
