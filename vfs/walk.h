// Walk: one path being resolved (path_resolution(7)); the state that namei.c keeps in nameidata. Lives
// on the stack of the operation. Also the bits that the files of path_walk.h share.
#pragma once
#include <atomic>

#include "vfs/dentry_cache.h"
#include "vfs/path_walk.h"
#include "vfs/permission.h"
#include "vfs/told_names.h"

namespace run9::vfs {

inline constexpr size_t kNameMax = 255;
inline constexpr size_t kPathMax = 4096;  // with the terminating NUL

struct MountNamespace::Shared {
  DentryCache cache;
  ToldNames told;
  int next_mount_id = 1;
  uint32_t next_dev = 1;
  uint32_t next_move = 1;  // inotify cookies
};

// RESOLVE_* and what they forbid.
inline constexpr uint32_t kScoped = kBeneath | kInRoot;

enum class Last {
  kName,   // last() holds the component; cur() is its directory
  kDot,    // "." or "..": last() holds it, cur() is not yet moved
  kRoot,   // the path was the root itself
};

class Walk {
 public:
  Walk(MountNamespace& ns, OpContext& ctx, uint32_t flags) : ns_(ns), ctx_(ctx), flags_(flags) {}

  // MountNamespace::walk_told.
  void tell_steps(std::optional<uint32_t> record) {
    tells_ = true;
    record_ = record;
  }
  Result<void> begin(const FsContext&, const Path& start, std::string_view path);
  // Resolves everything; cur() is the result.
  Result<void> to_end();
  // Stops before the last component. May be called again after follow_link.
  Result<Last> to_parent();
  // The dentry of last() in cur(), negative if there is none.
  Result<DentryRef> lookup_last();
  // The same for a name that is to be made, and may be there only to be refused (EEXIST): where the file system finds that
  // out when it makes it, it is not asked before.
  Result<DentryRef> lookup_new();
  // Puts the text of the link in front of what is left; last() must be done with.
  Result<void> follow_link(Inode& link);
  // Moves to a child of cur(), through mounts.
  Result<void> enter(DentryRef child);
  Result<void> step_up();

  const Path& cur() const { return cur_; }
  const std::string& last() const { return last_; }
  bool trailing_slash() const { return trailing_slash_; }

 private:
  // Takes the next component off rest_; false at the end.
  bool next(std::string_view& name);
  bool at_last() const { return rest_.find_first_not_of('/', at_) == std::string::npos; }
  Intent intent() const;
  Result<void> check_component(std::string_view name);
  Result<void> component(std::string_view name);
  Result<DentryRef> child(std::string_view name);
  Result<DentryRef> look_up(const DentryRef& dir, std::string_view name);
  Result<bool> still_good(const DentryRef& dir, std::string_view name, const DentryRef& child);
  std::vector<std::string_view> plain_names(std::string_view first, bool& all) const;

  Result<void> told(const Path& dir, std::string_view name, bool last) const {
    if (!tells_) return ok();
    ToldNames& told = ns_.shared_->told;
    return (last && record_ ? told.tell_last(dir, name, *record_) : told.tell(dir, name)) ? Result<void>(ok()) : Errno{ESTALE};
  }

  MountNamespace& ns_;
  OpContext& ctx_;
  uint32_t flags_;
  Path root_;
  Path cur_;
  std::string rest_;
  size_t at_ = 0;  // what of rest_ is done
  std::string last_;
  bool trailing_slash_ = false;
  int links_ = 0;
  bool tells_ = false;
  std::optional<uint32_t> record_;
};

bool read_only(const Path&);
// mask of permission.h, with EROFS for writes to a read-only mount.
Result<void> inode_permission(OpContext&, const Path&, uint32_t mask);
// W and X on a directory that still exists.
Result<void> may_change_dir(OpContext&, const Path& dir);
Result<void> may_delete(OpContext&, const Path& dir, Inode& victim, bool want_dir);

}  // namespace run9::vfs
