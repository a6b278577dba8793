// The rules about owners and mode bits that every file system shares; see credentials(7),
// capabilities(7), inode(7) and xattr(7).
#pragma once
#include "vfs/context.h"
#include "vfs/inode.h"

namespace run9::vfs {

inline constexpr uint32_t kMayExec = 1, kMayWrite = 2, kMayRead = 4;

// Mode bits, CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH against the fs ids.
Result<void> generic_permission(OpContext&, const FileRights&, uint32_t mask);
inline Result<void> generic_permission(OpContext& ctx, const Stat& st, uint32_t mask) {
  return generic_permission(ctx, FileRights{st.mode, st.uid, st.gid}, mask);
}

// access(2): the real ids, with the capabilities that a program of that user would have.
Credentials real_credentials(const Credentials&);
// These decide the same.
bool acts_by_real_ids(const Credentials&);
// Owner, or CAP_FOWNER.
bool owner_or_capable(const Credentials&, uint32_t uid);
// True if a sticky directory keeps the caller from removing `victim`.
bool sticky_forbids(const Credentials&, const FileRights& dir, const FileRights& victim);

// Owner and mode of a new inode: the caller's fs ids, except what a set-group-ID directory gives on.
// mode carries the type bits.
struct NewOwner {
  uint32_t uid, gid, mode;
};
NewOwner new_owner(const Credentials&, const Stat& dir, uint32_t mode);

// The mode without the set-id bits that a write or truncation by this caller clears.
uint32_t mode_after_write(const Credentials&, uint32_t mode, uint32_t gid);

// setattr_prepare of Linux: may the caller make this change? Adds the mode bits it clears.
Result<void> prepare_setattr(OpContext&, const Stat& now, SetAttr& change);

// May the caller do `mask` to the attribute `name` of an inode like `st`? kMayRead: get, kMayWrite:
// set or remove. Mode bits of user.* are checked too.
Result<void> xattr_permission(OpContext&, Inode&, const Stat& st, std::string_view name,
                              uint32_t mask);

// relatime: does a read at `now` move atime?
bool relatime_due(const Stat&, Timespec now);

}  // namespace run9::vfs
