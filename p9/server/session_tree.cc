// Requests that make, move and remove names. All of them work from an open directory fid too:
// clients hold one while they empty a directory.
#include <sys/stat.h>

#include "p9/server/session.h"

namespace run9::p9 {

Result<Node*> Session::dir_node(Fid fid) {
  FidEntry* e = TRY(fids_.find_node(fid));
  if (!e->is_dir()) return Errno{ENOTDIR};
  return e->node.get();
}

Result<Rlcreate> Session::handle(const Tlcreate& t) {
  FidEntry* e = TRY(fids_.find_node(t.fid));
  if (e->state == FidState::kOpen) return Errno{EINVAL};
  if (!e->is_dir()) return Errno{ENOTDIR};
  const OpenFlags flags = OpenFlags{bits(t.flags) & ~bits(kONoctty | kOCloexec)} | kOCreat;
  Created made =
      TRY(e->node->create(t.name, flags, t.mode & 07777, Owner{.gid = t.gid}, kAttrBasic));
  // The fid moves from the directory to the new file; had the create failed, it would have stayed.
  e->node = std::move(made.node);
  e->file = std::move(made.file);
  e->flags = t.flags;
  e->state = FidState::kOpen;
  return Rlcreate{.qid = e->node->qid(), .iounit = e->file->iounit()};
}

Result<Rsymlink> Session::handle(const Tsymlink& t) {
  Node* dir = TRY(dir_node(t.dfid));
  if (t.target.empty()) return Errno{ENOENT};
  return Rsymlink{.qid = TRY(dir->symlink(t.name, t.target, Owner{.gid = t.gid}, 0)).node->qid()};
}

Result<Rmknod> Session::handle(const Tmknod& t) {
  Node* dir = TRY(dir_node(t.dfid));
  const Walked made = TRY(dir->mknod(t.name, t.mode, t.major, t.minor, Owner{.gid = t.gid}, 0));
  return Rmknod{.qid = made.node->qid()};
}

Result<Rmkdir> Session::handle(const Tmkdir& t) {
  Node* dir = TRY(dir_node(t.dfid));
  const Walked made = TRY(dir->mkdir(t.name, t.mode & 07777, Owner{.gid = t.gid}, 0));
  return Rmkdir{.qid = made.node->qid()};
}

static Result<Walked> make_any(Node& dir, const Tmkx& t) {
  const Owner owner{t.uid, t.gid};
  if (S_ISDIR(t.mode)) return dir.mkdir(t.name, t.mode & 07777, owner, t.attrmask);
  if (!S_ISLNK(t.mode)) return dir.mknod(t.name, t.mode, t.major, t.minor, owner, t.attrmask);
  if (t.target.empty()) return Errno{ENOENT};
  return dir.symlink(t.name, t.target, owner, t.attrmask);
}

Result<Rmkx> Session::handle(const Tmkx& t) {
  Node* dir = TRY(dir_node(t.dfid));
  if (t.newfid != kNoFid) TRY(fids_.check_free(t.newfid));
  Walked made = TRY(make_any(*dir, t));
  const Qid qid = made.node->qid();
  if (t.newfid != kNoFid) fids_.bind(t.newfid, std::move(made.node));
  return Rmkx{.qid = qid, .attr = made.attr};
}

Result<Rlink> Session::handle(const Tlink& t) {
  Node* dir = TRY(dir_node(t.dfid));
  FidEntry* target = TRY(fids_.find_node(t.fid));
  if (target->is_dir()) return Errno{EPERM};
  TRY(dir->link(*target->node, t.name));
  return Rlink{};
}

Result<Rrename> Session::handle(const Trename& t) {
  FidEntry* e = TRY(fids_.find_node(t.fid));
  TRY(e->node->rename_self(*TRY(dir_node(t.dfid)), t.name));
  return Rrename{};
}

Result<void> Session::rename(Fid from, std::string_view name, Fid to, std::string_view new_name,
                             uint32_t flags) {
  Node* old_dir = TRY(dir_node(from));
  Node* new_dir = TRY(dir_node(to));
  return old_dir->rename(name, *new_dir, new_name, flags);
}

Result<Rrenameat> Session::handle(const Trenameat& t) {
  TRY(rename(t.olddirfid, t.oldname, t.newdirfid, t.newname, 0));
  return Rrenameat{};
}

Result<Rrename2> Session::handle(const Trename2& t) {
  constexpr uint32_t kKnown = kRenameNoreplace | kRenameExchange | kRenameWhiteout;
  if ((t.flags & ~kKnown) != 0) return Errno{EINVAL};
  if ((t.flags & kRenameExchange) != 0 && t.flags != kRenameExchange) return Errno{EINVAL};
  TRY(rename(t.olddirfid, t.oldname, t.newdirfid, t.newname, t.flags));
  return Rrename2{};
}

Result<Runlinkat> Session::handle(const Tunlinkat& t) {
  if ((t.flags & ~kAtRemovedir) != 0) return Errno{EINVAL};
  TRY(TRY(dir_node(t.dirfid))->unlink(t.name, t.flags));
  return Runlinkat{};
}

}  // namespace run9::p9
